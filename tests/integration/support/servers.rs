//! Which servers may a test stop? PostgreSQL and Redis of its own, on ports that stay the same.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use fred::{
    clients::Client,
    interfaces::{ClientLike, ClusterInterface},
    types::{Builder, config::Config},
};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{
    backends,
    process::{Running, free_port, until},
};

/// `nobody`: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;

/// A server of the test's own.
pub struct Server {
    pub url: String,
    pub port: u16,
    command: Command,
    running: Option<Running>,
    // Dropped last: the server writes into it.
    _folder: TempDir,
}

impl Server {
    pub async fn postgresql() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let as_root = fs::metadata(folder.path()).unwrap().uid() == 0;
        if as_root {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let program = |name: &str| {
            let mut command = quiet(&format!("{}/{name}", backends::server("TEST_POSTGRES_BIN")), folder.path());
            if as_root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command.args(["-D", "data"]).env("LC_ALL", "C");
            command
        };
        let made = program("initdb").args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]).status();
        assert!(made.unwrap().success(), "initdb failed");
        let port = free_port();
        let mut command = program("postgres");
        command.args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", ""]);
        // Nobody asks for the password; it is there to be looked for in the logs.
        let url = format!("postgres://postgres:{PASSWORD_IN_URL}@127.0.0.1:{port}/postgres");
        Self::started(Self { url, port, command, running: None, _folder: folder }).await
    }

    pub async fn redis() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut command = quiet(&backends::server("TEST_REDIS_SERVER"), folder.path());
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        let url = format!("redis://127.0.0.1:{port}");
        Self::started(Self { url, port, command, running: None, _folder: folder }).await
    }

    /// A Redis Cluster of one master that has all the slots.
    pub async fn redis_cluster() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The bus that the nodes talk on is 10,000 above.
        let port = free_port();
        let mut command = quiet(&backends::server("TEST_REDIS_SERVER"), folder.path());
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"]);
        let url = format!("redis-cluster://127.0.0.1:{port}");
        let server = Self::started(Self { url, port, command, running: None, _folder: folder }).await;
        let single = Config::from_url(&format!("redis://127.0.0.1:{port}")).unwrap();
        let client: Client = Builder::from_config(single).build().unwrap();
        client.init().await.unwrap();
        let slots: Vec<u16> = (0..16_384).collect();
        client.cluster_add_slots(slots).await.unwrap();
        until("the cluster is up", Duration::from_secs(30), async || {
            let state: String = client.cluster_info().await.unwrap();
            state.contains("cluster_state:ok")
        })
        .await;
        server
    }

    /// The setting that names this server, as a flag.
    pub fn flag(&self) -> String {
        let setting = if self.is_postgresql() { "database" } else { "redis" };
        format!("--{setting}-url={}", self.url)
    }

    async fn started(mut self) -> Self {
        self.start().await;
        self
    }

    /// Starts it again, where it was.
    pub async fn start(&mut self) {
        until("a server is up", Duration::from_secs(60), async || {
            // After a kill, PostgreSQL refuses to start until the last of its former processes has noticed.
            if self.running.as_mut().is_none_or(|running| running.exit_code().is_some()) {
                self.running = Some(Running::start(&mut self.command));
            }
            self.answers().await
        })
        .await;
    }

    /// Stops it in good order: connections are closed.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// SIGKILL, as when the machine goes away.
    pub fn kill(&mut self) {
        self.running.as_mut().unwrap().kill();
    }

    /// Connections stay, but nobody answers.
    pub fn freeze(&self) {
        self.running.as_ref().unwrap().signal("STOP");
    }

    pub fn thaw(&self) {
        self.running.as_ref().unwrap().signal("CONT");
    }

    async fn answers(&self) -> bool {
        if self.is_postgresql() {
            PgConnection::connect(&self.url).await.is_ok()
        } else {
            TcpStream::connect(("127.0.0.1", self.port)).await.is_ok()
        }
    }

    fn is_postgresql(&self) -> bool {
        self.url.starts_with("postgres:")
    }
}

/// The password in the URL of PostgreSQL.
pub const PASSWORD_IN_URL: &str = "a-password-in-a-url";

fn quiet(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

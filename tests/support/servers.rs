//! Which servers may a test stop? PostgreSQL and Redis of its own, on ports that stay the same, and what stands around
//! them.

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
    interfaces::ClientLike,
    types::{Builder, ClusterHash, CustomCommand, FromValue, config::Config},
};
use sqlx::{ConnectOptions, postgres::PgConnectOptions};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{
    needs::need,
    process::{Running, free_port, free_port_of_cluster, until},
};

const ROOT: u32 = 0;
const NOBODY: u32 = 65534;

/// A server of the test's own.
pub struct Server {
    pub url: String,
    port: u16,
    command: Command,
    running: Option<Running>,
    // Dropped last: the server writes into it.
    _folder: TempDir,
}

impl Server {
    pub async fn postgresql() -> Self {
        Self::postgresql_with(&[]).await
    }

    /// A PostgreSQL with some settings, as `name=value`.
    pub async fn postgresql_with(settings: &[&str]) -> Self {
        let folder = folder_of_nobody();
        let made = postgresql_program("initdb", &folder)
            .args(["-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"])
            .status();
        assert!(made.unwrap().success(), "initdb failed");
        Self::postgresql_in(folder, settings).await
    }

    /// A standby that follows another PostgreSQL.
    pub async fn standby_of(primary: &Self) -> Self {
        let folder = folder_of_nobody();
        let copied = postgresql_program("pg_basebackup", &folder)
            .args(["-D", "data", "-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", &primary.url])
            .status();
        assert!(copied.unwrap().success(), "pg_basebackup failed");
        Self::postgresql_in(folder, &[]).await
    }

    async fn postgresql_in(folder: TempDir, settings: &[&str]) -> Self {
        let port = free_port();
        let mut command = postgresql_program("postgres", &folder);
        command.args(["-D", "data", "-p", &port.to_string(), "-h", "127.0.0.1", "-k", ""]);
        command.args(settings.iter().flat_map(|setting| ["-c", setting]));
        // Nobody asks for the password; it is there to be looked for in the logs.
        let url = format!("postgres://postgres:{PASSWORD_IN_URL}@127.0.0.1:{port}/postgres");
        Self::started(Self { url, port, command, running: None, _folder: folder }).await
    }

    /// A PgBouncer in transaction mode. Whoever connects to it gets another connection for each transaction, in turn.
    pub async fn pgbouncer(postgresql: &Self) -> Self {
        let settings = format!(
            "pool_mode = transaction
             default_pool_size = {CONNECTIONS_OF_PGBOUNCER}
             server_round_robin = 1"
        );
        Self::pgbouncer_with(postgresql, &settings).await
    }

    /// A PgBouncer in session mode, which is its default, as everything else.
    pub async fn pgbouncer_in_session_mode(postgresql: &Self) -> Self {
        Self::pgbouncer_with(postgresql, "").await
    }

    async fn pgbouncer_with(postgresql: &Self, settings: &str) -> Self {
        let (folder, port) = (folder_of_nobody(), free_port());
        let config = format!(
            "[databases]
             * = host=127.0.0.1 port={} user=postgres
             [pgbouncer]
             listen_addr = 127.0.0.1
             listen_port = {port}
             unix_socket_dir =
             auth_type = any
             {settings}",
            postgresql.port
        );
        fs::write(folder.path().join("pgbouncer.ini"), config.replace("             ", "")).unwrap();
        let mut command = as_nobody(quiet(&need("TEST_PGBOUNCER"), folder.path()));
        command.arg("pgbouncer.ini");
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        Self::started(Self { url, port, command, running: None, _folder: folder }).await
    }

    pub async fn redis() -> Self {
        Self::redis_with(&need("TEST_REDIS_SERVER"), &[]).await
    }

    /// A Redis, or what works like one, with some settings.
    pub async fn redis_with(program: &str, settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = if settings == CLUSTERED { free_port_of_cluster() } else { free_port() };
        let mut command = quiet(program, folder.path());
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--repl-diskless-sync-delay", "0"]).args(settings);
        let url = format!("redis://127.0.0.1:{port}");
        Self::started(Self { url, port, command, running: None, _folder: folder }).await
    }

    /// A sentinel that looks after a primary, of which `quorum` sentinels have to say that it is gone.
    pub async fn sentinel(program: &str, primary: &Self, quorum: usize) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let config = format!(
            "port {port}
bind 127.0.0.1
sentinel monitor {PRIMARY} 127.0.0.1 {} {quorum}
sentinel down-after-milliseconds {PRIMARY} 1500
sentinel failover-timeout {PRIMARY} 10000
",
            primary.port
        );
        fs::write(folder.path().join("sentinel.conf"), config).unwrap();
        let mut command = quiet(program, folder.path());
        command.args(["sentinel.conf", "--sentinel"]);
        let url = format!("redis://127.0.0.1:{port}");
        Self::started(Self { url, port, command, running: None, _folder: folder }).await
    }

    /// A Redis Cluster of one master that has all the slots.
    pub async fn redis_cluster() -> Self {
        let mut server = Self::redis_with(&need("TEST_REDIS_SERVER"), &CLUSTERED).await;
        let _: String = server.ask("CLUSTER ADDSLOTSRANGE 0 16383").await;
        until("the cluster is up", Duration::from_secs(30), async || {
            server.ask::<String>("CLUSTER INFO").await.contains("cluster_state:ok")
        })
        .await;
        server.url = server.url.replace("redis:", "redis-cluster:");
        server
    }

    /// Sends a command to a Redis, past everything that stands around it.
    pub async fn ask<R: FromValue>(&self, command: &str) -> R {
        let config = Config::from_url(&format!("redis://127.0.0.1:{}", self.port)).unwrap();
        let client: Client = Builder::from_config(config).build().unwrap();
        client.init().await.unwrap();
        let mut words = command.split(' ').map(str::to_owned);
        let name = CustomCommand::new(words.next().unwrap(), ClusterHash::FirstKey, false);
        let answer = client.custom(name, words.collect()).await.unwrap_or_else(|error| panic!("{command}: {error}"));
        client.quit().await.unwrap();
        answer
    }

    pub fn port(&self) -> u16 {
        self.port
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
        self.running.as_ref().unwrap().signal_all("STOP");
    }

    pub fn thaw(&self) {
        self.running.as_ref().unwrap().signal_all("CONT");
    }

    async fn answers(&self) -> bool {
        if self.is_postgresql() {
            self.options().connect().await.is_ok()
        } else {
            TcpStream::connect(("127.0.0.1", self.port)).await.is_ok()
        }
    }

    /// How to connect to a PostgreSQL, or to what stands in front of one and knows few settings.
    pub fn options(&self) -> PgConnectOptions {
        self.url.parse::<PgConnectOptions>().unwrap().extra_float_digits(None)
    }

    fn is_postgresql(&self) -> bool {
        self.url.starts_with("postgres:")
    }
}

/// What sentinels call the primary that they look after.
pub const PRIMARY: &str = "phonepass";

/// How many connections a PgBouncer has to its PostgreSQL.
pub const CONNECTIONS_OF_PGBOUNCER: usize = 6;

/// The settings of a Redis that is part of a cluster. The bus that the nodes talk on is 10,000 above the port.
pub const CLUSTERED: [&str; 6] =
    ["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1", "--cluster-node-timeout", "1500"];

/// The password in the URL of PostgreSQL.
pub const PASSWORD_IN_URL: &str = "a-password-in-a-url";

/// A folder that PostgreSQL and PgBouncer take: both refuse to run as root.
fn folder_of_nobody() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    if is_root(&folder) {
        chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    folder
}

fn postgresql_program(name: &str, folder: &TempDir) -> Command {
    let mut command = as_nobody(quiet(&format!("{}/{name}", need("TEST_POSTGRES_BIN")), folder.path()));
    command.env("LC_ALL", "C");
    command
}

fn as_nobody(mut command: Command) -> Command {
    if is_root(&tempfile::tempdir().unwrap()) {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn is_root(folder: &TempDir) -> bool {
    fs::metadata(folder.path()).unwrap().uid() == ROOT
}

fn quiet(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

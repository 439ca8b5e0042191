//! What breaks? A service, or several, as real processes on stores of their own that can be killed, frozen and cut off.

use std::{path::PathBuf, process::Command, sync::LazyLock};

use sqlx::{Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    phone::Phones,
    support::{
        process::{Process, free_port},
        servers::Server,
    },
};

/// Drills load the machine: more at a time would break what they do not mean to break.
static TURNS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(2));

/// Waits until this drill may begin; it lasts until the permit is dropped.
pub async fn turn() -> SemaphorePermit<'static> {
    TURNS.acquire().await.unwrap()
}

/// The settings of services that share stores.
pub struct Stack {
    pub phones: Phones,
    settings: Vec<(String, String)>,
    database: String,
    folder: TempDir,
}

/// A service at an address that it keeps over restarts.
pub struct Instance {
    pub process: Process,
    pub address: String,
}

impl Stack {
    /// On these stores; SQLite and in-process state where there is none.
    pub async fn on(database: Option<&str>, redis: Option<&str>) -> Self {
        let phones = Phones::default();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data").display().to_string();
        let mut settings = vec![
            ("DATA_DIR", data.clone()),
            ("LOG_LEVEL", "warn".to_owned()),
            ("SMS_PROVIDER", "webhook".to_owned()),
            ("SMS_WEBHOOK_URL", phones.listen().await),
            ("IMAGE_CODE", "never".to_owned()),
            ("LIMIT_EXEMPT", "127.0.0.0/8".to_owned()), // all the people of a drill have one address
        ];
        for limit in ["SMS_RESEND_SECONDS", "SMS_PER_MOBILE_PER_DAY", "SMS_TOTAL_PER_HOUR"] {
            settings.push((limit, "0".to_owned()));
        }
        settings.extend(database.map(|url| ("DATABASE_URL", url.to_owned())));
        settings.extend(redis.map(|url| ("REDIS_URL", url.to_owned())));
        let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let database = database.map_or_else(|| format!("sqlite://{data}/phonepass.db"), str::to_owned);
        Self { phones, settings, database, folder }
    }

    /// On a PostgreSQL and a Redis.
    pub async fn on_servers(postgresql: &Server, redis: &Server) -> Self {
        Self::on(Some(&postgresql.url), Some(&redis.url)).await
    }

    /// Sets a setting, of services that start from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// The settings as flags, for a service within the test.
    pub fn flags(&self) -> Vec<String> {
        let flag = |(name, value): &(String, String)| format!("--{}={value}", name.to_lowercase().replace('_', "-"));
        self.settings
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "DATA_DIR" | "DATABASE_URL"))
            .map(flag)
            .collect()
    }

    /// Starts a service and waits until it serves.
    pub async fn instance(&self) -> Instance {
        let address = format!("127.0.0.1:{}", free_port());
        Instance { process: self.start(&address).await, address }
    }

    /// Starts a service by a command of the drill's own, and waits until it serves.
    pub async fn instance_by(&self, command: Command) -> Instance {
        let address = format!("127.0.0.1:{}", free_port());
        Instance { process: self.start_by(command, &address).await, address }
    }

    /// The folder with the data of services.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts a service again, where it was.
    pub async fn restart(&self, instance: &mut Instance) {
        instance.process = self.start(&instance.address).await;
    }

    async fn start(&self, address: &str) -> Process {
        self.start_by(Command::new(env!("CARGO_BIN_EXE_phonepass")), address).await
    }

    /// Starts a service by a command of the drill's own.
    pub async fn start_by(&self, mut command: Command, address: &str) -> Process {
        command.current_dir(self.folder.path());
        let settings = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let settings: Vec<_> = settings.chain([("HTTP_ADDR", address)]).collect();
        let mut process = Process::of(command, address, &settings);
        process.ready().await;
        process
    }

    /// Asks the database itself, which need not be the way that the service takes.
    pub async fn count(&self, sql: &'static str, value: uuid::Uuid, url: Option<&str>) -> i64 {
        let url = url.unwrap_or(&self.database);
        if url.starts_with("postgres:") {
            let mut database = PgConnection::connect(url).await.unwrap();
            sqlx::query_scalar(sql).bind(value).fetch_one(&mut database).await.unwrap()
        } else {
            let mut database = SqliteConnection::connect(url).await.unwrap();
            sqlx::query_scalar(sql).bind(value).fetch_one(&mut database).await.unwrap()
        }
    }
}

impl Instance {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

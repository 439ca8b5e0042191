//! Which stores does a test run on? Real ones, its own, gone when it ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fred::{
    clients::Client,
    interfaces::{ClientLike, LuaInterface},
    types::{Builder, config::Config},
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use tempfile::TempDir;
use uuid::Uuid;

use super::{needs::need, templates};

/// A combination of back ends.
#[derive(Clone, Copy, Debug)]
pub struct Backends {
    pub postgresql: bool,
    pub redis: bool,
}

impl Backends {
    pub const POSTGRESQL_AND_REDIS: Self = Self { postgresql: true, redis: true };
    pub const POSTGRESQL_AND_IN_PROCESS: Self = Self { postgresql: true, redis: false };
    pub const SQLITE_AND_REDIS: Self = Self { postgresql: false, redis: true };
    pub const SQLITE_AND_IN_PROCESS: Self = Self { postgresql: false, redis: false };
}

/// How long a service waits for its stores.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limits {
    /// As long as it takes for servers that all tests share, which answer; as operators' services for those of a test.
    Fitting,
    OfOperators,
    Wide,
}

/// A data folder, and a database and a key prefix of the test's own. Clones share them.
#[derive(Clone)]
pub struct Stores {
    pub folder: Arc<TempDir>,
    database: Option<Arc<Database>>,
    redis: Option<(Client, String)>,
    pub(crate) limits: Limits,
    apps: Arc<AtomicU64>,
}

impl Stores {
    /// With the schema of this version.
    pub async fn create(backends: Backends) -> Self {
        let template = if backends.postgresql { templates::postgresql().await } else { "" };
        let stores = Self::of(backends, template).await;
        if !backends.postgresql {
            templates::sqlite(&stores.folder.path().join("phonepass.db")).await;
        }
        stores
    }

    /// Without any schema: what a first start finds.
    pub async fn empty(backends: Backends) -> Self {
        Self::of(backends, "template1").await
    }

    async fn of(backends: Backends, template: &str) -> Self {
        let database = if backends.postgresql { Some(Arc::new(Database::copy(template).await)) } else { None };
        let redis = if backends.redis { Some(connect_redis().await) } else { None };
        Self {
            folder: Arc::new(tempfile::tempdir().unwrap()),
            database,
            redis,
            limits: Limits::Fitting,
            apps: Arc::default(),
        }
    }

    /// How many services have been started on these stores before: no two make the same codes.
    pub(crate) fn next_app(&self) -> u64 {
        self.apps.fetch_add(1, Ordering::Relaxed)
    }

    /// For services that wait for these stores no longer than operators' do.
    pub fn hurried(self) -> Self {
        Self { limits: Limits::OfOperators, ..self }
    }

    /// For services that wait as long as it takes for servers of the test's own, too.
    pub fn patient(self) -> Self {
        Self { limits: Limits::Wide, ..self }
    }

    /// The settings of a service on these stores.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = vec![format!("--data-dir={}", self.folder.path().display())];
        if let Some(database) = &self.database {
            flags.extend([format!("--database-url={}", database.url), "--database-max-connections=8".to_owned()]);
        }
        if let Some((_, prefix)) = &self.redis {
            flags.extend([format!("--redis-url={}", need("TEST_REDIS_URL")), format!("--redis-prefix={prefix}")]);
        }
        flags
    }

    /// The URL of the test's database.
    pub fn database_url(&self) -> String {
        match &self.database {
            Some(database) => database.url.clone(),
            None => format!("sqlite://{}/phonepass.db", self.folder.path().display()),
        }
    }

    /// Does what an operator does with a database shell.
    pub async fn execute(&self, sql: &str) {
        let (url, sql) = (self.database_url(), AssertSqlSafe(sql.to_owned()));
        if self.database.is_some() {
            PgConnection::connect(&url).await.unwrap().execute(sql).await.unwrap();
        } else {
            SqliteConnection::connect(&url).await.unwrap().execute(sql).await.unwrap();
        }
    }

    /// How many rows does a table have?
    pub async fn count(&self, table: &str) -> i64 {
        let (url, sql) = (self.database_url(), AssertSqlSafe(format!("SELECT count(*) FROM {table}")));
        if self.database.is_some() {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
        } else {
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
        }
    }

    /// The key prefix and a client, where there is Redis.
    pub fn redis(&self) -> Option<&(Client, String)> {
        self.redis.as_ref()
    }

    /// Lets Redis believe that time has passed: every key of this test has so much less to live.
    pub async fn expire(&self, time: Duration) {
        let Some((client, prefix)) = &self.redis else { return };
        let script = "for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
                          local rest = redis.call('PTTL', key)
                          if rest <= tonumber(ARGV[2]) then redis.call('DEL', key)
                          else redis.call('PEXPIRE', key, rest - ARGV[2]) end
                      end
                      return 0";
        let args = vec![prefix.clone(), time.as_millis().to_string()];
        let _: i64 = client.eval(script, Vec::<String>::new(), args).await.unwrap();
    }
}

async fn connect_redis() -> (Client, String) {
    let client = Builder::from_config(Config::from_url(&need("TEST_REDIS_URL")).unwrap()).build().unwrap();
    client.init().await.unwrap();
    (client, format!("test:{}:", Uuid::now_v7()))
}

/// A PostgreSQL database that is dropped at the end.
struct Database {
    name: String,
    url: String,
}

impl Database {
    async fn copy(template: &str) -> Self {
        let name = format!("test_{}", Uuid::now_v7().simple());
        execute(format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        Self { url: templates::url_of(&name), name }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // A runtime of its own: the test's may be gone, or about to go.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(execute(sql));
        });
        dropped.join().unwrap();
    }
}

async fn execute(sql: String) {
    let mut connection = PgConnection::connect(&need("TEST_POSTGRES_URL")).await.unwrap();
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
    connection.close().await.unwrap();
}

//! Databases with the schema of this version, made once and copied for each test.

use std::{
    fs::{self, OpenOptions},
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use phonepass::store::users::{self, Statements};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, migrate::Migrator};
use tokio::sync::OnceCell;

use super::{WIDE, needs::need};

static POSTGRESQL: Migrator = sqlx::migrate!("../../migrations/postgres");

/// Held while a process makes the template on a server that others use, too.
const LOCK: i64 = 0x7465_6d70_6c61_7465;

/// The name of a database on the shared server to be copied. It stays for later runs with the same migrations.
pub async fn postgresql() -> &'static str {
    static NAME: OnceCell<String> = OnceCell::const_new();
    NAME.get_or_init(make_postgresql).await
}

async fn make_postgresql() -> String {
    let mut migrations = DefaultHasher::new();
    POSTGRESQL.iter().for_each(|migration| migration.checksum.hash(&mut migrations));
    let name = format!("phonepass_template_{:016x}", migrations.finish());
    let mut server = PgConnection::connect(&need("TEST_POSTGRES_URL")).await.unwrap();
    sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut server).await.unwrap();
    let known = sqlx::query("SELECT FROM pg_database WHERE datname = $1").bind(&name);
    if known.fetch_optional(&mut server).await.unwrap().is_none() {
        // It gets its name when it is complete: what an interrupted run left has another one.
        let unfinished = format!("{name}_unfinished");
        for sql in
            [format!("DROP DATABASE IF EXISTS {unfinished} WITH (FORCE)"), format!("CREATE DATABASE {unfinished}")]
        {
            server.execute(AssertSqlSafe(sql)).await.unwrap();
        }
        migrate(&url_of(&unfinished)).await;
        let sql = format!("ALTER DATABASE {unfinished} RENAME TO {name}");
        server.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    server.close().await.unwrap();
    name
}

/// The URL of a database on the shared PostgreSQL.
pub fn url_of(database: &str) -> String {
    let url = need("TEST_POSTGRES_URL");
    let (server, _) = url.rsplit_once('/').expect("a URL with a database");
    format!("{server}/{database}")
}

/// Writes a migrated SQLite database where there is none.
pub async fn sqlite(path: &Path) {
    static FILE: OnceCell<Vec<u8>> = OnceCell::const_new();
    let file = FILE.get_or_init(make_sqlite).await;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap().write_all(file).unwrap();
}

async fn make_sqlite() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("template.db");
    migrate(&format!("sqlite://{}", path.display())).await;
    // The last connection that is closed puts everything into this one file.
    fs::read(path).unwrap()
}

async fn migrate(url: &str) {
    let users = users::connect(&url.parse().unwrap(), Statements::Named, 2, WIDE).await.unwrap();
    users.migrate().await.unwrap();
    users.close().await;
}

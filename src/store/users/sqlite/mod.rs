//! How do users and sessions live in SQLite?

mod accounts;
mod administration;
mod batches;
mod sessions;

use std::{io, path::Path};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{
    Row, Sqlite as Driver, SqliteConnection, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};
use uuid::Uuid;

use batches::{LookUps, Refreshes, SignIns};

use super::{PoolUse, STATEMENT_TIMEOUT, UserStore, bounded, pool_use};
use crate::{
    model::{
        mobile::Mobile,
        session::{Session, SignInMethod},
        user::{User, UserStatus},
    },
    private_file,
    store::{StoreError, coalesce::Coalescer},
};

const STORE: &str = "sqlite";

/// The store on SQLite: one connection that writes, several that read.
pub struct Sqlite {
    // SQLite has one writer at a time: queueing for it here is fair, its own busy loop is not.
    writer: SqlitePool,
    readers: SqlitePool,
    sign_ins: Coalescer<SignIns>,
    refreshes: Coalescer<Refreshes>,
    look_ups: Coalescer<LookUps>,
}

impl Sqlite {
    /// Opens the file, creating it (for its owner alone) if there is none.
    pub async fn open(url: &str, max_connections: u32) -> Result<Self, StoreError> {
        let options: SqliteConnectOptions = url.parse().map_err(|error| StoreError::new(STORE, error))?;
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(STATEMENT_TIMEOUT);
        create_private(options.get_filename()).map_err(|error| StoreError::new(STORE, error))?;
        let pool =
            |connections| SqlitePoolOptions::new().max_connections(connections).acquire_timeout(STATEMENT_TIMEOUT);
        let writer = pool(1).connect_with(options.clone()).await.map_err(|error| StoreError::new(STORE, error))?;
        let readers = pool(max_connections).connect_lazy_with(options.read_only(true).create_if_missing(false));
        Ok(Self {
            sign_ins: Coalescer::new(SignIns(writer.clone())),
            refreshes: Coalescer::new(Refreshes(writer.clone())),
            look_ups: Coalescer::new(LookUps(readers.clone())),
            writer,
            readers,
        })
    }
}

#[async_trait]
impl UserStore for Sqlite {
    fn name(&self) -> &'static str {
        STORE
    }

    async fn ping(&self) -> Result<(), StoreError> {
        bounded(STORE, sqlx::query("SELECT 1").execute(&self.readers)).await.map(drop)
    }

    fn pools(&self) -> Vec<PoolUse> {
        vec![pool_use("writer", &self.writer), pool_use("readers", &self.readers)]
    }

    async fn close(&self) {
        // The writer last: the last connection to go puts the write-ahead log into the file.
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Makes the file, if there is none, for its owner alone; SQLite gives the files beside it the same mode.
fn create_private(path: &Path) -> io::Result<()> {
    // A URI, which is what a database in memory is to SQLite.
    if path.to_string_lossy().starts_with("file:") {
        return Ok(());
    }
    match private_file::create(path, &[]) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Starts to write: at once, so that no reader has to become a writer half-way.
async fn begin(writer: &SqlitePool) -> sqlx::Result<Transaction<'static, Driver>> {
    writer.begin_with("BEGIN IMMEDIATE").await
}

/// Ends a session of a user; `false` if it is over already or somebody else's.
async fn end_session(
    connection: &mut SqliteConnection,
    user_id: Uuid,
    id: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let query = sqlx::query(
        "UPDATE sessions SET revoked_at = $3
         WHERE id = $2 AND user_id = $1 AND revoked_at IS NULL AND expires_at > $3",
    );
    let ended = query.bind(user_id).bind(id).bind(now.timestamp_micros()).execute(connection).await?;
    Ok(ended.rows_affected() == 1)
}

/// Ends the sessions of a user except one; returns those.
async fn end_sessions(
    connection: &mut SqliteConnection,
    user_id: Uuid,
    keep: Option<Uuid>,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(
        "UPDATE sessions SET revoked_at = $3
         WHERE user_id = $1 AND id IS NOT $2 AND revoked_at IS NULL AND expires_at > $3
         RETURNING id",
    )
    .bind(user_id)
    .bind(keep)
    .bind(now.timestamp_micros())
    .fetch_all(connection)
    .await
}

fn time_from(row: &SqliteRow, column: &str) -> sqlx::Result<DateTime<Utc>> {
    optional_time_from(row, column)?.ok_or(sqlx::Error::RowNotFound)
}

fn optional_time_from(row: &SqliteRow, column: &str) -> sqlx::Result<Option<DateTime<Utc>>> {
    Ok(row.try_get::<Option<i64>, _>(column)?.and_then(DateTime::from_timestamp_micros))
}

fn user_from(row: &SqliteRow) -> sqlx::Result<User> {
    Ok(User {
        id: row.try_get("id")?,
        mobile: Mobile::parse(row.try_get("mobile")?).ok_or(sqlx::Error::RowNotFound)?,
        name: row.try_get("name")?,
        avatar_url: row.try_get("avatar_url")?,
        password_hash: row.try_get("password_hash")?,
        status: UserStatus::from_column(row.try_get("status")?),
        created_at: time_from(row, "created_at")?,
        last_login: time_from(row, "last_login")?,
    })
}

fn session_from(row: &SqliteRow) -> sqlx::Result<Session> {
    Ok(Session {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        method: SignInMethod::from_column(row.try_get("amr")?).ok_or(sqlx::Error::RowNotFound)?,
        refresh_counter: row.try_get("refresh_counter")?,
        created_at: time_from(row, "created_at")?,
        refreshed_at: optional_time_from(row, "refreshed_at")?,
        expires_at: time_from(row, "expires_at")?,
        revoked_at: optional_time_from(row, "revoked_at")?,
        ip: row.try_get("ip")?,
        user_agent: row.try_get("user_agent")?,
    })
}

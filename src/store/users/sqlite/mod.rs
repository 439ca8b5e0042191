//! How do users and sessions live in SQLite?

/// The sessions that began before this have been ended. A single row, whatever their number.
macro_rules! valid_from {
    () => {
        "coalesce((SELECT CAST(settings.value AS integer) FROM settings WHERE name = 'sessions_valid_from'), 0)"
    };
}

/// The condition that a session has not been ended, neither by itself nor with others. The same for tokens, without I/O, is
/// [`crate::auth::revocation::Revocations::is_over`]. A condition on its user `u` may be added: one look at the row serves
/// both.
macro_rules! not_ended {
    ($session:literal) => {
        not_ended!($session, "true")
    };
    ($session:literal, $of_user:literal) => {
        concat!(
            $session,
            ".revoked_at IS NULL AND ",
            $session,
            ".created_at >= ",
            valid_from!(),
            " AND coalesce((SELECT ",
            $of_user,
            " AND (",
            $session,
            ".created_at >= coalesce(u.sessions_valid_from, 0) OR ",
            $session,
            ".id IS u.kept_session_id) FROM users u WHERE u.id = ",
            $session,
            ".user_id), false)"
        )
    };
}

/// The sessions of the user `$1` that have not been ended. Two look-ups, so that an index leaves out those that ended
/// together: the one that was kept began before.
macro_rules! not_ended_of_user {
    () => {
        concat!(
            "(SELECT ",
            session_columns!(),
            " FROM sessions
              WHERE user_id = $1 AND revoked_at IS NULL
                AND created_at >= max(",
            valid_from!(),
            ", (SELECT coalesce(sessions_valid_from, 0) FROM users WHERE users.id = $1))
              UNION ALL
              SELECT ",
            session_columns!(),
            " FROM sessions
              WHERE id = (SELECT kept_session_id FROM users WHERE users.id = $1) AND revoked_at IS NULL AND created_at >= ",
            valid_from!(),
            ") AS not_ended"
        )
    };
}

/// What time it is by the clock of the database.
macro_rules! database_now {
    () => {
        "CAST(unixepoch('subsec') * 1000000 AS integer)"
    };
}

mod accounts;
mod administration;
mod batches;
mod guesses;
mod sessions;
mod writer;

use std::{io, path::Path};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{
    SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous},
};
use uuid::Uuid;

use batches::{LookUps, Refreshes, SignIns, sign_in};
use writer::{Writer, pool};

use super::{
    Ending, OpenError, PoolUse, Timeouts, UserStore, bounded, pool_use,
    rows::{Stored, Time},
};
use crate::{
    model::{
        device::Platform,
        mobile::Mobile,
        session::{Session, SessionEnd, SignInMethod},
        user::{User, UserStatus},
    },
    private_file,
    store::{StoreError, coalesce::Coalescer},
};

const STORE: &str = "sqlite";

/// SQLite's code for a file that something else has written.
const NOT_A_DATABASE: &str = "26";
/// The name of a setting that is written and deleted in one transaction.
const PROBE: &str = "probe";

/// The store on SQLite: one connection that writes, several that read.
pub struct Sqlite {
    writer: Writer,
    readers: SqlitePool,
    sign_ins: Coalescer<SignIns>,
    refreshes: Coalescer<Refreshes>,
    look_ups: Coalescer<LookUps>,
    timeouts: Timeouts,
}

impl Sqlite {
    /// Opens the file, creating it (for its owner alone) if there is none.
    pub async fn open(
        options: &SqliteConnectOptions,
        max_connections: u32,
        timeouts: Timeouts,
    ) -> Result<Self, OpenError> {
        let timeout = timeouts.statement;
        let options = options
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(timeout);
        create_private(options.get_filename()).map_err(|error| StoreError::new(STORE, error))?;
        let writer = Writer::open(options.clone(), timeout).await.map_err(|error| open_error(&error))?;
        let readers =
            pool(max_connections, timeout).connect_lazy_with(options.read_only(true).create_if_missing(false));
        Ok(Self {
            sign_ins: Coalescer::new(SignIns(writer.clone(), timeout)),
            refreshes: Coalescer::new(Refreshes(writer.clone(), timeout)),
            look_ups: Coalescer::new(LookUps(readers.clone(), timeout)),
            writer,
            readers,
            timeouts,
        })
    }
}

#[async_trait]
impl UserStore for Sqlite {
    fn name(&self) -> &'static str {
        STORE
    }

    async fn ping(&self) -> Result<(), StoreError> {
        // Both to the end: a connection that is abandoned while it is being acquired is lost.
        self.bounded(async {
            let (read, written) = tokio::join!(self.can_read(), self.can_write());
            read.and(written)
        })
        .await
    }

    fn pools(&self) -> Vec<PoolUse> {
        vec![self.writer.usage("writer"), pool_use("readers", &self.readers)]
    }

    async fn close(&self) {
        // The writer last: the last connection to go puts the write-ahead log into the file.
        self.readers.close().await;
        self.writer.close().await;
    }
}

impl Sqlite {
    #[track_caller]
    fn bounded<T>(&self, work: impl Future<Output = sqlx::Result<T>>) -> impl Future<Output = Result<T, StoreError>> {
        bounded(STORE, self.timeouts.statement, work)
    }

    async fn can_read(&self) -> sqlx::Result<()> {
        sqlx::query("SELECT 1").execute(&self.readers).await.map(drop)
    }

    /// Runs the statements of a sign-in, and writes a row and deletes it: a transaction that changes nothing is not written
    /// to the disk, and would not notice that it is full.
    async fn can_write(&self) -> sqlx::Result<()> {
        let mut transaction = self.writer.begin().await?;
        sign_in(&mut transaction, &[]).await?;
        sqlx::query("INSERT INTO settings (name, value) VALUES ($1, '')")
            .bind(PROBE)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM settings WHERE name = $1").bind(PROBE).execute(&mut *transaction).await?;
        transaction.commit().await
    }
}

fn open_error(error: &sqlx::Error) -> OpenError {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    match code.as_deref() {
        Some(NOT_A_DATABASE) => OpenError::Unfit("the file is no SQLite database".to_owned()),
        _ => StoreError::new(STORE, error).into(),
    }
}

/// Makes the file, if there is none, for its owner alone; SQLite gives the files beside it the same mode.
fn create_private(path: &Path) -> io::Result<()> {
    // A URI, which is what a database in memory is to SQLite.
    if path.to_string_lossy().starts_with("file:") {
        return Ok(());
    }
    if path.exists() {
        return Ok(());
    }
    match private_file::create(path, &[]) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// See [`super::Sessions::end_session`].
async fn end_session(
    connection: &mut SqliteConnection,
    user_id: Uuid,
    id: Uuid,
    why: SessionEnd,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    let query = sqlx::query(concat!(
        "UPDATE sessions SET revoked_at = ",
        database_now!(),
        ", ended_by = $3 WHERE id = $2 AND user_id = $1 AND ",
        not_ended!("sessions"),
        " RETURNING id, expires_at"
    ));
    let ended = query.bind(user_id).bind(id).bind(why.as_str()).fetch_optional(connection).await?;
    ended.map(|row| Ok(Stored::of("sessions", &row).get::<Time>("expires_at")?.0)).transpose()
}

/// See [`super::Sessions::end_sessions`].
async fn end_sessions(
    connection: &mut SqliteConnection,
    user_id: Uuid,
    keep: Option<Uuid>,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<Ending>> {
    let row = sqlx::query(concat!(
        "UPDATE users
         SET sessions_valid_from = 1000 + max(
                 $3, coalesce(sessions_valid_from, 0),
                 coalesce((SELECT max(s.created_at) FROM sessions s WHERE s.user_id = $1), 0)
             ) / 1000 * 1000,
             kept_session_id = (SELECT s.id FROM sessions s WHERE s.id = $2 AND s.user_id = $1 AND ",
        not_ended!("s"),
        "),
             sessions_ended_at = ",
        database_now!(),
        ", sessions_opened = 1
         WHERE id = $1
         RETURNING id, sessions_valid_from, kept_session_id"
    ))
    .bind(user_id)
    .bind(keep)
    .bind(now.timestamp_micros())
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(ending_from).transpose()
}

/// See [`super::Guesses::clear_guesses`].
async fn clear_guesses<S: AsRef<str>>(connection: &mut SqliteConnection, subjects: &[S]) -> sqlx::Result<()> {
    if subjects.is_empty() {
        return Ok(());
    }
    let subjects = Value::from_iter(subjects.iter().map(AsRef::as_ref)).to_string();
    let query = sqlx::query("DELETE FROM wrong_guesses WHERE subject IN (SELECT value FROM json_each($1))");
    query.bind(subjects).execute(connection).await.map(drop)
}

fn ending_from(row: &SqliteRow) -> sqlx::Result<Ending> {
    let row = Stored::of("users", row);
    Ok(Ending {
        user_id: row.get("id")?,
        valid_from: row.get::<Time>("sessions_valid_from")?.0,
        kept: row.get("kept_session_id")?,
    })
}

/// When the user's sessions begin at the earliest, and how many were opened.
fn opened_from(row: &SqliteRow) -> sqlx::Result<(Option<DateTime<Utc>>, u32)> {
    let row = Stored::of("users", row);
    let valid_from = row.get::<Option<Time>>("sessions_valid_from")?.map(|time| time.0);
    Ok((valid_from, row.get("sessions_opened")?))
}

fn user_from(row: &SqliteRow) -> sqlx::Result<User> {
    let row = Stored::of("users", row);
    Ok(User {
        id: row.get("id")?,
        mobile: row.parse("mobile", Mobile::parse)?,
        name: row.get("name")?,
        avatar_url: row.get("avatar_url")?,
        password_hash: row.get("password_hash")?,
        status: UserStatus::from_column(row.get("status")?),
        created_at: row.get::<Time>("created_at")?.0,
        last_login: row.get::<Time>("last_login")?.0,
    })
}

fn session_from(row: &SqliteRow, is_ended: bool) -> sqlx::Result<Session> {
    let row = Stored::of("sessions", row);
    Ok(Session {
        id: row.get("id")?,
        user_id: row.get("user_id")?,
        method: row.parse("amr", SignInMethod::from_column)?,
        refresh_counter: row.get("refresh_counter")?,
        created_at: row.get::<Time>("created_at")?.0,
        refreshed_at: row.get::<Option<Time>>("refreshed_at")?.map(|time| time.0),
        expires_at: row.get::<Time>("expires_at")?.0,
        is_ended,
        ip: row.get("ip")?,
        user_agent: row.get("user_agent")?,
        last_ip: row.get("last_ip")?,
        last_user_agent: row.get("last_user_agent")?,
        device_name: row.get("device_name")?,
        platform: row.get::<Option<&str>>("platform")?.and_then(Platform::parse),
    })
}

//! How do users and sessions live in SQLite?

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{
    Row, Sqlite as Driver, SqliteConnection, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};
use uuid::Uuid;

use super::{NewUser, RefusedRotation, Rotation, STATEMENT_TIMEOUT, SignedIn, UserStore, bounded};
use crate::{
    model::{
        mobile::Mobile,
        session::{Lifetime, NewSession, Session, SignInMethod},
        user::{User, UserStatus},
    },
    store::StoreError,
};

const STORE: &str = "sqlite";

/// The store on SQLite: one connection that writes, several that read. Clones share them.
#[derive(Clone)]
pub struct Sqlite {
    // SQLite has one writer at a time: queueing for it here is fair, its own busy loop is not.
    writer: SqlitePool,
    readers: SqlitePool,
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
        let pool =
            |connections| SqlitePoolOptions::new().max_connections(connections).acquire_timeout(STATEMENT_TIMEOUT);
        let writer = pool(1).connect_with(options.clone()).await.map_err(|error| StoreError::new(STORE, error))?;
        let readers = pool(max_connections).connect_lazy_with(options.read_only(true).create_if_missing(false));
        Ok(Self { writer, readers })
    }

    async fn write(&self) -> sqlx::Result<Transaction<'static, Driver>> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }
}

#[async_trait]
impl UserStore for Sqlite {
    async fn sign_in(&self, user: &NewUser, session: &NewSession) -> Result<SignedIn, StoreError> {
        bounded(STORE, async {
            let mut transaction = self.write().await?;
            let row = sqlx::query(
                "INSERT INTO users (id, mobile, name, status, created_at, updated_at, last_login)
                 VALUES ($1, $2, $2, 'active', $3, $3, $3)
                 ON CONFLICT (mobile) DO UPDATE
                 SET last_login = CASE WHEN status = 'active' THEN excluded.last_login ELSE last_login END
                 RETURNING *",
            )
            .bind(user.id)
            .bind(user.mobile.as_str())
            .bind(session.created_at.timestamp_micros())
            .fetch_one(&mut *transaction)
            .await?;
            let found = user_from(&row)?;
            if found.status == UserStatus::Active {
                insert_session(&mut transaction, found.id, session).await?;
            }
            transaction.commit().await?;
            Ok(SignedIn { is_new: found.id == user.id, user: found })
        })
        .await
    }

    async fn register(&self, user: &NewUser, session: &NewSession) -> Result<Option<User>, StoreError> {
        bounded(STORE, async {
            let mut transaction = self.write().await?;
            let row = sqlx::query(
                "INSERT INTO users (id, mobile, name, password_hash, status, created_at, updated_at, last_login)
                 VALUES ($1, $2, $2, $3, 'active', $4, $4, $4)
                 ON CONFLICT (mobile) DO NOTHING
                 RETURNING *",
            )
            .bind(user.id)
            .bind(user.mobile.as_str())
            .bind(&user.password_hash)
            .bind(session.created_at.timestamp_micros())
            .fetch_optional(&mut *transaction)
            .await?;
            let Some(row) = row else { return Ok(None) };
            insert_session(&mut transaction, user.id, session).await?;
            transaction.commit().await?;
            user_from(&row).map(Some)
        })
        .await
    }

    async fn open_session(
        &self,
        user_id: Uuid,
        session: &NewSession,
        new_password_hash: Option<&str>,
    ) -> Result<(), StoreError> {
        bounded(STORE, async {
            let mut transaction = self.write().await?;
            let signed_in = sqlx::query(
                "UPDATE users
                 SET last_login = $1, password_hash = coalesce($2, password_hash)
                 WHERE id = $3 AND status = 'active'",
            )
            .bind(session.created_at.timestamp_micros())
            .bind(new_password_hash)
            .bind(user_id)
            .execute(&mut *transaction)
            .await?;
            if signed_in.rows_affected() == 1 {
                insert_session(&mut transaction, user_id, session).await?;
            }
            transaction.commit().await
        })
        .await
    }

    async fn user(&self, id: Uuid) -> Result<Option<User>, StoreError> {
        bounded(STORE, async {
            let query = sqlx::query("SELECT * FROM users WHERE id = $1 AND mobile IS NOT NULL").bind(id);
            query.fetch_optional(&self.readers).await?.as_ref().map(user_from).transpose()
        })
        .await
    }

    async fn user_by_mobile(&self, mobile: &Mobile) -> Result<Option<User>, StoreError> {
        bounded(STORE, async {
            let query = sqlx::query("SELECT * FROM users WHERE mobile = $1").bind(mobile.as_str());
            query.fetch_optional(&self.readers).await?.as_ref().map(user_from).transpose()
        })
        .await
    }

    async fn rotate(
        &self,
        session_id: Uuid,
        presented: u32,
        now: DateTime<Utc>,
        lifetime: Lifetime,
    ) -> Result<Rotation, StoreError> {
        bounded(STORE, async {
            let mut transaction = self.write().await?;
            let row = sqlx::query(
                "UPDATE sessions
                 SET refresh_counter = $2 + 1,
                     refreshed_at = $3,
                     expires_at = min($3 + $4, created_at + $5)
                 WHERE id = $1 AND revoked_at IS NULL AND expires_at > $3 AND refresh_counter - $2 IN (0, 1)
                   AND EXISTS (SELECT 1 FROM users WHERE users.id = user_id AND status = 'active')
                 RETURNING *",
            )
            .bind(session_id)
            .bind(presented)
            .bind(now.timestamp_micros())
            .bind(lifetime.sliding.num_microseconds())
            .bind(lifetime.absolute.num_microseconds())
            .fetch_optional(&mut *transaction)
            .await?;
            let outcome = match row {
                Some(row) => Rotation::Rotated(session_from(&row)?),
                None => refused_rotation(&mut transaction, session_id, presented, now).await?,
            };
            transaction.commit().await?;
            Ok(outcome)
        })
        .await
    }

    async fn end_session(&self, id: Uuid, now: DateTime<Utc>) -> Result<(), StoreError> {
        bounded(STORE, async { end_session(&mut *self.writer.acquire().await?, id, now).await }).await
    }

    async fn end_all_sessions(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE sessions SET revoked_at = $1 WHERE revoked_at IS NULL");
        let query = query.bind(now.timestamp_micros());
        query.execute(&self.writer).await.map(drop).map_err(|error| StoreError::new(STORE, error))
    }

    async fn sessions_ended_since(&self, since: DateTime<Utc>) -> Result<Vec<(Uuid, DateTime<Utc>)>, StoreError> {
        bounded(STORE, async {
            let query = sqlx::query("SELECT id, revoked_at FROM sessions WHERE revoked_at >= $1");
            let rows = query.bind(since.timestamp_micros()).fetch_all(&self.readers).await?;
            rows.iter().map(|row| Ok((row.try_get("id")?, time_from(row, "revoked_at")?))).collect()
        })
        .await
    }

    async fn delete_sessions_over_before(&self, time: DateTime<Utc>, at_most: u32) -> Result<u64, StoreError> {
        let query =
            sqlx::query("DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < $1 LIMIT $2)")
                .bind(time.timestamp_micros())
                .bind(at_most);
        Ok(bounded(STORE, query.execute(&self.writer)).await?.rows_affected())
    }

    async fn setting_or_insert(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let query = sqlx::query_scalar(
            "INSERT INTO settings (name, value) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET value = settings.value
             RETURNING value",
        )
        .bind(name)
        .bind(value);
        bounded(STORE, query.fetch_one(&self.writer)).await
    }

    async fn set_setting(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE settings SET value = $2 WHERE name = $1").bind(name).bind(value);
        bounded(STORE, query.execute(&self.writer)).await.map(drop)
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        let failed = |error: sqlx::Error| StoreError::new(STORE, error);
        // sqlx locks PostgreSQL while it migrates, but not SQLite.
        let mut transaction = self.write().await.map_err(failed)?;
        let migrations = sqlx::migrate!("migrations/sqlite");
        migrations.run_direct(None, &mut *transaction, false).await.map_err(|error| StoreError::new(STORE, error))?;
        transaction.commit().await.map_err(failed)
    }

    fn name(&self) -> &'static str {
        STORE
    }

    async fn ping(&self) -> Result<(), StoreError> {
        bounded(STORE, sqlx::query("SELECT 1").execute(&self.readers)).await.map(drop)
    }
}

async fn insert_session(connection: &mut SqliteConnection, user_id: Uuid, session: &NewSession) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO sessions (id, user_id, amr, refresh_counter, created_at, expires_at, ip, user_agent)
         VALUES ($1, $2, $3, 0, $4, $5, $6, $7)",
    )
    .bind(session.id)
    .bind(user_id)
    .bind(session.method.as_str())
    .bind(session.created_at.timestamp_micros())
    .bind(session.expires_at.timestamp_micros())
    .bind(session.device.ip.map(|ip| ip.to_string()))
    .bind(&session.device.user_agent)
    .execute(connection)
    .await
    .map(drop)
}

async fn end_session(connection: &mut SqliteConnection, id: Uuid, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query("UPDATE sessions SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
        .bind(id)
        .bind(now.timestamp_micros())
        .execute(connection)
        .await
        .map(drop)
}

async fn refused_rotation(
    connection: &mut SqliteConnection,
    session_id: Uuid,
    presented: u32,
    now: DateTime<Utc>,
) -> sqlx::Result<Rotation> {
    let row = sqlx::query(
        "SELECT u.status, s.revoked_at IS NOT NULL AS ended, s.expires_at, s.refresh_counter
         FROM sessions s JOIN users u ON u.id = s.user_id
         WHERE s.id = $1",
    )
    .bind(session_id)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(Rotation::Expired) };
    let reason = RefusedRotation {
        status: UserStatus::from_column(row.try_get("status")?),
        ended: row.try_get("ended")?,
        expires_at: time_from(&row, "expires_at")?,
        refresh_counter: row.try_get("refresh_counter")?,
    }
    .reason(presented, now);
    if matches!(reason, Rotation::Reused) {
        end_session(connection, session_id, now).await?;
    }
    Ok(reason)
}

fn time_from(row: &SqliteRow, column: &str) -> sqlx::Result<DateTime<Utc>> {
    DateTime::from_timestamp_micros(row.try_get(column)?).ok_or(sqlx::Error::RowNotFound)
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
        expires_at: time_from(row, "expires_at")?,
    })
}

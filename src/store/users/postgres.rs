//! How do users and sessions live in PostgreSQL?

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{
    Connection, PgPool, Postgres as Driver, Row,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow},
    query::Query,
};
use uuid::Uuid;

use super::{CONNECT_TIMEOUT, NewUser, RefusedRotation, Rotation, STATEMENT_TIMEOUT, SignedIn, UserStore, bounded};
use crate::{
    model::{
        mobile::Mobile,
        session::{Lifetime, NewSession, Session, SignInMethod},
        user::{User, UserStatus},
    },
    store::StoreError,
};

const STORE: &str = "postgresql";

/// A connection that rested longer than this is tried before it is used: the server may have been restarted.
const REST: std::time::Duration = std::time::Duration::from_millis(50);

/// The store on PostgreSQL. Clones share the pool.
#[derive(Clone)]
pub struct Postgres(PgPool);

impl Postgres {
    /// Makes the pool; connects when the first statement needs it.
    pub fn open(url: &str, max_connections: u32) -> Result<Self, StoreError> {
        let options: PgConnectOptions = url.parse().map_err(|error| StoreError::new(STORE, error))?;
        let options = options
            .application_name("phonepass")
            .options([("statement_timeout", STATEMENT_TIMEOUT.as_millis().to_string())]);
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(CONNECT_TIMEOUT)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move { Ok(meta.idle_for < REST || connection.ping().await.is_ok()) })
            })
            .connect_lazy_with(options);
        Ok(Self(pool))
    }

    async fn end(&self, id: Uuid, now: DateTime<Utc>) -> sqlx::Result<()> {
        let query = sqlx::query("UPDATE sessions SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL");
        query.bind(id).bind(now).execute(&self.0).await.map(drop)
    }

    async fn refused_rotation(&self, session_id: Uuid, presented: u32, now: DateTime<Utc>) -> sqlx::Result<Rotation> {
        let row = sqlx::query(
            "SELECT u.status, s.revoked_at IS NOT NULL AS ended, s.expires_at, s.refresh_counter
             FROM sessions s JOIN users u ON u.id = s.user_id
             WHERE s.id = $1",
        )
        .bind(session_id)
        .fetch_optional(&self.0)
        .await?;
        let Some(row) = row else { return Ok(Rotation::Expired) };
        let reason = RefusedRotation {
            status: UserStatus::from_column(row.try_get("status")?),
            ended: row.try_get("ended")?,
            expires_at: row.try_get("expires_at")?,
            refresh_counter: row.try_get::<i32, _>("refresh_counter")?.cast_unsigned(),
        }
        .reason(presented, now);
        if matches!(reason, Rotation::Reused) {
            self.end(session_id, now).await?;
        }
        Ok(reason)
    }
}

#[async_trait]
impl UserStore for Postgres {
    async fn sign_in(&self, user: &NewUser, session: &NewSession) -> Result<SignedIn, StoreError> {
        bounded(STORE, async {
            let row = with_session(
                "WITH signed_in AS (
                     INSERT INTO users (id, mobile, name, status, created_at, updated_at, last_login)
                     VALUES ($7, $8, $8, 'active', $3, $3, $3)
                     ON CONFLICT (mobile) DO UPDATE
                     SET last_login = CASE WHEN users.status = 'active' THEN $3 ELSE users.last_login END
                     RETURNING *
                 ), opened AS (
                     INSERT INTO sessions (id, user_id, amr, refresh_counter, created_at, expires_at, ip, user_agent)
                     SELECT $1, id, $2, 0, $3, $4, $5, $6 FROM signed_in WHERE status = 'active'
                 )
                 SELECT * FROM signed_in",
                session,
            )
            .bind(user.id)
            .bind(user.mobile.as_str())
            .fetch_one(&self.0)
            .await?;
            let found = user_from(&row)?;
            Ok(SignedIn { is_new: found.id == user.id, user: found })
        })
        .await
    }

    async fn register(&self, user: &NewUser, session: &NewSession) -> Result<Option<User>, StoreError> {
        bounded(STORE, async {
            let row = with_session(
                "WITH registered AS (
                     INSERT INTO users (id, mobile, name, password_hash, status, created_at, updated_at, last_login)
                     VALUES ($7, $8, $8, $9, 'active', $3, $3, $3)
                     ON CONFLICT (mobile) DO NOTHING
                     RETURNING *
                 ), opened AS (
                     INSERT INTO sessions (id, user_id, amr, refresh_counter, created_at, expires_at, ip, user_agent)
                     SELECT $1, id, $2, 0, $3, $4, $5, $6 FROM registered
                 )
                 SELECT * FROM registered",
                session,
            )
            .bind(user.id)
            .bind(user.mobile.as_str())
            .bind(&user.password_hash)
            .fetch_optional(&self.0)
            .await?;
            row.as_ref().map(user_from).transpose()
        })
        .await
    }

    async fn open_session(
        &self,
        user_id: Uuid,
        session: &NewSession,
        new_password_hash: Option<&str>,
    ) -> Result<(), StoreError> {
        let query = with_session(
            "WITH signed_in AS (
                 UPDATE users
                 SET last_login = $3, password_hash = coalesce($8, password_hash)
                 WHERE id = $7 AND status = 'active'
                 RETURNING id
             )
             INSERT INTO sessions (id, user_id, amr, refresh_counter, created_at, expires_at, ip, user_agent)
             SELECT $1, id, $2, 0, $3, $4, $5, $6 FROM signed_in",
            session,
        )
        .bind(user_id)
        .bind(new_password_hash);
        bounded(STORE, query.execute(&self.0)).await.map(drop)
    }

    async fn user(&self, id: Uuid) -> Result<Option<User>, StoreError> {
        bounded(STORE, async {
            let query = sqlx::query("SELECT * FROM users WHERE id = $1 AND mobile IS NOT NULL").bind(id);
            query.fetch_optional(&self.0).await?.as_ref().map(user_from).transpose()
        })
        .await
    }

    async fn user_by_mobile(&self, mobile: &Mobile) -> Result<Option<User>, StoreError> {
        bounded(STORE, async {
            let query = sqlx::query("SELECT * FROM users WHERE mobile = $1").bind(mobile.as_str());
            query.fetch_optional(&self.0).await?.as_ref().map(user_from).transpose()
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
            let row = sqlx::query(
                "UPDATE sessions s
                 SET refresh_counter = $2 + 1,
                     refreshed_at = $3,
                     expires_at = least($3 + $4, s.created_at + $5)
                 FROM users u
                 WHERE s.id = $1 AND s.revoked_at IS NULL AND s.expires_at > $3 AND s.refresh_counter - $2 IN (0, 1)
                   AND u.id = s.user_id AND u.status = 'active'
                 RETURNING s.*",
            )
            .bind(session_id)
            .bind(presented.cast_signed())
            .bind(now)
            .bind(lifetime.sliding)
            .bind(lifetime.absolute)
            .fetch_optional(&self.0)
            .await?;
            match row {
                Some(row) => session_from(&row).map(Rotation::Rotated),
                None => self.refused_rotation(session_id, presented, now).await,
            }
        })
        .await
    }

    async fn end_session(&self, id: Uuid, now: DateTime<Utc>) -> Result<(), StoreError> {
        bounded(STORE, self.end(id, now)).await
    }

    async fn end_all_sessions(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE sessions SET revoked_at = $1 WHERE revoked_at IS NULL").bind(now);
        query.execute(&self.0).await.map(drop).map_err(|error| StoreError::new(STORE, error))
    }

    async fn sessions_ended_since(&self, since: DateTime<Utc>) -> Result<Vec<(Uuid, DateTime<Utc>)>, StoreError> {
        let query = sqlx::query_as("SELECT id, revoked_at FROM sessions WHERE revoked_at >= $1").bind(since);
        bounded(STORE, query.fetch_all(&self.0)).await
    }

    async fn delete_sessions_over_before(&self, time: DateTime<Utc>, at_most: u32) -> Result<u64, StoreError> {
        let query = sqlx::query(
            "DELETE FROM sessions
             WHERE id IN (SELECT id FROM sessions WHERE expires_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        )
        .bind(time)
        .bind(i64::from(at_most));
        Ok(bounded(STORE, query.execute(&self.0)).await?.rows_affected())
    }

    async fn setting_or_insert(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let query = sqlx::query_scalar(
            "INSERT INTO settings (name, value) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET value = settings.value
             RETURNING value",
        )
        .bind(name)
        .bind(value);
        bounded(STORE, query.fetch_one(&self.0)).await
    }

    async fn set_setting(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE settings SET value = $2 WHERE name = $1").bind(name).bind(value);
        bounded(STORE, query.execute(&self.0)).await.map(drop)
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        // Another instance may hold the lock, and a large table may take longer than any request.
        let patient = self.0.connect_options().as_ref().clone().options([("statement_timeout", "0")]);
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT_TIMEOUT).connect_lazy_with(patient);
        let migrated = sqlx::migrate!("migrations/postgres").run(&pool).await;
        pool.close().await;
        migrated.map_err(|error| StoreError::new(STORE, error))
    }

    fn name(&self) -> &'static str {
        STORE
    }

    async fn ping(&self) -> Result<(), StoreError> {
        bounded(STORE, sqlx::query("SELECT 1").execute(&self.0)).await.map(drop)
    }
}

/// A statement whose `$1` to `$6` are a new session.
fn with_session<'q>(sql: &'static str, session: &'q NewSession) -> Query<'q, Driver, PgArguments> {
    sqlx::query(sql)
        .bind(session.id)
        .bind(session.method.as_str())
        .bind(session.created_at)
        .bind(session.expires_at)
        .bind(session.device.ip.map(|ip| ip.to_string()))
        .bind(&session.device.user_agent)
}

fn user_from(row: &PgRow) -> sqlx::Result<User> {
    Ok(User {
        id: row.try_get("id")?,
        mobile: Mobile::parse(row.try_get("mobile")?).ok_or(sqlx::Error::RowNotFound)?,
        name: row.try_get("name")?,
        avatar_url: row.try_get("avatar_url")?,
        password_hash: row.try_get("password_hash")?,
        status: UserStatus::from_column(row.try_get("status")?),
        created_at: row.try_get("created_at")?,
        last_login: row.try_get("last_login")?,
    })
}

fn session_from(row: &PgRow) -> sqlx::Result<Session> {
    Ok(Session {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        method: SignInMethod::from_column(row.try_get("amr")?).ok_or(sqlx::Error::RowNotFound)?,
        refresh_counter: row.try_get::<i32, _>("refresh_counter")?.cast_unsigned(),
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
    })
}

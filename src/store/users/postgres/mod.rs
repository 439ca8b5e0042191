//! How do users and sessions live in PostgreSQL?

mod accounts;
mod administration;
mod sessions;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{
    Connection, PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions, PgRow},
};
use uuid::Uuid;

use super::{CONNECT_TIMEOUT, STATEMENT_TIMEOUT, UserStore, bounded};
use crate::{
    model::{
        mobile::Mobile,
        session::{Session, SignInMethod},
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
}

#[async_trait]
impl UserStore for Postgres {
    fn name(&self) -> &'static str {
        STORE
    }

    async fn ping(&self) -> Result<(), StoreError> {
        bounded(STORE, sqlx::query("SELECT 1").execute(&self.0)).await.map(drop)
    }
}

/// Ends the sessions of a user except one; returns those.
async fn end_sessions(
    connection: &mut PgConnection,
    user_id: Uuid,
    keep: Option<Uuid>,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(
        "UPDATE sessions SET revoked_at = $3
         WHERE user_id = $1 AND id IS DISTINCT FROM $2 AND revoked_at IS NULL AND expires_at > $3
         RETURNING id",
    )
    .bind(user_id)
    .bind(keep)
    .bind(now)
    .fetch_all(connection)
    .await
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
        refreshed_at: row.try_get("refreshed_at")?,
        expires_at: row.try_get("expires_at")?,
        revoked_at: row.try_get("revoked_at")?,
        ip: row.try_get("ip")?,
        user_agent: row.try_get("user_agent")?,
    })
}

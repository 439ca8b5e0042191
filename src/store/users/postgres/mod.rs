//! How do users and sessions live in PostgreSQL?

mod accounts;
mod administration;
mod batches;
mod connections;
mod pool;
mod sessions;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{
    PgExecutor, Row,
    postgres::{PgConnectOptions, PgRow},
};
use uuid::Uuid;

use batches::{LookUps, Refreshes, SignIns};
use connections::Connections;
use pool::Pool;

use super::{PoolUse, STATEMENT_TIMEOUT, Statements, UserStore, bounded};
use crate::{
    model::{
        mobile::Mobile,
        session::{Session, SignInMethod},
        user::{User, UserStatus},
    },
    store::{StoreError, coalesce::Coalescer},
};

const STORE: &str = "postgresql";

/// A connection that rested longer than this is tried before it is used: the server may have been restarted.
const REST: std::time::Duration = std::time::Duration::from_millis(50);

/// How long a batch waits for a row that somebody else holds: all of it waits, and who is behind it.
const LOCK_TIMEOUT: &str = "500ms";

/// What `batches.rs` says of plans.
const SETTINGS_OF_BATCHES: [(&str, &str); 4] = [
    ("lock_timeout", LOCK_TIMEOUT),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_nestloop", "off"),
];

/// The share of the connections that batches have to themselves, and how many of them can be under way.
const SHARE_OF_BATCHES: u32 = 3;
const MAX_BATCHES: u32 = 4;

/// The store on PostgreSQL.
pub struct Postgres {
    pool: Pool,
    batches: Arc<Connections>,
    /// Without the settings of statements that requests wait for.
    options: PgConnectOptions,
    sign_ins: Coalescer<SignIns>,
    refreshes: Coalescer<Refreshes>,
    look_ups: Coalescer<LookUps>,
}

impl Postgres {
    /// Makes the pools; connects when the first statement needs it.
    pub fn open(url: &str, statements: Statements, max_connections: u32) -> Result<Self, StoreError> {
        let options: PgConnectOptions = url.parse().map_err(|error| StoreError::new(STORE, error))?;
        let options = options.application_name("phonepass");
        let statement_timeout = STATEMENT_TIMEOUT.as_millis().to_string();
        let settings = [("statement_timeout", statement_timeout.as_str()), ("jit", "off")];
        let of_batches = (max_connections / SHARE_OF_BATCHES).clamp(1, MAX_BATCHES);
        let pool = |settings: &[_], size| Pool::new(options.clone(), statements, settings, size);
        let batches = Arc::new(Connections::new(pool(&[&settings[..], &SETTINGS_OF_BATCHES].concat(), of_batches)));
        Ok(Self {
            pool: pool(&settings, (max_connections - of_batches).max(1)),
            options,
            sign_ins: Coalescer::new(SignIns(batches.clone())),
            refreshes: Coalescer::new(Refreshes(batches.clone())),
            look_ups: Coalescer::new(LookUps(batches.clone())),
            batches,
        })
    }
}

#[async_trait]
impl UserStore for Postgres {
    fn name(&self) -> &'static str {
        STORE
    }

    async fn ping(&self) -> Result<(), StoreError> {
        bounded(STORE, sqlx::query("SELECT 1").execute(&self.pool)).await.map(drop)
    }

    fn pools(&self) -> Vec<PoolUse> {
        vec![self.pool.usage("statements"), self.batches.pool_use("batches")]
    }

    async fn close(&self) {
        tokio::join!(self.batches.close(), self.pool.close());
    }
}

/// Ends a session of a user; `false` if it is over already or somebody else's.
async fn end_session(executor: impl PgExecutor<'_>, user_id: Uuid, id: Uuid, now: DateTime<Utc>) -> sqlx::Result<bool> {
    let query = sqlx::query(
        "UPDATE sessions SET revoked_at = $3
         WHERE id = $2 AND user_id = $1 AND revoked_at IS NULL AND expires_at > $3",
    );
    Ok(query.bind(user_id).bind(id).bind(now).execute(executor).await?.rows_affected() == 1)
}

/// Ends the sessions of a user except one; returns those.
async fn end_sessions(
    executor: impl PgExecutor<'_>,
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
    .fetch_all(executor)
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

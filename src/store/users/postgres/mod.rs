//! How do users and sessions live in PostgreSQL?

mod accounts;
mod administration;
mod batches;
mod connections;
mod decline;
mod pool;
mod sessions;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{
    PgExecutor,
    postgres::{PgConnectOptions, PgRow},
};
use uuid::Uuid;

use batches::{LookUps, Refreshes, SignIns, sign_in};
use connections::Connections;
use decline::again;
use pool::Pool;

use super::{
    PoolUse, STATEMENT_TIMEOUT, Statements, UserStore, bounded,
    rows::{Stored, Time},
};
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
        bounded(STORE, async {
            let alone = sqlx::query("SELECT 1").execute(&self.pool);
            // Both to the end: a connection that is abandoned while it is being acquired is lost.
            let (alone, batched) = tokio::join!(alone, again(|| sign_in(&self.batches, &[])));
            alone.and(batched).map(drop)
        })
        .await
    }

    fn pools(&self) -> Vec<PoolUse> {
        vec![self.pool.usage("statements"), self.batches.pool_use("batches")]
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

fn session_from(row: &PgRow) -> sqlx::Result<Session> {
    let row = Stored::of("sessions", row);
    Ok(Session {
        id: row.get("id")?,
        user_id: row.get("user_id")?,
        method: row.parse("amr", SignInMethod::from_column)?,
        refresh_counter: row.parse("refresh_counter", counter)?,
        created_at: row.get::<Time>("created_at")?.0,
        refreshed_at: row.get::<Option<Time>>("refreshed_at")?.map(|time| time.0),
        expires_at: row.get::<Time>("expires_at")?.0,
        revoked_at: row.get::<Option<Time>>("revoked_at")?.map(|time| time.0),
        ip: row.get("ip")?,
        user_agent: row.get("user_agent")?,
    })
}

fn counter(stored: i32) -> Option<u32> {
    stored.try_into().ok()
}

/// A session that ended; a time that cannot be read is as late as any: the session has ended.
fn ended_from(row: &PgRow, since: DateTime<Utc>) -> sqlx::Result<(Uuid, DateTime<Utc>)> {
    let row = Stored::of("sessions", row);
    Ok((row.get("id")?, row.get::<Time>("revoked_at").map_or(since, |time| time.0)))
}

//! How do users and sessions live in PostgreSQL?

/// The sessions that began before this have been ended. A single row, whatever their number.
macro_rules! valid_from {
    () => {
        "coalesce((SELECT value::timestamptz FROM settings WHERE name = 'sessions_valid_from'), 'epoch')"
    };
}

/// The condition that a session has not been ended, neither by itself nor with all others. The same for tokens, without
/// I/O, is [`crate::auth::revocation::Revocations::is_over`].
macro_rules! not_ended {
    ($session:literal) => {
        concat!($session, ".revoked_at IS NULL AND ", $session, ".created_at >= ", valid_from!())
    };
}

mod accounts;
mod administration;
mod batches;
mod connections;
mod decline;
mod diagnosis;
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
    OpenError, PoolUse, STATEMENT_TIMEOUT, Statements, UserStore, bounded,
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
const SETTINGS_OF_BATCHES: [(&str, &str); 3] =
    [("lock_timeout", LOCK_TIMEOUT), ("plan_cache_mode", "force_generic_plan"), ("enable_nestloop", "off")];

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
    /// Makes the pools, and looks whether the database can hold every name.
    pub async fn open(
        options: &PgConnectOptions,
        statements: Statements,
        max_connections: u32,
    ) -> Result<Self, OpenError> {
        let options = options.clone().application_name("phonepass");
        let statement_timeout = STATEMENT_TIMEOUT.as_millis().to_string();
        // Every statement has an index that it finds its rows by. Of a large table that was not analysed yet, after a restore
        // for one, PostgreSQL expects that a scan is cheaper.
        let settings = [("statement_timeout", statement_timeout.as_str()), ("jit", "off"), ("enable_seqscan", "off")];
        let of_batches = (max_connections / SHARE_OF_BATCHES).clamp(1, MAX_BATCHES);
        let pool = |settings: &[_], size| Pool::new(options.clone(), statements, settings, size);
        let batches = Arc::new(Connections::new(pool(&[&settings[..], &SETTINGS_OF_BATCHES].concat(), of_batches)));
        let store = Self {
            pool: pool(&settings, (max_connections - of_batches).max(1)),
            options,
            sign_ins: Coalescer::new(SignIns(batches.clone())),
            refreshes: Coalescer::new(Refreshes(batches.clone())),
            look_ups: Coalescer::new(LookUps(batches.clone())),
            batches,
        };
        store.check_encoding().await?;
        Ok(store)
    }

    /// In any other encoding a name in Chinese, or one with an emoji, is an error of each request that brings one.
    async fn check_encoding(&self) -> Result<(), OpenError> {
        let query = sqlx::query_scalar("SELECT current_setting('server_encoding')");
        let encoding: String = bounded(STORE, query.fetch_one(&self.pool)).await?;
        if encoding == "UTF8" {
            return Ok(());
        }
        Err(OpenError::Unfit(format!(
            "the encoding of the database is {encoding}, which does not hold every name: expected UTF8, as from CREATE \
             DATABASE phonepass ENCODING 'UTF8' TEMPLATE template0"
        )))
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

    async fn close(&self) {
        tokio::join!(self.batches.close(), self.pool.close());
    }
}

/// See [`super::Sessions::end_session`].
async fn end_session(
    executor: impl PgExecutor<'_>,
    user_id: Uuid,
    id: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    let query = sqlx::query(concat!(
        "UPDATE sessions SET revoked_at = $3 WHERE id = $2 AND user_id = $1 AND ",
        not_ended!("sessions"),
        " RETURNING id, expires_at"
    ));
    let ended = query.bind(user_id).bind(id).bind(now).fetch_optional(executor).await?;
    ended.map(|row| Ok(Stored::of("sessions", &row).get::<Time>("expires_at")?.0)).transpose()
}

/// See [`super::Sessions::end_sessions`].
async fn end_sessions(
    executor: impl PgExecutor<'_>,
    user_id: Uuid,
    keep: Option<Uuid>,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(concat!(
        "UPDATE sessions SET revoked_at = $3 WHERE user_id = $1 AND id IS DISTINCT FROM $2 AND ",
        not_ended!("sessions"),
        " RETURNING id"
    ))
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

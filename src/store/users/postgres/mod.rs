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
mod diagnosis;
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

use super::{OpenError, PoolUse, STATEMENT_TIMEOUT, Statements, UserStore, bounded};
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
        bounded(STORE, sqlx::query("SELECT 1").execute(&self.pool)).await.map(drop)
    }

    fn pools(&self) -> Vec<PoolUse> {
        vec![self.pool.usage("statements"), self.batches.pool_use("batches")]
    }
}

/// See [`super::Sessions::end_session`].
async fn end_session(
    executor: impl PgExecutor<'_>,
    user_id: Uuid,
    id: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    let query = sqlx::query_scalar(concat!(
        "UPDATE sessions SET revoked_at = $3 WHERE id = $2 AND user_id = $1 AND ",
        not_ended!("sessions"),
        " RETURNING expires_at"
    ));
    query.bind(user_id).bind(id).bind(now).fetch_optional(executor).await
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

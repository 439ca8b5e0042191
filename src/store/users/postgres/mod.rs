//! How do users and sessions live in PostgreSQL?

/// The sessions that began before this have been ended. A single row, whatever their number.
macro_rules! valid_from {
    () => {
        "coalesce((SELECT value::timestamptz FROM settings WHERE name = 'sessions_valid_from'), 'epoch')"
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
            " AND (SELECT ",
            $of_user,
            " AND (",
            $session,
            ".created_at >= coalesce(u.sessions_valid_from, 'epoch') OR ",
            $session,
            ".id IS NOT DISTINCT FROM u.kept_session_id) FROM users u WHERE u.id = ",
            $session,
            ".user_id)"
        )
    };
}

/// The sessions of the user `$1` that have not been ended. Two look-ups, so that an index leaves out those that ended
/// together: the one that was kept began before. `OFFSET` keeps conditions of the whole from choosing another index.
macro_rules! not_ended_of_user {
    () => {
        concat!(
            "(SELECT ",
            session_columns!(),
            " FROM sessions
              WHERE user_id = $1 AND revoked_at IS NULL
                AND created_at >= greatest(",
            valid_from!(),
            ", (SELECT coalesce(sessions_valid_from, 'epoch') FROM users WHERE users.id = $1))
              UNION ALL
              SELECT ",
            session_columns!(),
            " FROM sessions
              WHERE id = (SELECT kept_session_id FROM users WHERE users.id = $1) AND revoked_at IS NULL AND created_at >= ",
            valid_from!(),
            " OFFSET 0) AS not_ended"
        )
    };
}

/// The id of a session that begins at the time `$now`, or when its user's sessions may begin after an ending: the id shows
/// it, see [`crate::model::session::NewSession::begun_after`].
macro_rules! begun_after {
    ($id:literal, $now:literal) => {
        concat!(
            "CASE WHEN sessions_valid_from > ",
            $now,
            " THEN (lpad(to_hex((extract(epoch FROM sessions_valid_from) * 1000)::bigint), 12, '0')
                || substr(replace(",
            $id,
            "::text, '-', ''), 13))::uuid ELSE ",
            $id,
            " END"
        )
    };
}

/// See [`crate::model::device::DeviceKey::of_user`].
macro_rules! device_hash {
    ($user_id:literal, $key:literal) => {
        concat!("encode(sha256(uuid_send(", $user_id, ") || ", $key, "), 'hex')")
    };
}

mod accounts;
mod administration;
mod batches;
mod connections;
mod decline;
mod diagnosis;
mod guesses;
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
use pool::{Pool, Session};

use super::{
    Ending, OpenError, PoolUse, Statements, Timeouts, UserStore, bounded,
    rows::{Stored, Time},
};
use crate::{
    model::{
        device::Platform,
        mobile::Mobile,
        session::{self as model, SessionEnd, SignInMethod},
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
    timeouts: Timeouts,
}

impl Postgres {
    /// Makes the pools, and looks whether the database can hold every name.
    pub async fn open(
        options: &PgConnectOptions,
        statements: Statements,
        max_connections: u32,
        timeouts: Timeouts,
    ) -> Result<Self, OpenError> {
        let options = options.clone().application_name("phonepass");
        let statement_timeout = timeouts.statement.as_millis().to_string();
        // Every statement has an index that it finds its rows by. Of a large table that was not analysed yet, after a restore
        // for one, PostgreSQL expects that a scan is cheaper.
        let settings = [("statement_timeout", statement_timeout.as_str()), ("jit", "off"), ("enable_seqscan", "off")];
        let of_batches = (max_connections / SHARE_OF_BATCHES).clamp(1, MAX_BATCHES);
        let pool = |settings: &[_], size| Pool::new(options.clone(), statements, settings, size, timeouts);
        let batches = Arc::new(Connections::new(pool(&[&settings[..], &SETTINGS_OF_BATCHES].concat(), of_batches)));
        let store = Self {
            pool: pool(&settings, (max_connections - of_batches).max(1)),
            options,
            sign_ins: Coalescer::new(SignIns(batches.clone())),
            refreshes: Coalescer::new(Refreshes(batches.clone())),
            look_ups: Coalescer::new(LookUps(batches.clone())),
            batches,
            timeouts,
        };
        store.check_encoding().await?;
        Ok(store)
    }

    #[track_caller]
    fn bounded<T>(&self, work: impl Future<Output = sqlx::Result<T>>) -> impl Future<Output = Result<T, StoreError>> {
        bounded(STORE, self.timeouts.statement, work)
    }

    /// In any other encoding a name in Chinese, or one with an emoji, is an error of each request that brings one.
    async fn check_encoding(&self) -> Result<(), OpenError> {
        let query = sqlx::query_scalar("SELECT current_setting('server_encoding')");
        let encoding: String = self.bounded(query.fetch_one(&self.pool)).await?;
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
        self.bounded(async {
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
    why: SessionEnd,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    let query = sqlx::query(concat!(
        "UPDATE sessions SET revoked_at = now(), ended_by = $3 WHERE id = $2 AND user_id = $1 AND ",
        not_ended!("sessions"),
        " RETURNING id, expires_at"
    ));
    let ended = query.bind(user_id).bind(id).bind(why.as_str()).fetch_optional(executor).await?;
    ended.map(|row| Ok(Stored::of("sessions", &row).get::<Time>("expires_at")?.0)).transpose()
}

/// See [`super::Sessions::end_sessions`]. In a transaction that holds the user's row: a session that is being opened has
/// been seen by then, or begins afterwards.
async fn end_sessions(
    transaction: &mut Session,
    user_id: Uuid,
    keep: Option<Uuid>,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<Ending>> {
    let row = sqlx::query(concat!(
        "UPDATE users
         SET sessions_valid_from = interval '1 ms' + date_trunc('milliseconds', greatest(
                 $3, sessions_valid_from, (SELECT max(s.created_at) FROM sessions s WHERE s.user_id = $1)
             )),
             kept_session_id = (SELECT s.id FROM sessions s WHERE s.id = $2 AND s.user_id = $1 AND ",
        not_ended!("s"),
        "),
             sessions_ended_at = now(), sessions_opened = 1
         WHERE id = $1
         RETURNING id, sessions_valid_from, kept_session_id"
    ))
    .bind(user_id)
    .bind(keep)
    .bind(now)
    .fetch_optional(transaction)
    .await?;
    row.as_ref().map(ending_from).transpose()
}

/// Makes sure that a user's row does not change before the transaction ends.
async fn hold_user(transaction: &mut Session, id: Uuid) -> sqlx::Result<()> {
    sqlx::query("SELECT FROM users WHERE id = $1 FOR UPDATE").bind(id).execute(transaction).await.map(drop)
}

/// See [`super::Guesses::clear_guesses`].
async fn clear_guesses(executor: impl PgExecutor<'_>, subjects: &[String]) -> sqlx::Result<()> {
    if subjects.is_empty() {
        return Ok(());
    }
    let query = sqlx::query("DELETE FROM wrong_guesses WHERE subject = ANY($1)").bind(subjects);
    query.execute(executor).await.map(drop)
}

fn ending_from(row: &PgRow) -> sqlx::Result<Ending> {
    let row = Stored::of("users", row);
    Ok(Ending {
        user_id: row.get("id")?,
        valid_from: row.get::<Time>("sessions_valid_from")?.0,
        kept: row.get("kept_session_id")?,
    })
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

fn session_from(row: &PgRow, is_ended: bool) -> sqlx::Result<model::Session> {
    let row = Stored::of("sessions", row);
    Ok(model::Session {
        id: row.get("id")?,
        user_id: row.get("user_id")?,
        method: row.parse("amr", SignInMethod::from_column)?,
        refresh_counter: row.parse("refresh_counter", counter)?,
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

/// When the user's sessions begin at the earliest, and how many were opened.
fn opened_from(row: &PgRow) -> sqlx::Result<(Option<DateTime<Utc>>, u32)> {
    let row = Stored::of("users", row);
    let valid_from = row.get::<Option<Time>>("sessions_valid_from")?.map(|time| time.0);
    Ok((valid_from, row.parse("sessions_opened", counter)?))
}

fn counter(stored: i32) -> Option<u32> {
    stored.try_into().ok()
}

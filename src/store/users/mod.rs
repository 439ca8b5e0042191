//! Where are users and sessions kept? The seam to the databases.

mod batches;
mod cursor;
mod database;
mod migrations;
mod postgres;
mod rows;
mod sqlite;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::TryFutureExt;
use uuid::Uuid;

pub use cursor::Cursor;
pub use database::Database;
use database::Options;
pub use rows::Unreadable;

use super::StoreError;
use crate::model::{
    mobile::Mobile,
    session::{Lifetime, NewSession, Session},
    user::{ImportedUser, User, UserStatus},
};

/// How long a statement may take before the caller gets an answer without it.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait for a connection: shorter than anybody's patience with a database that is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How many sessions a user is shown: more than anybody has devices.
const SESSIONS_SHOWN: u32 = 500;

/// Do the statements that PostgreSQL runs have names?
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Statements {
    /// Each connection is a session of the server: whatever runs twice is parsed once
    Named,
    /// Right behind a pooler in transaction mode, too
    Unnamed,
}

/// A user who wants to be created.
#[derive(Clone)]
pub struct NewUser {
    /// UUIDv7.
    pub id: Uuid,
    /// Must be free.
    pub mobile: Mobile,
    /// A PHC string, for classic registration.
    pub password_hash: Option<String>,
}

/// What came of presenting a refresh token.
#[derive(Clone)]
pub enum Rotation {
    /// The session goes on; its `refresh_counter` is that of the token to hand out.
    Rotated(Session),
    /// A token older than the previous one: the session of this user is over now.
    Reused(Uuid),
    /// The session was ended before, by itself or with all others.
    Ended,
    /// The session is too old, or was never there.
    Expired,
    /// The user may not sign in.
    Disabled,
}

/// What came of moving an account to another number.
pub enum MobileChange {
    /// The user as they are now, and the sessions that ended.
    Changed(Box<User>, Vec<Uuid>),
    /// Somebody else has the number.
    Taken,
    /// The user does not have the number any more that they are moving from.
    Gone,
}

/// Which sessions have been ended.
pub struct Endings {
    /// All that began before this; 1970 if they never were all ended.
    pub valid_from: DateTime<Utc>,
    /// Those that were ended by themselves lately.
    pub ended: Vec<Uuid>,
}

/// The connections of one pool, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct PoolUse {
    /// What the pool is for.
    pub name: &'static str,
    /// How many work, or are being opened.
    pub in_use: u32,
    /// How many wait for work.
    pub idle: u32,
    /// How many there may be.
    pub max: u32,
}

/// Users and their sessions, kept for good: what was answered with success survives a crash.
#[async_trait]
pub trait UserStore: Accounts + Sessions + Administration {
    /// How `/readyz` and the logs call the store.
    fn name(&self) -> &'static str;

    /// Can the store do its work?
    async fn ping(&self) -> Result<(), StoreError>;

    /// How busy are the connections?
    fn pools(&self) -> Vec<PoolUse>;

    /// Closes every connection once its work is done; later calls fail.
    async fn close(&self);
}

/// What a user owns.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// The user with this id.
    async fn user(&self, id: Uuid) -> Result<Option<User>, StoreError>;

    /// The user with this mobile.
    async fn user_by_mobile(&self, mobile: &Mobile) -> Result<Option<User>, StoreError>;

    /// Changes what is given (`Some(None)` removes the picture), and returns the user as they are then; `None` for a
    /// user who may not sign in.
    async fn update_profile(
        &self,
        id: Uuid,
        name: Option<&str>,
        avatar_url: Option<Option<&str>>,
        now: DateTime<Utc>,
    ) -> Result<Option<User>, StoreError>;

    /// Keeps a new password hash, and ends the user's sessions except one; returns those. `None` for a user who may
    /// not sign in.
    async fn set_password(
        &self,
        id: Uuid,
        password_hash: &str,
        keep: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<Uuid>>, StoreError>;

    /// Moves an account from one number to another, and ends its sessions except one. A name that nobody chose moves
    /// along.
    async fn change_mobile(
        &self,
        id: Uuid,
        from: &Mobile,
        to: &Mobile,
        keep: Uuid,
        now: DateTime<Utc>,
    ) -> Result<MobileChange, StoreError>;

    /// Forgets who a user was, frees the number and ends every session; returns those.
    async fn delete_user(&self, id: Uuid, now: DateTime<Utc>) -> Result<Vec<Uuid>, StoreError>;
}

/// Who is signed in.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Signs in whoever owns the mobile, registering them on the spot, and opens a session: all of it or nothing.
    ///
    /// Returns the user as they are then; a disabled one gets no session. Whoever is registered by it was created when
    /// the session was. Signing in with the same session again changes nothing.
    async fn sign_in(&self, user: &NewUser, session: &NewSession) -> Result<User, StoreError>;

    /// Registers a user and opens a session; `None` if the mobile is taken, also by a request of the same instant.
    async fn register(&self, user: &NewUser, session: &NewSession) -> Result<Option<User>, StoreError>;

    /// Opens a session for a user who proved that they know a password, and keeps a new hash of it if one is given.
    ///
    /// `false`, and no session, for a user who may not sign in or whose password has changed meanwhile.
    async fn open_session(
        &self,
        user_id: Uuid,
        session: &NewSession,
        password_hash: &str,
        new_password_hash: Option<&str>,
    ) -> Result<bool, StoreError>;

    /// The session with this id, over or not. Whether it ended with all others is not in its row.
    async fn session(&self, id: Uuid) -> Result<Option<Session>, StoreError>;

    /// The sessions of a user that are not over, newest first.
    async fn sessions(&self, user_id: Uuid, now: DateTime<Utc>) -> Result<Vec<Session>, StoreError>;

    /// Rotates a session's refresh token in one atomic step: the current counter moves on, the previous one stays
    /// where it is, an older one ends the session.
    async fn rotate(
        &self,
        session_id: Uuid,
        presented: u32,
        now: DateTime<Utc>,
        lifetime: Lifetime,
    ) -> Result<Rotation, StoreError>;

    /// Ends a session of a user, also one that has expired: a token may name it for longer. Returns when it expires;
    /// `None` if it has been ended before or belongs to another user.
    async fn end_session(
        &self,
        user_id: Uuid,
        id: Uuid,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError>;

    /// Ends the sessions of a user except one, those that have expired included; returns them.
    async fn end_sessions(
        &self,
        user_id: Uuid,
        keep: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Uuid>, StoreError>;

    /// The sessions that were ended by themselves at or after a time, and all that ended together at any time.
    async fn endings_since(&self, since: DateTime<Utc>) -> Result<Endings, StoreError>;
}

/// What operators do.
#[async_trait]
pub trait Administration: Send + Sync {
    /// Lets a user sign in, or ends their sessions and keeps them from it; returns the sessions that ended.
    async fn set_status(&self, id: Uuid, status: UserStatus, now: DateTime<Utc>) -> Result<Vec<Uuid>, StoreError>;

    /// Some users from a place in the list on.
    async fn users_after(&self, place: Cursor, at_most: u32) -> Result<Vec<User>, StoreError>;

    /// Creates those users whose mobiles are free, all or none of them; returns how many.
    async fn import_users(&self, users: &[ImportedUser], now: DateTime<Utc>) -> Result<u64, StoreError>;

    /// Ends every session that began before a time, which is cut to the millisecond, and replaces a setting in the same
    /// step; `false`, and nothing, if the setting does not have its former value any more. The work does not grow with
    /// the number of sessions.
    async fn end_all_sessions(
        &self,
        begun_before: DateTime<Utc>,
        setting: &str,
        former: &str,
        value: &str,
    ) -> Result<bool, StoreError>;

    /// Deletes some of the sessions that were over before a time; returns how many.
    async fn delete_sessions_over_before(&self, time: DateTime<Utc>, at_most: u32) -> Result<u64, StoreError>;

    /// Keeps a value under a name unless there is one already, and returns the one that is kept.
    async fn setting_or_insert(&self, name: &str, value: &str) -> Result<String, StoreError>;

    /// Brings the schema up to date; safe when several instances start at once.
    ///
    /// # Errors
    /// [`OpenError::Unfit`] if the database was migrated by something other than a version of this service.
    async fn migrate(&self) -> Result<(), OpenError>;
}

/// Why a database is not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It answers, but it cannot keep users: another one has to be named.
    #[error("{0}")]
    Unfit(String),
    /// It does not answer.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

/// Opens a database without touching its schema.
pub async fn connect(
    database: &Database,
    statements: Statements,
    max_connections: u32,
) -> Result<Arc<dyn UserStore>, OpenError> {
    Ok(match &database.0 {
        Options::Sqlite(options) => Arc::new(sqlite::Sqlite::open(options, max_connections).await?),
        Options::Postgres(options) => Arc::new(postgres::Postgres::open(options, statements, max_connections).await?),
    })
}

/// Waits for a database no longer than a request may.
#[track_caller]
fn bounded<T>(
    store: &'static str,
    work: impl Future<Output = sqlx::Result<T>>,
) -> impl Future<Output = Result<T, StoreError>> {
    batches::bounded(store, work).map_err(StoreError::from)
}

fn pool_use<D: sqlx::Database>(name: &'static str, pool: &sqlx::Pool<D>) -> PoolUse {
    let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
    PoolUse { name, in_use: pool.size().saturating_sub(idle), idle, max: pool.options().get_max_connections() }
}

/// Did a statement meet a number that somebody has already?
fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// A session's row whose refresh was refused, and what tells why.
struct RefusedRotation {
    user_id: Uuid,
    status: UserStatus,
    ended: bool,
    expires_at: DateTime<Utc>,
    refresh_counter: u32,
}

impl RefusedRotation {
    fn reason(&self, presented: u32, now: DateTime<Utc>) -> Rotation {
        if self.status == UserStatus::Disabled {
            Rotation::Disabled
        } else if self.ended {
            Rotation::Ended
        } else if self.expires_at > now && presented < self.refresh_counter {
            Rotation::Reused(self.user_id)
        } else {
            Rotation::Expired
        }
    }
}

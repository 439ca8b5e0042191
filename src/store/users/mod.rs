//! Where are users and sessions kept? The seam to the databases.

mod acquaintances;
mod batches;
mod cursor;
mod database;
mod endings;
mod migrations;
mod postgres;
mod rotation;
mod rows;
mod sqlite;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::TryFutureExt;
use uuid::Uuid;

pub use acquaintances::{Acquaintance, Acquaintances};
pub use cursor::Cursor;
pub use database::Database;
use database::Options;
pub use endings::{Ending, Endings};
use rotation::RefusedRotation;
pub use rotation::{FormerRefresh, Refresher, Rotation};
pub use rows::Unreadable;

use super::StoreError;
use crate::model::{
    mobile::Mobile,
    session::{Lifetime, NewSession, Session, SessionEnd},
    user::{ImportedUser, User, UserStatus},
};

/// How long a database may take. No settings of operators: tests, whose machine may be slow, allow more.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// How long to wait for a connection: shorter than anybody's patience with a database that is down.
    pub connection: Duration,
    /// How long a statement may take before the caller gets an answer without it.
    pub statement: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connection: Duration::from_secs(1), statement: Duration::from_secs(5) }
    }
}

/// How many rows one look at a user's oldest sessions ends: more than one only where they come from before there was a limit.
const OLDEST_AT_ONCE: u32 = 1000;

/// How many sessions of a deleted user forget where they came from while the user waits: more than almost any has.
const FORGOTTEN_AT_ONCE: u32 = 1000;

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

/// A session that a sign-in has opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The session as the store has it: it may begin later than was asked, see [`Ending::valid_from`].
    pub session: NewSession,
    /// No more sessions of the user live than this, as far as sign-ins were counted.
    pub living_at_most: u32,
}

/// What came of moving an account to another number.
pub enum MobileChange {
    /// The user as they are now, and how their sessions ended.
    Changed(Box<User>, Ending),
    /// Somebody else has the number.
    Taken,
    /// The user does not have the number any more that they are moving from.
    Gone,
}

/// Whose guess is it, as far as the network tells?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guesser {
    /// Of a stranger.
    Stranger,
    /// From a network that the owner of the account has used.
    KnownNetwork,
}

/// May a guess be made?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    /// It may, and is counted as a wrong one.
    Taken,
    /// There have been as many wrong ones as there may be.
    Exhausted,
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
pub trait UserStore: Accounts + Sessions + Guesses + Administration {
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

    /// Those of these mobiles that belong to a user.
    async fn registered(&self, mobiles: &[Mobile]) -> Result<Vec<Mobile>, StoreError>;

    /// Changes what is given (`Some(None)` removes the picture), and returns the user as they are then; `None` for a
    /// user who may not sign in.
    async fn update_profile(
        &self,
        id: Uuid,
        name: Option<&str>,
        avatar_url: Option<Option<&str>>,
        now: DateTime<Utc>,
    ) -> Result<Option<User>, StoreError>;

    /// Keeps a new password hash, ends the user's sessions except one, and clears some counts of wrong guesses. `None` for
    /// a user who may not sign in.
    async fn set_password(
        &self,
        id: Uuid,
        password_hash: &str,
        keep: Option<Uuid>,
        cleared: &[String],
        now: DateTime<Utc>,
    ) -> Result<Option<Ending>, StoreError>;

    /// Moves an account from one number to another, ends its sessions except one, and clears some counts of wrong guesses.
    /// A name that the user has not chosen moves along.
    async fn change_mobile(
        &self,
        id: Uuid,
        (from, to): (&Mobile, &Mobile),
        keep: Uuid,
        cleared: &[String],
        now: DateTime<Utc>,
    ) -> Result<MobileChange, StoreError>;

    /// Forgets who a user was, frees the number, ends every session and clears some counts of wrong guesses. `None` if
    /// there is no such user.
    ///
    /// The newest thousand sessions forget where they came from; the others do by [`Accounts::forget_sessions`].
    async fn delete_user(&self, id: Uuid, cleared: &[String], now: DateTime<Utc>)
    -> Result<Option<Ending>, StoreError>;

    /// Has some sessions of a user that began at this time or before, the newest ones, forget where they came from.
    /// Returns when the oldest of them began, to go on from there; `None` once there are none.
    async fn forget_sessions(
        &self,
        user_id: Uuid,
        begun_until: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError>;

    /// Where the owner of a mobile has signed in or refreshed since a time, in at most so many sessions; `None` if the
    /// mobile has no account.
    async fn acquaintances(
        &self,
        mobile: &Mobile,
        since: DateTime<Utc>,
        at_most: u32,
    ) -> Result<Option<Acquaintances>, StoreError>;
}

/// Who is signed in.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Signs in whoever owns the mobile, registering them on the spot, and opens a session: all of it or nothing.
    ///
    /// Returns the user as they are then; a disabled one gets no session. Whoever is registered by it was created when
    /// the session was. Signing in with the same session again changes nothing. The same step clears a count of wrong
    /// guesses.
    async fn sign_in(&self, user: &NewUser, session: &NewSession, cleared: &str) -> Result<(User, Opened), StoreError>;

    /// Registers a user and opens a session, and clears a count of wrong guesses; `None` if the mobile is taken, also by a
    /// request of the same instant.
    async fn register(&self, user: &NewUser, session: &NewSession, cleared: &str) -> Result<Option<User>, StoreError>;

    /// Opens a session for a user who proved that they know a password, keeps a new hash of it if one is given, and clears
    /// a count of wrong guesses.
    ///
    /// `None`, and no session, for a user who may not sign in or whose password has changed meanwhile.
    async fn open_session(
        &self,
        user_id: Uuid,
        session: &NewSession,
        password_hash: &str,
        new_password_hash: Option<&str>,
        cleared: &str,
    ) -> Result<Option<Opened>, StoreError>;

    /// The session with this id, over or not.
    async fn session(&self, id: Uuid) -> Result<Option<Session>, StoreError>;

    /// The sessions of a user that are not over, newest first, at most so many.
    async fn sessions(&self, user_id: Uuid, at_most: u32, now: DateTime<Utc>) -> Result<Vec<Session>, StoreError>;

    /// Rotates a session's refresh token in one atomic step: the current counter moves on, the previous one stays
    /// where it is, an older one ends the session.
    async fn rotate(
        &self,
        session_id: Uuid,
        presented: u32,
        refresher: &Refresher,
        now: DateTime<Utc>,
        lifetime: Lifetime,
    ) -> Result<Rotation, StoreError>;

    /// Ends a session of a user, also one that has expired: a token may name it for longer. Returns when it expires;
    /// `None` if it has been ended before or belongs to another user.
    async fn end_session(&self, user_id: Uuid, id: Uuid, why: SessionEnd) -> Result<Option<DateTime<Utc>>, StoreError>;

    /// Ends the sessions of a user except one, if that lives, those that have expired included; `None` if there is no such
    /// user. The work does not grow with the number of sessions.
    async fn end_sessions(
        &self,
        user_id: Uuid,
        keep: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> Result<Option<Ending>, StoreError>;

    /// Ends the oldest sessions of a user until at most so many live, never the given one, which is the newest; returns
    /// those that ended.
    async fn end_oldest_sessions(
        &self,
        user_id: Uuid,
        newest: Uuid,
        at_most: u32,
        now: DateTime<Utc>,
    ) -> Result<Vec<Uuid>, StoreError>;

    /// What has ended since a time of [`Endings::at`], but nothing that ended longer ago than `at_most`; all of that
    /// without a time. Times are those of the database, whatever the clocks of instances say.
    async fn endings_since(&self, since: Option<DateTime<Utc>>, at_most: Duration) -> Result<Endings, StoreError>;
}

/// Wrong guesses at the codes or the password of a number since the last right one. Subjects are the names that
/// [`GuessSubjects`](crate::auth::guess_subjects::GuessSubjects) makes.
#[async_trait]
pub trait Guesses: Send + Sync {
    /// Counts a guess before it is known to be wrong, unless there have been as many; of many at once, no more are taken.
    async fn take_guess(
        &self,
        subject: &str,
        guesser: Guesser,
        at_most: u32,
        now: DateTime<Utc>,
    ) -> Result<Guess, StoreError>;

    /// Takes back a guess that was not made after all.
    async fn return_guess(&self, subject: &str, guesser: Guesser) -> Result<(), StoreError>;

    /// Forgets the guesses at some subjects.
    async fn clear_guesses(&self, subjects: &[String]) -> Result<(), StoreError>;

    /// Forgets some of the subjects without a guess since a time; returns how many.
    async fn delete_guesses_before(&self, time: DateTime<Utc>, at_most: u32) -> Result<u64, StoreError>;
}

/// What operators do.
#[async_trait]
pub trait Administration: Send + Sync {
    /// Lets a user sign in and clears some counts of wrong guesses, or ends their sessions and keeps them from it; `None` if
    /// no sessions ended.
    async fn set_status(
        &self,
        id: Uuid,
        status: UserStatus,
        cleared: &[String],
        now: DateTime<Utc>,
    ) -> Result<Option<Ending>, StoreError>;

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

    /// Deletes some of the sessions that were over before a time; returns how many. Those that count for
    /// [`Accounts::acquaintances`], or ended with others, stay until they were over before `known`, an earlier time.
    async fn delete_sessions_over_before(
        &self,
        time: DateTime<Utc>,
        known: DateTime<Utc>,
        at_most: u32,
    ) -> Result<u64, StoreError>;

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
    timeouts: Timeouts,
) -> Result<Arc<dyn UserStore>, OpenError> {
    Ok(match &database.0 {
        Options::Sqlite(options) => Arc::new(sqlite::Sqlite::open(options, max_connections, timeouts).await?),
        Options::Postgres(options) => {
            Arc::new(postgres::Postgres::open(options, statements, max_connections, timeouts).await?)
        }
    })
}

/// Waits for a database no longer than a request may.
#[track_caller]
fn bounded<T>(
    store: &'static str,
    timeout: Duration,
    work: impl Future<Output = sqlx::Result<T>>,
) -> impl Future<Output = Result<T, StoreError>> {
    batches::bounded(store, timeout, work).map_err(StoreError::from)
}

fn pool_use<D: sqlx::Database>(name: &'static str, pool: &sqlx::Pool<D>) -> PoolUse {
    let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
    PoolUse { name, in_use: pool.size().saturating_sub(idle), idle, max: pool.options().get_max_connections() }
}

/// Did a statement meet a number that somebody has already?
fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

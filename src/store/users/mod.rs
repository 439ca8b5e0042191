//! Where are users and sessions kept? The seam to the databases.

mod postgres;
mod sqlite;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::StoreError;
use crate::model::{
    mobile::Mobile,
    session::{Lifetime, NewSession, Session},
    user::{User, UserStatus},
};

/// How long a statement may take before the caller gets an answer without it.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait for a connection: shorter than anybody's patience with a database that is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A user who wants to be created.
pub struct NewUser {
    /// UUIDv7.
    pub id: Uuid,
    /// Must be free.
    pub mobile: Mobile,
    /// A PHC string, for classic registration.
    pub password_hash: Option<String>,
}

/// What came of a sign-in by code.
pub struct SignedIn {
    /// The user as they are now. No session was opened when they are disabled.
    pub user: User,
    /// Did this sign-in register them?
    pub is_new: bool,
}

/// What came of presenting a refresh token.
pub enum Rotation {
    /// The session goes on; its `refresh_counter` is that of the token to hand out.
    Rotated(Session),
    /// A token older than the previous one: the session is over now.
    Reused,
    /// The session was over before.
    Ended,
    /// The session is too old, or was never there.
    Expired,
    /// The user may not sign in.
    Disabled,
}

/// Users and their sessions, kept for good: what was answered with success survives a crash.
#[async_trait]
pub trait UserStore: Send + Sync {
    /// Signs in whoever owns the mobile, registering them on the spot, and opens a session: all of it or nothing.
    async fn sign_in(&self, user: &NewUser, session: &NewSession) -> Result<SignedIn, StoreError>;

    /// Registers a user and opens a session; `None` if the mobile is taken, also by a request of the same instant.
    async fn register(&self, user: &NewUser, session: &NewSession) -> Result<Option<User>, StoreError>;

    /// Opens a session for a user who proved who they are, and keeps a new password hash if one is given. Opens none
    /// for a disabled user.
    async fn open_session(
        &self,
        user_id: Uuid,
        session: &NewSession,
        new_password_hash: Option<&str>,
    ) -> Result<(), StoreError>;

    /// The user with this id.
    async fn user(&self, id: Uuid) -> Result<Option<User>, StoreError>;

    /// The user with this mobile.
    async fn user_by_mobile(&self, mobile: &Mobile) -> Result<Option<User>, StoreError>;

    /// Rotates a session's refresh token in one atomic step: the current counter moves on, the previous one stays
    /// where it is, an older one ends the session.
    async fn rotate(
        &self,
        session_id: Uuid,
        presented: u32,
        now: DateTime<Utc>,
        lifetime: Lifetime,
    ) -> Result<Rotation, StoreError>;

    /// Ends a session. Ending one that is over already changes nothing.
    async fn end_session(&self, id: Uuid, now: DateTime<Utc>) -> Result<(), StoreError>;

    /// Ends every session there is.
    async fn end_all_sessions(&self, now: DateTime<Utc>) -> Result<(), StoreError>;

    /// The sessions that were ended at or after a time.
    async fn sessions_ended_since(&self, since: DateTime<Utc>) -> Result<Vec<(Uuid, DateTime<Utc>)>, StoreError>;

    /// Deletes some of the sessions that were over before a time; returns how many.
    async fn delete_sessions_over_before(&self, time: DateTime<Utc>, at_most: u32) -> Result<u64, StoreError>;

    /// Keeps a value under a name unless there is one already, and returns the one that is kept.
    async fn setting_or_insert(&self, name: &str, value: &str) -> Result<String, StoreError>;

    /// Replaces a value that is kept under a name.
    async fn set_setting(&self, name: &str, value: &str) -> Result<(), StoreError>;

    /// Brings the schema up to date; safe when several instances start at once.
    async fn migrate(&self) -> Result<(), StoreError>;

    /// How `/readyz` and the logs call the store.
    fn name(&self) -> &'static str;

    /// Can the store do its work?
    async fn ping(&self) -> Result<(), StoreError>;
}

/// Opens the store that a URL names (`postgres:` or `sqlite:`) without touching its schema.
pub async fn connect(url: &str, max_connections: u32) -> Result<Arc<dyn UserStore>, StoreError> {
    Ok(if url.starts_with("sqlite:") {
        Arc::new(sqlite::Sqlite::open(url, max_connections).await?)
    } else {
        Arc::new(postgres::Postgres::open(url, max_connections)?)
    })
}

/// Waits for a database no longer than a request may.
async fn bounded<T>(store: &'static str, work: impl Future<Output = sqlx::Result<T>>) -> Result<T, StoreError> {
    match tokio::time::timeout(STATEMENT_TIMEOUT, work).await {
        Ok(result) => result.map_err(|error| StoreError::new(store, error)),
        Err(_) => Err(StoreError::new(store, "no answer in time")),
    }
}

/// A session's row whose refresh was refused, and what tells why.
struct RefusedRotation {
    status: UserStatus,
    ended: bool,
    expires_at: DateTime<Utc>,
    refresh_counter: u32,
}

impl RefusedRotation {
    fn reason(&self, presented: u32, now: DateTime<Utc>) -> Rotation {
        if self.status != UserStatus::Active {
            Rotation::Disabled
        } else if self.ended {
            Rotation::Ended
        } else if self.expires_at > now && presented < self.refresh_counter {
            Rotation::Reused
        } else {
            Rotation::Expired
        }
    }
}

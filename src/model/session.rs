//! What is a session, and how long does it live?

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use super::origin::Origin;

/// One sign-in on one device.
#[derive(Clone, Debug)]
pub struct Session {
    /// UUIDv7, the claim `sid`.
    pub id: Uuid,
    /// Whose session it is.
    pub user_id: Uuid,
    /// How the user proved who they are, the claim `amr`.
    pub method: SignInMethod,
    /// The counter of the newest refresh token that was handed out.
    pub refresh_counter: u32,
    /// When the user signed in.
    pub created_at: DateTime<Utc>,
    /// When the session was refreshed for the last time.
    pub refreshed_at: Option<DateTime<Utc>>,
    /// When the session ends unless it is refreshed before.
    pub expires_at: DateTime<Utc>,
    /// When it was ended before its time.
    pub revoked_at: Option<DateTime<Utc>>,
    /// The address that the user signed in from.
    pub ip: Option<String>,
    /// The `User-Agent` that the user signed in with.
    pub user_agent: Option<String>,
}

/// A sign-in that asks for a session: where it came from, and until when it may last.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// UUIDv7.
    pub id: Uuid,
    /// How the user proved who they are.
    pub method: SignInMethod,
    /// Now.
    pub created_at: DateTime<Utc>,
    /// See [`Lifetime`].
    pub expires_at: DateTime<Utc>,
    /// Where it comes from, for the user's list of sessions.
    pub origin: Arc<Origin>,
}

impl NewSession {
    /// The session as it stands once the store has it.
    pub fn opened_for(&self, user_id: Uuid) -> Session {
        Session {
            id: self.id,
            user_id,
            method: self.method,
            refresh_counter: 0,
            created_at: self.created_at,
            refreshed_at: None,
            expires_at: self.expires_at,
            revoked_at: None,
            ip: self.origin.ip.map(|ip| ip.to_string()),
            user_agent: self.origin.user_agent.clone(),
        }
    }
}

/// An authentication method reference (RFC 8176).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInMethod {
    /// A code sent by SMS.
    Sms,
    /// A password.
    Password,
}

impl SignInMethod {
    /// The value of the claim `amr` and of the column `amr`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Password => "pwd",
        }
    }

    /// Reads the column `amr`.
    pub fn from_column(value: &str) -> Option<Self> {
        [Self::Sms, Self::Password].into_iter().find(|method| method.as_str() == value)
    }
}

/// How long sessions live: sliding with each refresh, and never past an absolute age (ASVS 7.3.1, 7.3.2).
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    /// `REFRESH_TOKEN_TTL`.
    pub sliding: Duration,
    /// `SESSION_MAX_AGE`.
    pub absolute: Duration,
}

impl Lifetime {
    /// When a session ends that was created and is refreshed at these times.
    pub fn expiry(&self, created_at: DateTime<Utc>, refreshed_at: DateTime<Utc>) -> DateTime<Utc> {
        (refreshed_at + self.sliding).min(created_at + self.absolute)
    }
}

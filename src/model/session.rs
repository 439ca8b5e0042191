//! What is a session, and how long does it live?

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use uuid::{NoContext, Timestamp, Uuid};

use super::origin::Origin;

/// One sign-in on one device.
#[derive(Clone, Debug)]
pub struct Session {
    /// The claim `sid`, see [`id_at`].
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
    /// See [`id_at`].
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

/// A new id for a session that begins at this time: a UUIDv7 with that time in it, so that an access token shows when its
/// session began.
pub fn id_at(created_at: DateTime<Utc>) -> Uuid {
    let (seconds, nanoseconds) = (created_at.timestamp().cast_unsigned(), created_at.timestamp_subsec_nanos());
    Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, nanoseconds))
}

/// When the session with this id began, to the millisecond; 1970 if the id does not show it.
pub fn begun_at(id: Uuid) -> DateTime<Utc> {
    let (seconds, nanoseconds) = id.get_timestamp().map_or((0, 0), |timestamp| timestamp.to_unix());
    DateTime::from_timestamp(seconds.cast_signed(), nanoseconds).unwrap_or(DateTime::UNIX_EPOCH)
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

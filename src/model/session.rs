//! What is a session, and how long does it live?

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use uuid::{NoContext, Timestamp, Uuid};

use super::{
    device::{DeviceKey, Platform},
    origin::Origin,
};
use crate::named::named;

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
    /// Has it been ended before its time, by itself or with others?
    pub is_ended: bool,
    /// The address that the user signed in from.
    pub ip: Option<String>,
    /// The `User-Agent` that the user signed in with.
    pub user_agent: Option<String>,
    /// The address of the last refresh.
    pub last_ip: Option<String>,
    /// The `User-Agent` of the last refresh.
    pub last_user_agent: Option<String>,
    /// What the user calls the device.
    pub device_name: Option<String>,
    /// What the device runs.
    pub platform: Option<Platform>,
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
    /// Of the device that it is on, where its id is known.
    pub device_key: Option<DeviceKey>,
}

impl NewSession {
    /// The same session, begun no earlier than this: after the user's sessions were ended, by whatever clock.
    pub fn begun_after(self, time: Option<DateTime<Utc>>) -> Self {
        match time {
            Some(time) if time > self.created_at => Self { id: moved(self.id, time), created_at: time, ..self },
            _ => self,
        }
    }

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
            is_ended: false,
            ip: self.origin.ip.map(|ip| ip.to_string()),
            user_agent: self.origin.user_agent.clone(),
            last_ip: None,
            last_user_agent: None,
            device_name: self.origin.device.name.clone(),
            platform: self.origin.device.platform,
        }
    }
}

/// A new id for a session that begins at this time: a UUIDv7 with that time in it, so that an access token shows when its
/// session began.
pub fn id_at(created_at: DateTime<Utc>) -> Uuid {
    let (seconds, nanoseconds) = (created_at.timestamp().cast_unsigned(), created_at.timestamp_subsec_nanos());
    Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, nanoseconds))
}

/// The id with another time in it; what is random stays.
fn moved(id: Uuid, created_at: DateTime<Utc>) -> Uuid {
    let milliseconds = u128::from(created_at.timestamp_millis().cast_unsigned());
    Uuid::from_u128(milliseconds << 80 | id.as_u128() << 48 >> 48)
}

/// When the session with this id began, to the millisecond; 1970 if the id does not show it.
pub fn begun_at(id: Uuid) -> DateTime<Utc> {
    let (seconds, nanoseconds) = id.get_timestamp().map_or((0, 0), |timestamp| timestamp.to_unix());
    DateTime::from_timestamp(seconds.cast_signed(), nanoseconds).unwrap_or(DateTime::UNIX_EPOCH)
}

named! {
    /// Why a session was ended by itself, the column `ended_by`. One that ended with others has none.
    pub enum SessionEnd {
        /// The user signed out there.
        SignOut = "sign_out",
        /// The account had as many sessions as it may have, and this was the oldest.
        Limit = "limit",
        /// The user ended it from another session.
        Removal = "removal",
        /// One of its refresh tokens was presented long after it had been used.
        Reuse = "reuse",
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

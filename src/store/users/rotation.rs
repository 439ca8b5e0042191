//! Refreshes of a session: who refreshes, what came of it, and why one is refused.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::model::{device::DeviceKey, origin::Origin, session::Session, user::UserStatus};

/// What came of presenting a refresh token.
#[derive(Clone)]
pub enum Rotation {
    /// The session goes on; its `refresh_counter` is that of the token to hand out.
    Rotated(Box<Session>, FormerRefresh),
    /// A token older than the previous one: the session of this user is over now.
    Reused(Uuid),
    /// The session was ended before, by itself or with all others.
    Ended,
    /// The session is too old, or was never there.
    Expired,
    /// The user may not sign in.
    Disabled,
}

/// What a session looked like before it was refreshed.
#[derive(Clone, Debug)]
pub struct FormerRefresh {
    /// Had the token been used before, so that it was the previous one?
    pub used_before: bool,
    /// The address of the refresh before.
    pub ip: Option<String>,
    /// The `User-Agent` of the refresh before.
    pub user_agent: Option<String>,
}

/// Who refreshes a session.
#[derive(Clone, Debug)]
pub struct Refresher {
    /// Where the refresh comes from; what it tells of the device replaces what the session knew.
    pub origin: Arc<Origin>,
    /// Of the device, where its id is known.
    pub device_key: Option<DeviceKey>,
}

/// A session's row whose refresh was refused, and what tells why.
pub(super) struct RefusedRotation {
    pub(super) user_id: Uuid,
    pub(super) status: UserStatus,
    pub(super) ended: bool,
    pub(super) expires_at: DateTime<Utc>,
    pub(super) refresh_counter: u32,
}

impl RefusedRotation {
    pub(super) fn reason(&self, presented: u32, now: DateTime<Utc>) -> Rotation {
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

//! The place in a list of users at which the next page starts.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::model::user::User;

/// Where the next page of a list starts, and in which order.
#[derive(Clone, Copy)]
pub enum Cursor {
    /// In the order in which users came into this database: after this id.
    Id(Uuid),
    /// In the order in which they were created: after this time and, of those created then, after this id.
    CreatedAt(DateTime<Utc>, Uuid),
}

impl Cursor {
    /// Where the list of all users begins, or of those who were created at or after a time.
    pub fn start(created_after: Option<DateTime<Utc>>) -> Self {
        created_after.map_or(Self::Id(Uuid::nil()), |time| Self::CreatedAt(time, Uuid::nil()))
    }

    /// The place behind a user.
    #[must_use]
    pub fn after(self, user: &User) -> Self {
        match self {
            Self::Id(_) => Self::Id(user.id),
            Self::CreatedAt(..) => Self::CreatedAt(user.created_at, user.id),
        }
    }
}

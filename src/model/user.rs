//! Who is a user?

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::mobile::Mobile;

/// A registered person. The mobile is the one thing that identifies them to the outside.
#[derive(Clone, Debug)]
pub struct User {
    /// UUIDv7, never reused.
    pub id: Uuid,
    /// Unique among all users.
    pub mobile: Mobile,
    /// Shown to people; the mobile until the user chooses another.
    pub name: String,
    /// An https URL.
    pub avatar_url: Option<String>,
    /// A PHC string; `None` for somebody who only ever signed in by code.
    pub password_hash: Option<String>,
    /// May this user sign in?
    pub status: UserStatus,
    /// When the user was registered.
    pub created_at: DateTime<Utc>,
    /// When the user signed in for the last time.
    pub last_login: DateTime<Utc>,
}

/// May a user sign in?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserStatus {
    /// Yes.
    Active,
    /// No: an operator said so.
    Disabled,
}

impl UserStatus {
    /// The value of the column `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }

    /// Reads the column `status`; whatever is not `active` may not sign in.
    pub fn from_column(value: &str) -> Self {
        if value == Self::Active.as_str() { Self::Active } else { Self::Disabled }
    }
}

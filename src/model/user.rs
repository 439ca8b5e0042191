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

/// How many characters a name may have.
pub const MAX_NAME_LENGTH: usize = 32;

/// A name without the blanks around it; `None` for one that is empty, too long or has control characters.
pub fn parse_name(text: &str) -> Option<String> {
    let name = text.trim();
    let fits = (1..=MAX_NAME_LENGTH).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    fits.then(|| name.to_owned())
}

/// A user who comes from another service, password included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedUser {
    /// Must be free.
    pub mobile: Mobile,
    /// Shown to people.
    pub name: String,
    /// In one of the formats that a password can be verified against.
    pub password_hash: Option<String>,
    /// When the other service registered them.
    pub created_at: DateTime<Utc>,
}

/// May a user sign in?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserStatus {
    /// Yes.
    Active,
    /// No: an operator said so.
    Disabled,
    /// No: they deleted their account.
    Deleted,
}

impl UserStatus {
    /// The value of the column `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Deleted => "deleted",
        }
    }

    /// Reads the column `status`; whatever it does not know may not sign in.
    pub fn from_column(value: &str) -> Self {
        [Self::Active, Self::Deleted].into_iter().find(|status| status.as_str() == value).unwrap_or(Self::Disabled)
    }
}

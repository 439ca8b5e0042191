//! The user behind a token: `/app/v1_0/user`.

use chrono::{DateTime, SubsecRound, Utc};
use poem::Result;
use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json};

use super::{
    Section,
    bearer::SignedIn,
    envelope::Envelope,
    failure::{Failure, failures},
};
use crate::{auth::Auth, model::user};

failures! {
    GetUser: TokenInvalid, TokenExpired, SessionRevoked;
}

/// A user, as they see themselves.
#[derive(Debug, Object)]
#[oai(example, skip_serializing_if_is_none)]
struct User {
    /// A UUIDv7.
    id: String,
    /// Eleven digits.
    mobile: String,
    /// 1 to 32 characters; the mobile number until the user chooses another.
    name: String,
    /// An https URL.
    avatar_url: Option<String>,
    /// Can this user sign in with a password?
    has_password: bool,
    /// When the user was registered.
    created_at: DateTime<Utc>,
    /// When the user signed in for the last time.
    last_login: DateTime<Utc>,
}

impl From<user::User> for User {
    fn from(user: user::User) -> Self {
        Self {
            id: user.id.to_string(),
            mobile: user.mobile.as_str().to_owned(),
            name: user.name,
            avatar_url: user.avatar_url,
            has_password: user.password_hash.is_some(),
            // Whole seconds: several clients' date parsers take no fractions.
            created_at: user.created_at.trunc_subsecs(0),
            last_login: user.last_login.trunc_subsecs(0),
        }
    }
}

impl poem_openapi::types::Example for User {
    fn example() -> Self {
        let time = DateTime::from_timestamp(1_790_000_000, 0).unwrap_or_default();
        Self {
            id: "019ac6ab-4b18-70a5-b19b-5664a8cd9e2f".to_owned(),
            mobile: "13800138000".to_owned(),
            name: "13800138000".to_owned(),
            avatar_url: None,
            has_password: false,
            created_at: time,
            last_login: time,
        }
    }
}

#[derive(ApiResponse)]
enum Found {
    /// The user.
    #[oai(status = 200)]
    Ok(Json<Envelope<User>>),
}

/// The section.
pub struct CurrentUser(pub Auth);

#[OpenApi(prefix_path = "/app/v1_0/user", tag = "Section::User")]
impl CurrentUser {
    /// Get the signed-in user
    ///
    /// The user as the database has them now.
    #[oai(path = "/", method = "get", operation_id = "get_current_user")]
    async fn get_current_user(&self, caller: SignedIn) -> Result<Found, Failure<GetUser>> {
        let user = self.0.sessions.user(caller.0).await?;
        Ok(Found::Ok(Json(Envelope::ok(user.into()))))
    }
}

//! The user behind a token: `/app/v1_0/user`, and how they move or leave: `/app/v1_0/user/mobile`,
//! `/app/v1_0/account_deletions`.

use poem::Result;
use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json};
use uuid::Uuid;

use super::{
    Section,
    bearer::SignedIn,
    context::RequestContext,
    envelope::Envelope,
    failure::{Failure, failures},
    form::{AvatarUrlKind, ChallengeKind, DeviceKind, Field, Form, MobileKind, NameKind, OptionalField, SmsCodeKind},
    timestamp::Timestamp,
};
use crate::{auth::Auth, model::user};

failures! {
    GetUser: TokenInvalid, TokenExpired, SessionRevoked;
    UpdateUser: RequestInvalid, TokenInvalid, TokenExpired, SessionRevoked, MediaTypeUnsupported;
    ChangeMobile: RequestInvalid, MobileInvalid, ImageCodeInvalid, ImageCodeExpired, SmsCodeInvalid, SmsCodeExpired,
        TokenInvalid, TokenExpired, SessionRevoked, ImageCodeRequired, MobileTaken, MediaTypeUnsupported;
    DeleteAccount: RequestInvalid, ImageCodeInvalid, ImageCodeExpired, SmsCodeInvalid, SmsCodeExpired, TokenInvalid,
        TokenExpired, SessionRevoked, ImageCodeRequired, MediaTypeUnsupported;
}

/// What to change; what is left out stays.
#[derive(Debug, Object)]
struct UserUpdate {
    /// 1 to 32 characters, without the blanks around them; `null` is as if left out.
    name: OptionalField<NameKind>,
    /// An https URL of at most 512 characters; `null` or an empty text removes the picture.
    avatar_url: OptionalField<AvatarUrlKind>,
}

/// A new number, and the proofs that both it and the current number are the user's.
#[derive(Debug, Object)]
struct MobileChange {
    /// The new mobile number, 11 digits from 13… to 19…; `+86`, spaces, dashes,
    /// dots, brackets and full-width digits are allowed.
    mobile: Field<MobileKind>,
    /// The code of the purpose `change_mobile` that went to the new number.
    code: Field<SmsCodeKind>,
    /// The code of the purpose `change_mobile` that went to the current number.
    current_code: Field<SmsCodeKind>,
    challenge: OptionalField<ChallengeKind>,
    device: OptionalField<DeviceKind>,
}

/// The proof that the account may go.
#[derive(Debug, Object)]
struct AccountDeletion {
    /// A code of the purpose `delete_account`.
    code: Field<SmsCodeKind>,
    challenge: OptionalField<ChallengeKind>,
    device: OptionalField<DeviceKind>,
}

/// A user, as they see themselves.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct User {
    /// The user's id, a UUIDv7.
    id: Uuid,
    /// The mobile number, eleven digits.
    mobile: String,
    /// The name, 1 to 32 characters; the mobile number until the user chooses another.
    name: String,
    /// The https URL of a picture, at most 512 characters; left out if there is none.
    avatar_url: Option<String>,
    /// Can this user sign in with a password?
    has_password: bool,
    /// When the user was registered, in UTC.
    created_at: Timestamp,
    /// When the user signed in for the last time, in UTC.
    last_login: Timestamp,
}

impl From<user::User> for User {
    fn from(user: user::User) -> Self {
        Self {
            id: user.id,
            mobile: user.mobile.as_str().to_owned(),
            name: user.name,
            avatar_url: user.avatar_url,
            has_password: user.password_hash.is_some(),
            created_at: Timestamp(user.created_at),
            last_login: Timestamp(user.last_login),
        }
    }
}

#[derive(ApiResponse)]
enum Found {
    /// The user.
    #[oai(status = 200)]
    Ok(Json<Envelope<User>>),
}

impl From<user::User> for Found {
    fn from(user: user::User) -> Self {
        Self::Ok(Json(Envelope::ok(user.into())))
    }
}

#[derive(ApiResponse)]
enum Gone {
    /// The account is deleted.
    #[oai(status = 204)]
    Gone,
}

/// The section.
pub struct CurrentUser(pub Auth);

#[OpenApi(prefix_path = "/app/v1_0", tag = "Section::User")]
impl CurrentUser {
    /// Get the signed-in user
    ///
    /// Reads the user from the database. Call it after signing in, and whenever the app shows who is signed in.
    #[oai(path = "/user", method = "get", operation_id = "get_current_user")]
    async fn get_current_user(&self, caller: SignedIn) -> Result<Found, Failure<GetUser>> {
        Ok(self.0.sessions.user(caller.0).await?.into())
    }

    /// Change the name or the picture
    ///
    /// Call it when the user edits their profile. What is left out stays as it is; `null` or an empty `avatar_url` removes
    /// the picture.
    #[oai(path = "/user", method = "patch", operation_id = "update_current_user")]
    async fn update_current_user(
        &self,
        context: &RequestContext,
        caller: SignedIn,
        body: Json<UserUpdate>,
    ) -> Result<Found, Failure<UpdateUser>> {
        let mut form = Form::new(context.family);
        let name = form.name("name", body.0.name);
        let avatar_url = form.avatar_url("avatar_url", body.0.avatar_url);
        if !form.is_right() {
            return Err(form.problem().into());
        }
        Ok(self.0.account.update_profile(caller.0, name, avatar_url).await?.into())
    }

    /// Move to another number
    ///
    /// Send a code of the purpose `change_mobile` to the new number and one to the current number before. Neither is
    /// used up unless both are right and the new number is free. The user's other sessions end.
    #[oai(path = "/user/mobile", method = "put", operation_id = "change_mobile")]
    async fn change_mobile(
        &self,
        context: &RequestContext,
        caller: SignedIn,
        body: Json<MobileChange>,
    ) -> Result<Found, Failure<ChangeMobile>> {
        let mut form = Form::new(context.family);
        let mobile = form.mobile("mobile", body.0.mobile);
        let code = form.sms_code("code", body.0.code, &self.0.sms_codes);
        let current_code = form.sms_code("current_code", body.0.current_code, &self.0.sms_codes);
        let challenge = form.challenge("challenge", body.0.challenge);
        let device = form.device("device", body.0.device);
        let (Some(mobile), Some(code), Some(current_code), true) = (mobile, code, current_code, form.is_right()) else {
            return Err(form.problem().into());
        };
        let origin = context.origin_with(device, Some(caller.0.user_id));
        Ok(self.0.account.change_mobile(caller.0, mobile, code, current_code, challenge, origin).await?.into())
    }

    /// Delete the account
    ///
    /// Send a code of the purpose `delete_account` to the user's own number before. Forgets who the user was, ends
    /// every session and frees the number: whoever signs in with it next is a new user.
    #[oai(path = "/account_deletions", method = "post", operation_id = "delete_account")]
    async fn delete_account(
        &self,
        context: &RequestContext,
        caller: SignedIn,
        body: Json<AccountDeletion>,
    ) -> Result<Gone, Failure<DeleteAccount>> {
        let mut form = Form::new(context.family);
        let code = form.sms_code("code", body.0.code, &self.0.sms_codes);
        let challenge = form.challenge("challenge", body.0.challenge);
        let device = form.device("device", body.0.device);
        let (Some(code), true) = (code, form.is_right()) else { return Err(form.problem().into()) };
        self.0.account.delete(caller.0, code, challenge, context.origin_with(device, Some(caller.0.user_id))).await?;
        Ok(Gone::Gone)
    }
}

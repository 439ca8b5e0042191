//! Setting, changing and resetting a password: `/app/v1_0/user/password`, `/app/v1_0/password_resets`.

use futures_util::future::Either;
use poem::Result;
use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json};

use super::{
    Section,
    bearer::{SignedIn, Visitor},
    context::RequestContext,
    failure::{Failure, failures},
    form::{ChallengeKind, DeviceKind, Field, Form, MobileKind, OptionalField, PasswordKind, SmsCodeKind},
};
use crate::auth::{Auth, account::Proof};

failures! {
    ChangePassword: RequestInvalid, ImageCodeInvalid, ImageCodeExpired, SmsCodeInvalid, SmsCodeExpired, PasswordWeak,
        OldPasswordWrong, TokenInvalid, TokenExpired, SessionRevoked, ImageCodeRequired, MediaTypeUnsupported;
    ResetPassword: RequestInvalid, MobileInvalid, ImageCodeInvalid, ImageCodeExpired, SmsCodeInvalid, SmsCodeExpired,
        PasswordWeak, ImageCodeRequired, AccountDisabled, MediaTypeUnsupported;
}

/// A new password, and a proof that it is the user who sets it: `old_password` or `code`.
#[derive(Debug, Object)]
struct PasswordChange {
    /// The new password: 8 to 128 characters (the service may ask for more than 8), not a common one.
    password: Field<PasswordKind>,
    /// The current password, exactly as it was chosen; `null` is as if left out.
    old_password: OptionalField<PasswordKind>,
    /// A code of the purpose `reset_password`; the only way while no password is set. `null` is as if left out.
    code: OptionalField<SmsCodeKind>,
    challenge: OptionalField<ChallengeKind>,
    device: OptionalField<DeviceKind>,
}

/// A new password, and the code that proves that the number is the user's.
#[derive(Debug, Object)]
struct PasswordReset {
    /// A mainland China mobile number, 11 digits from 13… to 19…; `+86`, spaces, dashes,
    /// dots, brackets and full-width digits are allowed.
    mobile: Field<MobileKind>,
    /// A code of the purpose `reset_password`.
    code: Field<SmsCodeKind>,
    /// The new password: 8 to 128 characters (the service may ask for more than 8), not a common one.
    password: Field<PasswordKind>,
    challenge: OptionalField<ChallengeKind>,
    device: OptionalField<DeviceKind>,
}

#[derive(ApiResponse)]
enum Changed {
    /// The password is set.
    #[oai(status = 204)]
    Changed,
}

/// The section.
pub struct Passwords(pub Auth);

#[OpenApi(prefix_path = "/app/v1_0", tag = "Section::User")]
impl Passwords {
    /// Set or change the password
    ///
    /// Call it with the new password and either the old one or an SMS code of the purpose `reset_password`, not both.
    /// The user's other sessions end.
    #[oai(path = "/user/password", method = "put", operation_id = "change_password")]
    async fn change_password(
        &self,
        context: &RequestContext,
        caller: SignedIn,
        body: Json<PasswordChange>,
    ) -> Result<Changed, Failure<ChangePassword>> {
        let PasswordChange { password, old_password, code, challenge, device } = body.0;
        let mut form = Form::new(context.family);
        let password = form.password("password", password);
        let proof = match form.one_of(("old_password", old_password), ("code", code)) {
            Some(Either::Left(old)) => form.password("old_password", old).map(Proof::OldPassword),
            Some(Either::Right(code)) => form.sms_code("code", code, &self.0.sms_codes).map(Proof::Code),
            None => None,
        };
        let challenge = form.challenge("challenge", challenge);
        let device = form.device("device", device);
        let (Some(password), Some(proof), true) = (password, proof, form.is_right()) else {
            return Err(form.problem().into());
        };
        let origin = context.origin_with(device, Some(caller.0.user_id));
        self.0.account.change_password(caller.0, password, proof, challenge, origin).await?;
        Ok(Changed::Changed)
    }

    /// Reset a forgotten password
    ///
    /// For users who cannot sign in. Send a code of the purpose `reset_password` before. All of the user's sessions
    /// end: sign in afterwards.
    #[oai(path = "/password_resets", method = "post", operation_id = "reset_password")]
    async fn reset_password(
        &self,
        context: &RequestContext,
        visitor: Visitor,
        body: Json<PasswordReset>,
    ) -> Result<Changed, Failure<ResetPassword>> {
        let mut form = Form::new(context.family);
        let mobile = form.mobile("mobile", body.0.mobile);
        let code = form.sms_code("code", body.0.code, &self.0.sms_codes);
        let password = form.password("password", body.0.password);
        let challenge = form.challenge("challenge", body.0.challenge);
        let device = form.device("device", body.0.device);
        let (Some(mobile), Some(code), Some(password), true) = (mobile, code, password, form.is_right()) else {
            return Err(form.problem().into());
        };
        let origin = context.origin_with(device, visitor.0);
        self.0.account.reset_password(mobile, code, password, challenge, origin).await?;
        Ok(Changed::Changed)
    }
}

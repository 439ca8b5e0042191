//! Asking for an SMS code: `/app/v1_0/sms/codes`.

use poem::{Result, http::HeaderMap};
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};

use super::{
    Section,
    bearer::{MaybeSignedIn, Visitor},
    challenge_answer::ChallengeHeader,
    context::RequestContext,
    envelope::Envelope,
    failure::{Failure, failures},
    form::{
        ChallengeKind, DeviceKind, Field, Form, ImageCodeIdKind, ImageCodeKind, MobileKind, OptionalField, PurposeKind,
    },
};
use crate::{
    auth::{Auth, challenges::ChallengeAnswer, sms_code::CodeRequest},
    model::{device::Device, purpose::Purpose},
};

failures! {
    SendLoginCode: RequestInvalid, MobileInvalid, MobileBlocked, ImageCodeInvalid, ImageCodeExpired, ImageCodeRequired,
        SmsTooFrequent, SmsQuotaExceeded, SmsSendFailed;
    SendCode: RequestInvalid, MobileInvalid, MobileBlocked, ImageCodeInvalid, ImageCodeExpired, TokenInvalid, TokenExpired,
        SessionRevoked, ImageCodeRequired, SmsTooFrequent, SmsQuotaExceeded, SmsSendFailed, MediaTypeUnsupported;
}

/// Who gets a code, and what for.
#[derive(Debug, Object)]
struct SmsCodeRequest {
    /// A mainland China mobile number, 11 digits from 13… to 19…; `+86`, spaces, dashes,
    /// dots, brackets and full-width digits are allowed.
    mobile: Field<MobileKind>,
    purpose: OptionalField<PurposeKind>,
    /// The id under which a picture code was fetched, after `image_code_required`; `null` or empty is as if left out.
    image_code_id: OptionalField<ImageCodeIdKind>,
    /// What the picture says: 4 characters, unless the service is set to 4 to 8; upper and lower case are one. `null` or
    /// empty is as if left out.
    image_code: OptionalField<ImageCodeKind>,
    challenge: OptionalField<ChallengeKind>,
    device: OptionalField<DeviceKind>,
}

/// A code is on its way.
#[derive(Debug, Object)]
struct SentSmsCode {
    /// Seconds for which the code is valid: 300, unless the service is set otherwise.
    expires_in: u64,
    /// Seconds until another one can be sent to this number: 60, unless the service is set otherwise.
    resend_after: u64,
}

#[derive(ApiResponse)]
enum Sent {
    /// A code is on its way. None is sent to a test number, nor, for `reset_password`, to a number without an account.
    #[oai(status = 200)]
    Ok(Json<Envelope<SentSmsCode>>),
}

/// The section.
pub struct SmsCodes(pub Auth);

#[OpenApi(prefix_path = "/app/v1_0/sms/codes", tag = "Section::SmsCodes")]
impl SmsCodes {
    /// Send an SMS code for signing in
    ///
    /// The short form of `send_sms_code`: no body, and always for signing in or registering. Call it when the user has
    /// typed their number, then `sign_in_with_sms_code` with the code that arrives.
    #[oai(path = "/:mobile", method = "get", operation_id = "send_login_sms_code")]
    async fn send_login_sms_code(
        &self,
        context: &RequestContext,
        /// A mainland China mobile number, 11 digits from 13… to 19…; `+86`, spaces, dashes,
        /// dots, brackets and full-width digits are allowed.
        mobile: Path<String>,
        /// The id under which a picture code was fetched with `get_image_code`, after `image_code_required`; empty is as
        /// if left out.
        image_code_id: Query<Option<String>>,
        /// What the picture says: 4 characters, unless the service is set to 4 to 8; upper and lower case are one. Empty
        /// is as if left out.
        image_code: Query<Option<String>>,
        /// A solved challenge as `kind:response`, after `image_code_required`: what a body has in `challenge`.
        #[oai(name = "X-Challenge-Response")]
        challenge: ChallengeHeader,
        visitor: Visitor,
    ) -> Result<Sent, Failure<SendLoginCode>> {
        let mut form = Form::new(context.family);
        let mobile = form.mobile("mobile", Field::<MobileKind>::from_text(Some(mobile.0)));
        let challenge = form.challenge_header(challenge);
        let picture = form.optional_picture(
            self.0.sms_codes.settings.image_code,
            Field::from_text(image_code_id.0),
            Field::from_text(image_code.0),
        );
        let challenge = challenge.or(picture.map(ChallengeAnswer::Picture));
        let (Some(mobile), true) = (mobile, form.is_right()) else { return Err(form.problem().into()) };
        let purpose = Purpose::Login;
        let origin = context.origin_with(Device::default(), visitor.0);
        self.send(CodeRequest { mobile, purpose, caller: None, challenge, origin }).await
    }

    /// Send an SMS code
    ///
    /// Call it before whatever takes a code. The code is good for one purpose only, once, and for `expires_in` seconds.
    /// Send the next one to the same number after `resend_after` seconds. On `image_code_required`, solve one of
    /// the `challenges` that the refusal lists, and send again with it: for `picture`, fetch one with `get_image_code`,
    /// show it, and send its id and text.
    #[oai(path = "/", method = "post", operation_id = "send_sms_code")]
    async fn send_sms_code(
        &self,
        context: &RequestContext,
        caller: MaybeSignedIn,
        headers: &HeaderMap,
        body: Json<SmsCodeRequest>,
    ) -> Result<Sent, Failure<SendCode>> {
        let mut form = Form::new(context.family);
        let mobile = form.mobile("mobile", body.0.mobile);
        let purpose = form.purpose("purpose", body.0.purpose);
        let solved = form.challenge("challenge", body.0.challenge);
        // No parameter of the document: it would be one more argument of every generated client, which has `challenge`.
        let challenge = form.challenge_header(ChallengeHeader::of(headers));
        let picture =
            form.optional_picture(self.0.sms_codes.settings.image_code, body.0.image_code_id, body.0.image_code);
        let challenge = solved.or(challenge).or(picture.map(ChallengeAnswer::Picture));
        let device = form.device("device", body.0.device);
        let (Some(mobile), Some(purpose), true) = (mobile, purpose, form.is_right()) else {
            return Err(form.problem().into());
        };
        let origin = context.origin_with(device, caller.user_id());
        let caller = if purpose.needs_sign_in() { Some(caller.0.map_err(Failure::from)?) } else { None };
        self.send(CodeRequest { mobile, purpose, caller, challenge, origin }).await
    }
}

impl SmsCodes {
    async fn send<F>(&self, request: CodeRequest) -> Result<Sent, Failure<F>> {
        let sms_codes = &self.0.sms_codes;
        sms_codes.send(request).await?;
        Ok(Sent::Ok(Json(Envelope::ok(SentSmsCode {
            expires_in: sms_codes.settings.ttl.as_secs(),
            resend_after: sms_codes.resend_gap().as_secs(),
        }))))
    }
}

//! Signing in, refreshing, signing out, and the check for reverse proxies: `/app/v1_0/authorizations`.

use poem::{Result, http::HeaderMap};
use poem_openapi::{ApiResponse, Object, OpenApi, param::Header, payload::Json};
use uuid::Uuid;

use super::{
    Section,
    bearer::{RefreshToken, SignedIn, Visitor},
    context::RequestContext,
    envelope::Envelope,
    failure::{Failure, failures},
    form::{ChallengeKind, DeviceKind, Field, Form, MobileKind, OptionalField, PasswordKind, SmsCodeKind},
    optional_json::OptionalJson,
};
use crate::auth::{Auth, sessions};

failures! {
    SignInWithCode: RequestInvalid, MobileInvalid, ImageCodeInvalid, ImageCodeExpired, SmsCodeInvalid, SmsCodeExpired,
        ImageCodeRequired, AccountDisabled, MediaTypeUnsupported;
    SignInWithPassword: RequestInvalid, MobileInvalid, ImageCodeInvalid, ImageCodeExpired, CredentialsInvalid,
        ImageCodeRequired, AccountDisabled, MediaTypeUnsupported;
    Refresh: RequestInvalid, RefreshTokenInvalid, RefreshTokenReused, SessionRevoked, AccountDisabled;
    Check: TokenInvalid, TokenExpired, SessionRevoked;
    SignOut: TokenInvalid, TokenExpired, SessionRevoked;
}

/// A mobile number and the code that it received.
#[derive(Debug, Object)]
struct SmsCodeSignIn {
    /// A mainland China mobile number, 11 digits from 13… to 19…; `+86`, spaces, dashes,
    /// dots, brackets and full-width digits are allowed.
    mobile: Field<MobileKind>,
    /// The code from the SMS: 6 digits, unless the service is set to 4 to 8; spaces, dashes and full-width digits are
    /// allowed.
    code: Field<SmsCodeKind>,
    challenge: OptionalField<ChallengeKind>,
    device: OptionalField<DeviceKind>,
}

/// A mobile number and its user's password.
#[derive(Debug, Object)]
struct PasswordSignIn {
    /// A mainland China mobile number, 11 digits from 13… to 19…; `+86`, spaces, dashes,
    /// dots, brackets and full-width digits are allowed.
    mobile: Field<MobileKind>,
    /// The password, exactly as it was chosen.
    password: Field<PasswordKind>,
    challenge: OptionalField<ChallengeKind>,
    device: OptionalField<DeviceKind>,
}

/// What a refresh may tell of the device.
#[derive(Debug, Object)]
struct RefreshDetails {
    device: OptionalField<DeviceKind>,
}

/// What every sign-in and every refresh hands out.
#[derive(Debug, Object)]
pub struct TokenSet {
    /// The access token: a JWT (RFC 9068). Send it as `Authorization: Bearer …`.
    pub token: String,
    /// The refresh token. Keep it safe; send it to `PUT /app/v1_0/authorizations` alone.
    pub refresh_token: String,
    /// Always `Bearer`.
    pub token_type: String,
    /// Seconds until the access token expires: 3600, unless the service is set otherwise; less if the session
    /// ends sooner.
    pub expires_in: u64,
    /// Seconds until the session ends unless it is refreshed: 1209600 (14 days), unless the service is set
    /// otherwise; less near the session's greatest age.
    pub refresh_expires_in: u64,
    /// The user's id, a UUIDv7.
    pub user_id: Uuid,
    /// `true` if this very sign-in registered the user.
    pub is_new_user: bool,
}

impl From<sessions::TokenSet> for TokenSet {
    fn from(tokens: sessions::TokenSet) -> Self {
        Self {
            token: tokens.token,
            refresh_token: tokens.refresh_token,
            token_type: "Bearer".to_owned(),
            expires_in: tokens.expires_in,
            refresh_expires_in: tokens.refresh_expires_in,
            user_id: tokens.user_id,
            is_new_user: tokens.is_new_user,
        }
    }
}

#[derive(ApiResponse)]
enum Created {
    /// The tokens of a session.
    #[oai(status = 201)]
    Created(Json<Envelope<TokenSet>>),
}

impl From<sessions::TokenSet> for Created {
    fn from(tokens: sessions::TokenSet) -> Self {
        Self::Created(Json(Envelope::ok(tokens.into())))
    }
}

#[derive(ApiResponse)]
enum Checked {
    /// The token is valid and its session goes on. There is no body.
    #[oai(status = 204)]
    Valid(
        /// The user's id, a UUIDv7.
        #[oai(header = "X-User-Id")]
        Uuid,
        /// The session's id, a UUIDv7.
        #[oai(header = "X-Session-Id")]
        Uuid,
    ),
}

#[derive(ApiResponse)]
enum Ended {
    /// The session is over.
    #[oai(status = 204)]
    Ended,
}

/// The section.
pub struct Authorizations(pub Auth);

#[OpenApi(prefix_path = "/app/v1_0/authorizations", tag = "Section::Authorizations")]
impl Authorizations {
    /// Sign in or register with an SMS code
    ///
    /// Call it with the number and the code that `send_sms_code` sent there. The code is used up. An unknown number is
    /// registered on the spot (`is_new_user`). If the answer is 503 the code was not used up: try again with the same
    /// one.
    #[oai(path = "/", method = "post", operation_id = "sign_in_with_sms_code")]
    async fn sign_in_with_sms_code(
        &self,
        context: &RequestContext,
        /// A UUID that the client makes up for this sign-in. Sent again with the same mobile and code within a minute,
        /// it brings the same session: after an answer that got lost.
        #[oai(name = "Idempotency-Key")]
        _idempotency_key: Header<Option<String>>,
        headers: &HeaderMap,
        visitor: Visitor,
        body: Json<SmsCodeSignIn>,
    ) -> Result<Created, Failure<SignInWithCode>> {
        let mut form = Form::new(context.family);
        // From the headers themselves: the parameter takes one that is not text for none.
        let key = form.idempotency_key("Idempotency-Key", headers.get("Idempotency-Key"));
        let mobile = form.mobile("mobile", body.0.mobile);
        let code = form.sms_code("code", body.0.code, &self.0.sms_codes);
        let challenge = form.challenge("challenge", body.0.challenge);
        let device = form.device("device", body.0.device);
        let (Some(mobile), Some(code), true) = (mobile, code, form.is_right()) else {
            return Err(form.problem().into());
        };
        let origin = context.origin_with(device, visitor.0);
        let signed_in = self.0.login.with_code(mobile, code, key, challenge, origin).await?;
        Ok(signed_in.tokens.into())
    }

    /// Sign in with a password
    ///
    /// For users who have a password (`has_password`). An unknown number, a user without a password and a wrong
    /// password all get the same answer in the same time.
    #[oai(path = "/password", method = "post", operation_id = "sign_in_with_password")]
    async fn sign_in_with_password(
        &self,
        context: &RequestContext,
        visitor: Visitor,
        body: Json<PasswordSignIn>,
    ) -> Result<Created, Failure<SignInWithPassword>> {
        let mut form = Form::new(context.family);
        let mobile = form.mobile("mobile", body.0.mobile);
        let password = form.password("password", body.0.password);
        let challenge = form.challenge("challenge", body.0.challenge);
        let device = form.device("device", body.0.device);
        let (Some(mobile), Some(password), true) = (mobile, password, form.is_right()) else {
            return Err(form.problem().into());
        };
        let origin = context.origin_with(device, visitor.0);
        let signed_in = self.0.login.with_password(mobile, password, challenge, origin).await?;
        Ok(signed_in.tokens.into())
    }

    /// Trade a refresh token for fresh tokens
    ///
    /// Call it when the access token has expired or is about to. The answer carries the next refresh token: keep that
    /// one. If the answer gets lost, the same refresh token may be sent again until its successor is used; a token
    /// older than that ends the session. A body is not needed; what it tells of the device is kept with the session.
    #[oai(path = "/", method = "put", operation_id = "refresh_token")]
    async fn refresh_token(
        &self,
        context: &RequestContext,
        token: RefreshToken,
        body: OptionalJson<RefreshDetails>,
    ) -> Result<Created, Failure<Refresh>> {
        let mut form = Form::new(context.family);
        let device = body.0.map(|details| form.device("device", details.device)).unwrap_or_default();
        if !form.is_right() {
            return Err(form.problem().into());
        }
        Ok(self.0.sessions.refresh(&token.0, context.origin_with(device, None)).await?.into())
    }

    /// Check an access token
    ///
    /// For reverse proxies: nginx's `auth_request`, Traefik's ForwardAuth, Envoy's ext_authz. On success there is no
    /// body; the headers say who is calling. The answer comes from memory; the database is not asked.
    #[oai(path = "/", method = "get", operation_id = "check_authorization")]
    async fn check_authorization(&self, caller: SignedIn) -> Result<Checked, Failure<Check>> {
        Ok(Checked::Valid(caller.0.user_id, caller.0.session_id))
    }

    /// Sign out
    ///
    /// Ends this session: its access token and its refresh token are refused from now on. Call it when
    /// the user signs out, and forget both tokens whatever the answer.
    #[oai(path = "/", method = "delete", operation_id = "sign_out")]
    async fn sign_out(&self, context: &RequestContext, caller: SignedIn) -> Result<Ended, Failure<SignOut>> {
        self.0.sessions.sign_out(caller.0, &context.origin()).await?;
        Ok(Ended::Ended)
    }
}

//! What do the classic families share? Users, answers and the sign-in cookie.

use std::{marker::PhantomData, sync::Arc};

use poem::{
    IntoResponse, Response, Result,
    http::{HeaderValue, header},
};
use poem_openapi::{
    ApiResponse, Object,
    payload::{Json, Payload},
    registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::{ToJSON, Type},
};
use uuid::Uuid;

use super::{
    bearer::{ClassicVisitor, SESSION_COOKIE},
    challenge_answer::ChallengeHeader,
    context::RequestContext,
    envelope::{ClassicEnvelope, ClassicOutcome},
    failure::{Failures, codes, failures, named},
    form::{Field, Form, ImageCodeIdKind, ImageCodeKind, MobileKind, OptionalField, PasswordKind, SmsCodeKind},
    problem::Problem,
};
use crate::{
    auth::{Auth, access_token::Identity, login::SignedIn},
    model::{device::Device, origin::Origin, user::User},
};

failures! {
    SendClassicCode: RequestInvalid, MobileInvalid, MobileBlocked, ImageCodeInvalid, ImageCodeExpired, MobileTaken, SmsTooFrequent,
        SmsQuotaExceeded, SmsSendFailed;
    RegisterClassic: RequestInvalid, MobileInvalid, SmsCodeInvalid, SmsCodeExpired, PasswordWeak, MobileTaken;
    SignInClassic: RequestInvalid, MobileInvalid, CredentialsInvalid, AccountDisabled;
    NotSignedIn: TokenInvalid, TokenExpired, SessionRevoked;
    FollowSignOut: NavigationRequired, TokenInvalid, TokenExpired, SessionRevoked;
    ChangeName: RequestInvalid, TokenInvalid, TokenExpired, SessionRevoked;
}

/// A mobile number and its user's password.
#[derive(Debug, Object)]
pub struct ClassicPasswordSignIn {
    /// A mainland China mobile number, 11 digits from 13… to 19…; `+86`, spaces, dashes,
    /// dots, brackets and full-width digits are allowed.
    pub mobile: Field<MobileKind>,
    /// The password. `passwd` stands for it, too.
    pub password: Field<PasswordKind>,
}

/// The user.
#[derive(Debug, Object)]
pub struct ClassicUser {
    /// The user's id, a UUIDv7.
    user_id: Uuid,
    /// The name, 1 to 32 characters; the mobile number until the user chooses another.
    name: String,
    /// The mobile number, eleven digits.
    mobile: String,
    /// The https URL of a picture, at most 512 characters; empty if there is none.
    avatar: String,
    /// The same as `name`, for older pages.
    username: String,
    /// The same as `avatar`, for older pages.
    avatar_url: String,
}

impl From<User> for ClassicUser {
    fn from(user: User) -> Self {
        let avatar = user.avatar_url.unwrap_or_default();
        Self {
            user_id: user.id,
            name: user.name.clone(),
            mobile: user.mobile.as_str().to_owned(),
            avatar: avatar.clone(),
            username: user.name,
            avatar_url: avatar,
        }
    }
}

/// The user, and the tokens of the new session.
#[derive(Debug, Object)]
pub struct ClassicSession {
    #[oai(flatten)]
    user: ClassicUser,
    /// The access token: a JWT (RFC 9068).
    token: String,
    /// The refresh token, for `PUT /app/v1_0/authorizations`.
    refresh_token: String,
    /// Always `Bearer`.
    token_type: String,
    /// Seconds until the access token expires: 3600, unless the service is set otherwise; less if the session
    /// ends sooner.
    expires_in: u64,
    /// Seconds until the session ends unless it is refreshed: 1209600 (14 days), unless the service is set
    /// otherwise; less near the session's greatest age.
    refresh_expires_in: u64,
    /// `true` if this very call registered the user.
    is_new_user: bool,
}

/// The one answer of a classic operation, HTTP 200 whatever `errno` says: success here, refusals as errors; `F` lists
/// these. With `COOKIE` it sets or clears the sign-in cookie.
pub struct Answer<T, F, const COOKIE: bool = false> {
    body: Json<T>,
    cookie: Option<String>,
    refusals: PhantomData<fn() -> F>,
}

/// An answer that also sets or clears the sign-in cookie.
pub type CookieAnswer<T, F> = Answer<T, F, true>;

impl<T, F> From<T> for Answer<T, F> {
    fn from(body: T) -> Self {
        Self { body: Json(body), cookie: None, refusals: PhantomData }
    }
}

impl<T, F> CookieAnswer<T, F> {
    fn new(body: T, cookie: Option<String>) -> Self {
        Self { body: Json(body), cookie, refusals: PhantomData }
    }
}

impl<T: ToJSON, F, const COOKIE: bool> IntoResponse for Answer<T, F, COOKIE> {
    fn into_response(self) -> Response {
        let mut response = self.body.into_response();
        if let Some(cookie) = self.cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        response
    }
}

impl<T: ToJSON, F: Failures, const COOKIE: bool> ApiResponse for Answer<T, F, COOKIE> {
    fn meta() -> MetaResponses {
        let cookie = COOKIE.then(|| MetaHeader {
            name: "Set-Cookie".to_owned(),
            description: Some(
                "Sets the sign-in cookie, or clears it on sign-out; absent where `CLASSIC_COOKIE` is `off`.".to_owned(),
            ),
            required: false,
            deprecated: false,
            schema: String::schema_ref(),
        });
        let response = MetaResponse {
            description: named(codes::<F>()),
            status: Some(200),
            status_range: None,
            content: vec![MetaMediaType { content_type: Json::<T>::CONTENT_TYPE, schema: T::schema_ref() }],
            headers: cookie.into_iter().collect(),
        };
        MetaResponses { responses: vec![response] }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// The signed-in user.
pub type UserAnswer = Answer<ClassicEnvelope<ClassicUser>, NotSignedIn>;

/// A new session.
pub type SessionAnswer<F> = CookieAnswer<ClassicEnvelope<ClassicSession>, F>;

/// The end of a session.
pub type SignedOut = CookieAnswer<ClassicOutcome, NotSignedIn>;

/// The services behind the classic families.
#[derive(Clone)]
pub struct Classic {
    /// The same ones as behind the app family.
    pub auth: Auth,
    /// `CLASSIC_COOKIE`.
    pub cookie: bool,
    /// May the cookie travel over https only?
    pub secure: bool,
}

impl Classic {
    /// Sends a code to a number that is not registered yet.
    pub async fn send_code(
        &self,
        context: &RequestContext,
        visitor: ClassicVisitor,
        mobile: Field<MobileKind>,
        (id_name, id): (&'static str, Field<ImageCodeIdKind>),
        (text_name, text): (&'static str, Field<ImageCodeKind>),
        challenge: ChallengeHeader,
    ) -> Result<Answer<ClassicOutcome, SendClassicCode>> {
        let mut form = Form::new(context.family);
        let mobile = form.mobile("mobile", mobile);
        let picture = form.picture(id_name, id, text_name, text);
        let challenge = form.challenge_header(challenge);
        let (Some(mobile), Some(picture), true) = (mobile, picture, form.is_right()) else {
            return Err(form.problem().into());
        };
        let sent = self.auth.sms_codes.send_classic(mobile, &picture, challenge, origin(context, visitor)).await;
        sent.map_err(Problem::from)?;
        Ok(ClassicOutcome::ok(context.language.choose("发送成功", "Sent")).into())
    }

    /// Registers with a code and a password.
    pub async fn register(
        &self,
        context: &RequestContext,
        visitor: ClassicVisitor,
        mobile: Field<MobileKind>,
        (code_name, code): (&'static str, Field<SmsCodeKind>),
        password: Field<PasswordKind>,
        repeated: OptionalField<PasswordKind>,
    ) -> Result<SessionAnswer<RegisterClassic>> {
        let mut form = Form::new(context.family);
        let mobile = form.mobile("mobile", mobile);
        let code = form.sms_code(code_name, code, &self.auth.sms_codes);
        let password = form.password("password", password);
        form.repeated_password("password2", repeated, password.as_ref());
        let (Some(mobile), Some(code), Some(password), true) = (mobile, code, password, form.is_right()) else {
            return Err(form.problem().into());
        };
        let registered = self.auth.login.register(mobile, code, password, origin(context, visitor)).await;
        Ok(self.signed_in(registered.map_err(Problem::from)?, context.language.choose("注册成功", "Registered")))
    }

    /// Signs in with a password.
    pub async fn sign_in(
        &self,
        context: &RequestContext,
        visitor: ClassicVisitor,
        body: ClassicPasswordSignIn,
    ) -> Result<SessionAnswer<SignInClassic>> {
        let mut form = Form::new(context.family);
        let mobile = form.mobile("mobile", body.mobile);
        let password = form.password("password", body.password);
        let (Some(mobile), Some(password)) = (mobile, password) else { return Err(form.problem().into()) };
        let signed_in = self.auth.login.with_password(mobile, password, None, origin(context, visitor)).await;
        Ok(self.signed_in(signed_in.map_err(Problem::from)?, context.language.choose("登录成功", "Signed in")))
    }

    /// Ends the session.
    pub async fn sign_out<F>(
        &self,
        context: &RequestContext,
        caller: Identity,
    ) -> Result<CookieAnswer<ClassicOutcome, F>> {
        self.auth.sessions.sign_out(caller, &context.origin()).await.map_err(Problem::from)?;
        Ok(CookieAnswer::new(ClassicOutcome::ok("OK"), self.set_cookie("", 0)))
    }

    fn signed_in<F>(&self, signed_in: SignedIn, message: &str) -> SessionAnswer<F> {
        let SignedIn { user, tokens } = signed_in;
        let cookie = self.set_cookie(&tokens.token, tokens.expires_in);
        let session = ClassicSession {
            user: user.into(),
            token: tokens.token,
            refresh_token: tokens.refresh_token,
            token_type: "Bearer".to_owned(),
            expires_in: tokens.expires_in,
            refresh_expires_in: tokens.refresh_expires_in,
            is_new_user: tokens.is_new_user,
        };
        CookieAnswer::new(ClassicEnvelope::ok(message, session), cookie)
    }

    fn set_cookie(&self, value: &str, max_age: u64) -> Option<String> {
        let secure = if self.secure { "; Secure" } else { "" };
        self.cookie
            .then(|| format!("{SESSION_COOKIE}={value}; HttpOnly; SameSite=Lax; Path=/; Max-Age={max_age}{secure}"))
    }
}

/// Where a request comes from; a token that comes along shows the owner of its account.
fn origin(context: &RequestContext, visitor: ClassicVisitor) -> Arc<Origin> {
    context.origin_with(Device::default(), visitor.0)
}

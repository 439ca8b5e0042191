//! What do the classic families share? Bodies, answers and the sign-in cookie.

use poem::{FromRequest, Request, RequestBody, Result};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, Object,
    error::ParseRequestPayloadError,
    payload::{Json, Payload},
    registry::{MetaMediaType, MetaRequest, Registry},
    types::ParseFromJSON,
};
use serde_json::Value;

use super::{
    bearer::SESSION_COOKIE,
    context::RequestContext,
    envelope::{ClassicEnvelope, Nothing},
    form::{Field, Form, ImageCodeIdKind, ImageCodeKind, MobileKind, PasswordKind, SmsCodeKind},
    problem::Problem,
};
use crate::auth::{Auth, access_token::Identity, login::SignedIn};

/// What old front ends call a field, and what it is called now.
const FIELD_ALIASES: [(&str, &str); 2] = [("passwd", "password"), ("passwd2", "password2")];

/// A JSON body, whatever its `Content-Type` says: many classic pages say nothing or `text/plain`.
pub struct ClassicJson<T>(pub T);

impl<'a, T: ParseFromJSON> ApiExtractor<'a> for ClassicJson<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = MetaMediaType { content_type: Json::<T>::CONTENT_TYPE, schema: T::schema_ref() };
        Some(MetaRequest { description: None, content: vec![content], required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let bytes = <Vec<u8> as FromRequest>::from_request(request, body).await?;
        let mut value = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        if let Value::Object(fields) = &mut value {
            for (alias, name) in FIELD_ALIASES {
                if let Some(field) = fields.remove(alias) {
                    fields.entry(name).or_insert(field);
                }
            }
        }
        let body = T::parse_from_json(Some(value)).map_err(|error| unreadable(error.into_message()))?;
        Ok(Self(body))
    }
}

fn unreadable(reason: String) -> poem::Error {
    ParseRequestPayloadError { reason }.into()
}

/// A mobile number and its user's password.
#[derive(Debug, Object)]
pub struct ClassicPasswordSignIn {
    /// A mainland China mobile number.
    pub mobile: Field<MobileKind>,
    /// The password. `passwd` stands for it, too.
    pub password: Field<PasswordKind>,
}

/// The user, and the tokens of the new session.
#[derive(Debug, Object)]
pub struct ClassicSession {
    /// A UUIDv7.
    user_id: String,
    /// The mobile number until the user chooses another.
    name: String,
    /// Eleven digits.
    mobile: String,
    /// An https URL, or empty.
    avatar: String,
    /// The access token: a JWT (RFC 9068).
    token: String,
    /// The refresh token, for `PUT /app/v1_0/authorizations`.
    refresh_token: String,
    /// Always `Bearer`.
    token_type: String,
    /// Seconds until the access token expires.
    expires_in: u64,
    /// Seconds until the session ends unless it is refreshed.
    refresh_expires_in: u64,
    /// `true` if this very call registered the user.
    is_new_user: bool,
}

/// An answer that sets or clears the sign-in cookie.
#[derive(ApiResponse)]
pub enum WithCookie {
    /// `errno` 0 and the session, or another `errno` and no data.
    #[oai(status = 200)]
    Ok(
        Json<ClassicEnvelope<ClassicSession>>,
        /// The sign-in cookie.
        #[oai(header = "Set-Cookie")]
        Option<String>,
    ),
}

/// An answer without data that clears the sign-in cookie.
#[derive(ApiResponse)]
pub enum SignedOut {
    /// `errno` 0, or 4101 for somebody who is not signed in.
    #[oai(status = 200)]
    Ok(
        Json<ClassicEnvelope<Nothing>>,
        /// Clears the sign-in cookie.
        #[oai(header = "Set-Cookie")]
        Option<String>,
    ),
}

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
    pub async fn send_code<const A: bool, const B: bool, const C: bool>(
        &self,
        context: &RequestContext,
        mobile: Field<MobileKind, A>,
        (id_name, id): (&'static str, Field<ImageCodeIdKind, B>),
        (text_name, text): (&'static str, Field<ImageCodeKind, C>),
    ) -> Result<Json<ClassicEnvelope<Nothing>>> {
        let mut form = Form::new(context.family);
        let mobile = form.mobile("mobile", mobile);
        let picture = form.picture(id_name, id, text_name, text);
        let (Some(mobile), Some(picture)) = (mobile, picture) else { return Err(form.problem().into()) };
        self.auth.sms_codes.send_classic(mobile, &picture, context.origin()).await.map_err(Problem::from)?;
        Ok(success(context.language.choose("发送成功", "Sent"), None))
    }

    /// Registers with a code and a password.
    pub async fn register<const A: bool>(
        &self,
        context: &RequestContext,
        mobile: Field<MobileKind>,
        (code_name, code): (&'static str, Field<SmsCodeKind, A>),
        password: Field<PasswordKind>,
        repeated: Option<Field<PasswordKind, false>>,
    ) -> Result<WithCookie> {
        let mut form = Form::new(context.family);
        let mobile = form.mobile("mobile", mobile);
        let code = form.sms_code(code_name, code, &self.auth.sms_codes);
        let password = form.password("password", password);
        if let Some(repeated) = repeated {
            form.repeated_password("password2", repeated, password.as_ref());
        }
        let (Some(mobile), Some(code), Some(password), true) = (mobile, code, password, form.is_right()) else {
            return Err(form.problem().into());
        };
        let registered = self.auth.login.register(mobile, code, password, context.origin()).await;
        Ok(self.signed_in(registered.map_err(Problem::from)?, context.language.choose("注册成功", "Registered")))
    }

    /// Signs in with a password.
    pub async fn sign_in(&self, context: &RequestContext, body: ClassicPasswordSignIn) -> Result<WithCookie> {
        let mut form = Form::new(context.family);
        let mobile = form.mobile("mobile", body.mobile);
        let password = form.password("password", body.password);
        let (Some(mobile), Some(password)) = (mobile, password) else { return Err(form.problem().into()) };
        let signed_in = self.auth.login.with_password(mobile, password, context.origin()).await;
        Ok(self.signed_in(signed_in.map_err(Problem::from)?, context.language.choose("登录成功", "Signed in")))
    }

    /// Ends the session.
    pub async fn sign_out(&self, context: &RequestContext, caller: Identity) -> Result<SignedOut> {
        self.auth.sessions.sign_out(caller, &context.origin()).await.map_err(Problem::from)?;
        Ok(SignedOut::Ok(success("OK", None), self.set_cookie("", 0)))
    }

    fn signed_in(&self, signed_in: SignedIn, message: &str) -> WithCookie {
        let SignedIn { user, tokens } = signed_in;
        let cookie = self.set_cookie(&tokens.token, tokens.expires_in);
        let session = ClassicSession {
            user_id: tokens.user_id.to_string(),
            name: user.name,
            mobile: user.mobile.as_str().to_owned(),
            avatar: user.avatar_url.unwrap_or_default(),
            token: tokens.token,
            refresh_token: tokens.refresh_token,
            token_type: "Bearer".to_owned(),
            expires_in: tokens.expires_in,
            refresh_expires_in: tokens.refresh_expires_in,
            is_new_user: tokens.is_new_user,
        };
        WithCookie::Ok(success(message, Some(session)), cookie)
    }

    fn set_cookie(&self, value: &str, max_age: u64) -> Option<String> {
        let secure = if self.secure { "; Secure" } else { "" };
        self.cookie
            .then(|| format!("{SESSION_COOKIE}={value}; HttpOnly; SameSite=Lax; Path=/; Max-Age={max_age}{secure}"))
    }
}

/// A successful answer.
pub fn success<T: poem_openapi::types::Type + ParseFromJSON + poem_openapi::types::ToJSON>(
    message: &str,
    data: Option<T>,
) -> Json<ClassicEnvelope<T>> {
    Json(ClassicEnvelope { errno: 0, errmsg: message.to_owned(), data })
}

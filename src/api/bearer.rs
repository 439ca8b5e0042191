//! Who is calling? The tokens that a request carries.

use std::sync::Arc;

use poem::{FromRequest, Request, RequestBody, Result, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};
use uuid::Uuid;

use super::{error_code::ErrorCode, problem::Problem};
use crate::auth::{Auth, access_token::Identity};

/// The cookie in which the classic families keep the access token.
pub const SESSION_COOKIE: &str = "phonepass_session";

/// How many sign-in cookies of one request are looked at: each costs a signature.
const COOKIES: usize = 16;

const ACCESS_TOKEN: &str = "access_token";
const REFRESH_TOKEN: &str = "refresh_token";

/// Somebody with a valid access token in the `Authorization` header.
pub struct SignedIn(pub Identity);

/// Somebody who may have an access token. Whether it has to be valid depends on what they ask for.
pub struct MaybeSignedIn(pub Result<Identity, Problem>);

/// Somebody with a valid access token in the header or, in the classic families, in the cookie.
pub struct ClassicSignedIn(pub Identity);

/// The user of a valid access token that comes along where none is needed. The document does not name it: generated
/// clients would ask for a token before they let anyone sign in.
pub struct Visitor(pub Option<Uuid>);

/// The same in the classic families, where it may come in the cookie.
pub struct ClassicVisitor(pub Option<Uuid>);

/// Whatever stands in the `Authorization` header as a refresh token.
pub struct RefreshToken(pub String);

/// Does the sign-in cookie count (`CLASSIC_COOKIE`)?
#[derive(Clone, Copy)]
pub struct CookieSignIn(pub bool);

/// The token of `Authorization: Bearer …` (RFC 6750, 2.1).
fn bearer(request: &Request) -> Option<&[u8]> {
    let value = request.headers().get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at(value.iter().position(|byte| *byte == b' ')?);
    scheme.eq_ignore_ascii_case(b"bearer").then(|| token.trim_ascii())
}

/// The values of the sign-in cookie. Read as bytes: pages of the same site keep names in cookies of theirs, in whatever
/// encoding.
fn cookies(request: &Request) -> impl Iterator<Item = &[u8]> {
    let headers = request.headers().get_all(header::COOKIE).iter();
    let pairs = headers.flat_map(|header| header.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(SESSION_COOKIE.as_bytes())?.strip_prefix(b"="))
}

fn verify(request: &Request, token: Option<&[u8]>) -> Result<Identity, Problem> {
    let auth = request.data::<Arc<Auth>>().expect("the pipeline has set the services");
    let token = token.and_then(|token| str::from_utf8(token).ok()).ok_or(ErrorCode::TokenInvalid)?;
    Ok(auth.sessions.access_tokens.verify(token)?)
}

/// The first cookie that is valid: a browser sends one for each path and domain it was set with, and not all of them
/// are of today.
fn verify_cookies(request: &Request) -> Result<Identity, Problem> {
    let mut verdicts = cookies(request).take(COOKIES).map(|token| verify(request, Some(token)));
    let first = verdicts.next().unwrap_or_else(|| verify(request, None));
    if first.is_ok() { first } else { verdicts.find(Result::is_ok).unwrap_or(first) }
}

impl SignedIn {
    fn read(request: &Request) -> Result<Self> {
        Ok(Self(verify(request, bearer(request))?))
    }
}

impl MaybeSignedIn {
    /// The user, if the token is valid.
    pub fn user_id(&self) -> Option<Uuid> {
        self.0.as_ref().ok().map(|identity| identity.user_id)
    }

    fn read(request: &Request) -> Result<Self> {
        Ok(Self(verify(request, bearer(request))))
    }
}

impl ClassicSignedIn {
    fn read(request: &Request) -> Result<Self> {
        let cookies = request.data::<CookieSignIn>().is_some_and(|enabled| enabled.0);
        let token = bearer(request);
        Ok(Self(if token.is_none() && cookies { verify_cookies(request)? } else { verify(request, token)? }))
    }
}

impl<'a> FromRequest<'a> for Visitor {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> Result<Self> {
        Ok(Self(SignedIn::read(request).ok().map(|caller| caller.0.user_id)))
    }
}

impl<'a> FromRequest<'a> for ClassicVisitor {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> Result<Self> {
        Ok(Self(ClassicSignedIn::read(request).ok().map(|caller| caller.0.user_id)))
    }
}

impl RefreshToken {
    fn read(request: &Request) -> Result<Self> {
        match bearer(request).and_then(|token| str::from_utf8(token).ok()) {
            Some(token) => Ok(Self(token.to_owned())),
            None => Err(Problem::from(ErrorCode::RefreshTokenInvalid).into()),
        }
    }
}

fn http_bearer(format: Option<&'static str>, description: &'static str) -> MetaSecurityScheme {
    MetaSecurityScheme {
        ty: "http",
        description: Some(description),
        name: None,
        key_in: None,
        scheme: Some("bearer"),
        bearer_format: format,
        flows: None,
        openid_connect_url: None,
    }
}

fn register_schemes(registry: &mut Registry) {
    registry.create_security_scheme(
        ACCESS_TOKEN,
        http_bearer(
            Some("JWT"),
            "The access token: `token` of a token set. Valid for `expires_in` seconds, then refresh.",
        ),
    );
    registry.create_security_scheme(
        REFRESH_TOKEN,
        http_bearer(None, "The refresh token: `refresh_token` of a token set. For refreshing only."),
    );
    registry.create_security_scheme(
        SESSION_COOKIE,
        MetaSecurityScheme {
            ty: "apiKey",
            description: Some("The sign-in cookie that the classic families set."),
            name: Some(SESSION_COOKIE),
            key_in: Some("cookie"),
            scheme: None,
            bearer_format: None,
            flows: None,
            openid_connect_url: None,
        },
    );
}

macro_rules! extractor {
    ($type:ty, [$($scheme:expr),+], optional: $optional:expr) => {
        impl<'a> ApiExtractor<'a> for $type {
            const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

            type ParamType = ();
            type ParamRawType = ();

            fn register(registry: &mut Registry) {
                register_schemes(registry);
            }

            fn security_schemes() -> Vec<&'static str> {
                vec![$($scheme),+]
            }

            fn has_security_fallback() -> bool {
                $optional
            }

            async fn from_request(
                request: &'a Request,
                _body: &mut RequestBody,
                _options: ExtractParamOptions<()>,
            ) -> Result<Self> {
                Self::read(request)
            }
        }
    };
}

extractor!(SignedIn, [ACCESS_TOKEN], optional: false);
extractor!(MaybeSignedIn, [ACCESS_TOKEN], optional: true);
extractor!(ClassicSignedIn, [ACCESS_TOKEN, SESSION_COOKIE], optional: false);
extractor!(RefreshToken, [REFRESH_TOKEN], optional: false);

//! Which browser pages may call? CORS for `CORS_ORIGINS`, on errors as well.

use std::str::FromStr;

use poem::{
    Request, Response,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
};
use url::{Host, Url};

const METHODS: &str = "GET, POST, PUT, PATCH, DELETE";
const ALLOWED_HEADERS: &str = "authorization, content-type, accept-language, idempotency-key, x-request-id, x-csrftoken, \
     x-challenge-response";
const EXPOSED_HEADERS: &str = "x-request-id, retry-after";

/// An entry of `CORS_ORIGINS`, as browsers and the web views of apps write it in `Origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// `*`: any, then without cookies.
    Any,
    /// `https://app.example.com`, `capacitor://localhost`.
    Exact(String),
    /// `https://*.example.com`: one label in the place of the asterisk.
    OneLabel {
        /// `https://`
        scheme: String,
        /// `.example.com`, with the port if it is not that of the scheme.
        domain: String,
    },
}

impl AllowedOrigin {
    fn matches(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => false,
            Self::Exact(allowed) => allowed.as_bytes() == origin,
            Self::OneLabel { scheme, domain } => {
                let label =
                    origin.strip_prefix(scheme.as_bytes()).and_then(|rest| rest.strip_suffix(domain.as_bytes()));
                label.is_some_and(|label| {
                    !label.is_empty()
                        && label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
                })
            }
        }
    }
}

impl FromStr for AllowedOrigin {
    type Err = String;

    /// Writes an origin as browsers do, who leave out the scheme's own port. What no browser sends is refused: it
    /// would be silently dead.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "*" {
            return Ok(Self::Any);
        }
        let refused = || {
            "expected origins such as https://app.example.com, https://*.example.com or capacitor://localhost, without a \
             path, or *"
                .to_owned()
        };
        let (scheme, authority) = text.split_once("://").ok_or_else(refused)?;
        let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
        match authority.strip_prefix("*.") {
            None => Ok(Self::Exact(format!("{scheme}://{}", host_and_port(&scheme, &authority).ok_or_else(refused)?))),
            Some(domain) => {
                // All of a top-level domain is not one owner's.
                let owned = domain.contains('.') || domain.split(':').next() == Some("localhost");
                let is_name = Url::parse(&format!("https://{domain}")).is_ok_and(|url| url.domain().is_some());
                let domain = host_and_port(&scheme, domain).filter(|_| owned && is_name).ok_or_else(refused)?;
                Ok(Self::OneLabel { scheme: format!("{scheme}://"), domain: format!(".{domain}") })
            }
        }
    }
}

/// What stands behind the scheme in an `Origin`, if it can stand there.
fn host_and_port(scheme: &str, authority: &str) -> Option<String> {
    let url = Url::parse(&format!("{scheme}://{authority}")).ok()?;
    let bare = matches!(url.path(), "" | "/")
        && !authority.contains(['/', '\\', '?', '#', '@', '*', '%'])
        && url.port() != Some(0)
        // The origin of files is null, which any page can have.
        && url.scheme() != "file";
    let host = match url.host()? {
        Host::Domain(host) => host.to_owned(),
        address => address.to_string(),
    };
    let named = bare && !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic());
    named.then(|| url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}")))
}

/// The allowed origins.
pub struct Cors(pub Vec<AllowedOrigin>);

impl Cors {
    /// The answer to a preflight, on whatever path; `None` if this is no preflight.
    pub fn preflight(&self, request: &Request) -> Option<Response> {
        let preflight = !self.0.is_empty()
            && request.method() == Method::OPTIONS
            && request.headers().contains_key(header::ORIGIN)
            && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        preflight.then(|| {
            Response::builder()
                .status(StatusCode::NO_CONTENT)
                .header(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)
                .header(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS)
                .header(header::ACCESS_CONTROL_MAX_AGE, "600")
                .finish()
        })
    }

    /// Tells the browser that a page of this origin may read the answer. An origin that is not allowed is told nothing.
    pub fn decorate(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = origin else { return };
        if self.0.iter().any(|allowed| allowed.matches(origin.as_bytes())) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        } else if self.0.contains(&AllowedOrigin::Any) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else {
            return;
        }
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
    }
}

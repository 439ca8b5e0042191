//! What does every handler know about the request it serves?

use std::sync::Arc;

use poem::{
    FromRequest, Request, RequestBody, Result,
    http::header::{self, HeaderName, HeaderValue},
};
use uuid::Uuid;

use super::{client_ip::TrustedProxies, language::Language, locality::is_local};
use crate::model::{
    device::Device,
    origin::{Origin, Presence},
};

/// Names a request, in both directions.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How many characters an `X-Request-Id` of the caller's may have: each line of the log repeats it.
const REQUEST_ID_LENGTH: usize = 64;

/// How many characters of a `User-Agent` are kept.
const USER_AGENT_LENGTH: usize = 256;

/// Whose envelope an answer wears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// REST, and whatever is outside the families.
    App,
    /// ihome and passport.
    Classic,
}

impl Family {
    /// The family of a path, aliases resolved.
    pub fn of(path: &str) -> Self {
        let classic = ["/api/v1.0", "/passport"]
            .iter()
            .any(|prefix| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
        if classic { Self::Classic } else { Self::App }
    }
}

/// One request's circumstances.
#[derive(Debug)]
pub struct RequestContext {
    /// The language of messages.
    pub language: Language,
    /// The envelope.
    pub family: Family,
    origin: Arc<Origin>,
}

impl RequestContext {
    /// Looks at a request whose path is rewritten already.
    ///
    /// The client waits for as long as `waiting` is held.
    pub fn of(request: &Request, proxies: &TrustedProxies, waiting: &Arc<()>) -> Self {
        let peer_ip = request.remote_addr().as_socket_addr().map(|addr| addr.ip().to_canonical());
        let sane = |id: &&str| {
            (1..=REQUEST_ID_LENGTH).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        let headers = request.headers();
        // As bytes: one that is not ASCII is no reason to forget the rest of a header. None of them is NUL, which
        // PostgreSQL could not keep.
        let bytes = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
        let request_id = bytes(X_REQUEST_ID).and_then(|id| str::from_utf8(id).ok()).filter(sane);
        let user_agent = bytes(header::USER_AGENT).map(String::from_utf8_lossy);
        let client_ip = peer_ip.map(|peer| proxies.client_ip(peer, headers));
        let origin = Origin {
            ip: client_ip,
            is_local: is_local(request, proxies, peer_ip, client_ip),
            user_agent: user_agent.map(|agent| agent.chars().take(USER_AGENT_LENGTH).collect()),
            request_id: request_id.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned),
            presence: Presence::while_held(waiting),
            device: Device::default(),
            user_id: None,
        };
        Self {
            language: Language::from_header(bytes(header::ACCEPT_LANGUAGE)),
            family: Family::of(request.uri().path()),
            origin: Arc::new(origin),
        }
    }

    /// The caller's `X-Request-Id` if it is sane, else a new one.
    pub fn id(&self) -> &str {
        &self.origin.request_id
    }

    /// Does it come from this machine, as far as can be told?
    pub fn is_local(&self) -> bool {
        self.origin.is_local
    }

    /// Where it comes from, for the rules.
    pub fn origin(&self) -> Arc<Origin> {
        self.origin.clone()
    }

    /// The same with what may show that it comes from the owner of an account: the device that the body describes, and
    /// the user whose valid access token the request carries.
    pub fn origin_with(&self, device: Device, user_id: Option<Uuid>) -> Arc<Origin> {
        Arc::new(Origin { device, user_id, ..(*self.origin).clone() })
    }
}

impl<'a> FromRequest<'a> for &'a RequestContext {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> Result<Self> {
        Ok(request.extensions().get::<Arc<RequestContext>>().expect("the pipeline has set the context"))
    }
}

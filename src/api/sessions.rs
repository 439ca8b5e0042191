//! Where a user is signed in: `/app/v1_0/user/sessions`.

use poem::Result;
use poem_openapi::{ApiResponse, Object, OpenApi, param::Path, payload::Json};
use uuid::Uuid;

use super::{
    Section,
    bearer::SignedIn,
    context::RequestContext,
    envelope::Envelope,
    failure::{Failure, failures},
    timestamp::Timestamp,
};
use crate::{
    auth::{Auth, error::Error},
    model::session,
};

failures! {
    ListSessions: TokenInvalid, TokenExpired, SessionRevoked;
    EndSession: TokenInvalid, TokenExpired, SessionRevoked, NotFound;
    EndSessions: TokenInvalid, TokenExpired, SessionRevoked;
}

/// A place where the user is signed in.
#[derive(Debug, Object)]
#[oai(rename = "Session", skip_serializing_if_is_none)]
struct SessionBody {
    /// A UUIDv7, the claim `sid` of its access tokens.
    id: Uuid,
    /// Is it the one that asks?
    current: bool,
    /// When the user signed in, in UTC.
    created_at: Timestamp,
    /// When the session was refreshed for the last time, in UTC; left out if it never was.
    refreshed_at: Option<Timestamp>,
    /// The IPv4 or IPv6 address that the user signed in from; empty if it is not known.
    ip: String,
    /// The `User-Agent` that the user signed in with, at most 256 characters; empty if there was none.
    user_agent: String,
    /// The IPv4 or IPv6 address of the last refresh; left out if there was none, or if it is not known.
    last_ip: Option<String>,
    /// The `User-Agent` of the last refresh, at most 256 characters; left out if there was none.
    last_user_agent: Option<String>,
    device: Option<SessionDevice>,
}

/// What the client has told of the device; left out if it has told nothing.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct SessionDevice {
    /// What the app calls it, at most 64 characters.
    name: Option<String>,
    /// What it runs: `android`, `ios`, `harmony`, `web`, `miniprogram`, `desktop` or `other`.
    platform: Option<String>,
}

impl SessionDevice {
    fn of(session: &session::Session) -> Option<Self> {
        let platform = session.platform.map(|platform| platform.as_str().to_owned());
        let known = session.device_name.is_some() || platform.is_some();
        known.then(|| Self { name: session.device_name.clone(), platform })
    }
}

impl SessionBody {
    fn new(session: session::Session, current: Uuid) -> Self {
        Self {
            current: session.id == current,
            device: SessionDevice::of(&session),
            id: session.id,
            created_at: Timestamp(session.created_at),
            refreshed_at: session.refreshed_at.map(Timestamp),
            ip: session.ip.unwrap_or_default(),
            user_agent: session.user_agent.unwrap_or_default(),
            last_ip: session.last_ip,
            last_user_agent: session.last_user_agent,
        }
    }
}

/// Where the user is signed in.
#[derive(Debug, Object)]
struct SessionList {
    /// The newest first, at most 100.
    sessions: Vec<SessionBody>,
}

#[derive(ApiResponse)]
enum Listed {
    /// The sessions.
    #[oai(status = 200)]
    Ok(Json<Envelope<SessionList>>),
}

#[derive(ApiResponse)]
enum Ended {
    /// Signed out there.
    #[oai(status = 204)]
    Ended,
}

/// The section.
pub struct Sessions(pub Auth);

#[OpenApi(prefix_path = "/app/v1_0/user/sessions", tag = "Section::Sessions")]
impl Sessions {
    /// List the user's sessions
    ///
    /// Every place where the user is signed in now: for a page on which users see their devices.
    #[oai(path = "/", method = "get", operation_id = "list_sessions")]
    async fn list_sessions(&self, caller: SignedIn) -> Result<Listed, Failure<ListSessions>> {
        let sessions = self.0.sessions.list(caller.0).await?.into_iter();
        let sessions = sessions.map(|session| SessionBody::new(session, caller.0.session_id)).collect();
        Ok(Listed::Ok(Json(Envelope::ok(SessionList { sessions }))))
    }

    /// End a session
    ///
    /// Signs that device out: its tokens are refused within a second. The current session can be ended, too.
    #[oai(path = "/:id", method = "delete", operation_id = "end_session")]
    async fn end_session(
        &self,
        context: &RequestContext,
        caller: SignedIn,
        /// The id of the session, from `list_sessions`.
        id: Path<String>,
    ) -> Result<Ended, Failure<EndSession>> {
        // What is no UUID is the id of no session.
        let id = id.0.parse().map_err(|_| Error::NoSuchSession)?;
        self.0.sessions.end_one(caller.0, id, &context.origin()).await?;
        Ok(Ended::Ended)
    }

    /// End all other sessions
    ///
    /// Signs the user out everywhere but here: after a device was lost, say. Their tokens are refused within a second.
    #[oai(path = "/", method = "delete", operation_id = "end_other_sessions")]
    async fn end_other_sessions(
        &self,
        context: &RequestContext,
        caller: SignedIn,
    ) -> Result<Ended, Failure<EndSessions>> {
        self.0.sessions.end_others(caller.0, &context.origin()).await?;
        Ok(Ended::Ended)
    }
}

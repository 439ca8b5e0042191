//! How does a session begin, go on and end?

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use super::{
    access_token::{AccessTokens, Identity},
    device::DeviceHashes,
    error::Error,
    event::{self, Event, Subject},
    refresh_token::RefreshTokens,
    revocation::Revocations,
};
use crate::{
    clock::Clock,
    model::{
        device::DeviceKey,
        origin::{Origin, network_of},
        session::{self, Lifetime, NewSession, Session, SessionEnd, SignInMethod},
        user::{User, UserStatus},
    },
    store::users::{Ending, FormerRefresh, Opened, Refresher, Rotation, UserStore},
    telemetry::metrics,
};

/// How many sessions of an account live at a time: more than a user has devices. The oldest end.
pub const MAX_SESSIONS: u32 = 100;

/// What every sign-in and every refresh hands out.
pub struct TokenSet {
    /// The access token.
    pub token: String,
    /// The next refresh token.
    pub refresh_token: String,
    /// Seconds until the access token expires.
    pub expires_in: u64,
    /// Seconds until the session ends unless it is refreshed.
    pub refresh_expires_in: u64,
    /// Whose tokens these are.
    pub user_id: Uuid,
    /// Was the user registered by this very sign-in?
    pub is_new_user: bool,
}

/// Opens, refreshes and ends sessions.
pub struct Sessions {
    /// Where sessions are kept.
    pub users: Arc<dyn UserStore>,
    /// Issues and verifies access tokens.
    pub access_tokens: AccessTokens,
    /// Issues and reads refresh tokens.
    pub refresh_tokens: RefreshTokens,
    /// The sessions that are over.
    pub revocations: Arc<Revocations>,
    /// Hashes the ids of devices.
    pub devices: DeviceHashes,
    /// How long sessions live.
    pub lifetime: Lifetime,
    /// What time it is.
    pub clock: Clock,
}

impl Sessions {
    /// A session that is about to be opened.
    pub fn begin(&self, method: SignInMethod, origin: Arc<Origin>) -> NewSession {
        // All sessions may have been ended by an instance whose clock is ahead: this one begins after that all the same.
        let now = self.clock.now().max(self.revocations.valid_from());
        let expires_at = self.lifetime.expiry(now, now);
        let device_key = self.device_key(&origin);
        NewSession { id: session::id_at(now), method, created_at: now, expires_at, origin, device_key }
    }

    /// Ends the oldest sessions of a user who has more than an account may have, now that this one is open. Sign-ins are
    /// counted with the user, so that for almost all this asks nothing of the store.
    pub async fn end_oldest(&self, user_id: Uuid, opened: &Opened) {
        if opened.living_at_most <= MAX_SESSIONS {
            return;
        }
        let (newest, now) = (opened.session.id, self.clock.now());
        match self.users.end_oldest_sessions(user_id, newest, MAX_SESSIONS, now).await {
            Ok(ended) if ended.is_empty() => {}
            Ok(ended) => {
                ended.iter().for_each(|id| self.revocations.add(*id));
                let (reason, count) = (Some(SessionEnd::Limit.as_str()), Some(ended.len()));
                let subject = Subject { user_id: Some(user_id), reason, count, ..Subject::default() };
                event::record(Event::SignedOut, &opened.session.origin, subject);
            }
            // The next sign-in counts again.
            Err(error) => tracing::warn!(%error, "failed to end the oldest sessions of a user"),
        }
    }

    fn device_key(&self, origin: &Origin) -> Option<DeviceKey> {
        origin.device.id.as_ref().map(|id| self.devices.key(id))
    }

    /// The tokens of a session.
    pub fn tokens(&self, session: &Session, is_new_user: bool) -> Result<TokenSet, Error> {
        let token = self.access_tokens.issue(session)?;
        Ok(TokenSet {
            token: token.jwt,
            refresh_token: self.refresh_tokens.issue(session.id, session.refresh_counter),
            expires_in: token.expires_in,
            refresh_expires_in: whole_seconds(session.expires_at - self.clock.now()),
            user_id: session.user_id,
            is_new_user,
        })
    }

    /// Trades a refresh token for the next one and a fresh access token (RFC 9700, 4.14.2).
    ///
    /// The previous token is honoured until its successor is used: an answer that got lost signs nobody out.
    pub async fn refresh(&self, refresh_token: &str, origin: Arc<Origin>) -> Result<TokenSet, Error> {
        let Some((session_id, counter)) = self.refresh_tokens.read(refresh_token) else {
            metrics::REFRESHES.count(["forged"]);
            return Err(Error::RefreshTokenInvalid);
        };
        let refresher = Refresher { device_key: self.device_key(&origin), origin };
        let rotation = self.users.rotate(session_id, counter, &refresher, self.clock.now(), self.lifetime).await?;
        let origin = &refresher.origin;
        metrics::REFRESHES.count([outcome_of(&rotation)]);
        match rotation {
            Rotation::Rotated(session, former) => {
                record_refresh(&session, &former, origin);
                self.tokens(&session, false)
            }
            Rotation::Reused(user_id) => {
                self.revocations.add(session_id);
                record(Event::RefreshReused, user_id, session_id, None, origin);
                Err(Error::RefreshTokenReused)
            }
            Rotation::Ended => Err(Error::SessionRevoked),
            Rotation::Expired => Err(Error::RefreshTokenInvalid),
            Rotation::Disabled => Err(Error::AccountDisabled),
        }
    }

    /// Ends the session of this access token: here at once, elsewhere within a second.
    pub async fn sign_out(&self, identity: Identity, origin: &Origin) -> Result<(), Error> {
        self.end(identity, identity.session_id, origin).await.map(drop)
    }

    /// The user's sessions that are not over, newest first (ASVS 7.5.2).
    pub async fn list(&self, identity: Identity) -> Result<Vec<Session>, Error> {
        Ok(self.users.sessions(identity.user_id, MAX_SESSIONS, self.clock.now()).await?)
    }

    /// Ends one of the user's sessions. One that has expired is none to the user, as in [`Sessions::list`], and is ended
    /// all the same.
    pub async fn end_one(&self, identity: Identity, id: Uuid, origin: &Origin) -> Result<(), Error> {
        let expires_at = self.end(identity, id, origin).await?;
        if expires_at.is_some_and(|time| time > self.clock.now()) { Ok(()) } else { Err(Error::NoSuchSession) }
    }

    /// Ends all of the user's sessions but this one.
    pub async fn end_others(&self, identity: Identity, origin: &Origin) -> Result<(), Error> {
        let keep = Some(identity.session_id);
        let ending = self.users.end_sessions(identity.user_id, keep, self.clock.now()).await?;
        self.have_ended(ending.ok_or(Error::SessionRevoked)?);
        // One event, without a count: their number is not looked up.
        record_end(identity, identity.session_id, "others", origin);
        Ok(())
    }

    /// Takes note of sessions that the store has ended: their access tokens are refused from now on.
    pub fn have_ended(&self, ending: Ending) {
        self.revocations.add_all(ending);
    }

    async fn end(&self, identity: Identity, id: Uuid, origin: &Origin) -> Result<Option<DateTime<Utc>>, Error> {
        let why = if id == identity.session_id { SessionEnd::SignOut } else { SessionEnd::Removal };
        let expires_at = self.users.end_session(identity.user_id, id, why).await?;
        if expires_at.is_some() {
            self.revocations.add(id);
            record_end(identity, id, why.as_str(), origin);
        }
        Ok(expires_at)
    }

    /// Is a session, as the store has it, over?
    pub fn is_over(&self, session: &Session) -> bool {
        session.is_ended
            || session.expires_at <= self.clock.now()
            || self.revocations.is_over(session.user_id, session.id)
    }

    /// The user behind an access token, as they are now.
    pub async fn user(&self, identity: Identity) -> Result<User, Error> {
        let user = self.users.user(identity.user_id).await?;
        user.filter(|user| user.status == UserStatus::Active).ok_or(Error::SessionRevoked)
    }
}

/// What metrics call it.
fn outcome_of(rotation: &Rotation) -> &'static str {
    match rotation {
        Rotation::Rotated(..) => "rotated",
        Rotation::Reused(_) => "reused",
        Rotation::Ended => "ended",
        Rotation::Expired => "expired",
        Rotation::Disabled => "disabled",
    }
}

/// `others`: all but this session have ended.
fn record_end(identity: Identity, session_id: Uuid, reason: &str, origin: &Origin) {
    record(Event::SignedOut, identity.user_id, session_id, Some(reason), origin);
}

/// Puts on record what may show that two hold a refresh token (RFC 9700, 4.14.2): a phone that changes networks does the
/// same, so it is information, not an alarm.
fn record_refresh(session: &Session, former: &FormerRefresh, origin: &Origin) {
    if former.used_before {
        record(Event::RefreshRepeated, session.user_id, session.id, None, origin);
    }
    let first = session.refresh_counter == 1 && !former.used_before;
    let network = |ip: &Option<String>| Some(network_of(ip.as_ref()?.parse().ok()?));
    let networks = [&session.ip, &former.ip].map(network);
    let new_network = origin.ip.map(network_of).is_some_and(|here| !networks.contains(&Some(here)));
    let new_agent = origin.user_agent != session.user_agent && (first || origin.user_agent != former.user_agent);
    let reason = match (new_network, new_agent) {
        (true, true) => "network_and_agent",
        (true, false) => "network",
        (false, true) => "agent",
        (false, false) => return,
    };
    record(Event::RefreshFromNewNetwork, session.user_id, session.id, Some(reason), origin);
}

fn record(event: Event, user_id: Uuid, session_id: Uuid, reason: Option<&str>, origin: &Origin) {
    let subject = Subject { user_id: Some(user_id), session_id: Some(session_id), reason, ..Subject::default() };
    event::record(event, origin, subject);
}

/// Rounded up, so that a fresh session shows the lifetime that was configured.
fn whole_seconds(duration: Duration) -> u64 {
    duration.to_std().unwrap_or_default().as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

//! How does a session begin, go on and end?

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use super::{
    access_token::{AccessTokens, Identity},
    error::Error,
    event::{self, Event, Subject},
    refresh_token::RefreshTokens,
    revocation::Revocations,
};
use crate::{
    clock::Clock,
    model::{
        origin::Origin,
        session::{self, Lifetime, NewSession, Session, SignInMethod},
        user::{User, UserStatus},
    },
    store::users::{Rotation, UserStore},
    telemetry::metrics,
};

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
        NewSession { id: session::id_at(now), method, created_at: now, expires_at, origin }
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
    pub async fn refresh(&self, refresh_token: &str, origin: &Origin) -> Result<TokenSet, Error> {
        let Some((session_id, counter)) = self.refresh_tokens.read(refresh_token) else {
            metrics::REFRESHES.count(["forged"]);
            return Err(Error::RefreshTokenInvalid);
        };
        let rotation = self.users.rotate(session_id, counter, self.clock.now(), self.lifetime).await?;
        metrics::REFRESHES.count([outcome_of(&rotation)]);
        match rotation {
            Rotation::Rotated(session) => self.tokens(&session, false),
            Rotation::Reused(user_id) => {
                self.revocations.add(session_id);
                let subject = Subject { user_id: Some(user_id), session_id: Some(session_id), ..Subject::default() };
                event::record(Event::RefreshReused, origin, subject);
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
        Ok(self.users.sessions(identity.user_id, self.clock.now()).await?)
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
        let ended = self.users.end_sessions(identity.user_id, keep, self.clock.now()).await?;
        self.have_ended(&ended);
        for id in ended {
            record_end(identity, id, origin);
        }
        Ok(())
    }

    /// Takes note of sessions that the store has ended: their access tokens are refused from now on.
    pub fn have_ended(&self, ids: &[Uuid]) {
        ids.iter().for_each(|id| self.revocations.add(*id));
    }

    async fn end(&self, identity: Identity, id: Uuid, origin: &Origin) -> Result<Option<DateTime<Utc>>, Error> {
        let expires_at = self.users.end_session(identity.user_id, id, self.clock.now()).await?;
        if expires_at.is_some() {
            self.have_ended(&[id]);
            record_end(identity, id, origin);
        }
        Ok(expires_at)
    }

    /// Is a session, as the store has it, over?
    pub fn is_over(&self, session: &Session) -> bool {
        session.revoked_at.is_some() || session.expires_at <= self.clock.now() || self.revocations.is_over(session.id)
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
        Rotation::Rotated(_) => "rotated",
        Rotation::Reused(_) => "reused",
        Rotation::Ended => "ended",
        Rotation::Expired => "expired",
        Rotation::Disabled => "disabled",
    }
}

fn record_end(identity: Identity, session_id: Uuid, origin: &Origin) {
    let subject = Subject { user_id: Some(identity.user_id), session_id: Some(session_id), ..Subject::default() };
    event::record(Event::SignedOut, origin, subject);
}

/// Rounded up, so that a fresh session shows the lifetime that was configured.
fn whole_seconds(duration: Duration) -> u64 {
    duration.to_std().unwrap_or_default().as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

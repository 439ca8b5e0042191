//! How does somebody sign in or register? The place where a user comes into being.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use uuid::Uuid;

use super::{
    challenges::ChallengeAnswer,
    cores::Place,
    detached::Detached,
    error::Error,
    event::{self, Event, Subject},
    guess_subjects::Guessed,
    guesses::Guesses,
    limits::Limits,
    password::{Passwords, Verdict},
    sessions::{Sessions, TokenSet},
    sms_code::{Code, Presentation, Presented, Repeatable, SmsCodes},
};
use crate::{
    model::{
        mobile::Mobile,
        origin::Origin,
        purpose::Purpose,
        session::{NewSession, Session, SignInMethod},
        user::{User, UserStatus},
    },
    store::users::{NewUser, Opened, UserStore},
};

/// Somebody who is signed in now.
pub struct SignedIn {
    /// Who.
    pub user: User,
    /// The tokens of the new session.
    pub tokens: TokenSet,
}

/// Signs people in, and registers whoever is new. Clones share everything.
#[derive(Clone)]
pub struct Login {
    /// Where users are kept.
    pub users: Arc<dyn UserStore>,
    /// Lets guesses at passwords be looked at, names what right ones clear.
    pub guesses: Arc<Guesses>,
    /// Knows who shares a queue.
    pub limits: Arc<Limits>,
    /// Checks codes.
    pub sms_codes: Arc<SmsCodes>,
    /// Checks and hashes passwords.
    pub passwords: Arc<Passwords>,
    /// Opens sessions.
    pub sessions: Arc<Sessions>,
    /// Takes over what a caller hung up on.
    pub detached: Detached,
}

impl Login {
    /// Signs in by SMS code, registering the mobile on the spot if it is unknown.
    ///
    /// The code is used up exactly if the user is signed in: when the database fails, it works again. With an
    /// idempotency key the same caller gets the same session again, for a minute and while it lasts: also while the
    /// first call is still under way, because signing in twice with one session changes nothing.
    pub async fn with_code(
        &self,
        mobile: Mobile,
        code: Code,
        idempotency_key: Option<Uuid>,
        challenge: Option<ChallengeAnswer>,
        origin: Arc<Origin>,
    ) -> Result<SignedIn, Error> {
        let this = self.clone();
        self.detached
            .to_the_end(async move {
                let session = this.sessions.begin(SignInMethod::Sms, origin.clone());
                let repeatable = idempotency_key.map(|key| Repeatable { key, value: remember(&session) });
                let presentation = Presentation::of(Purpose::Login, &mobile, &code, &origin, challenge.as_ref());
                match this.sms_codes.redeem_or_repeat(presentation, repeatable).await? {
                    Presented::Redeemed(redeemed) => {
                        let user = NewUser { id: Uuid::now_v7(), mobile, password_hash: None };
                        let cleared = this.guesses.subjects.of(Guessed::Codes, &user.mobile);
                        let outcome = this.users.sign_in(&user, &session, &cleared).await.map_err(Error::from);
                        if let Ok((_, opened)) = &outcome
                            && opened.session.id != session.id
                        {
                            this.sms_codes.repeat_as(&redeemed, remember(&opened.session)).await;
                        }
                        let (user, opened) = this.sms_codes.restore_unless(outcome, Some(redeemed)).await?;
                        this.signed_in(user, &opened).await
                    }
                    Presented::Repeated(value) => {
                        let (id, created_at) = recall(&value).ok_or(Error::SmsCodeExpired)?;
                        let expires_at = this.sessions.lifetime.expiry(created_at, created_at);
                        Box::pin(this.repeat(mobile, &NewSession { id, created_at, expires_at, ..session })).await
                    }
                }
            })
            .await
    }

    /// Registers by SMS code and password; a taken mobile is refused, and leaves the code usable.
    pub async fn register(
        &self,
        mobile: Mobile,
        code: Code,
        password: SecretString,
        origin: Arc<Origin>,
    ) -> Result<SignedIn, Error> {
        self.passwords.check_strength(&password, &mobile)?;
        let this = self.clone();
        self.detached
            .to_the_end(async move {
                let place = this.passwords.place(this.limits.party(&origin))?;
                let presentation = Presentation::of(Purpose::Login, &mobile, &code, &origin, None);
                let redeemed = this.sms_codes.redeem(presentation).await?;
                let session = this.sessions.begin(SignInMethod::Sms, origin);
                let outcome = async {
                    let password_hash = Some(this.passwords.hash(place, password).await?);
                    let cleared = this.guesses.subjects.of(Guessed::Codes, &mobile);
                    let user = NewUser { id: Uuid::now_v7(), mobile, password_hash };
                    this.users.register(&user, &session, &cleared).await?.ok_or(Error::MobileTaken)
                };
                let user = this.sms_codes.restore_unless(outcome.await, Some(redeemed)).await?;
                this.signed_in(user, &Opened { session, living_at_most: 1 }).await
            })
            .await
    }

    /// Signs in by password, within the budget of wrong guesses. An unknown mobile, a user without a password and a
    /// wrong password are one case, and take one time (ASVS 6.3.8).
    pub async fn with_password(
        &self,
        mobile: Mobile,
        password: SecretString,
        challenge: Option<ChallengeAnswer>,
        origin: Arc<Origin>,
    ) -> Result<SignedIn, Error> {
        let this = self.clone();
        self.detached
            .to_the_end(async move {
                let place = this.passwords.place(this.limits.party(&origin))?;
                let guess = this.guesses.take_password(&mobile, &origin, true, challenge.as_ref()).await?;
                let checked = this.check_password(place, &mobile, password).await;
                this.guesses.settle(guess, checked.as_ref().ok().map(|(_, verdict)| verdict.right)).await;
                let (user, verdict) = checked?;
                let Some(user) = user.filter(|_| verdict.right) else {
                    let subject = Subject { mobile: Some(&mobile), reason: Some("password"), ..Subject::default() };
                    event::record(Event::SignInFailed, &origin, subject);
                    return Err(Error::CredentialsInvalid);
                };
                let session = this.sessions.begin(SignInMethod::Password, origin);
                if user.status != UserStatus::Active {
                    return Err(refused(&user, &session.origin));
                }
                let hash = user.password_hash.as_deref().unwrap_or_default();
                let cleared = this.guesses.subjects.of(Guessed::Password, &mobile);
                let opened = this.users.open_session(user.id, &session, hash, verdict.new_hash.as_deref(), &cleared);
                // Disabled, or given another password, while this one was being checked.
                let opened = opened.await?.ok_or(Error::CredentialsInvalid)?;
                this.signed_in(user, &opened).await
            })
            .await
    }

    async fn check_password(
        &self,
        place: Place,
        mobile: &Mobile,
        password: SecretString,
    ) -> Result<(Option<User>, Verdict), Error> {
        let user = self.users.user_by_mobile(mobile).await?;
        let stored = user.as_ref().and_then(|user| user.password_hash.clone());
        Ok((user, self.passwords.verify(place, password, stored).await?))
    }

    /// Answers once more what was answered to whoever signed in with this session, or is about to be.
    async fn repeat(&self, mobile: Mobile, session: &NewSession) -> Result<SignedIn, Error> {
        let mut id = session.id;
        if self.users.session(id).await?.is_none() {
            let cleared = self.guesses.subjects.of(Guessed::Codes, &mobile);
            let user = NewUser { id: Uuid::now_v7(), mobile, password_hash: None };
            let (_, opened) = self.users.sign_in(&user, session, &cleared).await?;
            id = opened.session.id;
        }
        let opened = self.users.session(id).await?.ok_or(Error::AccountDisabled)?;
        let user = if self.sessions.is_over(&opened) { None } else { self.users.user(opened.user_id).await? };
        self.tokens(user.ok_or(Error::SmsCodeExpired)?, &opened)
    }

    /// The answer to whoever has just signed in, if the store gave them a session.
    async fn signed_in(&self, user: User, opened: &Opened) -> Result<SignedIn, Error> {
        let session = &opened.session;
        if user.status != UserStatus::Active {
            return Err(refused(&user, &session.origin));
        }
        let subject = Subject {
            user_id: Some(user.id),
            session_id: Some(session.id),
            mobile: Some(&user.mobile),
            reason: Some(session.method.as_str()),
            ..Subject::default()
        };
        let is_new = user.created_at == session.created_at;
        event::record(if is_new { Event::Registered } else { Event::SignedIn }, &session.origin, subject);
        self.sessions.end_oldest(user.id, opened).await;
        let opened = session.opened_for(user.id);
        self.tokens(user, &opened)
    }

    /// Whoever was created when the session was is new.
    fn tokens(&self, user: User, session: &Session) -> Result<SignedIn, Error> {
        let tokens = self.sessions.tokens(session, user.created_at == session.created_at)?;
        Ok(SignedIn { user, tokens })
    }
}

/// Takes note of a sign-in to an account that may not sign in.
fn refused(user: &User, origin: &Origin) -> Error {
    let (mobile, reason) = (Some(&user.mobile), Some("account_disabled"));
    let subject = Subject { user_id: Some(user.id), mobile, reason, ..Subject::default() };
    event::record(Event::SignInFailed, origin, subject);
    Error::AccountDisabled
}

/// What a repetition needs to know of a session.
fn remember(session: &NewSession) -> String {
    format!("{} {}", session.id, session.created_at.timestamp_micros())
}

fn recall(value: &str) -> Option<(Uuid, DateTime<Utc>)> {
    let (id, created_at) = value.split_once(' ')?;
    Some((id.parse().ok()?, DateTime::from_timestamp_micros(created_at.parse().ok()?)?))
}

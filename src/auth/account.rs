//! What can users do to their own account?

use std::sync::Arc;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use uuid::Uuid;

use super::{
    access_token::Identity,
    challenges::ChallengeAnswer,
    cores::Place,
    detached::Detached,
    error::{Error, WhichCode},
    event::{self, Event, Subject},
    guess_subjects::Guessed,
    guesses::Guesses,
    limits::Limits,
    password::Passwords,
    sessions::Sessions,
    sms_code::{Code, Presentation, SmsCodes},
};
use crate::{
    model::{
        mobile::Mobile,
        origin::Origin,
        purpose::Purpose,
        user::{User, UserStatus},
    },
    store::users::{MobileChange, UserStore},
};

/// Changes accounts. Clones share everything.
#[derive(Clone)]
pub struct Account {
    /// Where users are kept.
    pub users: Arc<dyn UserStore>,
    /// Checks codes.
    pub sms_codes: Arc<SmsCodes>,
    /// Checks and hashes passwords.
    pub passwords: Arc<Passwords>,
    /// Lets guesses at passwords be looked at, names what right ones clear.
    pub guesses: Arc<Guesses>,
    /// Knows who shares a queue.
    pub limits: Arc<Limits>,
    /// Ends sessions.
    pub sessions: Arc<Sessions>,
    /// Takes over what a caller hung up on.
    pub detached: Detached,
}

/// How users show that the account is theirs before they change the password (ASVS 6.2.3).
pub enum Proof {
    /// They know the password of now.
    OldPassword(SecretString),
    /// They have the phone.
    Code(Code),
}

impl Account {
    /// Changes the name or the picture; what is not given stays, and `Some(None)` removes the picture.
    pub async fn update_profile(
        &self,
        identity: Identity,
        name: Option<String>,
        avatar_url: Option<Option<String>>,
    ) -> Result<User, Error> {
        let now = self.sessions.clock.now();
        let avatar_url = avatar_url.as_ref().map(Option::as_deref);
        let user = self.users.update_profile(identity.user_id, name.as_deref(), avatar_url, now).await?;
        user.ok_or(Error::SessionRevoked)
    }

    /// Sets or changes the password; the user's other sessions end (ASVS 7.4.3).
    pub async fn change_password(
        &self,
        identity: Identity,
        password: SecretString,
        proof: Proof,
        challenge: Option<ChallengeAnswer>,
        origin: Arc<Origin>,
    ) -> Result<(), Error> {
        let user = self.sessions.user(identity).await?;
        self.passwords.check_strength(&password, &user.mobile)?;
        let (this, origin) = (self.clone(), shown_by_token(&origin, identity));
        self.detached
            .to_the_end(async move {
                let place = this.passwords.place(this.limits.party(&origin))?;
                let subjects = &this.guesses.subjects;
                let (redeemed, cleared) = match proof {
                    Proof::OldPassword(old) => {
                        this.check_old_password(&user, old, &origin, challenge.as_ref()).await?;
                        (None, vec![subjects.of(Guessed::Password, &user.mobile)])
                    }
                    Proof::Code(code) => {
                        let presentation =
                            Presentation::of(Purpose::ResetPassword, &user.mobile, &code, &origin, challenge.as_ref());
                        (Some(this.sms_codes.redeem(presentation).await?), subjects.all(&user.mobile))
                    }
                };
                let keep = Some(identity.session_id);
                let changed = this.set_password(place, &user, password, keep, &cleared, &origin).await;
                this.sms_codes.restore_unless(changed, redeemed).await?.ok_or(Error::SessionRevoked)
            })
            .await
    }

    /// Sets a new password by code; all of the user's sessions end (ASVS 6.4.3).
    pub async fn reset_password(
        &self,
        mobile: Mobile,
        code: Code,
        password: SecretString,
        challenge: Option<ChallengeAnswer>,
        origin: Arc<Origin>,
    ) -> Result<(), Error> {
        self.passwords.check_strength(&password, &mobile)?;
        let this = self.clone();
        self.detached
            .to_the_end(async move {
                let place = this.passwords.place(this.limits.party(&origin))?;
                let presentation =
                    Presentation::of(Purpose::ResetPassword, &mobile, &code, &origin, challenge.as_ref());
                let redeemed = this.sms_codes.redeem(presentation).await?;
                let changed = async {
                    // No code goes to a number without an account: what was redeemed belongs to one that has moved since.
                    let user = this.users.user_by_mobile(&mobile).await?.ok_or(Error::SmsCodeExpired)?;
                    if user.status != UserStatus::Active {
                        return Ok(None);
                    }
                    let cleared = this.guesses.subjects.all(&mobile);
                    this.set_password(place, &user, password, None, &cleared, &origin).await
                };
                this.sms_codes.restore_unless(changed.await, Some(redeemed)).await?.ok_or(Error::AccountDisabled)
            })
            .await
    }

    /// Moves the account to another number, whose owner has proved both the old and the new one (ASVS 7.5.1); the
    /// user's other sessions end. Neither code is used up unless both are right and the number is free.
    pub async fn change_mobile(
        &self,
        identity: Identity,
        mobile: Mobile,
        code: Code,
        current_code: Code,
        challenge: Option<ChallengeAnswer>,
        origin: Arc<Origin>,
    ) -> Result<User, Error> {
        let user = self.sessions.user(identity).await?;
        if user.mobile == mobile {
            return Err(Error::NumberUnchanged);
        }
        let (this, origin) = (self.clone(), shown_by_token(&origin, identity));
        self.detached
            .to_the_end(async move {
                let refused = |code| move |error| Error::OneOfTwoCodes { code, error: Box::new(error) };
                let (origin, challenge) = (&*origin, challenge.as_ref());
                let presentation = Presentation::of(Purpose::ChangeMobile, &mobile, &code, origin, challenge);
                let new = this.sms_codes.redeem(presentation).await.map_err(refused(WhichCode::New))?;
                let presentation = Presentation { mobile: &user.mobile, code: &current_code, ..presentation };
                let current = match this.sms_codes.redeem(presentation).await {
                    Ok(current) => current,
                    Err(error) => {
                        this.sms_codes.restore(new).await;
                        return Err(refused(WhichCode::Current)(error));
                    }
                };
                let now = this.sessions.clock.now();
                let cleared = [&user.mobile, &mobile].map(|mobile| this.guesses.subjects.of(Guessed::Codes, mobile));
                let (numbers, keep) = ((&user.mobile, &mobile), identity.session_id);
                let changed = this.users.change_mobile(user.id, numbers, keep, &cleared, now).await;
                let error = match changed {
                    Ok(MobileChange::Changed(user, ending)) => {
                        this.sessions.have_ended(ending);
                        this.record(Event::MobileChanged, &user, Some(identity.session_id), origin);
                        return Ok(*user);
                    }
                    Ok(MobileChange::Taken) => Error::MobileTaken,
                    // Of two moves at once, the second proves a number that is not the account's any more.
                    Ok(MobileChange::Gone) => match this.sessions.user(identity).await {
                        Ok(_) => refused(WhichCode::Current)(Error::SmsCodeExpired),
                        Err(error) => error,
                    },
                    Err(error) => error.into(),
                };
                this.sms_codes.restore(new).await;
                this.sms_codes.restore(current).await;
                Err(error)
            })
            .await
    }

    /// Forgets the user and frees the number; all sessions end (ASVS 7.4.2).
    pub async fn delete(
        &self,
        identity: Identity,
        code: Code,
        challenge: Option<ChallengeAnswer>,
        origin: Arc<Origin>,
    ) -> Result<(), Error> {
        let user = self.sessions.user(identity).await?;
        let (this, origin) = (self.clone(), shown_by_token(&origin, identity));
        self.detached
            .to_the_end(async move {
                let presentation =
                    Presentation::of(Purpose::DeleteAccount, &user.mobile, &code, &origin, challenge.as_ref());
                let redeemed = this.sms_codes.redeem(presentation).await?;
                let cleared = this.guesses.subjects.all(&user.mobile);
                let deleted = this.users.delete_user(user.id, &cleared, this.sessions.clock.now());
                let deleted = deleted.await.map_err(Error::from);
                let ending = this.sms_codes.restore_unless(deleted, Some(redeemed)).await?;
                this.sessions.have_ended(ending.ok_or(Error::SessionRevoked)?);
                this.record(Event::AccountDeleted, &user, Some(identity.session_id), &origin);
                this.forget_sessions(user.id).await;
                Ok(())
            })
            .await
    }

    /// Of a user with very many sessions, the older ones.
    async fn forget_sessions(&self, user_id: Uuid) {
        let mut begun_until = DateTime::<Utc>::MAX_UTC;
        loop {
            match self.users.forget_sessions(user_id, begun_until).await {
                Ok(None) => return,
                Ok(Some(oldest)) => begun_until = oldest,
                Err(error) => {
                    // They are deleted once they are old.
                    tracing::warn!(%error, "failed to have sessions of a deleted user forget where they came from");
                    return;
                }
            }
        }
    }

    async fn check_old_password(
        &self,
        user: &User,
        old: SecretString,
        origin: &Origin,
        challenge: Option<&ChallengeAnswer>,
    ) -> Result<(), Error> {
        let place = self.passwords.place(self.limits.party(origin))?;
        let guess = self.guesses.take_password(&user.mobile, origin, false, challenge).await?;
        let verdict = self.passwords.verify(place, old, user.password_hash.clone()).await;
        self.guesses.settle(guess, verdict.as_ref().ok().map(|verdict| verdict.right)).await;
        if verdict?.right {
            return Ok(());
        }
        self.record(Event::OldPasswordWrong, user, None, origin);
        Err(Error::OldPasswordWrong)
    }

    /// `None` for a user who may not sign in any more.
    async fn set_password(
        &self,
        place: Place,
        user: &User,
        password: SecretString,
        keep: Option<Uuid>,
        cleared: &[String],
        origin: &Origin,
    ) -> Result<Option<()>, Error> {
        let hash = self.passwords.hash(place, password).await?;
        let changed = self.users.set_password(user.id, &hash, keep, cleared, self.sessions.clock.now());
        let Some(ending) = changed.await? else { return Ok(None) };
        self.sessions.have_ended(ending);
        self.record(Event::PasswordChanged, user, keep, origin);
        Ok(Some(()))
    }

    fn record(&self, event: Event, user: &User, session_id: Option<Uuid>, origin: &Origin) {
        let mobile = Some(&user.mobile);
        let subject = Subject { user_id: Some(user.id), session_id, mobile, ..Subject::default() };
        event::record(event, origin, subject);
    }
}

/// Where a request comes from whose access token shows that the owner of the account sent it.
fn shown_by_token(origin: &Origin, identity: Identity) -> Arc<Origin> {
    Arc::new(Origin { user_id: Some(identity.user_id), ..origin.clone() })
}

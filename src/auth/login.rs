//! How does somebody sign in or register? The place where a user comes into being.

use std::sync::Arc;

use secrecy::SecretString;
use uuid::Uuid;

use super::{
    error::Error,
    password::Passwords,
    sessions::{Sessions, TokenSet},
    sms_code::{Code, Redeemed, SmsCodes},
    to_the_end,
};
use crate::{
    model::{
        mobile::Mobile,
        purpose::Purpose,
        session::{Device, SignInMethod},
        user::{User, UserStatus},
    },
    store::{
        ephemeral::EphemeralStore,
        users::{NewUser, UserStore},
    },
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
    /// Where limits are counted.
    pub codes: Arc<dyn EphemeralStore>,
    /// Checks codes.
    pub sms_codes: Arc<SmsCodes>,
    /// Checks and hashes passwords.
    pub passwords: Arc<Passwords>,
    /// Opens sessions.
    pub sessions: Arc<Sessions>,
}

impl Login {
    /// Signs in by SMS code, registering the mobile on the spot if it is unknown.
    ///
    /// The code is used up exactly if the user is signed in: when the database fails, it works again.
    pub async fn with_code(&self, mobile: Mobile, code: Code, device: Device) -> Result<SignedIn, Error> {
        let this = self.clone();
        to_the_end(async move {
            let redeemed = this.sms_codes.redeem(&mobile, Purpose::Login, &code).await?;
            let user = NewUser { id: Uuid::now_v7(), mobile, password_hash: None };
            let session = this.sessions.begin(SignInMethod::Sms, device);
            let outcome = this.users.sign_in(&user, &session).await.map_err(Error::from);
            let signed_in = this.or_restore(outcome, redeemed).await?;
            if signed_in.user.status != UserStatus::Active {
                return Err(Error::AccountDisabled);
            }
            let tokens = this.sessions.tokens(&session.opened_for(signed_in.user.id), signed_in.is_new)?;
            Ok(SignedIn { user: signed_in.user, tokens })
        })
        .await
    }

    /// Registers by SMS code and password; a taken mobile is refused, and leaves the code usable.
    pub async fn register(
        &self,
        mobile: Mobile,
        code: Code,
        password: SecretString,
        device: Device,
    ) -> Result<SignedIn, Error> {
        self.passwords.check_strength(&password, &mobile)?;
        let this = self.clone();
        to_the_end(async move {
            let redeemed = this.sms_codes.redeem(&mobile, Purpose::Login, &code).await?;
            let session = this.sessions.begin(SignInMethod::Sms, device);
            let outcome = async {
                let password_hash = Some(this.passwords.hash(password).await?);
                let user = NewUser { id: Uuid::now_v7(), mobile, password_hash };
                this.users.register(&user, &session).await?.ok_or(Error::MobileTaken)
            };
            let user = this.or_restore(outcome.await, redeemed).await?;
            let tokens = this.sessions.tokens(&session.opened_for(user.id), true)?;
            Ok(SignedIn { user, tokens })
        })
        .await
    }

    /// Signs in by password. An unknown mobile, a user without a password and a wrong password are one case, and take
    /// one time (ASVS 6.3.8).
    pub async fn with_password(
        &self,
        mobile: &Mobile,
        password: SecretString,
        device: Device,
    ) -> Result<SignedIn, Error> {
        // Fail closed: nobody may guess while the store in which limits are counted is away.
        self.codes.ping().await?;
        let user = self.users.user_by_mobile(mobile).await?;
        let stored = user.as_ref().and_then(|user| user.password_hash.clone());
        let verdict = self.passwords.verify(password, stored).await?;
        let user = user.filter(|_| verdict.right).ok_or(Error::CredentialsInvalid)?;
        if user.status != UserStatus::Active {
            return Err(Error::AccountDisabled);
        }
        let session = self.sessions.begin(SignInMethod::Password, device);
        self.users.open_session(user.id, &session, verdict.new_hash.as_deref()).await?;
        let tokens = self.sessions.tokens(&session.opened_for(user.id), false)?;
        Ok(SignedIn { user, tokens })
    }

    /// Gives the code back when what it was for did not happen.
    async fn or_restore<T>(&self, outcome: Result<T, Error>, redeemed: Redeemed) -> Result<T, Error> {
        if outcome.is_err() {
            self.sms_codes.restore(redeemed).await;
        }
        outcome
    }
}

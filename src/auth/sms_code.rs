//! How is an SMS code made, sent and checked?

use std::{collections::HashMap, sync::Arc, time::Duration};

use hmac::Mac;
use rand::RngExt;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::{
    access_token::Identity,
    error::Error,
    image_code::{ImageCodes, PictureAnswer},
    master_key::{HmacSha256, MasterKey, hex},
    to_the_end,
};
use crate::{
    model::{mobile::Mobile, purpose::Purpose},
    sms::{SmsError, SmsMessage, SmsProvider},
    store::{
        ephemeral::{CodeSlot, EphemeralStore, Issue, PendingCode, Redemption},
        users::UserStore,
    },
};

/// The digits that somebody typed, of the configured length.
#[derive(Clone, Debug)]
pub struct Code(SecretString);

/// A code that was right and is used up, and how to undo that.
pub struct Redeemed {
    slot: CodeSlot,
    /// `None` for the fixed code of a test number, which is never used up.
    pending: Option<PendingCode>,
}

/// When to ask for a picture code on the app family (`IMAGE_CODE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ImageCodePolicy {
    /// For every message.
    Always,
    /// On suspicion.
    Adaptive,
    /// Not at all; one that is sent along is ignored.
    Never,
}

/// The numbers behind the rules.
#[derive(Clone, Debug)]
pub struct SmsCodeSettings {
    /// `SMS_CODE_TTL`.
    pub ttl: Duration,
    /// `SMS_CODE_LENGTH`.
    pub length: usize,
    /// `SMS_CODE_MAX_ATTEMPTS`.
    pub max_attempts: u32,
    /// `SMS_RESEND_SECONDS`.
    pub resend_gap: Duration,
    /// `SMS_TEST_CODES`: numbers with a fixed code, for app-store reviews and CI.
    pub test_codes: HashMap<Mobile, String>,
    /// `IMAGE_CODE`.
    pub image_code: ImageCodePolicy,
    /// `SMS_TEXT` with `{code}` and `{minutes}`.
    pub text: String,
    /// `SMS_TEXT_DOMAIN`, for codes that fill themselves in.
    pub text_domain: Option<String>,
}

/// Makes, sends and checks one-time codes (ASVS 6.5, 6.6).
pub struct SmsCodes {
    codes: Arc<dyn EphemeralStore>,
    users: Arc<dyn UserStore>,
    image_codes: Arc<ImageCodes>,
    provider: Arc<dyn SmsProvider>,
    mac: HmacSha256,
    settings: SmsCodeSettings,
}

impl SmsCodes {
    /// Keys the codes from the master key.
    pub fn new(
        codes: Arc<dyn EphemeralStore>,
        users: Arc<dyn UserStore>,
        image_codes: Arc<ImageCodes>,
        provider: Arc<dyn SmsProvider>,
        master: &MasterKey,
        settings: SmsCodeSettings,
    ) -> Self {
        Self { codes, users, image_codes, provider, mac: master.hmac("sms-code"), settings }
    }

    /// The numbers behind the rules.
    pub fn settings(&self) -> &SmsCodeSettings {
        &self.settings
    }

    /// Reads the digits that somebody typed; `None` if they cannot be a code.
    pub fn parse(&self, digits: &str) -> Option<Code> {
        let shaped = digits.len() == self.settings.length && digits.bytes().all(|byte| byte.is_ascii_digit());
        shaped.then(|| Code(digits.into()))
    }

    /// Sends a code to an app: test number → who may ask → resend gap → picture code → message.
    ///
    /// A repetition that comes too early is told before any picture code is asked for.
    pub async fn send(
        self: &Arc<Self>,
        mobile: Mobile,
        purpose: Purpose,
        caller: Option<Identity>,
        picture: Option<PictureAnswer>,
    ) -> Result<(), Error> {
        let known = self.check_purpose(&mobile, purpose, caller).await?;
        if self.settings.test_codes.contains_key(&mobile) {
            return Ok(());
        }
        let picture = match self.settings.image_code {
            ImageCodePolicy::Never => None,
            ImageCodePolicy::Adaptive => picture.map(Some),
            ImageCodePolicy::Always => Some(picture),
        };
        if let Some(answer) = picture {
            if let Some(retry_after) = self.codes.resend_gap(&mobile).await? {
                return Err(Error::SmsTooFrequent { retry_after });
            }
            self.image_codes.check(&answer.ok_or(Error::ImageCodeRequired)?).await?;
        }
        let this = self.clone();
        to_the_end(async move { this.deliver(mobile, purpose, known).await }).await
    }

    /// Sends a code to a classic front end: picture code → registered already? → message.
    pub async fn send_classic(self: &Arc<Self>, mobile: Mobile, picture: &PictureAnswer) -> Result<(), Error> {
        self.image_codes.check(picture).await?;
        if self.users.user_by_mobile(&mobile).await?.is_some() {
            return Err(Error::MobileTaken);
        }
        if self.settings.test_codes.contains_key(&mobile) {
            return Ok(());
        }
        let this = self.clone();
        to_the_end(async move { this.deliver(mobile, Purpose::Login, true).await }).await
    }

    /// Checks a code and uses it up.
    pub async fn redeem(&self, mobile: &Mobile, purpose: Purpose, code: &Code) -> Result<Redeemed, Error> {
        let slot = CodeSlot { mobile: mobile.clone(), purpose };
        if let Some(fixed) = self.settings.test_codes.get(mobile) {
            let right = bool::from(fixed.as_bytes().ct_eq(code.0.expose_secret().as_bytes()));
            return if right {
                Ok(Redeemed { slot, pending: None })
            } else {
                Err(Error::SmsCodeInvalid { attempts_left: None })
            };
        }
        match self.codes.redeem_code(&slot, &self.digest(&slot, code.0.expose_secret())).await? {
            Redemption::Accepted(pending) => Ok(Redeemed { slot, pending: Some(pending) }),
            Redemption::Wrong { tries_left } => Err(Error::SmsCodeInvalid { attempts_left: Some(tries_left) }),
            Redemption::Missing => Err(Error::SmsCodeExpired),
        }
    }

    /// Makes a used code usable again.
    pub async fn restore(&self, redeemed: Redeemed) {
        let Some(pending) = redeemed.pending else { return };
        if let Err(error) = self.codes.restore_code(&redeemed.slot, &pending).await {
            tracing::error!(%error, mobile = %redeemed.slot.mobile, "a code could not be given back");
        }
    }

    /// May this number get a code for this purpose? Answers whether there is anybody to send it to.
    async fn check_purpose(&self, mobile: &Mobile, purpose: Purpose, caller: Option<Identity>) -> Result<bool, Error> {
        match purpose {
            Purpose::Login => Ok(true),
            Purpose::ResetPassword => Ok(self.users.user_by_mobile(mobile).await?.is_some()),
            Purpose::ChangeMobile => caller.map(|_| true).ok_or(Error::TokenInvalid),
            Purpose::DeleteAccount => {
                let caller = caller.ok_or(Error::TokenInvalid)?;
                let user = self.users.user(caller.user_id).await?.ok_or(Error::SessionRevoked)?;
                if user.mobile == *mobile { Ok(true) } else { Err(Error::NumberNotAllowed) }
            }
        }
    }

    /// Issues a code and hands it to the vendor; takes it back if the vendor fails.
    ///
    /// To a number that is not `known`, nothing is sent, and nobody can tell.
    async fn deliver(&self, mobile: Mobile, purpose: Purpose, known: bool) -> Result<(), Error> {
        let slot = CodeSlot { mobile, purpose };
        let code = random_digits(self.settings.length);
        let pending = PendingCode {
            digest: self.digest(&slot, &code),
            tries_left: self.settings.max_attempts,
            ttl: self.settings.ttl,
        };
        let issued = self.codes.issue_code(&slot, known.then_some(&pending), self.settings.resend_gap).await?;
        if let Issue::TooSoon(retry_after) = issued {
            return Err(Error::SmsTooFrequent { retry_after });
        }
        if !known {
            return Ok(());
        }
        let message = self.message(&slot, code);
        let Err(error) = self.provider.send(&message).await else { return Ok(()) };
        tracing::error!(%error, mobile = %slot.mobile, "an SMS was not sent");
        if let Err(error) = self.codes.withdraw_code(&slot, &pending.digest).await {
            tracing::error!(%error, mobile = %slot.mobile, "a code that was not sent could not be withdrawn");
        }
        Err(match error {
            SmsError::Throttled { .. } => Error::SmsTooFrequent { retry_after: self.settings.resend_gap },
            SmsError::Refused { .. } | SmsError::Unreachable { .. } => Error::SmsSendFailed,
        })
    }

    fn message(&self, slot: &CodeSlot, code: String) -> SmsMessage {
        let mut message = SmsMessage {
            mobile: slot.mobile.clone(),
            purpose: slot.purpose.as_str(),
            code,
            ttl: self.settings.ttl,
            text: String::new(),
        };
        let minutes = message.minutes().to_string();
        message.text = self.settings.text.replace("{code}", &message.code).replace("{minutes}", &minutes);
        if let Some(domain) = &self.settings.text_domain {
            message.text += &format!("\n@{domain} #{}", message.code);
        }
        message
    }

    /// What is kept of a code: keyed, and bound to mobile and purpose (ASVS 6.5.2, 6.6.2).
    fn digest(&self, slot: &CodeSlot, code: &str) -> String {
        let bound = format!("{}:{}:{code}", slot.purpose.as_str(), slot.mobile.as_str());
        hex(&self.mac.clone().chain_update(bound).finalize().into_bytes())
    }
}

/// Digits from the operating system's generator, all equally likely (ASVS 6.5.3).
fn random_digits(length: usize) -> String {
    let mut random = rand::rng();
    (0..length).map(|_| char::from(random.random_range(b'0'..=b'9'))).collect()
}

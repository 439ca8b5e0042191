//! How is an SMS code made, sent and checked?

use std::{sync::Arc, time::Duration};

use hmac::Mac;
use rand::RngExt;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::{
    access_token::Identity,
    detached::Detached,
    error::Error,
    event::{self, Event, Subject},
    image_code::{ImageCodes, PictureAnswer},
    limits::{Guess, Limits, limited},
    master_key::{HmacSha256, MasterKey},
    test_codes::TestCodes,
};
use crate::{
    hex::hex,
    model::{mobile::Mobile, origin::Origin, purpose::Purpose, typed},
    sms::{SmsError, SmsMessage, SmsProvider},
    store::{
        StoreError,
        ephemeral::{
            Admission, As, Asker, Attempt, CodeSlot, EphemeralStore, PendingCode, Redemption, Replay, Tally, UsedCode,
        },
        users::UserStore,
    },
    telemetry::metrics,
};

/// How long the answer to a right code can be had again.
const REPEATABLE_FOR: Duration = Duration::from_secs(60);

/// The digits that somebody typed, of the configured length.
#[derive(Clone, Debug)]
pub struct Code(SecretString);

/// A code that was right and is used up, and how to undo that.
pub struct Redeemed(UsedCode);

/// A code that may be presented again by whoever did not hear the answer.
pub struct Repeatable {
    /// The caller's own name for what they are doing.
    pub key: Uuid,
    /// What to remember of it.
    pub value: String,
}

/// What came of presenting a code that may be repeated.
pub enum Presented {
    /// It was right.
    Redeemed(Redeemed),
    /// It was right before: what was remembered then.
    Repeated(String),
}

/// Somebody who wants a code sent.
pub struct CodeRequest {
    /// To whom.
    pub mobile: Mobile,
    /// What for.
    pub purpose: Purpose,
    /// Who asks, where that matters.
    pub caller: Option<Identity>,
    /// What they read in a picture, if they did.
    pub picture: Option<PictureAnswer>,
    /// Where the request comes from.
    pub origin: Arc<Origin>,
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
    /// `SMS_TEST_CODES`: numbers with a fixed code, for app-store reviews and CI.
    pub test_codes: TestCodes,
    /// `IMAGE_CODE`.
    pub image_code: ImageCodePolicy,
    /// `SMS_TEXT` with `{code}` and `{minutes}`.
    pub text: String,
    /// `SMS_TEXT_DOMAIN`, for codes that fill themselves in.
    pub text_domain: Option<String>,
}

/// Makes, sends and checks one-time codes (ASVS 6.5, 6.6).
pub struct SmsCodes {
    /// Where codes are kept.
    pub codes: Arc<dyn EphemeralStore>,
    /// Whose numbers are known.
    pub users: Arc<dyn UserStore>,
    /// Checks pictures.
    pub image_codes: Arc<ImageCodes>,
    /// Delivers messages.
    pub provider: Arc<dyn SmsProvider>,
    /// Counts messages and wrong guesses.
    pub limits: Arc<Limits>,
    /// Keys the codes: from [`SmsCodes::mac`].
    pub mac: HmacSha256,
    /// The numbers behind the rules.
    pub settings: SmsCodeSettings,
    /// Takes over what no caller waits for.
    pub detached: Detached,
}

impl SmsCodes {
    /// What codes are keyed with, from the master key.
    pub fn mac(master: &MasterKey) -> HmacSha256 {
        master.hmac("sms-code")
    }

    /// Reads the code that a user typed or pasted; `None` if it cannot be one.
    pub fn parse(&self, text: &str) -> Option<Code> {
        let digits = typed::undecorated(text);
        let shaped = digits.len() == self.settings.length && digits.bytes().all(|byte| byte.is_ascii_digit());
        shaped.then(|| Code(digits.as_ref().into()))
    }

    /// How long a mobile waits for its next code.
    pub fn resend_gap(&self) -> Duration {
        self.limits.settings().resend_gap
    }

    /// Sends a code to an app: who may ask → test number → limits → picture code → message.
    ///
    /// A repetition that comes too early is told before any picture code is asked for, and one that is sent along is
    /// not looked at then.
    pub async fn send(self: &Arc<Self>, request: CodeRequest) -> Result<(), Error> {
        let CodeRequest { mobile, purpose, caller, picture, origin } = request;
        let known = self.check_purpose(&mobile, purpose, caller).await?;
        if self.settings.test_codes.of(&mobile, &origin).is_some() {
            return Ok(());
        }
        let message = self.limits.message(&mobile, &origin);
        let trusted = match (self.settings.image_code, picture) {
            (ImageCodePolicy::Never, _) => true,
            (ImageCodePolicy::Adaptive, None) => false,
            (ImageCodePolicy::Always | ImageCodePolicy::Adaptive, picture) => {
                if let Admission::Refused { name, retry_after } = self.codes.survey(&message).await? {
                    return Err(limited(name, retry_after, Some(&mobile), &origin));
                }
                self.image_codes.check(&picture.ok_or(Error::ImageCodeRequired)?).await?;
                true
            }
        };
        let this = self.clone();
        let slot = CodeSlot { mobile, purpose };
        self.detached.to_the_end(async move { this.deliver(slot, known, message, trusted, origin).await }).await
    }

    /// Sends a code to a classic front end: picture code → registered already? → limits → message.
    pub async fn send_classic(
        self: &Arc<Self>,
        mobile: Mobile,
        picture: &PictureAnswer,
        origin: Arc<Origin>,
    ) -> Result<(), Error> {
        self.image_codes.check(picture).await?;
        if self.users.user_by_mobile(&mobile).await?.is_some() {
            return Err(Error::MobileTaken);
        }
        if self.settings.test_codes.of(&mobile, &origin).is_some() {
            return Ok(());
        }
        let this = self.clone();
        let message = self.limits.message(&mobile, &origin);
        let slot = CodeSlot { mobile, purpose: Purpose::Login };
        self.detached.to_the_end(async move { this.deliver(slot, true, message, true, origin).await }).await
    }

    /// Checks a code and uses it up.
    pub async fn redeem(
        &self,
        mobile: &Mobile,
        purpose: Purpose,
        code: &Code,
        origin: &Origin,
    ) -> Result<Redeemed, Error> {
        match self.redeem_or_repeat(mobile, purpose, code, origin, None).await? {
            Presented::Redeemed(redeemed) => Ok(redeemed),
            Presented::Repeated(_) => Err(Error::Internal("a replay without a key".to_owned())),
        }
    }

    /// Checks a code and uses it up, unless the same caller has done so before.
    pub async fn redeem_or_repeat(
        &self,
        mobile: &Mobile,
        purpose: Purpose,
        code: &Code,
        origin: &Origin,
        repeatable: Option<Repeatable>,
    ) -> Result<Presented, Error> {
        let slot = CodeSlot { mobile: mobile.clone(), purpose };
        let digest = self.digest(&slot, code.0.expose_secret());
        let replay = repeatable.map(|Repeatable { key, value }| Replay {
            key: format!("{key}:{digest}"),
            value,
            ttl: REPEATABLE_FOR,
        });
        let fixed = self.settings.test_codes.of(mobile, origin).map(|fixed| self.digest(&slot, fixed));
        let guess = self.limits.guess(Guess::SmsCode, mobile, origin);
        let mut attempt = Attempt {
            slot: &slot,
            digest: &digest,
            fixed: fixed.as_deref(),
            asker: &asker(origin),
            presenter: As::Asker,
            guess: &guess,
            nothing: &Tally { counters: Vec::new(), ..guess.clone() },
            sign_in: None,
            unredeemed: &self.limits.unredeemed(mobile),
            replay: replay.as_ref(),
            presence: &origin.presence,
        };
        let mut redemption = self.codes.redeem_code(&attempt).await?;
        if matches!(redemption, Redemption::NotAsker) {
            attempt.presenter = As::Other;
            redemption = self.codes.redeem_code(&attempt).await?;
        }
        metrics::SMS_CODES.count([purpose.as_str(), outcome_of(&redemption)]);
        let refused = match redemption {
            Redemption::Accepted(used) => return Ok(Presented::Redeemed(Redeemed(used))),
            Redemption::Repeated(value) => return Ok(Presented::Repeated(value)),
            Redemption::Refused { name, retry_after } => return Err(limited(name, retry_after, Some(mobile), origin)),
            Redemption::Wrong { tries_left } => Error::SmsCodeInvalid { attempts_left: tries_left },
            Redemption::Missing | Redemption::NotAsker => Error::SmsCodeExpired,
        };
        let subject = Subject { mobile: Some(mobile), reason: Some(purpose.as_str()), ..Subject::default() };
        let refusal = if purpose == Purpose::Login { Event::SignInFailed } else { Event::CodeRefused };
        event::record(refusal, origin, subject);
        if matches!(refused, Error::SmsCodeInvalid { attempts_left: Some(0) }) {
            event::record(Event::CodeBurnt, origin, subject);
        }
        Err(refused)
    }

    /// Gives a code back when what it was redeemed for did not happen.
    pub async fn restore_unless<T>(&self, done: Result<T, Error>, redeemed: Option<Redeemed>) -> Result<T, Error> {
        if let (Err(_), Some(redeemed)) = (&done, redeemed) {
            self.restore(redeemed).await;
        }
        done
    }

    /// Makes a used code usable again.
    pub async fn restore(&self, redeemed: Redeemed) {
        if let Err(error) = self.codes.restore_code(&redeemed.0).await {
            tracing::error!(%error, "a code could not be given back");
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

    /// Issues a code and hands it to the vendor.
    ///
    /// To a number that is not `known`, nothing is sent, and nobody can tell.
    async fn deliver(
        self: Arc<Self>,
        slot: CodeSlot,
        known: bool,
        message: Tally,
        trusted: bool,
        origin: Arc<Origin>,
    ) -> Result<(), Error> {
        let code = random_digits(self.settings.length);
        let pending = PendingCode {
            // What no digits match, where no message is sent.
            digest: if known { self.digest(&slot, &code) } else { String::new() },
            tries_per_asker: self.settings.max_attempts,
            ttl: self.settings.ttl,
        };
        match self.codes.issue_code(&slot, &pending, &message, &asker(&origin), trusted).await? {
            Admission::Refused { name, retry_after } => {
                return Err(limited(name, retry_after, Some(&slot.mobile), &origin));
            }
            Admission::Suspicious { .. } if !trusted => return Err(Error::ImageCodeRequired),
            Admission::Suspicious { .. } | Admission::Admitted => {}
        }
        // Whether a number is known must not show in how long a vendor takes, nor in whether it takes the message.
        let in_silence = slot.purpose == Purpose::ResetPassword;
        let detached = self.detached.clone();
        let hand_over = async move { self.hand_over(&slot, code, &pending.digest, &message, &origin).await };
        match (known, in_silence) {
            (false, _) => Ok(()),
            (true, false) => hand_over.await,
            (true, true) => {
                detached.spawn(hand_over);
                Ok(())
            }
        }
    }

    /// Hands a message to the vendor; takes code and counts back if the vendor fails.
    async fn hand_over(
        &self,
        slot: &CodeSlot,
        code: String,
        digest: &str,
        message: &Tally,
        origin: &Origin,
    ) -> Result<(), Error> {
        let subject = Subject { mobile: Some(&slot.mobile), reason: Some(slot.purpose.as_str()), ..Subject::default() };
        let Err(error) = self.provider.send(&self.message(slot, code)).await else {
            event::record(Event::CodeSent, origin, subject);
            return Ok(());
        };
        tracing::error!(%error, mobile = %slot.mobile, "an SMS was not sent");
        event::record(Event::CodeNotSent, origin, subject);
        if let Err(error) = self.take_back(slot, digest, message).await {
            tracing::error!(%error, mobile = %slot.mobile, "a code that was not sent could not be withdrawn");
        }
        Err(match error {
            SmsError::Throttled { .. } => Error::SmsTooFrequent { retry_after: self.resend_gap() },
            SmsError::Refused { .. } | SmsError::Unreachable { .. } => Error::SmsSendFailed,
        })
    }

    async fn take_back(&self, slot: &CodeSlot, digest: &str, message: &Tally) -> Result<(), StoreError> {
        self.codes.withdraw_code(slot, digest).await?;
        // Where nobody may learn that the number is known, the message goes on counting: it would for an unknown one.
        if slot.purpose == Purpose::ResetPassword { Ok(()) } else { self.codes.uncount(message).await }
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
        let bound = [slot.purpose.as_str(), ":", slot.mobile.as_str(), ":", code];
        let mac = bound.into_iter().fold(self.mac.clone(), |mac, part| mac.chain_update(part));
        hex(&mac.finalize().into_bytes())
    }
}

fn asker(origin: &Origin) -> Asker {
    Asker { network: origin.network(), device: None }
}

/// What metrics call it.
fn outcome_of(redemption: &Redemption) -> &'static str {
    match redemption {
        Redemption::Accepted(_) => "right",
        Redemption::Repeated(_) => "repeated",
        Redemption::Wrong { .. } => "wrong",
        Redemption::Missing | Redemption::NotAsker => "expired",
        Redemption::Refused { .. } => "over_budget",
    }
}

/// Digits from a cryptographically secure generator, all equally likely (ASVS 6.5.3).
fn random_digits(length: usize) -> String {
    let mut random = rand::rng();
    (0..length).map(|_| char::from(random.random_range(b'0'..=b'9'))).collect()
}

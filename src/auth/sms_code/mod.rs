//! SMS codes: made in `send.rs`, sent in `hand_over.rs`, checked and used up in `redeem.rs`.

mod hand_over;
mod redeem;
mod send;

use std::{sync::Arc, time::Duration};

use hmac::Mac;
use secrecy::SecretString;

pub use redeem::{Presentation, Presented, Redeemed, Repeatable};
pub use send::CodeRequest;

use super::{
    challenges::{ChallengeAnswer, Challenges},
    detached::Detached,
    guesses::Guesses,
    image_code::ImageCodes,
    limits::Limits,
    master_key::{HmacSha256, MasterKey},
    test_codes::TestCodes,
};
use crate::{
    hex::hex,
    model::{challenge::ChallengeKind, mobile::Mobile, origin::Origin, typed},
    random::Random,
    sms::SmsProvider,
    store::{
        ephemeral::{Asker, CodeSlot, EphemeralStore},
        users::UserStore,
    },
};

/// The digits of a code as they were typed, of the configured length.
#[derive(Clone, Debug)]
pub struct Code(SecretString);

/// When to ask for a challenge on the app family (`IMAGE_CODE`).
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
    /// `MOBILE_BLOCK`: how numbers begin that get no code.
    pub mobile_block: Vec<String>,
}

/// What codes are keyed with, and what devices that asked for one are kept as.
#[derive(Clone)]
pub struct CodeKeys {
    codes: HmacSha256,
    askers: HmacSha256,
}

impl CodeKeys {
    /// From the master key.
    pub fn new(master: &MasterKey) -> Self {
        Self { codes: master.hmac("sms-code"), askers: master.hmac("asker") }
    }

    /// What is kept of a code: keyed, and bound to mobile and purpose (ASVS 6.5.2, 6.6.2).
    fn digest(&self, slot: &CodeSlot, code: &str) -> String {
        keyed(&self.codes, [slot.purpose.as_str(), ":", slot.mobile.as_str(), ":", code])
    }

    /// Who asks for a code or presents one: by the device where the request brings its id, by the network in any case.
    fn asker(&self, mobile: &Mobile, origin: &Origin) -> Asker {
        let device = origin.device.id.as_ref().map(|id| keyed(&self.askers, [mobile.as_str(), ":", id.expose()]));
        Asker { network: origin.network(), device }
    }
}

fn keyed<const PARTS: usize>(mac: &HmacSha256, parts: [&str; PARTS]) -> String {
    let mac = parts.into_iter().fold(mac.clone(), |mac, part| mac.chain_update(part));
    hex(&mac.finalize().into_bytes())
}

/// Makes, sends and checks one-time codes (ASVS 6.5, 6.6).
pub struct SmsCodes {
    /// Where codes are kept.
    pub codes: Arc<dyn EphemeralStore>,
    /// Whose numbers are known.
    pub users: Arc<dyn UserStore>,
    /// Checks the pictures of classic front ends.
    pub image_codes: Arc<ImageCodes>,
    /// Checks the challenges of apps.
    pub challenges: Arc<Challenges>,
    /// Delivers messages.
    pub provider: Arc<dyn SmsProvider>,
    /// Counts messages.
    pub limits: Arc<Limits>,
    /// Lets guesses be looked at.
    pub guesses: Arc<Guesses>,
    /// Keys the codes.
    pub keys: CodeKeys,
    /// The numbers behind the rules.
    pub settings: SmsCodeSettings,
    /// Makes codes.
    pub random: Random,
    /// Takes over what no caller waits for.
    pub detached: Detached,
}

impl SmsCodes {
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
}

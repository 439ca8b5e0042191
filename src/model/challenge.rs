//! Challenges that slow machines down: their kinds, and what a refusal offers.

use crate::named::named;

named! {
    /// A kind of challenge, as in `CHALLENGES` and on the wire.
    pub enum ChallengeKind {
        /// A picture code.
        Picture = "picture",
        /// Proof of work (ALTCHA).
        Pow = "pow",
        /// The captcha of Alibaba Cloud.
        Aliyun = "aliyun",
        /// The captcha of Tencent Cloud.
        Tencent = "tencent",
        /// Cloudflare Turnstile.
        Turnstile = "turnstile",
    }
}

impl ChallengeKind {
    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }
}

/// A kind of challenge that a refusal offers, with what a client needs to show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// A picture code.
    Picture,
    /// Proof of work.
    Pow,
    /// The captcha of Alibaba Cloud.
    Aliyun {
        /// `CAPTCHA_ALIYUN_SCENE_ID`.
        scene_id: String,
    },
    /// The captcha of Tencent Cloud.
    Tencent {
        /// `CAPTCHA_TENCENT_APP_ID`.
        app_id: u64,
    },
    /// Cloudflare Turnstile.
    Turnstile {
        /// `TURNSTILE_SITE_KEY`.
        site_key: String,
    },
}

impl Offer {
    /// Which kind it offers.
    pub fn kind(&self) -> ChallengeKind {
        match self {
            Self::Picture => ChallengeKind::Picture,
            Self::Pow => ChallengeKind::Pow,
            Self::Aliyun { .. } => ChallengeKind::Aliyun,
            Self::Tencent { .. } => ChallengeKind::Tencent,
            Self::Turnstile { .. } => ChallengeKind::Turnstile,
        }
    }
}

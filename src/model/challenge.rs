//! The kinds of challenges that slow machines down.

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

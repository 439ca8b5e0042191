//! What a client says about the device it runs on.

use secrecy::{ExposeSecret, SecretString};

use crate::named::named;

/// How many characters the name of a device has at most.
const NAME_LENGTH: usize = 64;

/// A device, as far as its client describes it.
#[derive(Clone, Debug, Default)]
pub struct Device {
    /// A secret of the app's own making.
    pub id: Option<DeviceId>,
    /// What the user calls it, 1 to 64 characters.
    pub name: Option<String>,
    /// What it runs.
    pub platform: Option<Platform>,
}

/// A secret that an app makes once and sends with each sign-in, such as a random UUID. It is kept only as keyed hashes.
#[derive(Clone, Debug)]
pub struct DeviceId(SecretString);

impl DeviceId {
    /// 16 to 64 letters, digits, `_` and `-`.
    pub fn parse(id: &str) -> Option<Self> {
        let shaped = (16..=64).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        shaped.then(|| Self(id.into()))
    }

    /// The id in the clear, to be hashed.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// Reads the name of a device: at most 64 characters after trimming, none of them a control character.
pub fn parse_device_name(name: &str) -> Option<String> {
    let name = name.trim();
    let fits = (1..=NAME_LENGTH).contains(&name.chars().count()) && !name.contains(char::is_control);
    fits.then(|| name.to_owned())
}

named! {
    /// What a device runs, the column `platform`.
    pub enum Platform {
        /// Android.
        Android = "android",
        /// iOS and iPadOS.
        Ios = "ios",
        /// HarmonyOS.
        Harmony = "harmony",
        /// A browser.
        Web = "web",
        /// A program inside WeChat, Alipay or the like.
        Miniprogram = "miniprogram",
        /// Windows, macOS or Linux.
        Desktop = "desktop",
        /// Anything else.
        Other = "other",
    }
}

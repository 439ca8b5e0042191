//! What a client says about the device it runs on.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::id::is_id;
use crate::{hex::hex, named::named};

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
        is_id(id, 16).then(|| Self(id.into()))
    }

    /// The id in the clear, to be hashed.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A keyed hash of a device's id, the same for all users: the store keeps it bound to one of them.
#[derive(Clone, Copy)]
pub struct DeviceKey(pub [u8; 32]);

impl DeviceKey {
    /// What the store keeps, the column `device_hash`: SHA-256 over user and key, in hex. Without the key of the service it
    /// tells neither the device nor that two users share one.
    pub fn of_user(&self, user_id: Uuid) -> String {
        hex(&Sha256::new().chain_update(user_id.as_bytes()).chain_update(self.0).finalize())
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceKey(hidden)")
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

impl Platform {
    /// Reads the name on the wire and the column.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|platform| platform.as_str() == name)
    }
}

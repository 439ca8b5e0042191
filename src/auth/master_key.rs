//! How does one secret become every key of the service?

use std::sync::Arc;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretBox};
use sha2::Sha256;

use crate::hex::hex;

/// HMAC-SHA256, keyed with a derived key.
pub type HmacSha256 = Hmac<Sha256>;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `SECRET_KEY`: 32 bytes that all instances share. It is used for nothing but deriving.
#[derive(Clone, Debug)]
pub struct MasterKey(Arc<SecretBox<[u8; 32]>>);

impl MasterKey {
    /// Reads 32 bytes in base64.
    pub fn from_base64(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text.trim()).ok()?;
        Some(Self(Arc::new(SecretBox::new(Box::new(bytes.try_into().ok()?)))))
    }

    /// A new key, in base64.
    pub fn generate() -> String {
        BASE64.encode(rand::random::<[u8; 32]>())
    }

    /// The key for one use (HKDF-SHA256, RFC 5869).
    pub fn derive(&self, label: &str) -> [u8; 32] {
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(None, self.0.expose_secret())
            .expand(format!("phonepass/{label}").as_bytes(), &mut key)
            .expect("32 bytes are within the bounds of HKDF");
        key
    }

    /// A MAC keyed for one use.
    pub fn hmac(&self, label: &str) -> HmacSha256 {
        HmacSha256::new_from_slice(&self.derive(label)).expect("HMAC takes keys of any length")
    }

    /// Tells two keys apart without giving either away.
    pub fn fingerprint(&self) -> String {
        hex(&self.hmac("fingerprint").finalize().into_bytes())
    }
}

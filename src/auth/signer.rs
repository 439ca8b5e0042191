//! How is something signed with a private key that was parsed once? Parsing takes as long as signing.

use aws_lc_rs::{
    error::Unspecified,
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use jsonwebtoken::EncodingKey;

use super::algorithm::Algorithm;

/// A private key, ready to sign with the one algorithm that it may be used with.
pub enum Signer {
    /// ES256.
    Ecdsa(EcdsaKeyPair),
    /// EdDSA.
    Eddsa(Ed25519KeyPair),
    /// RS256.
    Rsa(RsaKeyPair),
    /// HS256.
    Hmac(Box<hmac::Key>),
}

impl Signer {
    /// `None` for a key that does not go with the algorithm.
    pub fn new(algorithm: Algorithm, key: &EncodingKey) -> Option<Self> {
        let key = key.as_bytes();
        Some(match algorithm {
            Algorithm::Es256 => Self::Ecdsa(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key).ok()?),
            Algorithm::EdDsa => Self::Eddsa(Ed25519KeyPair::from_pkcs8(key).ok()?),
            Algorithm::Rs256 => Self::Rsa(RsaKeyPair::from_der(key).ok()?),
            Algorithm::Hs256 => Self::Hmac(Box::new(hmac::Key::new(hmac::HMAC_SHA256, key))),
        })
    }

    /// The signature as it goes into a JWS (RFC 7518, 3).
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        Ok(match self {
            Self::Ecdsa(key) => key.sign(&SystemRandom::new(), message)?.as_ref().to_vec(),
            Self::Eddsa(key) => key.sign(message).as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)?;
                signature
            }
            Self::Hmac(key) => hmac::sign(key, message).as_ref().to_vec(),
        })
    }
}

//! Signature algorithms of tokens.

use std::fmt;

use jsonwebtoken::{Algorithm as JwtAlgorithm, jwk::KeyAlgorithm};

/// A signature algorithm, as `JWT_ALG` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Algorithm {
    /// ECDSA on P-256.
    #[value(name = "ES256")]
    Es256,
    /// Ed25519.
    #[value(name = "EdDSA")]
    EdDsa,
    /// RSA PKCS#1 v1.5; needs a PEM file.
    #[value(name = "RS256")]
    Rs256,
    /// HMAC; for those who verify with the shared secret, in no JWKS.
    #[value(name = "HS256")]
    Hs256,
}

impl Algorithm {
    /// The value of the header `alg`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Hs256 => "HS256",
        }
    }

    /// The same for `jsonwebtoken`.
    pub fn jwt(self) -> JwtAlgorithm {
        match self {
            Self::Es256 => JwtAlgorithm::ES256,
            Self::EdDsa => JwtAlgorithm::EdDSA,
            Self::Rs256 => JwtAlgorithm::RS256,
            Self::Hs256 => JwtAlgorithm::HS256,
        }
    }

    /// The member `alg` of a JWK.
    pub fn jwk(self) -> KeyAlgorithm {
        match self {
            Self::Es256 => KeyAlgorithm::ES256,
            Self::EdDsa => KeyAlgorithm::EdDSA,
            Self::Rs256 => KeyAlgorithm::RS256,
            Self::Hs256 => KeyAlgorithm::HS256,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

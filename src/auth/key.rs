//! One key: what it signs, verifies and publishes, and where a derived one comes from.

use aws_lc_rs::{
    agreement,
    error::Unspecified,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    DecodingKey, EncodingKey, Header,
    jwk::{AlgorithmParameters, Jwk, PublicKeyUse, ThumbprintHash},
};
use serde::Serialize;

use super::{algorithm::Algorithm, master_key::MasterKey, signer::Signer};

/// A token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The claims are no JSON.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// The key does not sign.
    #[error("the key does not sign")]
    Key(#[from] Unspecified),
}

/// About the length of a token, so that none is copied while it grows.
const TOKEN_LENGTH: usize = 1024;

type PemReader = fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>;

/// One key with the one algorithm that it may be used with (RFC 8725, 3.1).
pub struct Key {
    /// Names the key in tokens and in the JWKS.
    pub kid: String,
    /// The only algorithm that this key signs and verifies with.
    pub algorithm: Algorithm,
    /// The header of every token that it signs, in base64url.
    header: String,
    signer: Signer,
    decoding: DecodingKey,
    /// What the JWKS shows; nothing of a shared secret.
    pub public: Option<Jwk>,
}

impl Key {
    /// Takes a private key, and tries it: what loads but cannot sign is no key.
    fn new(kid: Option<String>, algorithm: Algorithm, encoding: EncodingKey) -> Option<Self> {
        let mut jwk = Jwk::from_encoding_key(&encoding, algorithm.jwt()).ok()?;
        if let AlgorithmParameters::RSA(rsa) = &jwk.algorithm
            && rsa.n.len() < 2048 / 6
        {
            return None;
        }
        let kid = match kid {
            Some(kid) => kid,
            None => jwk.thumbprint(ThumbprintHash::SHA256).ok()?,
        };
        jwk.common.key_id = Some(kid.clone());
        jwk.common.key_algorithm = Some(algorithm.jwk());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        let decoding = DecodingKey::from_jwk(&jwk).ok()?;
        let public = (algorithm != Algorithm::Hs256).then_some(jwk);
        let mut header = Header::new(algorithm.jwt());
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(kid.clone());
        let header = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).ok()?);
        let signer = Signer::new(algorithm, &encoding)?;
        let key = Self { kid, algorithm, header, signer, decoding, public };
        let signature = URL_SAFE_NO_PAD.encode(key.signer.sign(b"trial").ok()?);
        key.verifies(&signature, b"trial").then_some(key)
    }

    /// Reads a private key of any algorithm that a file may have.
    pub fn from_pem(kid: &str, pem: &[u8]) -> Option<Self> {
        let readers: [(Algorithm, PemReader); 3] = [
            (Algorithm::Es256, EncodingKey::from_ec_pem),
            (Algorithm::EdDsa, EncodingKey::from_ed_pem),
            (Algorithm::Rs256, EncodingKey::from_rsa_pem),
        ];
        readers.into_iter().find_map(|(algorithm, read)| Self::new(Some(kid.to_owned()), algorithm, read(pem).ok()?))
    }

    /// The key that a service without PEM files signs with; `None` for RS256.
    pub fn derived(algorithm: Algorithm, master: &MasterKey) -> Option<Self> {
        let encoding = match algorithm {
            Algorithm::Es256 => EncodingKey::from_ec_der(derived_p256_key(master).as_ref()),
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_seed_unchecked(&master.derive("jwt-eddsa")).ok()?;
                EncodingKey::from_ed_der(pair.to_pkcs8v1().ok()?.as_ref())
            }
            Algorithm::Hs256 => EncodingKey::from_secret(&master.derive("jwt-hs256")),
            Algorithm::Rs256 => return None,
        };
        Self::new(None, algorithm, encoding)
    }

    /// Signs claims as an access token (RFC 9068).
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, SigningError> {
        let mut json = Vec::with_capacity(TOKEN_LENGTH);
        serde_json::to_writer(&mut json, claims)?;
        let mut token = Vec::with_capacity(TOKEN_LENGTH);
        token.extend_from_slice(self.header.as_bytes());
        token.push(b'.');
        push_base64(&mut token, &json);
        let signature = self.signer.sign(&token)?;
        token.push(b'.');
        push_base64(&mut token, &signature);
        Ok(String::from_utf8(token).expect("base64 is ASCII"))
    }

    /// Does this signature (base64url) go with this message?
    pub fn verifies(&self, signature: &str, message: &[u8]) -> bool {
        jsonwebtoken::crypto::verify(signature, message, &self.decoding, self.algorithm.jwt()).unwrap_or(false)
    }
}

/// Appends base64url, without an intermediate string.
fn push_base64(text: &mut Vec<u8>, bytes: &[u8]) {
    let start = text.len();
    text.resize(start + (bytes.len() * 4).div_ceil(3), 0);
    URL_SAFE_NO_PAD.encode_slice(bytes, &mut text[start..]).expect("there is as much room as is needed");
}

/// A P-256 private key in PKCS#8: the first derived candidate that is a valid scalar, which is all but always the first.
fn derived_p256_key(master: &MasterKey) -> impl AsRef<[u8]> {
    (0..)
        .find_map(|attempt: u8| {
            let scalar = master.derive(&format!("jwt-es256/{attempt}"));
            let private = agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, &scalar).ok()?;
            let public = private.compute_public_key().ok()?;
            let pair = EcdsaKeyPair::from_private_key_and_public_key(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                &scalar,
                public.as_ref(),
            );
            pair.ok()?.to_pkcs8v1().ok()
        })
        .expect("one of 256 candidates is a valid scalar")
}

//! Proofs of work in the format of ALTCHA v2 (PBKDF2/SHA-256).

use std::{num::NonZero, sync::Arc, time::Duration};

use aws_lc_rs::pbkdf2;
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hmac::Mac;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::{
    auth::{
        cores::Cores,
        error::Error,
        limits::Limits,
        master_key::{HmacSha256, MasterKey},
    },
    clock::Clock,
    hex::{from_hex, hex},
    model::{mobile::Mobile, origin::Origin},
    store::ephemeral::EphemeralStore,
};

const ALGORITHM: &str = "PBKDF2/SHA-256";

/// Rounds of a try: a millisecond or less of a server's core, several of a phone's.
const COST: NonZero<u32> = NonZero::new(5000).expect("5000 is not 0");

/// The length of a key, in bytes.
const KEY_LENGTH: u32 = 32;

/// What the key of a solution begins with, in hex: one try of 256 on average.
const KEY_PREFIX: &str = "00";

/// How long a challenge can be solved.
const TTL: Duration = Duration::from_secs(300);

/// The longest payload that is read, in characters of base64: those of ALTCHA's widget have about 700.
const MAX_LENGTH: usize = 4096;

const BASE64: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, BASE64);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, BASE64);

/// A challenge to be solved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// What to do.
    pub parameters: Parameters,
    /// HMAC-SHA256 over the JSON of the parameters, in hex.
    pub signature: String,
}

/// What to do. The signature covers the JSON, so the order of the fields is that of the format: by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    /// How keys are derived.
    pub algorithm: String,
    /// Rounds of a derivation.
    pub cost: u32,
    /// What the challenge is bound to.
    pub data: Data,
    /// When it can be solved no more, in Unix seconds.
    pub expires_at: i64,
    /// The length of a key in bytes.
    pub key_length: u32,
    /// What the key of a solution begins with, in hex.
    pub key_prefix: String,
    /// What passwords begin with, in hex.
    pub nonce: String,
    /// In hex.
    pub salt: String,
}

/// What a challenge is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// The keyed hash of a mobile number, in hex.
    pub m: String,
}

/// What a client sends, in base64.
#[derive(Deserialize)]
struct Payload {
    challenge: Challenge,
    solution: Solution,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Solution {
    counter: u32,
    derived_key: String,
}

/// Makes challenges and checks their solutions. Each challenge is for one number, and is solved once.
pub struct ProofsOfWork {
    signing: HmacSha256,
    numbers: HmacSha256,
    codes: Arc<dyn EphemeralStore>,
    limits: Arc<Limits>,
    cores: Cores,
    clock: Clock,
}

impl ProofsOfWork {
    /// Keyed from the master key; the store remembers what was solved.
    pub fn new(master: &MasterKey, codes: Arc<dyn EphemeralStore>, limits: Arc<Limits>, clock: Clock) -> Self {
        Self {
            signing: master.hmac("proof-of-work"),
            numbers: master.hmac("proof-of-work-number"),
            codes,
            limits,
            cores: Cores::all("proofs_of_work"),
            clock,
        }
    }

    /// A new challenge for a number. Nothing is kept of it.
    pub fn challenge(&self, mobile: &Mobile) -> Challenge {
        let parameters = Parameters {
            algorithm: ALGORITHM.to_owned(),
            cost: COST.get(),
            data: Data { m: self.hash(mobile) },
            expires_at: (self.clock.now() + TTL).timestamp(),
            key_length: KEY_LENGTH,
            key_prefix: KEY_PREFIX.to_owned(),
            nonce: hex(&rand::random::<[u8; 16]>()),
            salt: hex(&rand::random::<[u8; 16]>()),
        };
        Challenge { signature: self.signature(&parameters), parameters }
    }

    /// Checks a solution and uses its challenge up, whatever comes of it. The key is derived last and once for each
    /// challenge, as that takes a core's time.
    ///
    /// # Errors
    /// [`Error::ChallengeExpired`], or [`Error::ChallengeInvalid`] for all else that is wrong with it.
    pub async fn check(&self, response: &SecretString, mobile: &Mobile, origin: &Origin) -> Result<(), Error> {
        let Payload { challenge: Challenge { parameters, signature }, solution } =
            read(response.expose_secret()).ok_or(Error::ChallengeInvalid)?;
        if !same(&signature, &self.signature(&parameters)) {
            return Err(Error::ChallengeInvalid);
        }
        if parameters.expires_at <= self.clock.now().timestamp() {
            return Err(Error::ChallengeExpired);
        }
        // A challenge of another version of this service may ask for less.
        let ours = parameters.algorithm == ALGORITHM
            && parameters.cost == COST.get()
            && parameters.key_length == KEY_LENGTH
            && parameters.key_prefix == KEY_PREFIX;
        if !ours || !same(&parameters.data.m, &self.hash(mobile)) {
            return Err(Error::ChallengeInvalid);
        }
        let Some((nonce, salt)) = from_hex(&parameters.nonce).zip(from_hex(&parameters.salt)) else {
            return Err(Error::ChallengeInvalid);
        };
        let claimed = solution.derived_key.to_ascii_lowercase();
        // A key alone is no work: each counter has one.
        if !claimed.starts_with(KEY_PREFIX) {
            return Err(Error::ChallengeInvalid);
        }
        let place = self.cores.place(self.limits.party(origin))?;
        let (key, share) = (format!("pow:{}", parameters.nonce), self.limits.share(origin, &parameters.nonce));
        // For as long as any instance may take the challenge, whatever its clock says.
        if !self.codes.take_once(&key, &share, TTL).await? {
            return Err(Error::ChallengeInvalid);
        }
        let derive = move || hex(&derive(&nonce, &salt, COST, solution.counter));
        let (key, _) = self.cores.timed(place, derive).await?;
        if same(&claimed, &key) { Ok(()) } else { Err(Error::ChallengeInvalid) }
    }

    fn signature(&self, parameters: &Parameters) -> String {
        let json = serde_json::to_string(parameters).expect("texts and numbers can be written as JSON");
        hex(&self.signing.clone().chain_update(json).finalize().into_bytes())
    }

    fn hash(&self, mobile: &Mobile) -> String {
        hex(&self.numbers.clone().chain_update(mobile.as_str()).finalize().into_bytes())
    }
}

fn read(response: &str) -> Option<Payload> {
    if response.len() > MAX_LENGTH {
        return None;
    }
    let json = STANDARD.decode(response).or_else(|_| URL_SAFE.decode(response)).ok()?;
    serde_json::from_slice(&json).ok()
}

fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// The key of a counter: PBKDF2 of nonce and counter.
fn derive(nonce: &[u8], salt: &[u8], cost: NonZero<u32>, counter: u32) -> [u8; KEY_LENGTH as usize] {
    let password = [nonce, &counter.to_be_bytes()].concat();
    let mut key = [0; KEY_LENGTH as usize];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, cost, salt, &password, &mut key);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_altcha() {
        let nonce = from_hex("39baf91a19d671f8231217f9e28342a6").unwrap();
        let salt = from_hex("5e00d5d152e1a5db7d44fb6404a40a5e").unwrap();
        let key = |cost: u32| hex(&derive(&nonce, &salt, cost.try_into().unwrap(), 123));
        assert_eq!(key(1), "722ede188d41e7a7c9fd5447dca6cbb84e09c15724dbaadfb5bfb37d2cd4effa");
        assert_eq!(key(2), "cba117f9a790022a55589d5008c9f003e49c011ff7fe34fc838788a1825524f7");
    }
}

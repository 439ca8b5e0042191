//! What does an access token say, and when is one believed?

use std::{collections::BTreeMap, fmt, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Duration, Utc};
use quick_cache::sync::Cache;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::Value;
use uuid::Uuid;

use super::{
    error::Error,
    keys::{KeySet, Keys},
    revocation::Revocations,
};
use crate::{clock::Clock, model::session::Session};

/// The one client there is: sign-in is for first parties.
const CLIENT_ID: &str = "phonepass";

/// Ours are some 600 bytes; nobody makes us decode more than this.
const MAX_LENGTH: usize = 4096;

/// How far another machine's clock may be ahead.
const CLOCK_SKEW: Duration = Duration::seconds(60);

/// How many verified tokens are remembered: some 10 MB.
const REMEMBERED: usize = 65_536;

/// Who a request comes from, as far as its access token tells.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The claim `sub`.
    pub user_id: Uuid,
    /// The claim `sid`.
    pub session_id: Uuid,
}

/// Issues and verifies access tokens: JWTs by RFC 9068, checked by RFC 8725, without any I/O.
pub struct AccessTokens {
    /// The keys that sign and verify.
    pub keys: Arc<Keys>,
    /// The claim `iss`.
    pub issuer: String,
    /// The claim `aud`.
    pub audience: String,
    /// How long a token is valid at most. [`Revocations`] remember ended sessions for this long, so it also bounds tokens
    /// that were issued while the setting was longer.
    pub ttl: Duration,
    /// What time it is.
    pub clock: Clock,
    /// The sessions that are over.
    pub revocations: Arc<Revocations>,
    /// What was verified before.
    pub verified: Verified,
}

/// A fresh access token.
pub struct AccessToken {
    /// The JWT.
    pub jwt: String,
    /// Seconds from its `iat` to its `exp`.
    pub expires_in: u64,
}

/// The tokens whose signature and claims hold, by SHA-256. An app sends the same one for an hour, and a signature takes
/// longer than all the rest of a request.
pub struct Verified(Cache<[u8; 32], VerifiedToken>);

impl Default for Verified {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

#[derive(Clone, Copy)]
struct VerifiedToken {
    identity: Identity,
    expires_at: DateTime<Utc>,
    /// The keys that it was verified with: by others it has to be verified anew.
    generation: u64,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: Uuid,
    aud: &'a str,
    iat: i64,
    exp: i64,
    jti: Uuid,
    sid: Uuid,
    client_id: &'a str,
    amr: [&'a str; 1],
    user_id: Uuid,
}

impl AccessTokens {
    /// A fresh token of a session, which it does not outlive.
    pub fn issue(&self, session: &Session) -> Result<AccessToken, Error> {
        let now = self.clock.now();
        let (iat, exp) = (now.timestamp(), session.expires_at.min(now + self.ttl).timestamp());
        let claims = Claims {
            iss: &self.issuer,
            sub: session.user_id,
            aud: &self.audience,
            iat,
            exp,
            jti: Uuid::now_v7(),
            sid: session.id,
            client_id: CLIENT_ID,
            amr: [session.method.as_str()],
            user_id: session.user_id,
        };
        let jwt = self.keys.current().signing().sign(&claims);
        let jwt = jwt.map_err(|error| Error::Internal(format!("signing: {error}")))?;
        Ok(AccessToken { jwt, expires_in: u64::try_from(exp - iat).unwrap_or_default() })
    }

    /// Who this token speaks for.
    pub fn verify(&self, token: &str) -> Result<Identity, Error> {
        if token.len() > MAX_LENGTH {
            return Err(Error::TokenInvalid);
        }
        let VerifiedToken { identity, expires_at, .. } = self.verified(token)?;
        if expires_at <= self.clock.now() {
            return Err(Error::TokenExpired);
        }
        if self.revocations.is_over(identity.user_id, identity.session_id) {
            return Err(Error::SessionRevoked);
        }
        Ok(identity)
    }

    /// What a token says that is ours, from memory if it was seen before. It may have expired.
    fn verified(&self, token: &str) -> Result<VerifiedToken, Error> {
        let keys = self.keys.current();
        let hash = digest(&SHA256, token.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes");
        if let Some(verified) = self.verified.0.get(&hash).filter(|verified| verified.generation == keys.generation) {
            return Ok(verified);
        }
        let claims = signed_claims(token, &keys).ok_or(Error::TokenInvalid)?;
        let verified = self.check(&claims, keys.generation).ok_or(Error::TokenInvalid)?;
        self.verified.0.insert(hash, verified);
        Ok(verified)
    }

    fn check(&self, claims: &Members, generation: u64) -> Option<VerifiedToken> {
        let identity = claims.identity()?;
        let issued_at = claims.time("iat")?;
        let expires_at = claims.time("exp")?.min(issued_at.checked_add_signed(self.ttl)?);
        let not_before = match claims.0.get("nbf") {
            Some(_) => claims.time("nbf")?,
            None => issued_at,
        };
        let ours = claims.text("iss") == Some(&self.issuer)
            && claims.text("aud") == Some(&self.audience)
            && claims.text("client_id") == Some(CLIENT_ID)
            && issued_at.max(not_before) <= self.clock.now() + CLOCK_SKEW;
        ours.then_some(VerifiedToken { identity, expires_at, generation })
    }
}

/// The claims, once header and signature hold. The key is chosen by our `kid` and used with its own algorithm; nothing in
/// the token can bring a key along.
fn signed_claims(token: &str, keys: &KeySet) -> Option<Members> {
    let (message, signature) = token.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;
    let header = Members::decode(header)?;
    let typ = header.text("typ")?.to_ascii_lowercase();
    if header.0.contains_key("crit") || typ.strip_prefix("application/").unwrap_or(&typ) != "at+jwt" {
        return None;
    }
    let key = keys.find(header.text("kid")?)?;
    if header.text("alg")? != key.algorithm.as_str() || !key.verifies(signature, message.as_bytes()) {
        return None;
    }
    Members::decode(claims)
}

/// The members of a JSON object, none of them twice: which of two a parser takes is anybody's guess (RFC 8725, 2.4).
struct Members(BTreeMap<String, Value>);

impl Members {
    fn decode(part: &str) -> Option<Self> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    fn uuid(&self, name: &str) -> Option<Uuid> {
        self.text(name)?.parse().ok()
    }

    fn time(&self, name: &str) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(self.0.get(name)?.as_i64()?, 0)
    }

    fn identity(&self) -> Option<Identity> {
        let user_id = self.uuid("sub")?;
        let methods = self.0.get("amr")?.as_array()?;
        let complete = self.uuid("user_id")? == user_id && self.uuid("jti").is_some() && !methods.is_empty();
        complete.then_some(Identity { user_id, session_id: self.uuid("sid")? })
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;

        impl<'de> Visitor<'de> for Once {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object without repeated members")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a repeated member"));
                    }
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Once)
    }
}

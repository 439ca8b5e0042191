//! Which password hashes are understood, and does a password belong to one?
//!
//! Ours are argon2id. Users who come from Flask (werkzeug), Django, or anything with bcrypt keep their passwords.

use argon2::{Argon2, Params, PasswordVerifier, password_hash::phc::PasswordHash};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;

use crate::hex;

/// Longer than any system writes.
const MAX_LENGTH: usize = 512;

// The cost of a hash comes with the hash: without these bounds a line of an import file could keep a core busy for
// hours, or take all memory, whenever somebody tries to sign in. All are far above what any system asks for.
const MAX_ROUNDS: u32 = 10_000_000;
const MAX_BCRYPT_COST: u32 = 16;
const MAX_ARGON2_PASSES: u32 = 64;
const MAX_MEMORY: u64 = 256 << 20;
/// Memory times passes over it, in bytes.
const MAX_WORK: u64 = 4 << 30;

/// What `hashlib.scrypt` writes unless it is told otherwise, and werkzeug does not tell.
const SCRYPT_LENGTH: usize = 64;

/// Why a hash cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableHash {
    /// Nothing that this service can verify.
    #[error("is in no known format")]
    UnknownFormat,
    /// A known format, but not complete or not valid.
    #[error("is damaged")]
    Damaged,
    /// More time or memory than a sign-in may take.
    #[error("would take too much time or memory to verify")]
    TooCostly,
}

/// A password hash in one of the formats that can be verified.
pub struct StoredHash(Format);

enum Format {
    Argon2(Box<PasswordHash>),
    Bcrypt(String),
    Pbkdf2 { digest: Digest, rounds: u32, salt: String, key: Vec<u8> },
    Scrypt { params: scrypt::Params, salt: String, key: Vec<u8> },
    Hmac { digest: Digest, salt: String, key: Vec<u8> },
}

impl StoredHash {
    /// Understands argon2 (PHC), bcrypt (`$2a$`, `$2b$`, `$2y$`), and what werkzeug and Django write.
    pub fn parse(text: &str) -> Result<Self, UnusableHash> {
        if text.len() > MAX_LENGTH || !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(UnusableHash::Damaged);
        }
        // Django writes the name of its hasher before what argon2 and bcrypt write themselves.
        let django = ["argon2", "bcrypt$"].iter().find_map(|name| text.strip_prefix(name));
        let text = django.filter(|rest| rest.starts_with('$')).unwrap_or(text);
        let parts: Vec<_> = text.split('$').collect();
        let format = match parts.as_slice() {
            ["", name, ..] if name.starts_with("argon2") => argon2(text)?,
            ["", "2a" | "2b" | "2y", ..] => bcrypt(text)?,
            ["pbkdf2_sha256", rounds, salt, key] => pbkdf2(Digest::Sha256, rounds, salt, from_base64(key)?)?,
            ["pbkdf2_sha1", rounds, salt, key] => pbkdf2(Digest::Sha1, rounds, salt, from_base64(key)?)?,
            [method, salt, key] => werkzeug(method, salt, key)?,
            _ => return Err(UnusableHash::UnknownFormat),
        };
        Ok(Self(format))
    }

    /// Is this the password? Takes as long as the hash asks for: milliseconds to seconds.
    pub fn verify(&self, password: &[u8]) -> bool {
        match &self.0 {
            Format::Argon2(hash) => Argon2::default().verify_password(password, hash.as_ref()).is_ok(),
            // As everywhere, what comes after 72 bytes does not count.
            Format::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Format::Pbkdf2 { digest, rounds, salt, key } => same(&digest.pbkdf2(password, salt, *rounds), key),
            Format::Scrypt { params, salt, key } => {
                let mut derived = [0; SCRYPT_LENGTH];
                scrypt::scrypt(password, salt.as_bytes(), params, &mut derived).is_ok() && same(&derived, key)
            }
            Format::Hmac { digest, salt, key } => same(&digest.hmac(salt, password), key),
        }
    }

    /// Was it made as a hash is made today?
    pub fn is_current(&self) -> bool {
        let Format::Argon2(hash) = &self.0 else { return false };
        let today = Argon2::default();
        let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
        hash.algorithm == argon2::Algorithm::default().ident()
            && hash.version == Some(argon2::Version::default().into())
            && Params::try_from(hash.as_ref()).is_ok_and(|params| costs(&params) == costs(today.params()))
    }
}

fn same(derived: &[u8], key: &[u8]) -> bool {
    derived.ct_eq(key).into()
}

fn argon2(text: &str) -> Result<Format, UnusableHash> {
    let mut hash = PasswordHash::new(text).map_err(|_| UnusableHash::Damaged)?;
    // The reference implementation takes a string without a version for one from before versions were written.
    let version = *hash.version.get_or_insert(argon2::Version::V0x10.into());
    let params = Params::try_from(&hash).map_err(|_| UnusableHash::Damaged)?;
    let memory = u64::from(params.m_cost()) * 1024;
    if params.t_cost() > MAX_ARGON2_PASSES || too_costly(memory, params.t_cost()) {
        return Err(UnusableHash::TooCostly);
    }
    let usable = argon2::Algorithm::new(hash.algorithm.as_str()).is_ok()
        && argon2::Version::try_from(version).is_ok()
        && hash.salt.as_ref().is_some_and(|salt| salt.len() >= argon2::MIN_SALT_LEN)
        && hash.hash.is_some();
    if usable { Ok(Format::Argon2(Box::new(hash))) } else { Err(UnusableHash::Damaged) }
}

fn bcrypt(text: &str) -> Result<Format, UnusableHash> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| UnusableHash::Damaged)?;
    match parts.get_cost() {
        0..=3 => Err(UnusableHash::Damaged),
        4..=MAX_BCRYPT_COST => Ok(Format::Bcrypt(text.to_owned())),
        _ => Err(UnusableHash::TooCostly),
    }
}

fn werkzeug(method: &str, salt: &str, key: &str) -> Result<Format, UnusableHash> {
    let method: Vec<_> = method.split(':').collect();
    match method.as_slice() {
        // werkzeug reads `pbkdf2:sha256` without a count, too, but always wrote one: what is meant by none depends on
        // the version that reads it.
        ["pbkdf2", digest, rounds] => pbkdf2(Digest::named(digest)?, rounds, salt, from_hex(key)?),
        ["scrypt", n, r, p] => scrypt(n, r, p, salt, from_hex(key)?),
        [digest] => {
            let digest = Digest::named(digest)?;
            let (salt, key) = complete(salt, from_hex(key)?, digest.length())?;
            Ok(Format::Hmac { digest, salt, key })
        }
        _ => Err(UnusableHash::UnknownFormat),
    }
}

fn pbkdf2(digest: Digest, rounds: &str, salt: &str, key: Vec<u8>) -> Result<Format, UnusableHash> {
    let (salt, key) = complete(salt, key, digest.length())?;
    match number(rounds)? {
        0 => Err(UnusableHash::Damaged),
        rounds @ 1..=MAX_ROUNDS => Ok(Format::Pbkdf2 { digest, rounds, salt, key }),
        _ => Err(UnusableHash::TooCostly),
    }
}

fn scrypt(n: &str, r: &str, p: &str, salt: &str, key: Vec<u8>) -> Result<Format, UnusableHash> {
    let (salt, key) = complete(salt, key, SCRYPT_LENGTH)?;
    let (n, r, p) = (number(n)?, number(r)?, number(p)?);
    if !n.is_power_of_two() || n == 1 || r == 0 || p == 0 {
        return Err(UnusableHash::Damaged);
    }
    let memory = u64::from(n).saturating_mul(u64::from(r)).saturating_mul(128);
    if too_costly(memory, p) {
        return Err(UnusableHash::TooCostly);
    }
    let log_n = u8::try_from(n.ilog2()).map_err(|_| UnusableHash::TooCostly)?;
    let params = scrypt::Params::new(log_n, r, p).map_err(|_| UnusableHash::Damaged)?;
    Ok(Format::Scrypt { params, salt, key })
}

fn too_costly(memory: u64, passes: u32) -> bool {
    memory > MAX_MEMORY || memory.saturating_mul(passes.into()) > MAX_WORK
}

/// A key of another length could never be right, or, if it were empty, always.
fn complete(salt: &str, key: Vec<u8>, length: usize) -> Result<(String, Vec<u8>), UnusableHash> {
    if salt.is_empty() || key.len() != length {
        return Err(UnusableHash::Damaged);
    }
    Ok((salt.to_owned(), key))
}

/// A number that does not fit is a cost that nobody pays.
fn number(text: &str) -> Result<u32, UnusableHash> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UnusableHash::Damaged);
    }
    text.parse().map_err(|_| UnusableHash::TooCostly)
}

fn from_base64(text: &str) -> Result<Vec<u8>, UnusableHash> {
    STANDARD.decode(text).map_err(|_| UnusableHash::Damaged)
}

fn from_hex(text: &str) -> Result<Vec<u8>, UnusableHash> {
    hex::from_hex(text).ok_or(UnusableHash::Damaged)
}

#[derive(Clone, Copy)]
enum Digest {
    Sha1,
    Sha256,
    Sha512,
}

impl Digest {
    fn named(name: &str) -> Result<Self, UnusableHash> {
        match name {
            "sha1" => Ok(Self::Sha1),
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(UnusableHash::UnknownFormat),
        }
    }

    fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    fn pbkdf2(self, password: &[u8], salt: &str, rounds: u32) -> Vec<u8> {
        let mut key = vec![0; self.length()];
        let derive = match self {
            Self::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>,
            Self::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>,
            Self::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>,
        };
        derive(password, salt.as_bytes(), rounds, &mut key);
        key
    }

    /// Before PBKDF2, werkzeug took the salt for the key of an HMAC.
    fn hmac(self, salt: &str, password: &[u8]) -> Vec<u8> {
        fn hmac<D: EagerHash>(key: &[u8], message: &[u8]) -> Vec<u8> {
            let mut mac = Hmac::<D>::new_from_slice(key).expect("a key of any length will do");
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        }
        let hmac = match self {
            Self::Sha1 => hmac::<Sha1>,
            Self::Sha256 => hmac::<Sha256>,
            Self::Sha512 => hmac::<Sha512>,
        };
        hmac(salt.as_bytes(), password)
    }
}

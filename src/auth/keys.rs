//! Which key signs a token, which keys verify one, and where do they come from?

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::SystemTime,
};

use aws_lc_rs::{
    agreement,
    encoding::{AsDer, Pkcs8V1Der},
    error::Unspecified,
    rand::SystemRandom,
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use jsonwebtoken::{
    Algorithm as JwtAlgorithm, DecodingKey, EncodingKey, Header,
    jwk::{AlgorithmParameters, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse, ThumbprintHash},
};
use serde::Serialize;

use super::{master_key::MasterKey, signer::Signer};

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

    fn jwt(self) -> JwtAlgorithm {
        match self {
            Self::Es256 => JwtAlgorithm::ES256,
            Self::EdDsa => JwtAlgorithm::EdDSA,
            Self::Rs256 => JwtAlgorithm::RS256,
            Self::Hs256 => JwtAlgorithm::HS256,
        }
    }

    fn jwk(self) -> KeyAlgorithm {
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

/// A key that does not serve; names the file.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The folder or a file cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Not a private key of a kind that signs tokens.
    #[error("{}: not a PEM file with a private key for ES256, EdDSA or RS256 (PKCS#8, RSA of 2048 bits or more)", path.display())]
    Broken {
        /// Which.
        path: PathBuf,
    },
    /// Nothing can sign.
    #[error("JWT_ALG=RS256 needs a PEM file in JWT_KEYS_DIR: `phonepass keys generate` makes one")]
    NoSigningKey,
}

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
    public: Option<Jwk>,
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

    fn from_pem(kid: &str, pem: &[u8]) -> Option<Self> {
        let readers: [(Algorithm, PemReader); 3] = [
            (Algorithm::Es256, EncodingKey::from_ec_pem),
            (Algorithm::EdDsa, EncodingKey::from_ed_pem),
            (Algorithm::Rs256, EncodingKey::from_rsa_pem),
        ];
        readers.into_iter().find_map(|(algorithm, read)| Self::new(Some(kid.to_owned()), algorithm, read(pem).ok()?))
    }

    /// The key that a service without PEM files signs with; `None` for RS256.
    fn derived(algorithm: Algorithm, master: &MasterKey) -> Option<Self> {
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

/// Appends base64url, without a detour by a text of its own.
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

/// The keys of one moment.
pub struct KeySet {
    /// Each set of keys has another one.
    pub generation: u64,
    signing: Arc<Key>,
    by_kid: BTreeMap<String, Arc<Key>>,
}

impl KeySet {
    /// The key that signs new tokens.
    pub fn signing(&self) -> &Key {
        &self.signing
    }

    /// The key with this `kid`.
    pub fn find(&self, kid: &str) -> Option<&Key> {
        self.by_kid.get(kid).map(Arc::as_ref)
    }

    /// Every public key, as a JWKS (RFC 7517).
    pub fn jwks(&self) -> JwkSet {
        JwkSet { keys: self.by_kid.values().filter_map(|key| key.public.clone()).collect() }
    }
}

/// The keys of the service: one derived from the master key, and those in `JWT_KEYS_DIR`.
pub struct Keys {
    algorithm: Algorithm,
    directory: PathBuf,
    derived: Option<Arc<Key>>,
    state: RwLock<State>,
}

struct State {
    keys: Arc<KeySet>,
    files: Files,
}

/// What tells that a file has changed.
type Files = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

impl Keys {
    /// Loads every key; one broken file stops the start.
    pub fn load(algorithm: Algorithm, directory: &Path, master: &MasterKey) -> Result<Self, KeyError> {
        let derived = Key::derived(algorithm, master).map(Arc::new);
        let files = key_files(directory)?;
        let loaded = files.keys().map(|path| read_key(path)).collect::<Result<Vec<_>, _>>()?;
        let keys = key_set(0, algorithm, derived.as_ref(), loaded).ok_or(KeyError::NoSigningKey)?;
        let state = RwLock::new(State { keys: Arc::new(keys), files });
        Ok(Self { algorithm, directory: directory.to_owned(), derived, state })
    }

    /// The keys as they are now.
    pub fn current(&self) -> Arc<KeySet> {
        self.state.read().expect("no panic while the keys are held").keys.clone()
    }

    /// Reads the folder again if anything in it has changed. A broken file is left out and logged.
    pub fn reload_if_changed(&self) {
        let files = match key_files(&self.directory) {
            Ok(files) => files,
            Err(error) => return tracing::error!(%error, "the signing keys cannot be read again"),
        };
        if files == self.state.read().expect("no panic while the keys are held").files {
            return;
        }
        let mut loaded = Vec::new();
        for path in files.keys() {
            match read_key(path) {
                Ok(key) => loaded.push(key),
                Err(error) => tracing::error!(%error, "a signing key is left out"),
            }
        }
        let generation = self.current().generation + 1;
        let keys = key_set(generation, self.algorithm, self.derived.as_ref(), loaded);
        let mut state = self.state.write().expect("no panic while the keys are held");
        state.files = files;
        match keys {
            Some(keys) => {
                tracing::info!(kid = keys.signing.kid, keys = keys.by_kid.len(), "signing keys reloaded");
                state.keys = Arc::new(keys);
            }
            None => tracing::error!("no key is left to sign with; the former keys stay in use"),
        }
    }
}

/// The greatest stem of the wanted algorithm signs, else the derived key; all verify.
fn key_set(generation: u64, algorithm: Algorithm, derived: Option<&Arc<Key>>, loaded: Vec<Key>) -> Option<KeySet> {
    let loaded: Vec<_> = loaded.into_iter().map(Arc::new).collect();
    let newest = loaded.iter().filter(|key| key.algorithm == algorithm).max_by_key(|key| &key.kid);
    let signing = newest.or(derived)?.clone();
    let by_kid = derived.into_iter().chain(&loaded).map(|key| (key.kid.clone(), key.clone())).collect();
    Some(KeySet { generation, signing, by_kid })
}

fn key_files(directory: &Path) -> Result<Files, KeyError> {
    let unreadable = |error| KeyError::Unreadable { path: directory.to_owned(), error };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Files::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = Files::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            // A link to nowhere is a broken file like any other: reading it tells.
            let metadata = fs::metadata(&path).ok();
            let modified = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
            files.insert(path, (modified, metadata.map_or(0, |metadata| metadata.len())));
        }
    }
    Ok(files)
}

fn read_key(path: &Path) -> Result<Key, KeyError> {
    let pem = fs::read(path).map_err(|error| KeyError::Unreadable { path: path.to_owned(), error })?;
    let kid = path.file_stem().and_then(|stem| stem.to_str());
    kid.and_then(|kid| Key::from_pem(kid, &pem)).ok_or_else(|| KeyError::Broken { path: path.to_owned() })
}

/// Makes a new private key in PEM, readable by its owner alone; named by the time, so that the newest sorts last.
pub fn generate(algorithm: Algorithm, directory: &Path, now: DateTime<Utc>) -> io::Result<PathBuf> {
    let random = SystemRandom::new();
    let made: Result<Vec<u8>, aws_lc_rs::error::Unspecified> = match algorithm {
        Algorithm::Es256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .map(|document| document.as_ref().to_vec()),
        Algorithm::EdDsa => {
            Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1()).map(|document| document.as_ref().to_vec())
        }
        Algorithm::Rs256 => rsa::KeyPair::generate(rsa::KeySize::Rsa2048)
            .and_then(|pair| AsDer::<Pkcs8V1Der<'_>>::as_der(&pair))
            .map(|document| document.as_ref().to_vec()),
        Algorithm::Hs256 => {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "HS256 has no key files: its key is derived"));
        }
    };
    let der = made.map_err(|_| io::Error::other("the key could not be made"))?;
    let path = directory.join(format!("{}.pem", now.format("%Y%m%dT%H%M%S%3fZ")));
    crate::private_file::create(&path, pem::encode(&pem::Pem::new("PRIVATE KEY", der)).as_bytes())?;
    Ok(path)
}

/// The `kid` and algorithm of every key file, in the order of their names.
pub fn list(directory: &Path) -> Result<Vec<(String, Algorithm)>, KeyError> {
    key_files(directory)?.keys().map(|path| read_key(path).map(|key| (key.kid, key.algorithm))).collect()
}

//! The files of signing keys: found, read, made and listed.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use chrono::{DateTime, Utc};

use super::{algorithm::Algorithm, key::Key};
use crate::private_file;

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

/// What tells that a file has changed: the time of its modification, if the file system knows it, and its length.
pub type Files = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// The PEM files in a folder; none in a folder that is not there.
pub fn find(directory: &Path) -> Result<Files, KeyError> {
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

/// Reads the key in a file, whose stem is the `kid`.
pub fn read(path: &Path) -> Result<Key, KeyError> {
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
    private_file::create(&path, pem::encode(&pem::Pem::new("PRIVATE KEY", der)).as_bytes())?;
    Ok(path)
}

/// The `kid` and algorithm of every key file, in the order of their names.
pub fn list(directory: &Path) -> Result<Vec<(String, Algorithm)>, KeyError> {
    find(directory)?.keys().map(|path| read(path).map(|key| (key.kid, key.algorithm))).collect()
}

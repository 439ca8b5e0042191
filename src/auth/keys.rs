//! Which key signs a token, which keys verify one, and where do they come from?

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::SystemTime,
};

use chrono::{DateTime, Duration, Utc};
use jsonwebtoken::jwk::JwkSet;

use super::{
    algorithm::Algorithm,
    key_files::{self, Files},
    master_key::MasterKey,
};
use crate::clock::Clock;

pub use super::{
    key::{Key, SigningError},
    key_files::{KeyError, generate, list},
};

/// How old a key file is when it begins to sign. By then, every instance has looked at the folder and verifies with it.
const SIGNS_FROM: Duration = Duration::seconds(10);

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
    clock: Clock,
    state: RwLock<State>,
}

#[derive(Clone)]
struct State {
    keys: Arc<KeySet>,
    files: Files,
    loaded: Vec<Loaded>,
}

/// A key from a file.
#[derive(Clone)]
struct Loaded {
    key: Arc<Key>,
    modified: Option<DateTime<Utc>>,
}

impl Loaded {
    fn read(path: &Path, modified: Option<SystemTime>) -> Result<Self, KeyError> {
        Ok(Self { key: Arc::new(key_files::read(path)?), modified: modified.map(DateTime::from) })
    }

    /// Without a time of modification, nothing says that the file is new.
    fn age(&self, now: DateTime<Utc>) -> Duration {
        self.modified.map_or(Duration::MAX, |modified| now - modified)
    }
}

impl Keys {
    /// Loads every key; one broken file stops the start.
    pub fn load(algorithm: Algorithm, directory: &Path, master: &MasterKey, clock: Clock) -> Result<Self, KeyError> {
        let derived = Key::derived(algorithm, master).map(Arc::new);
        let files = key_files::find(directory)?;
        let loaded = files.iter().map(|(path, (modified, _))| Loaded::read(path, *modified));
        let loaded = loaded.collect::<Result<Vec<_>, _>>()?;
        let signing = signing(algorithm, derived.as_ref(), &loaded, clock.now()).ok_or(KeyError::NoSigningKey)?;
        let keys = Arc::new(KeySet { generation: 0, by_kid: by_kid(derived.as_ref(), &loaded), signing });
        let state = RwLock::new(State { keys, files, loaded });
        Ok(Self { algorithm, directory: directory.to_owned(), derived, clock, state })
    }

    /// The keys as they are now.
    pub fn current(&self) -> Arc<KeySet> {
        self.state.read().expect("lock poisoned").keys.clone()
    }

    /// Reads the folder again if anything in it has changed (a broken file is left out and logged), and has another key
    /// sign once that is due.
    pub fn reload(&self) {
        let files = match key_files::find(&self.directory) {
            Ok(files) => files,
            Err(error) => return tracing::error!(%error, "the signing keys cannot be read again"),
        };
        let mut state = self.state.read().expect("lock poisoned").clone();
        let (now, changed) = (self.clock.now(), files != state.files);
        if changed {
            state = State { loaded: self.read(&files, now), files, ..state };
        }
        match signing(self.algorithm, self.derived.as_ref(), &state.loaded, now) {
            Some(signing) if changed || signing.kid != state.keys.signing.kid => {
                let by_kid = by_kid(self.derived.as_ref(), &state.loaded);
                tracing::info!(kid = signing.kid, keys = by_kid.len(), "signing keys reloaded");
                state.keys = Arc::new(KeySet { generation: state.keys.generation + 1, signing, by_kid });
            }
            None if changed => tracing::error!("no key is left to sign with; the former keys stay in use"),
            _ => return,
        }
        *self.state.write().expect("lock poisoned") = state;
    }

    fn read(&self, files: &Files, now: DateTime<Utc>) -> Vec<Loaded> {
        let mut loaded = Vec::new();
        for (path, (modified, _)) in files {
            match Loaded::read(path, *modified) {
                Ok(new) => {
                    if new.age(now) < -SIGNS_FROM {
                        tracing::warn!(
                            kid = new.key.kid,
                            "a signing key is from the future; it does not sign until then"
                        );
                    }
                    loaded.push(new);
                }
                Err(error) => tracing::error!(%error, "a signing key is left out"),
            }
        }
        loaded
    }
}

/// The key that signs: of the files of the wanted algorithm that are old enough, the one with the greatest stem; else
/// the derived key; with neither, the file that was there first, which most instances know.
fn signing(
    algorithm: Algorithm,
    derived: Option<&Arc<Key>>,
    loaded: &[Loaded],
    now: DateTime<Utc>,
) -> Option<Arc<Key>> {
    let of_algorithm = || loaded.iter().filter(|loaded| loaded.key.algorithm == algorithm);
    let known = of_algorithm().filter(|loaded| loaded.age(now) >= SIGNS_FROM).max_by_key(|loaded| &loaded.key.kid);
    let oldest = || of_algorithm().max_by_key(|loaded| (loaded.age(now), &loaded.key.kid));
    let known = known.map(|loaded| &loaded.key).or(derived);
    known.or_else(|| oldest().map(|loaded| &loaded.key)).cloned()
}

/// All keys verify.
fn by_kid(derived: Option<&Arc<Key>>, loaded: &[Loaded]) -> BTreeMap<String, Arc<Key>> {
    let keys = derived.into_iter().chain(loaded.iter().map(|loaded| &loaded.key));
    keys.map(|key| (key.kid.clone(), key.clone())).collect()
}

//! Is a password good enough, and is it the right one?

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock},
    time::Duration,
};

use argon2::{Argon2, PasswordHasher};
use secrecy::{ExposeSecret, SecretString};

use super::{
    cores::{Cores, Party, Place},
    error::{Error, WeakPassword},
    password_hash::StoredHash,
};
use crate::model::mobile::Mobile;

const MAX_LENGTH: usize = 128;

/// The 10,000 most common passwords of public leaks (ASVS 6.2.4), in lower case.
static COMMON: LazyLock<HashSet<&str>> = LazyLock::new(|| include_str!("common_passwords.txt").lines().collect());

/// Nobody's hash, with our parameters: verifying against it takes the time of a real one.
static NOBODY: LazyLock<StoredHash> = LazyLock::new(|| {
    let text = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    StoredHash::parse(text).expect("a valid hash")
});

/// A wrong password is answered no sooner than this after its comparison began. Users who came from elsewhere have hashes
/// that take less or more time than ours: without it, the time of an answer would tell them from each other and from
/// unknown numbers. It is more than the common formats take. Counted from before the wait for a core, it would hide
/// nothing once that wait is long.
const WRONG_ANSWER_AFTER: Duration = Duration::from_millis(500);

/// Checks and hashes passwords: argon2id with OWASP's parameters, on half of the cores, so that a storm of logins leaves the
/// others responsive.
pub struct Passwords {
    min_length: usize,
    context_words: Vec<String>,
    cores: Arc<Cores>,
}

/// What came of checking a password.
pub struct Verdict {
    /// Is it the right one?
    pub right: bool,
    /// A new hash to keep, when the stored one was made in another way than today's.
    pub new_hash: Option<String>,
}

impl Passwords {
    /// Accepts passwords of at least so many characters that are more than one of the words, which are in lower case.
    pub fn new(min_length: usize, context_words: Vec<String>, cores: Arc<Cores>) -> Self {
        Self { min_length, context_words, cores }
    }

    /// May this be somebody's password? No composition rules (ASVS 6.2.5), exactly as typed (6.2.8).
    pub fn check_strength(&self, password: &SecretString, mobile: &Mobile) -> Result<(), Error> {
        let password = password.expose_secret();
        let length = password.chars().count();
        let weakness = if length < self.min_length {
            Some(WeakPassword::TooShort(self.min_length))
        } else if length > MAX_LENGTH {
            Some(WeakPassword::TooLong(MAX_LENGTH))
        } else if Mobile::parse(password).as_ref() == Some(mobile) {
            Some(WeakPassword::IsMobile)
        } else if COMMON.contains(password.to_lowercase().as_str()) {
            Some(WeakPassword::Common)
        } else if self.is_context(password) {
            Some(WeakPassword::IsContext)
        } else {
            None
        };
        weakness.map_or(Ok(()), |weakness| Err(Error::PasswordWeak(weakness)))
    }

    /// Is it little more than a word that everybody here would try first (ASVS 6.2.11)?
    fn is_context(&self, password: &str) -> bool {
        let password = password.to_lowercase();
        let letters = |text: &str| text.chars().filter(|letter| letter.is_alphabetic()).count();
        self.context_words
            .iter()
            .any(|word| password.contains(word.as_str()) && letters(&password.replace(word.as_str(), "")) <= 2)
    }

    /// A place in the queue for one password, in the share of its network if it has one: to be taken before anything is
    /// counted or spent.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when the queue or the share is full.
    pub fn place(&self, party: Party) -> Result<Place, Error> {
        self.cores.place(party)
    }

    /// The PHC string of a new password.
    pub async fn hash(&self, place: Place, password: SecretString) -> Result<String, Error> {
        self.cores.timed(place, move || hash(&password)).await?.0
    }

    /// Compares a password with a stored hash, or with nobody's. A wrong password takes the same time, whatever there
    /// is to compare it with.
    pub async fn verify(&self, place: Place, password: SecretString, stored: Option<String>) -> Result<Verdict, Error> {
        let (verdict, began) = self.cores.timed(place, move || compare(&password, stored.as_deref())).await?;
        let verdict = verdict?;
        if !verdict.right {
            tokio::time::sleep_until(began + WRONG_ANSWER_AFTER).await;
        }
        Ok(verdict)
    }
}

fn compare(password: &SecretString, stored: Option<&str>) -> Result<Verdict, Error> {
    let stored = stored.and_then(readable);
    let right = stored.as_ref().unwrap_or(&NOBODY).verify(password.expose_secret().as_bytes());
    let Some(stored) = stored.filter(|_| right) else { return Ok(Verdict { right: false, new_hash: None }) };
    let new_hash = if stored.is_current() { None } else { Some(hash(password)?) };
    Ok(Verdict { right: true, new_hash })
}

/// A hash that nobody can verify is an operator's problem; to the user it is a password that does not fit.
fn readable(stored: &str) -> Option<StoredHash> {
    StoredHash::parse(stored).inspect_err(|reason| tracing::error!(%reason, "a stored password hash is of no use")).ok()
}

fn hasher() -> Argon2<'static> {
    Argon2::default()
}

fn hash(password: &SecretString) -> Result<String, Error> {
    let hash = hasher().hash_password(password.expose_secret().as_bytes()).map_err(internal)?;
    Ok(hash.to_string())
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::Internal(format!("hashing: {error}"))
}

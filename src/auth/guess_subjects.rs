//! Names of the lifetime counts of wrong guesses.

use hmac::Mac;

use super::master_key::{HmacSha256, MasterKey};
use crate::{hex::hex, model::mobile::Mobile, named::named};

/// Wrong guesses at a number's codes, or at its password, by people who are not known by their device: so many in all since
/// the last right one (NIST SP 800-63B-4, 3.2.2).
pub const GUESSES_IN_ALL: u32 = 100;

named! {
    /// What is guessed. Each has a budget of its own.
    pub enum Guessed {
        /// SMS codes, of any purpose.
        Codes = "codes",
        /// The password.
        Password = "password",
    }
}

/// Names the count of a number: a keyed hash, so that the table tells no numbers, whether registered or not.
#[derive(Clone)]
pub struct GuessSubjects(HmacSha256);

impl GuessSubjects {
    /// Keyed from the master key.
    pub fn new(master: &MasterKey) -> Self {
        Self(master.hmac("wrong-guesses"))
    }

    /// The name of one count, 64 hexadecimal digits.
    pub fn of(&self, guessed: Guessed, mobile: &Mobile) -> String {
        let mac = self.0.clone().chain_update(guessed.as_str()).chain_update(b" ").chain_update(mobile.as_str());
        hex(&mac.finalize().into_bytes())
    }

    /// Both counts of a number.
    pub fn all(&self, mobile: &Mobile) -> Vec<String> {
        Guessed::ALL.iter().map(|guessed| self.of(*guessed, mobile)).collect()
    }
}

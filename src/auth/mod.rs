//! The rules of signing in. No HTTP, no SQL, no Redis.

use std::sync::Arc;

pub mod access_token;
pub mod account;
pub mod algorithm;
pub mod challenges;
pub mod cores;
pub mod detached;
pub mod device;
pub mod error;
pub mod event;
pub mod guess_subjects;
pub mod guesses;
pub mod image_code;
pub mod import;
mod key;
mod key_files;
pub mod keys;
pub mod limits;
pub mod login;
pub mod master_key;
mod operator;
pub mod password;
pub mod password_hash;
pub mod picture;
pub mod refresh_token;
pub mod revocation;
pub mod sessions;
mod signer;
pub mod sms_code;
pub mod standing;
pub mod test_codes;

/// Everything that the outside can ask for.
#[derive(Clone)]
pub struct Auth {
    /// Picture codes.
    pub image_codes: Arc<image_code::ImageCodes>,
    /// Challenges.
    pub challenges: Arc<challenges::Challenges>,
    /// SMS codes.
    pub sms_codes: Arc<sms_code::SmsCodes>,
    /// Signing in and registering.
    pub login: login::Login,
    /// Sessions and their tokens.
    pub sessions: Arc<sessions::Sessions>,
    /// What users do to their own account.
    pub account: account::Account,
    /// What is counted.
    pub limits: Arc<limits::Limits>,
}

//! What is a refresh token, and how is a forged one told without asking a database?

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::Mac;
use uuid::Uuid;

use super::master_key::{HmacSha256, MasterKey};

const PREFIX: &str = "rt_";
const ID: usize = 16;
const COUNTER: usize = 4;
const TAG: usize = 32;

/// Issues and reads refresh tokens: `rt_`, then session id, counter and HMAC-SHA256 over both in base64url.
///
/// The counter makes each token of a session another, and the same one again when it has to be repeated.
pub struct RefreshTokens(HmacSha256);

impl RefreshTokens {
    /// Keyed from the master key.
    pub fn new(master: &MasterKey) -> Self {
        Self(master.hmac("refresh-token"))
    }

    /// The token with this counter.
    pub fn issue(&self, session_id: Uuid, counter: u32) -> String {
        let mut bytes = [session_id.as_bytes().as_slice(), &counter.to_be_bytes()].concat();
        let tag = self.0.clone().chain_update(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&tag);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Session id and counter of a token that this service issued.
    pub fn read(&self, token: &str) -> Option<(Uuid, u32)> {
        let mut bytes = [0; ID + COUNTER + TAG];
        let length = URL_SAFE_NO_PAD.decode_slice(token.strip_prefix(PREFIX)?, &mut bytes).ok()?;
        if length != bytes.len() {
            return None;
        }
        let (content, tag) = bytes.split_at(ID + COUNTER);
        self.0.clone().chain_update(content).verify_slice(tag).ok()?;
        let (id, counter) = content.split_at(ID);
        Some((Uuid::from_slice(id).ok()?, u32::from_be_bytes(counter.try_into().ok()?)))
    }
}

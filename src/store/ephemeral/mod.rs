//! Where are codes kept until they expire? The seam to Redis and to the process's own memory.

mod in_process;
mod redis;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::StoreError;
use crate::{
    auth::clock::Clock,
    model::{mobile::Mobile, purpose::Purpose},
};

/// Which one-time code: there is at most one for a mobile and a purpose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CodeSlot {
    /// Who the code was sent to.
    pub mobile: Mobile,
    /// What it is for.
    pub purpose: Purpose,
}

/// A code that waits to be redeemed.
#[derive(Clone, Debug)]
pub struct PendingCode {
    /// The keyed hash of the code, in hex. The code itself is kept nowhere.
    pub digest: String,
    /// How many wrong tries are left.
    pub tries_left: u32,
    /// How long it is still valid.
    pub ttl: Duration,
}

/// What came of issuing a code.
#[derive(Debug, PartialEq, Eq)]
pub enum Issue {
    /// The resend gap has begun, and the code is in its slot.
    Issued,
    /// The resend gap of the mobile is not over yet; this is the rest of it.
    TooSoon(Duration),
}

/// What came of presenting a code.
#[derive(Debug)]
pub enum Redemption {
    /// Right, and used up now. What is needed to put it back if the work it was for fails.
    Accepted(PendingCode),
    /// Wrong. The last wrong try burns the code.
    Wrong {
        /// How many tries are left.
        tries_left: u32,
    },
    /// Never issued, expired, used or burnt.
    Missing,
}

/// What lives for minutes and is shared by all instances. Everything expires.
#[async_trait]
pub trait EphemeralStore: Send + Sync {
    /// Keeps the text of a picture code, in place of any other with this id.
    async fn put_image_code(&self, id: &str, text: &str, ttl: Duration) -> Result<(), StoreError>;

    /// Reads and deletes the text of a picture code.
    async fn take_image_code(&self, id: &str) -> Result<Option<String>, StoreError>;

    /// The rest of a mobile's resend gap.
    async fn resend_gap(&self, mobile: &Mobile) -> Result<Option<Duration>, StoreError>;

    /// Puts a code into its slot and begins the resend gap, unless one is running: one atomic step.
    ///
    /// Without a code only the gap begins: for a number that nothing is sent to, and that must not show.
    async fn issue_code(&self, slot: &CodeSlot, code: Option<&PendingCode>, gap: Duration)
    -> Result<Issue, StoreError>;

    /// Takes an issued code back, together with the resend gap that it began.
    async fn withdraw_code(&self, slot: &CodeSlot, digest: &str) -> Result<(), StoreError>;

    /// Compares a code and uses it up, or counts the wrong try: one atomic step.
    async fn redeem_code(&self, slot: &CodeSlot, digest: &str) -> Result<Redemption, StoreError>;

    /// Puts a redeemed code back, unless a newer one took its place.
    async fn restore_code(&self, slot: &CodeSlot, code: &PendingCode) -> Result<(), StoreError>;

    /// How `/readyz` and the logs call the store.
    fn name(&self) -> &'static str;

    /// Can the store do its work?
    async fn ping(&self) -> Result<(), StoreError>;
}

/// Opens the store that a URL names, or keeps everything in this process if there is none.
pub async fn connect(url: Option<&str>, prefix: &str, clock: Clock) -> Result<Arc<dyn EphemeralStore>, StoreError> {
    Ok(match url {
        Some(url) => Arc::new(redis::Redis::connect(url, prefix).await?),
        None => Arc::new(in_process::InProcess::new(clock)),
    })
}

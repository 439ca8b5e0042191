//! Where are codes and counts kept until they expire? The seam to Redis and to the process's own memory.

mod in_process;
mod redis;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

pub use redis::RedisUrl;

use super::StoreError;
use crate::{
    clock::Clock,
    model::{limit::LimitName, mobile::Mobile, origin::Presence, purpose::Purpose},
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

/// A count of what happened to somebody within a window of time that moves along: never more than the limit in any
/// stretch of that length.
#[derive(Clone, Debug)]
pub struct Counter {
    /// What is counted.
    pub name: LimitName,
    /// For whom: a mobile, a network, everybody.
    pub subject: String,
    /// Which part of it is counted by itself, if not all.
    pub part: Option<String>,
    /// What an event is counted as: one of the same member counts once. Each event by itself without one.
    pub member: Option<String>,
    /// The length of the window.
    pub window: Duration,
    /// So many within the window, and the next one is refused.
    pub limit: Option<u32>,
    /// So many within the window, and the next one is suspicious.
    pub suspicion: Option<u32>,
}

/// Something that happens now, and what it counts on.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Unlike any other's.
    pub id: String,
    /// Now.
    pub at: DateTime<Utc>,
    /// All of them count it, or none does.
    pub counters: Vec<Counter>,
}

/// What the counters say to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// None objects.
    Admitted,
    /// At least one finds it suspicious, none refuses it.
    Suspicious,
    /// Over a limit. Of several, the one that lasts longest.
    Refused {
        /// Which one's.
        name: LimitName,
        /// When the limit will admit it.
        retry_after: Duration,
    },
}

/// An answer that is given again to whoever asks again.
#[derive(Clone, Debug)]
pub struct Replay {
    /// Who asks for what.
    pub key: String,
    /// What they get.
    pub value: String,
    /// For how long.
    pub ttl: Duration,
}

/// Somebody presents a code.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// Where the code should be.
    pub slot: &'a CodeSlot,
    /// The keyed hash of what was presented.
    pub digest: &'a str,
    /// The keyed hash of a code that is always right, in place of one that was issued.
    pub fixed: Option<&'a str>,
    /// The wrong guess that this may turn out to be; a right one clears the first counter, and what it counted from the
    /// others.
    pub guess: &'a Tally,
    /// A right answer clears it.
    pub unredeemed: &'a Counter,
    /// What a repetition of this attempt gets, once it was right.
    pub replay: Option<&'a Replay>,
    /// Once it is over, nobody looks at the code any more: it stays usable for the next try.
    pub presence: &'a Presence,
}

/// What came of presenting a code.
#[derive(Debug)]
pub enum Redemption {
    /// Right, and used up now. What is needed to put it back if the work it was for fails; nothing for a fixed code.
    Accepted(Option<PendingCode>),
    /// Right before, by the same caller: the value that was kept then.
    Repeated(String),
    /// Wrong. The last wrong try burns the code.
    Wrong {
        /// How many tries are left; a fixed code never burns.
        tries_left: Option<u32>,
    },
    /// Never issued, expired, used or burnt.
    Missing,
    /// Not looked at: there were too many wrong guesses.
    Refused {
        /// Which counter's limit.
        name: LimitName,
        /// When the next guess will be looked at.
        retry_after: Duration,
    },
}

/// What lives for minutes or hours and is shared by all instances. Everything expires.
#[async_trait]
pub trait EphemeralStore: Send + Sync {
    /// Keeps the text of a picture code, in place of any other with this id.
    async fn put_image_code(&self, id: &str, text: &str, ttl: Duration) -> Result<(), StoreError>;

    /// Reads and deletes the text of a picture code.
    async fn take_image_code(&self, id: &str) -> Result<Option<String>, StoreError>;

    /// Remembers a key for so long, and tells whether it was not there before: one atomic step.
    async fn take_once(&self, key: &str, network: &str, ttl: Duration) -> Result<bool, StoreError>;

    /// What the counters would say to an event, without counting it.
    async fn survey(&self, tally: &Tally) -> Result<Admission, StoreError>;

    /// Counts an event unless a counter refuses it: one atomic step. Suspicion is no obstacle.
    async fn count(&self, tally: &Tally) -> Result<Admission, StoreError>;

    /// Takes an event back that did not happen after all.
    async fn uncount(&self, tally: &Tally) -> Result<(), StoreError>;

    /// Clears the event's first counter, and what it counted from the others.
    async fn clear(&self, tally: &Tally) -> Result<(), StoreError>;

    /// Counts a message and puts its code into the slot, unless a counter refuses it or, when it is not `trusted`,
    /// finds it suspicious: one atomic step.
    ///
    /// Without a code only the counters move: for a number that nothing is sent to, and that must not show.
    async fn issue_code(
        &self,
        slot: &CodeSlot,
        code: Option<&PendingCode>,
        message: &Tally,
        trusted: bool,
    ) -> Result<Admission, StoreError>;

    /// Takes an issued code back; what its message counted stays.
    async fn withdraw_code(&self, slot: &CodeSlot, digest: &str) -> Result<(), StoreError>;

    /// Compares a code and uses it up, or counts the wrong try and the wrong guess: one atomic step.
    async fn redeem_code(&self, attempt: &Attempt<'_>) -> Result<Redemption, StoreError>;

    /// Puts a redeemed code back, unless a newer one took its place, and forgets the replay of its redemption.
    async fn restore_code(
        &self,
        slot: &CodeSlot,
        code: Option<&PendingCode>,
        replay: Option<&Replay>,
    ) -> Result<(), StoreError>;

    /// How `/readyz` and the logs call the store.
    fn name(&self) -> &'static str;

    /// Can the store do its work?
    async fn ping(&self) -> Result<(), StoreError>;
}

/// Opens the store that a URL names, or keeps everything in this process if there is none.
pub async fn connect(
    url: Option<&RedisUrl>,
    prefix: &str,
    clock: Clock,
) -> Result<Arc<dyn EphemeralStore>, StoreError> {
    Ok(match url {
        Some(url) => Arc::new(redis::Redis::connect(url, prefix).await?),
        None => Arc::new(in_process::InProcess::new(clock)),
    })
}

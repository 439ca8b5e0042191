//! The store of codes and counts until they expire: the seam to Redis and to the process's own memory.

mod flow;
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

/// How many askers a code has at most.
pub const ASKERS: usize = 8;

/// Which one-time code: there is at most one for a mobile and a purpose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CodeSlot {
    /// Who the code was sent to.
    pub mobile: Mobile,
    /// What it is for.
    pub purpose: Purpose,
}

/// A code to be sent.
#[derive(Clone, Debug)]
pub struct PendingCode {
    /// The keyed hash of the code, in hex. The code itself is kept nowhere. A decoy has one that no digits match.
    pub digest: String,
    /// How many wrong tries each of its askers has, each known device, and all others together.
    pub tries_per_asker: u32,
    /// How long it is valid.
    pub ttl: Duration,
}

/// Where a request for a code, or an attempt at one, comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The network.
    pub network: String,
    /// The keyed hash of the device, if the request describes one. Who asks with a device is known by it alone.
    pub device: Option<String>,
}

/// Whether an event is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// When nothing refuses it.
    IfAdmitted,
    /// Unless this very counter refuses it, whatever the others say. It is never taken back.
    Always,
    /// Never: the counter is only looked at.
    Never,
}

/// A count of events within a sliding window: never more than the limit in any stretch of that length.
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
    /// Whether the event is counted here.
    pub counting: Counting,
}

/// Sums of the messages sent to, and the codes redeemed by, a group of clients or of numbers. They never refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// What kind of group it is.
    pub name: LimitName,
    /// The group: `203.0.113.0/24`, `2001:db8::/48`, `1380013`.
    pub group: String,
    /// So many messages within an hour, and no fewer than the codes redeemed within a day, and the next is suspicious.
    pub sent_per_hour: Option<u32>,
    /// Whether too many codes that were not redeemed make the next message suspicious.
    pub unredeemed: bool,
}

/// Something that happens now, and what it counts on.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Unlike any other's.
    pub id: String,
    /// Now.
    pub at: DateTime<Utc>,
    /// Whose share of the in-process places new keys use: a network, or what stands for a known user.
    pub network: String,
    /// What counts it.
    pub counters: Vec<Counter>,
    /// The groups that it is a message of.
    pub flows: Vec<Flow>,
}

/// What the counters say to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// None objects.
    Admitted,
    /// At least one finds it suspicious, none refuses it. Of several, the first of the tally.
    Suspicious {
        /// Which one.
        name: LimitName,
    },
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

/// As what a code is presented: whose tries a wrong one uses up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum As {
    /// As one of those who asked for it: by the device of the attempt, else by its network.
    Asker,
    /// As one of all the others.
    Other,
    /// As a device of the account, by a name that no other has.
    KnownDevice(String),
}

/// A code is presented.
pub struct Attempt<'a> {
    /// Where the code should be.
    pub slot: &'a CodeSlot,
    /// The keyed hash of what was presented.
    pub digest: &'a str,
    /// The keyed hash of a code that is always right, in place of one that was issued. All guess at it as
    /// [`As::Other`], and it is never used up.
    pub fixed: Option<&'a str>,
    /// Where the attempt comes from.
    pub asker: &'a Asker,
    /// As what the code is presented.
    pub presenter: As,
    /// The wrong guess that this may turn out to be. It refuses all but askers, and counts none of theirs. A right one
    /// clears the first counter, and what it counted from the others, unless it is a fixed code, which can be had at any
    /// time.
    pub guess: &'a Tally,
    /// A guess where no code is, or no try is left. It refuses that answer. Few attempts need it.
    pub nothing: &'a (dyn Fn() -> Tally + Sync),
    /// The sign-in that a right code leads to. It refuses the comparison. Its counters are of the slot's mobile.
    pub sign_in: Option<&'a Tally>,
    /// A right code clears it.
    pub unredeemed: &'a Counter,
    /// What a repetition of this attempt gets, once it was right.
    pub replay: Option<&'a Replay>,
    /// Once it is over, nobody looks at the code any more: it stays usable for the next try.
    pub presence: &'a Presence,
}

/// What a right code used up and counted: all that is needed to undo it.
#[derive(Clone, Debug)]
pub struct UsedCode {
    slot: CodeSlot,
    /// Nothing of a fixed code.
    code: Option<Kept>,
    ttl: Duration,
    at: DateTime<Utc>,
    replay: Option<Replay>,
    sign_in: Option<Tally>,
}

/// A code as a back end keeps it.
#[derive(Clone, Debug)]
enum Kept {
    InProcess(in_process::StoredCode),
    /// It stays where it is: what it was used up by, and the keys of its message's flows, one a line.
    Redis {
        digest: String,
        flows: String,
    },
}

/// What came of presenting a code.
#[derive(Debug)]
pub enum Redemption {
    /// Right, and used up now, unless it is a fixed one.
    Accepted(Box<UsedCode>),
    /// Right before, by the same caller: the value that was kept then.
    Repeated(String),
    /// Wrong. The last wrong try of the last asker burns the code.
    Wrong {
        /// How many tries are left to the asker, the device or all others; a fixed code has no end of them.
        tries_left: Option<u32>,
    },
    /// Never issued, expired, used or burnt; or the presenter has no try left.
    Missing,
    /// Not presented by one of its askers: neither compared nor counted.
    NotAsker,
    /// Not looked at: there were too many wrong guesses, or sign-ins.
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
    /// Keeps the text of a picture code for a network, in place of any other with this id.
    async fn put_image_code(&self, id: &str, text: &str, network: &str, ttl: Duration) -> Result<(), StoreError>;

    /// Reads and deletes the text of a picture code.
    async fn take_image_code(&self, id: &str) -> Result<Option<String>, StoreError>;

    /// Tells whether this key is taken for the first time within `ttl`. In-process it is not where the network has no
    /// place left.
    async fn take_once(&self, key: &str, network: &str, ttl: Duration) -> Result<bool, StoreError>;

    /// What the counters would say to an event, without counting it.
    async fn survey(&self, tally: &Tally) -> Result<Admission, StoreError>;

    /// Counts an event unless a counter refuses it: one atomic step. Suspicion is no obstacle.
    async fn count(&self, tally: &Tally) -> Result<Admission, StoreError>;

    /// Takes an event back that did not happen after all; what is counted always stays.
    async fn uncount(&self, tally: &Tally) -> Result<(), StoreError>;

    /// Clears the event's first counter, and what it counted from the others.
    async fn clear(&self, tally: &Tally) -> Result<(), StoreError>;

    /// At most so many of the members that a counter has within its window, those that were counted first before others.
    async fn members(&self, counter: &Counter, at: DateTime<Utc>, at_most: u32) -> Result<Vec<String>, StoreError>;

    /// Takes members out of a counter.
    async fn forget(&self, counter: &Counter, members: &[String]) -> Result<(), StoreError>;

    /// Counts a message and puts its code into the slot, unless a counter refuses it or, when it is not `trusted`,
    /// finds it suspicious: one atomic step. The asker becomes one of the code's, beside those that asked for the code
    /// in its place within its life. If only the gap refuses, the asker becomes one of the code that is there.
    ///
    /// A code has at most [`ASKERS`] askers. Who asks beyond that takes the place of the one that asked longest ago,
    /// and what tries that one has left; never the place of the one whose message was sent.
    async fn issue_code(
        &self,
        slot: &CodeSlot,
        code: &PendingCode,
        message: &Tally,
        asker: &Asker,
        trusted: bool,
    ) -> Result<Admission, StoreError>;

    /// Takes an issued code back; what its message counted stays. The code in whose place it is comes back as it was, with
    /// those that have asked since as askers, unless its life is over.
    async fn withdraw_code(&self, slot: &CodeSlot, digest: &str) -> Result<(), StoreError>;

    /// Makes the code in whose place an issued one is right, too, for the life that it has left. Nothing else changes:
    /// whether there was one shows to no one who does not know it.
    async fn fall_back(&self, slot: &CodeSlot, digest: &str) -> Result<(), StoreError>;

    /// Compares a code and uses it up, or counts the wrong try and the wrong guess: one atomic step. A right one counts
    /// the sign-in, and as redeemed in the flows of its message.
    async fn redeem_code(&self, attempt: &Attempt<'_>) -> Result<Redemption, StoreError>;

    /// Puts a redeemed code back, unless a newer one took its place, takes back what its redemption counted, and
    /// forgets the replay.
    async fn restore_code(&self, used: &UsedCode) -> Result<(), StoreError>;

    /// Changes what a repetition of a redemption gets, if it could be repeated and still can.
    async fn replace_replay(&self, used: &UsedCode, value: &str) -> Result<(), StoreError>;

    /// How `/readyz` and the logs call the store.
    fn name(&self) -> &'static str;

    /// Can the store do its work?
    async fn ping(&self) -> Result<(), StoreError>;
}

impl Asker {
    /// What an ask is known by.
    fn key(&self) -> String {
        self.keys().next().unwrap_or_default()
    }

    /// What an attempt may be known by, the nearest first.
    fn keys(&self) -> impl Iterator<Item = String> + '_ {
        let device = self.device.as_ref().map(|device| format!("device:{device}"));
        device.into_iter().chain([format!("network:{}", self.network)])
    }
}

/// How long one attempt to connect to Redis and one command may take, where it is not a test that asks.
pub const TIMEOUT: Duration = Duration::from_secs(1);

/// Opens the store that a URL names, or keeps everything in this process if there is none.
pub async fn connect(
    url: Option<&RedisUrl>,
    prefix: &str,
    timeout: Duration,
    clock: Clock,
) -> Result<Arc<dyn EphemeralStore>, StoreError> {
    Ok(match url {
        Some(url) => Arc::new(redis::Redis::connect(url, prefix, timeout).await?),
        None => Arc::new(in_process::InProcess::new(clock)),
    })
}

//! Limits: what they count, and for whom.

mod guesses;
mod messages;
mod requests;
mod turns;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use ipnet::IpNet;
use uuid::Uuid;

pub use guesses::in_all;
pub use messages::Ask;
pub use turns::{Turn, Turns};

use super::{
    cores::Party,
    error::Error,
    event::{self, Event, Subject},
    standing::{Found, Standing},
};
use crate::{
    clock::Clock,
    model::{limit::LimitName, mobile::Mobile, origin::Origin},
    store::ephemeral::{Admission, Counter, Counting, EphemeralStore, Tally},
    telemetry::metrics,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The numbers of the limits; 0 is none.
#[derive(Clone, Debug)]
pub struct LimitSettings {
    /// `SMS_RESEND_SECONDS`.
    pub resend_gap: Duration,
    /// `SMS_PER_MOBILE_PER_DAY`.
    pub sms_per_mobile_per_day: u32,
    /// `SMS_PER_IP_PER_HOUR`.
    pub sms_per_ip_per_hour: u32,
    /// `SMS_TOTAL_PER_HOUR`.
    pub sms_total_per_hour: u32,
    /// `SMS_ASKS_PER_IP_PER_HOUR`.
    pub sms_asks_per_ip_per_hour: u32,
    /// `VERIFY_PER_MOBILE_PER_HOUR`.
    pub verify_per_mobile_per_hour: u32,
    /// `GUESSES_PER_IP_PER_HOUR`.
    pub guesses_per_ip_per_hour: u32,
    /// `SIGN_INS_PER_USER_PER_HOUR`.
    pub sign_ins_per_user_per_hour: u32,
    /// `REQUESTS_PER_IP_PER_MINUTE`.
    pub requests_per_ip_per_minute: u32,
    /// `LIMIT_EXEMPT`.
    pub exempt: Vec<IpNet>,
    /// `FRAUD`, or [`FraudPolicy::Record`] where no picture codes are wanted.
    pub fraud: FraudPolicy,
}

/// What suspicion of fraud does (`FRAUD`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FraudPolicy {
    /// Asks for a challenge.
    Challenge,
    /// Is an event and a metric alone.
    Record,
    /// Refuses the message.
    Deny,
}

/// As whom the limits count a request about a number. All count as strangers until a limit objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A stranger, as far as is known: not looked up.
    Unknown,
    /// The number has no account.
    Newcomer,
    /// The number has an account, and nothing shows that this is its owner.
    Stranger,
    /// Whether the number has an account must not show: as few messages as if it had one, as much suspicion as if not.
    Concealed,
    /// From a network where the owner was signed in.
    KnownByNetwork,
    /// From a device where the owner was signed in; what names it in counters.
    KnownByDevice(String),
}

impl From<Found> for Sender {
    fn from(found: Found) -> Self {
        match found.standing {
            Standing::KnownByDevice(device) => Self::KnownByDevice(device),
            Standing::KnownByNetwork => Self::KnownByNetwork,
            Standing::Stranger if found.has_account => Self::Stranger,
            Standing::Stranger => Self::Newcomer,
        }
    }
}

impl Sender {
    /// Has the owner shown themselves, if only by their network?
    pub fn is_known(&self) -> bool {
        matches!(self, Self::KnownByNetwork | Self::KnownByDevice(_))
    }
}

/// Counts what happens against the limits (ASVS 6.1.1, 6.3.1, 6.6.3). An address is a whole /64 in IPv6.
pub struct Limits {
    /// Where it is counted, for all instances.
    codes: Arc<dyn EphemeralStore>,
    settings: LimitSettings,
    clock: Clock,
}

impl Limits {
    /// Counts in this store by these numbers.
    pub fn new(codes: Arc<dyn EphemeralStore>, settings: LimitSettings, clock: Clock) -> Self {
        Self { codes, settings, clock }
    }

    /// The numbers.
    pub fn settings(&self) -> &LimitSettings {
        &self.settings
    }

    /// What time it is.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Whose work a request is.
    pub fn party(&self, origin: &Origin) -> Party {
        let of = if self.is_exempt(origin) { Party::Exempt } else { Party::Network };
        of(origin.network())
    }

    /// Whose share of the in-process places a request uses for something of this name: that of its network or, where that
    /// is exempt, one that no other name shares.
    pub fn share(&self, origin: &Origin, name: &str) -> String {
        if self.is_exempt(origin) { format!("exempt:{name}") } else { origin.network() }
    }

    /// Does no limit by address apply (`LIMIT_EXEMPT`)?
    fn is_exempt(&self, origin: &Origin) -> bool {
        origin.ip.is_some_and(|ip| self.settings.exempt.iter().any(|net| net.contains(&ip)))
    }

    /// What is counted now, for a request about a number.
    fn tally(&self, mobile: &Mobile, origin: &Origin, sender: &Sender, counters: Vec<Counter>) -> Tally {
        // Places in the in-process store: an owner's device does not share those of a flooded network.
        let network = match sender {
            Sender::KnownByDevice(device) => device.clone(),
            // Hundreds of users may be known in one network.
            Sender::KnownByNetwork => format!("known:{}", mobile.as_str()),
            _ => self.share(origin, mobile.as_str()),
        };
        tally(self.clock.now(), network, counters)
    }
}

/// The refusal by a counter of this name, put on record.
pub fn limited(name: LimitName, retry_after: Duration, mobile: Option<&Mobile>, origin: &Origin) -> Error {
    metrics::LIMITS.count([name.as_str()]);
    record(Event::Limited, name, mobile, origin);
    match name {
        LimitName::SmsGap => Error::SmsTooFrequent { retry_after },
        LimitName::SmsPerMobile
        | LimitName::SmsFailedPerMobile
        | LimitName::SmsTotal
        | LimitName::SmsUnredeemed
        | LimitName::SmsMobilesPerIp
        | LimitName::SmsBlock
        | LimitName::SmsPrefix => Error::SmsQuotaExceeded { retry_after },
        _ => Error::TooManyRequests { retry_after },
    }
}

/// Puts it on record if strangers together have met a bound, whether or not this request passes it.
pub fn record_strangers_bound(name: LimitName, sender: &Sender, mobile: &Mobile, origin: &Origin) {
    let by_strangers = match name {
        LimitName::WrongCodesOfStrangers
        | LimitName::WrongCodesInAll
        | LimitName::WrongPasswordsOfStrangers
        | LimitName::WrongPasswordsInAll
        | LimitName::StrangersTries
        | LimitName::SmsTotal => true,
        LimitName::SmsPerMobile => *sender != Sender::Newcomer,
        _ => false,
    };
    if by_strangers {
        record(Event::StrangersBound, name, Some(mobile), origin);
    }
}

/// Writes an event about a limit.
pub fn record(event: Event, name: LimitName, mobile: Option<&Mobile>, origin: &Origin) {
    let subject = Subject { mobile, reason: Some(name.as_str()), ..Subject::default() };
    event::record(event, origin, subject);
}

fn tally(at: DateTime<Utc>, network: String, counters: Vec<Counter>) -> Tally {
    Tally { id: Uuid::now_v7().to_string(), at, network, counters, flows: vec![] }
}

/// Can a counter object to anything? If not, counting would take memory for nothing.
fn objects(counter: &Counter) -> bool {
    counter.limit.is_some() || counter.suspicion.is_some()
}

/// So many within a window, 0 for any number.
fn limit(name: LimitName, subject: &str, window: Duration, limit: u32) -> Counter {
    Counter {
        name,
        subject: subject.to_owned(),
        part: None,
        member: None,
        window,
        limit: Some(limit).filter(|limit| *limit > 0),
        suspicion: None,
        counting: Counting::IfAdmitted,
    }
}

/// A share of a limit in percent, at least 1; 0 of none.
fn share_of(limit: u32, percent: u32, rounded_up: bool) -> u32 {
    let hundredths = u64::from(limit) * u64::from(percent);
    let share = if rounded_up { hundredths.div_ceil(100) } else { hundredths / 100 };
    u32::try_from(share).unwrap_or(limit).max(u32::from(limit > 0))
}

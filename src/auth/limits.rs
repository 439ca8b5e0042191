//! How much of what may who do? Every limit, and what it counts.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::{
    error::Error,
    event::{self, Event, Subject},
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

/// How many codes a mobile gets within an hour before a picture is asked for, when none is redeemed.
const UNREDEEMED_PER_HOUR: u32 = 3;

/// For how many mobiles one network asks codes within an hour before a picture is asked for.
const MOBILES_PER_HOUR: u32 = 10;

/// From which share of the hourly total on a picture is asked for, in percent.
const BUSY_PERCENT: u32 = 80;

/// How many times the budget of one network is that of all networks together: a stranger who guesses locks nobody out
/// from elsewhere, and a crowd of strangers gets no further (ASVS 6.1.1).
const NETWORKS: u32 = 5;

/// How many guesses of one network at one mobile's password are looked at at the same time. Each counts as a wrong one
/// until it is known: without an order, many right ones at once would use up the budget.
const GUESSES_AT_ONCE: u32 = 4;

/// The numbers of the limits; 0 is none.
#[derive(Clone, Copy, Debug)]
pub struct LimitSettings {
    /// `SMS_RESEND_SECONDS`.
    pub resend_gap: Duration,
    /// `SMS_PER_MOBILE_PER_DAY`.
    pub sms_per_mobile_per_day: u32,
    /// `SMS_PER_IP_PER_HOUR`.
    pub sms_per_ip_per_hour: u32,
    /// `SMS_TOTAL_PER_HOUR`.
    pub sms_total_per_hour: u32,
    /// `VERIFY_PER_MOBILE_PER_HOUR`.
    pub verify_per_mobile_per_hour: u32,
    /// `REQUESTS_PER_IP_PER_MINUTE`.
    pub requests_per_ip_per_minute: u32,
    /// Whether suspicion has consequences: under `IMAGE_CODE=adaptive`.
    pub heeds_suspicion: bool,
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

/// What can be guessed at. Each has a budget of its own: who runs out of one is not locked out of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    /// SMS codes of all purposes.
    SmsCode,
    /// Passwords, at sign-in and as the old one.
    Password,
}

/// A guess that counts as a wrong one until it is settled.
pub struct TakenGuess {
    tally: Tally,
    _turn: OwnedSemaphorePermit,
}

/// Counts what happens against the limits (ASVS 6.1.1, 6.3.1, 6.6.3). An address is a whole /64 in IPv6.
pub struct Limits {
    /// Where it is counted, for all instances.
    codes: Arc<dyn EphemeralStore>,
    settings: LimitSettings,
    clock: Clock,
    /// Who is guessing at this moment, by mobile and network.
    guessing: Mutex<HashMap<(Mobile, String), Arc<Semaphore>>>,
}

impl Limits {
    /// Counts in this store by these numbers.
    pub fn new(codes: Arc<dyn EphemeralStore>, settings: LimitSettings, clock: Clock) -> Self {
        Self { codes, settings, clock, guessing: Mutex::default() }
    }

    /// The numbers.
    pub fn settings(&self) -> &LimitSettings {
        &self.settings
    }

    /// A message to a mobile, asked for by somebody.
    pub fn message(&self, mobile: &Mobile, origin: &Origin) -> Tally {
        let LimitSettings { sms_per_mobile_per_day: per_day, sms_per_ip_per_hour: per_ip, .. } = self.settings;
        let total = self.settings.sms_total_per_hour;
        let (unredeemed, mobile, network) = (self.unredeemed(mobile), mobile.as_str(), origin.network());
        let gap = u32::from(!self.settings.resend_gap.is_zero());
        self.tally(
            origin,
            vec![
                limit(LimitName::SmsGap, mobile, self.settings.resend_gap, gap),
                limit(LimitName::SmsPerMobile, mobile, DAY, per_day),
                limit(LimitName::SmsPerIp, &network, HOUR, per_ip),
                total_of_messages(total),
                unredeemed,
                Counter {
                    member: Some(mobile.to_owned()),
                    suspicion: Some(MOBILES_PER_HOUR),
                    ..limit(LimitName::SmsMobilesPerIp, &network, HOUR, 0)
                },
            ],
        )
    }

    /// Counts a guess at a password as a wrong one for the time being, so that guesses at the same instant cannot all
    /// slip through.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`] when the budget is used up.
    pub async fn take_guess(&self, mobile: &Mobile, origin: &Origin) -> Result<TakenGuess, Error> {
        let turn = self.turn(mobile, origin).acquire_owned().await;
        let turn = turn.map_err(|error| Error::Internal(error.to_string()))?;
        let tally = self.guess(Guess::Password, mobile, origin);
        match self.codes.count(&tally).await? {
            Admission::Refused { name, retry_after } => Err(limited(name, retry_after, Some(mobile), origin)),
            Admission::Admitted | Admission::Suspicious { .. } => Ok(TakenGuess { tally, _turn: turn }),
        }
    }

    fn turn(&self, mobile: &Mobile, origin: &Origin) -> Arc<Semaphore> {
        let mut guessing = self.guessing.lock().expect("no panic while the map is held");
        guessing.retain(|_, turns| Arc::strong_count(turns) > 1);
        let at_once = match self.settings.verify_per_mobile_per_hour {
            0 => GUESSES_AT_ONCE,
            budget => GUESSES_AT_ONCE.min(budget),
        };
        let turns = guessing.entry((mobile.clone(), origin.network()));
        turns.or_insert_with(|| Arc::new(Semaphore::new(at_once as usize))).clone()
    }

    /// What became of a guess: a right one clears the budget of its network, one that was not looked at is taken back.
    pub async fn settle_guess(&self, guess: TakenGuess, right: Option<bool>) {
        let settled = match right {
            Some(true) => self.codes.clear(&guess.tally).await,
            Some(false) => Ok(()),
            None => self.codes.uncount(&guess.tally).await,
        };
        if let Err(error) = settled {
            tracing::warn!(%error, "a guess goes on counting as a wrong one");
        }
    }

    /// A guess that may turn out wrong.
    pub fn guess(&self, guess: Guess, mobile: &Mobile, origin: &Origin) -> Tally {
        let name = match guess {
            Guess::SmsCode => LimitName::WrongCodes,
            Guess::Password => LimitName::WrongPasswords,
        };
        let budget = self.settings.verify_per_mobile_per_hour;
        let everywhere = limit(name, mobile.as_str(), HOUR, budget.saturating_mul(NETWORKS));
        let here = Counter { part: Some(origin.network()), ..limit(name, mobile.as_str(), HOUR, budget) };
        self.tally(origin, vec![here, everywhere])
    }

    /// The messages to a mobile of which none was redeemed.
    pub fn unredeemed(&self, mobile: &Mobile) -> Counter {
        Counter { suspicion: Some(UNREDEEMED_PER_HOUR), ..limit(LimitName::SmsUnredeemed, mobile.as_str(), HOUR, 0) }
    }

    /// Counts a request of any kind. Who cannot be counted is let through: tokens verify without any store.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`].
    pub async fn request(&self, origin: &Origin) -> Result<(), Error> {
        let per_minute = self.settings.requests_per_ip_per_minute;
        if per_minute == 0 {
            return Ok(());
        }
        let tally = self.tally(origin, vec![limit(LimitName::Requests, &origin.network(), MINUTE, per_minute)]);
        match self.codes.count(&tally).await {
            Ok(Admission::Refused { name, retry_after }) => Err(limited(name, retry_after, None, origin)),
            Ok(Admission::Admitted | Admission::Suspicious { .. }) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, "requests are not counted for the moment");
                Ok(())
            }
        }
    }

    /// Only counters that can object to anything are worth counting: the others would take memory for nothing.
    fn tally(&self, origin: &Origin, mut counters: Vec<Counter>) -> Tally {
        if !self.settings.heeds_suspicion {
            counters.iter_mut().for_each(|counter| counter.suspicion = None);
        }
        counters.retain(|counter| counter.limit.is_some() || counter.suspicion.is_some());
        Tally {
            id: Uuid::now_v7().to_string(),
            at: self.clock.now(),
            network: origin.network(),
            counters,
            flows: Vec::new(),
        }
    }
}

/// The refusal by a counter of this name, put on record.
pub fn limited(name: LimitName, retry_after: Duration, mobile: Option<&Mobile>, origin: &Origin) -> Error {
    metrics::LIMITS.count([name.as_str()]);
    let subject = Subject { mobile, reason: Some(name.as_str()), ..Subject::default() };
    event::record(Event::Limited, origin, subject);
    match name {
        LimitName::SmsGap => Error::SmsTooFrequent { retry_after },
        LimitName::SmsPerMobile | LimitName::SmsTotal => Error::SmsQuotaExceeded { retry_after },
        LimitName::SmsPerIp
        | LimitName::SmsUnredeemed
        | LimitName::SmsMobilesPerIp
        | LimitName::WrongCodes
        | LimitName::WrongPasswords
        | LimitName::SmsAsks
        | LimitName::SmsFailedPerIp
        | LimitName::SmsFailedPerMobile
        | LimitName::SmsBlock
        | LimitName::SmsPrefix
        | LimitName::SmsSuspiciousPerIp
        | LimitName::MobileTaken
        | LimitName::WrongCodesOfDevice
        | LimitName::WrongPasswordsOfDevice
        | LimitName::WrongCodesPerIp
        | LimitName::WrongPasswordsPerIp
        | LimitName::GuessesBeyond
        | LimitName::StrangersTries
        | LimitName::TestCodeGuesses
        | LimitName::SignInsPerUser
        | LimitName::Places
        | LimitName::Requests => Error::TooManyRequests { retry_after },
    }
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

fn total_of_messages(limit_per_hour: u32) -> Counter {
    let busy = (u64::from(limit_per_hour) * u64::from(BUSY_PERCENT)).div_ceil(100);
    let suspicion = u32::try_from(busy).ok().filter(|busy| *busy > 0);
    Counter { suspicion, ..limit(LimitName::SmsTotal, "all", HOUR, limit_per_hour) }
}

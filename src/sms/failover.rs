//! Who delivers a message while a vendor fails?

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};

use super::{SmsError, SmsMessage, SmsProvider};
use crate::clock::Clock;

/// Failures in a row after which a vendor is skipped. Fewer could be chance: a lost connection, a message that got lost.
const FAILURES: u32 = 3;

/// How long a vendor is skipped: so long that few people wait for its time-out, so short that it is soon in use again.
const REST: Duration = Duration::seconds(30);

/// Several vendors, tried in order until one takes the message.
///
/// A vendor that fails three times in a row is skipped for 30 seconds, and after one more failure again. While all are
/// skipped, all are tried. What a vendor says against a number, its limit included, ends the search and does not count.
pub struct Failover {
    vendors: Vec<Vendor>,
    clock: Clock,
}

struct Vendor {
    name: &'static str,
    provider: Arc<dyn SmsProvider>,
    health: Mutex<Health>,
}

#[derive(Default)]
struct Health {
    failures_in_a_row: u32,
    skipped_until: Option<DateTime<Utc>>,
}

impl Failover {
    /// The vendors with their names, at least one, the preferred one first; `clock` tells when to try one again.
    pub fn new(vendors: Vec<(&'static str, Arc<dyn SmsProvider>)>, clock: Clock) -> Self {
        let vendors = vendors.into_iter().map(|(name, provider)| Vendor { name, provider, health: Mutex::default() });
        Self { vendors: vendors.collect(), clock }
    }

    fn candidates(&self) -> Vec<&Vendor> {
        let now = self.clock.now();
        let rested: Vec<_> = self.vendors.iter().filter(|vendor| !vendor.is_skipped(now)).collect();
        if rested.is_empty() { self.vendors.iter().collect() } else { rested }
    }
}

#[async_trait]
impl SmsProvider for Failover {
    /// The failure of the last vendor is the caller's to log, those before it are logged here.
    async fn send(&self, message: &SmsMessage) -> Result<(), SmsError> {
        let candidates = self.candidates();
        let (last, earlier) = candidates.split_last().expect("there is at least one vendor");
        for vendor in earlier {
            match vendor.send(message, &self.clock).await {
                Err(error) if error.is_the_vendors_failure() => {
                    let mobile = &message.mobile;
                    tracing::warn!(%error, provider = vendor.name, %mobile, "the next provider is tried");
                }
                answer => return answer,
            }
        }
        last.send(message, &self.clock).await
    }
}

impl Vendor {
    fn is_skipped(&self, now: DateTime<Utc>) -> bool {
        let health = self.health.lock().expect("no panic while the health is held");
        health.skipped_until.is_some_and(|until| now < until)
    }

    async fn send(&self, message: &SmsMessage, clock: &Clock) -> Result<(), SmsError> {
        let answer = self.provider.send(message).await;
        let mut health = self.health.lock().expect("no panic while the health is held");
        match &answer {
            Ok(()) => *health = Health::default(),
            Err(error) if error.is_the_vendors_failure() => {
                health.failures_in_a_row = health.failures_in_a_row.saturating_add(1);
                if health.failures_in_a_row >= FAILURES {
                    health.skipped_until = Some(clock.now() + REST);
                }
            }
            Err(_) => {}
        }
        answer
    }
}

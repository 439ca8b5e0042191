//! How many messages does each vendor take, and how fast?

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;

use super::{SmsError, SmsMessage, SmsProvider};
use crate::telemetry::{metrics, traces};

const SENT: &str = "sent";
const REFUSED: &str = "refused";
const NUMBER_REFUSED: &str = "number_refused";
const THROTTLED: &str = "throttled";
const UNREACHABLE: &str = "unreachable";

/// A vendor whose messages are counted.
pub struct Measured {
    vendor: &'static str,
    provider: Arc<dyn SmsProvider>,
}

impl Measured {
    /// Counts what this vendor does under its name.
    pub fn new(vendor: &'static str, provider: Arc<dyn SmsProvider>) -> Self {
        for outcome in [SENT, REFUSED, NUMBER_REFUSED, THROTTLED, UNREACHABLE] {
            metrics::SMS.expect([vendor, outcome]);
        }
        Self { vendor, provider }
    }
}

#[async_trait]
impl SmsProvider for Measured {
    async fn send(&self, message: &SmsMessage) -> Result<(), SmsError> {
        let started = Instant::now();
        let answer = traces::call(self.vendor, self.provider.send(message)).await;
        let outcome = match &answer {
            Ok(()) => SENT,
            Err(SmsError::Refused { .. }) => REFUSED,
            Err(SmsError::NumberRefused { .. }) => NUMBER_REFUSED,
            Err(SmsError::Throttled { .. }) => THROTTLED,
            Err(SmsError::Unreachable { .. }) => UNREACHABLE,
        };
        metrics::SMS.count([self.vendor, outcome]);
        metrics::SMS_SECONDS.took([self.vendor], started.elapsed());
        answer
    }
}

//! How does a code reach a phone? The seam to the SMS vendors.

mod aliyun;
mod console;
mod failover;
mod measured;
mod tencent;
mod twilio;
mod webhook;
mod yuntongxun;

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;

pub use aliyun::{Aliyun, AliyunAccount};
pub use console::{Console, Outbox, SentMessage};
pub use failover::Failover;
pub use measured::Measured;
pub use tencent::{Tencent, TencentAccount};
pub use twilio::{Twilio, TwilioAccount};
pub use webhook::{Webhook, check_webhook_secret};
pub use yuntongxun::{Yuntongxun, YuntongxunAccount};

use crate::{
    model::mobile::Mobile,
    vendor::{self, NoAnswer},
};

/// One message with a one-time code.
///
/// Template vendors take `code` and `ttl`; the others send `text`.
pub struct SmsMessage {
    /// Who gets it.
    pub mobile: Mobile,
    /// What the code is for, as on the wire (`login`, `reset_password`, …).
    pub purpose: &'static str,
    /// The digits.
    pub code: String,
    /// How long the code is valid.
    pub ttl: Duration,
    /// The whole message in words.
    pub text: String,
}

impl SmsMessage {
    /// The validity in whole minutes, at least one, as templates print it.
    pub fn minutes(&self) -> u64 {
        self.ttl.as_secs().div_ceil(60).max(1)
    }
}

/// Why a vendor did not take a message. Carries the vendor's own code, never the text or the number.
#[derive(Debug, thiserror::Error)]
pub enum SmsError {
    /// The vendor answered and said no.
    #[error("{vendor} refused the message: {code}")]
    Refused {
        /// Which vendor.
        vendor: &'static str,
        /// The vendor's own code or HTTP status.
        code: String,
    },
    /// The vendor's own frequency limit for this number, or HTTP 429.
    #[error("{vendor} limits this number: {code}")]
    Throttled {
        /// Which vendor.
        vendor: &'static str,
        /// The vendor's own code or HTTP status.
        code: String,
    },
    /// The vendor sends nothing to this number: it does not exist, cannot receive messages, or is on a list of blocked
    /// ones.
    #[error("{vendor} does not send to this number: {code}")]
    NumberRefused {
        /// Which vendor.
        vendor: &'static str,
        /// The vendor's own code or HTTP status.
        code: String,
    },
    /// No answer, or none that makes sense.
    #[error("{vendor} cannot be reached: {reason}")]
    Unreachable {
        /// Which vendor.
        vendor: &'static str,
        /// What went wrong, without the URL.
        reason: String,
    },
}

/// What a vendor's code objects to.
#[derive(Clone, Copy)]
enum Objection {
    /// To how often the number gets messages.
    Frequency,
    /// To the number.
    Number,
    /// To anything else: the account, the template, the text.
    Else,
}

impl SmsError {
    /// Did the vendor fail, rather than refuse this number? Only then is it skipped and another one tried: otherwise
    /// numbers that vendors refuse would switch all of them off, and cost a call to each.
    pub fn is_the_vendors_failure(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Unreachable { .. } => true,
            Self::Throttled { .. } | Self::NumberRefused { .. } => false,
        }
    }

    /// The vendor said no. HTTP 429 is a limit, whatever the code says.
    fn said_no(vendor: &'static str, status: StatusCode, code: String, objection: Objection) -> Self {
        match objection {
            _ if status == StatusCode::TOO_MANY_REQUESTS => Self::Throttled { vendor, code },
            Objection::Frequency => Self::Throttled { vendor, code },
            Objection::Number => Self::NumberRefused { vendor, code },
            Objection::Else => Self::Refused { vendor, code },
        }
    }

    /// A call that brought no answer.
    fn no_answer(vendor: &'static str, answer: impl Into<NoAnswer>) -> Self {
        Self::Unreachable { vendor, reason: answer.into().reason }
    }
}

/// A vendor that delivers codes.
#[async_trait]
pub trait SmsProvider: Send + Sync {
    /// Hands the message to the vendor and waits for its word.
    async fn send(&self, message: &SmsMessage) -> Result<(), SmsError>;
}

/// The HTTP client that all vendors share.
pub fn http_client() -> reqwest::Client {
    vendor::http_client(Duration::from_secs(5))
}

/// Sends a request and reads the JSON that the vendor answers with, unless the vendor is out of order.
async fn call<T: DeserializeOwned>(vendor: &'static str, request: RequestBuilder) -> Result<(StatusCode, T), SmsError> {
    vendor::call(request).await.map_err(|answer| match answer.status {
        // A gateway's limit: it does not speak the vendor's language.
        Some(status @ StatusCode::TOO_MANY_REQUESTS) => {
            SmsError::said_no(vendor, status, status.as_u16().to_string(), Objection::Else)
        }
        _ => SmsError::no_answer(vendor, answer),
    })
}

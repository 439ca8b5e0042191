//! The captchas of vendors: the seam that checks what a vendor's widget handed to an app.

mod aliyun;
mod tencent;
mod turnstile;

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;
use reqwest::{RequestBuilder, StatusCode};
use secrecy::SecretString;
use serde::de::DeserializeOwned;

pub use aliyun::{AliyunCaptcha, AliyunScene};
pub use tencent::{TencentApp, TencentCaptcha};
pub use turnstile::Turnstile;

use crate::vendor;

/// How long a vendor has for its answer: a user waits for the whole request.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a vendor says about a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was solved.
    Passed,
    /// It was not, or it was used before.
    Refused {
        /// The vendor's own code.
        code: String,
    },
}

/// A vendor that gave no verdict: no answer, or an error of the account.
#[derive(Debug, thiserror::Error)]
#[error("{vendor} gave no verdict: {reason}")]
pub struct CaptchaError {
    /// Which vendor.
    pub vendor: &'static str,
    /// What went wrong, or the vendor's own code; without the response.
    pub reason: String,
}

/// A vendor that checks responses.
#[async_trait]
pub trait Captcha: Send + Sync {
    /// Asks the vendor about a response of its widget, solved at this address.
    ///
    /// # Errors
    /// When the vendor gives no verdict within 2 seconds.
    async fn verify(&self, response: &SecretString, ip: Option<IpAddr>) -> Result<Verdict, CaptchaError>;
}

/// The HTTP client that all vendors share.
pub fn http_client() -> reqwest::Client {
    vendor::http_client(PATIENCE)
}

async fn call<T: DeserializeOwned>(
    vendor: &'static str,
    request: RequestBuilder,
) -> Result<(StatusCode, T), CaptchaError> {
    vendor::call(request).await.map_err(|answer| CaptchaError { vendor, reason: answer.reason })
}

//! The captcha of Tencent Cloud (腾讯云验证码, `DescribeCaptchaResult` of 2019-07-22).

use std::net::{IpAddr, Ipv4Addr};

use async_trait::async_trait;
use reqwest::{RequestBuilder, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::{Captcha, CaptchaError, Verdict, call};
use crate::{clock::Clock, vendor::tencent};

const VENDOR: &str = "tencent";

/// The one type of captcha that there is.
const CAPTCHA_TYPE: u32 = 9;

/// The code of a ticket that passed.
const PASSED: i64 = 1;

/// How a ticket begins that the widget made by itself because it did not reach the vendor: anyone can write one.
const UNREACHED: [&str; 2] = ["trerror", "terror"];

/// An account with the vendor and the app that its widget belongs to.
pub struct TencentApp {
    /// Scheme, host and port; `https://captcha.tencentcloudapi.com` in production.
    pub base_url: Url,
    /// `SecretId` of the vendor's console.
    pub secret_id: String,
    /// `SecretKey` of the vendor's console.
    pub secret_key: SecretString,
    /// `CaptchaAppId` of the vendor's console.
    pub app_id: u64,
    /// `AppSecretKey` of the vendor's console.
    pub app_secret_key: SecretString,
}

/// Asks Tencent Cloud.
pub struct TencentCaptcha {
    client: reqwest::Client,
    app: TencentApp,
    clock: Clock,
}

/// What the widget hands to the app, as the app sends it.
#[derive(Deserialize)]
struct Response {
    ticket: String,
    randstr: String,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Response")]
    result: Outcome,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Outcome {
    /// The call failed.
    Error {
        #[serde(rename = "Error")]
        error: Coded,
    },
    /// The ticket was looked at.
    Checked {
        #[serde(rename = "CaptchaCode")]
        code: i64,
    },
}

#[derive(Deserialize)]
struct Coded {
    #[serde(rename = "Code")]
    code: String,
}

impl TencentCaptcha {
    /// A checker for one app; `clock` dates the signatures, which the vendor refuses when they are old.
    pub fn new(client: reqwest::Client, app: TencentApp, clock: Clock) -> Self {
        Self { client, app, clock }
    }

    fn request(&self, response: &Response, ip: Option<IpAddr>) -> RequestBuilder {
        let TencentApp { base_url: url, secret_id, secret_key, app_id, app_secret_key } = &self.app;
        let body = json!({
            "CaptchaType": CAPTCHA_TYPE,
            "Ticket": response.ticket,
            "UserIp": ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            "Randstr": response.randstr,
            "CaptchaAppId": app_id,
            "AppSecretKey": app_secret_key.expose_secret(),
        })
        .to_string();
        let call =
            tencent::Call { url, service: "captcha", action: "DescribeCaptchaResult", version: "2019-07-22", body };
        tencent::request(&self.client, secret_id, secret_key, self.clock.now(), call)
    }
}

#[async_trait]
impl Captcha for TencentCaptcha {
    async fn verify(&self, response: &SecretString, ip: Option<IpAddr>) -> Result<Verdict, CaptchaError> {
        let refused = |code: &str| Ok(Verdict::Refused { code: code.to_owned() });
        let Ok(response) = serde_json::from_str::<Response>(response.expose_secret()) else {
            return refused("malformed");
        };
        if UNREACHED.iter().any(|prefix| response.ticket.starts_with(prefix)) {
            return refused("trerror");
        }
        let (status, answer) = call::<Answer>(VENDOR, self.request(&response, ip)).await?;
        match answer.result {
            Outcome::Checked { code: PASSED } if status.is_success() => Ok(Verdict::Passed),
            Outcome::Checked { code } if status.is_success() => refused(&code.to_string()),
            Outcome::Checked { .. } => {
                Err(CaptchaError { vendor: VENDOR, reason: format!("HTTP {}", status.as_u16()) })
            }
            Outcome::Error { error: Coded { code } } => Err(CaptchaError { vendor: VENDOR, reason: code }),
        }
    }
}

//! How does a code leave through Yuntongxun (容联云, `TemplateSMS` of 2013-12-26)?

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::FixedOffset;
use md5::{Digest, Md5};
use reqwest::{
    RequestBuilder,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::{Objection, SmsError, SmsMessage, SmsProvider, call};
use crate::clock::Clock;

const VENDOR: &str = "yuntongxun";

/// The vendor's codes for a number that got too many messages, or the same one too often. Its other limits (160016,
/// 160017) are those of the channel or of a call.
const NUMBER_LIMITS: [&str; 8] = ["160015", "160021", "160022", "160038", "160039", "160040", "160041", "160056"];

/// The vendor's codes for a number on its blacklist, and for one that is none.
const NUMBER_REFUSALS: [&str; 2] = ["160034", "160042"];

const CHINA: FixedOffset = FixedOffset::east_opt(8 * 3600).expect("eight hours are less than a day");

/// An account with the vendor and the template it sends.
pub struct YuntongxunAccount {
    /// Scheme, host and port; `https://app.cloopen.com:8883` in production.
    pub base_url: String,
    /// `ACCOUNT SID` of the vendor's console.
    pub account_sid: String,
    /// `AUTH TOKEN` of the vendor's console.
    pub auth_token: SecretString,
    /// The application the messages are billed to.
    pub app_id: String,
    /// A template with two places: the code and the minutes.
    pub template_id: String,
}

/// Sends a template message through Yuntongxun.
pub struct Yuntongxun {
    client: reqwest::Client,
    account: YuntongxunAccount,
    clock: Clock,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "statusCode")]
    status_code: String,
}

impl Yuntongxun {
    /// A provider for one account; `clock` dates the signatures, which the vendor refuses when they are old.
    pub fn new(client: reqwest::Client, account: YuntongxunAccount, clock: Clock) -> Self {
        Self { client, account, clock }
    }

    fn request(&self, message: &SmsMessage) -> RequestBuilder {
        let YuntongxunAccount { base_url, account_sid: sid, auth_token, app_id, template_id } = &self.account;
        let timestamp = self.clock.now().with_timezone(&CHINA).format("%Y%m%d%H%M%S");
        let digest = Md5::digest(format!("{sid}{}{timestamp}", auth_token.expose_secret()));
        let signature = u128::from_be_bytes(digest.into());
        let base = base_url.trim_end_matches('/');
        self.client
            .post(format!("{base}/2013-12-26/Accounts/{sid}/SMS/TemplateSMS?sig={signature:032X}"))
            .header(AUTHORIZATION, BASE64_STANDARD.encode(format!("{sid}:{timestamp}")))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json;charset=utf-8")
            .json(&json!({
                "to": message.mobile.as_str(),
                "appId": app_id,
                "templateId": template_id,
                "datas": [message.code, message.minutes().to_string()],
            }))
    }
}

#[async_trait]
impl SmsProvider for Yuntongxun {
    async fn send(&self, message: &SmsMessage) -> Result<(), SmsError> {
        let (status, Answer { status_code }) = call(VENDOR, self.request(message)).await?;
        if status.is_success() && status_code == "000000" {
            return Ok(());
        }
        let objection = match status_code.as_str() {
            code if NUMBER_LIMITS.contains(&code) => Objection::Frequency,
            code if NUMBER_REFUSALS.contains(&code) => Objection::Number,
            _ => Objection::Else,
        };
        Err(SmsError::said_no(VENDOR, status, status_code, objection))
    }
}

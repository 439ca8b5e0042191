//! How does a code leave through Tencent (腾讯云, `SendSms` of SMS 2021-01-11)?

use async_trait::async_trait;
use reqwest::{RequestBuilder, Url};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::{Objection, SmsError, SmsMessage, SmsProvider, call};
use crate::{clock::Clock, vendor::tencent};

const VENDOR: &str = "tencent";

/// An account with the vendor and the template it sends.
pub struct TencentAccount {
    /// Scheme, host and port; `https://sms.tencentcloudapi.com` in production.
    pub base_url: Url,
    /// `SecretId` of the vendor's console.
    pub secret_id: String,
    /// `SecretKey` of the vendor's console.
    pub secret_key: SecretString,
    /// The application the messages are billed to (`SdkAppId`).
    pub app_id: String,
    /// Whose message it is, as approved by the vendor.
    pub sign_name: String,
    /// A template with two places: the code and the minutes.
    pub template_id: String,
    /// Where the vendor works on the call, such as `ap-guangzhou`.
    pub region: String,
}

/// Sends a template message through Tencent.
pub struct Tencent {
    client: reqwest::Client,
    account: TencentAccount,
    clock: Clock,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Response")]
    response: Response,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Response {
    /// The call failed as a whole.
    Error {
        #[serde(rename = "Error")]
        error: Coded,
    },
    /// One for each number.
    Statuses {
        #[serde(rename = "SendStatusSet")]
        statuses: [Coded; 1],
    },
}

#[derive(Deserialize)]
struct Coded {
    #[serde(rename = "Code")]
    code: String,
}

impl Tencent {
    /// A provider for one account; `clock` dates the signatures, which the vendor refuses when they are old.
    pub fn new(client: reqwest::Client, account: TencentAccount, clock: Clock) -> Self {
        Self { client, account, clock }
    }

    fn request(&self, message: &SmsMessage) -> RequestBuilder {
        let TencentAccount { base_url: url, secret_id, secret_key, app_id, sign_name, template_id, region } =
            &self.account;
        let body = json!({
            "PhoneNumberSet": [message.mobile.international()],
            "SmsSdkAppId": app_id,
            "SignName": sign_name,
            "TemplateId": template_id,
            "TemplateParamSet": [message.code, message.minutes().to_string()],
        })
        .to_string();
        let call = tencent::Call { url, service: "sms", action: "SendSms", version: "2021-01-11", body };
        tencent::request(&self.client, secret_id, secret_key, self.clock.now(), call).header("X-TC-Region", region)
    }
}

#[async_trait]
impl SmsProvider for Tencent {
    async fn send(&self, message: &SmsMessage) -> Result<(), SmsError> {
        let (status, answer) = call(VENDOR, self.request(message)).await?;
        let Coded { code } = match answer {
            Answer { response: Response::Error { error } } => error,
            Answer { response: Response::Statuses { statuses: [status] } } => status,
        };
        if status.is_success() && code == "Ok" {
            return Ok(());
        }
        let objection = match code.as_str() {
            "FailedOperation.PhoneNumberInBlacklist" | "InvalidParameterValue.IncorrectPhoneNumber" => {
                Objection::Number
            }
            _ if code.starts_with("LimitExceeded.") => Objection::Frequency,
            _ => Objection::Else,
        };
        Err(SmsError::said_no(VENDOR, status, code, objection))
    }
}

//! How does a code leave through Aliyun (阿里云, `SendSms` of Dysmsapi 2017-05-25)?

use async_trait::async_trait;
use reqwest::{RequestBuilder, Url};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::{Objection, SmsError, SmsMessage, SmsProvider, call};
use crate::{
    clock::Clock,
    vendor::{aliyun, signature::query},
};

const VENDOR: &str = "aliyun";

/// An account with the vendor and the template it sends.
pub struct AliyunAccount {
    /// Scheme, host and port; `https://dysmsapi.aliyuncs.com` in production.
    pub base_url: Url,
    /// `AccessKey ID` of the vendor's console.
    pub access_key_id: String,
    /// `AccessKey Secret` of the vendor's console.
    pub access_key_secret: SecretString,
    /// Whose message it is, as approved by the vendor.
    pub sign_name: String,
    /// A template with one place: `${code}`.
    pub template_code: String,
}

/// Sends a template message through Aliyun.
pub struct Aliyun {
    client: reqwest::Client,
    account: AliyunAccount,
    clock: Clock,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Code")]
    code: String,
}

impl Aliyun {
    /// A provider for one account; `clock` dates the signatures, which the vendor refuses when they are old.
    pub fn new(client: reqwest::Client, account: AliyunAccount, clock: Clock) -> Self {
        Self { client, account, clock }
    }

    fn request(&self, message: &SmsMessage) -> RequestBuilder {
        let AliyunAccount { base_url, access_key_id, access_key_secret, sign_name, template_code } = &self.account;
        let mut url = base_url.clone();
        url.set_query(Some(&query(
            [
                ("PhoneNumbers", message.mobile.as_str()),
                ("SignName", sign_name),
                ("TemplateCode", template_code),
                ("TemplateParam", &json!({ "code": message.code }).to_string()),
            ]
            .into(),
        )));
        let call = aliyun::Call { url: &url, action: "SendSms", version: "2017-05-25", form: None };
        aliyun::request(&self.client, access_key_id, access_key_secret, self.clock.now(), call)
    }
}

#[async_trait]
impl SmsProvider for Aliyun {
    async fn send(&self, message: &SmsMessage) -> Result<(), SmsError> {
        let (status, Answer { code }) = call(VENDOR, self.request(message)).await?;
        if status.is_success() && code == "OK" {
            return Ok(());
        }
        let objection = match code.as_str() {
            // `isv.DAY_LIMIT_CONTROL` and the like limit the account.
            "isv.BUSINESS_LIMIT_CONTROL" => Objection::Frequency,
            // The blacklist is that of numbers: all that varies in the text is digits, which no list of words has.
            "isv.MOBILE_NUMBER_ILLEGAL" | "isv.BLACK_KEY_CONTROL_LIMIT" => Objection::Number,
            _ => Objection::Else,
        };
        Err(SmsError::said_no(VENDOR, status, code, objection))
    }
}

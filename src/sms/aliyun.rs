//! How does a code leave through Aliyun (阿里云, `SendSms` of Dysmsapi 2017-05-25)?

use async_trait::async_trait;
use reqwest::{
    RequestBuilder, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH},
};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{Objection, SmsError, SmsMessage, SmsProvider, call};
use crate::{
    clock::Clock,
    vendor::signature::{Signed, acs3, host, query, sha256},
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
        let host = host(&url);
        let headers = [
            ("host", host.as_str()),
            ("x-acs-action", "SendSms"),
            ("x-acs-content-sha256", &sha256("")),
            ("x-acs-date", &self.clock.now().format("%Y-%m-%dT%H:%M:%SZ").to_string()),
            ("x-acs-signature-nonce", &Uuid::now_v7().simple().to_string()),
            ("x-acs-version", "2017-05-25"),
        ];
        let signed = Signed { url: &url, headers: headers.into(), body: "" };
        let authorization = acs3(access_key_id, access_key_secret, &signed);
        let request = self.client.post(url.clone()).header(AUTHORIZATION, authorization);
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        // RFC 9110 (8.6): a POST without a body says so, or gateways may refuse it.
        request.header(ACCEPT, "application/json").header(CONTENT_LENGTH, 0)
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

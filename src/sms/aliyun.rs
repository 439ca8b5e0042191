//! How does a code leave through Aliyun (阿里云, `SendSms` of Dysmsapi 2017-05-25)?

use async_trait::async_trait;
use reqwest::{
    RequestBuilder, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{
    Objection, SmsError, SmsMessage, SmsProvider, call,
    signature::{Signed, hmac, host, query, sha256},
};
use crate::{clock::Clock, hex::hex};

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
        let authorization = authorization(access_key_id, access_key_secret, &signed);
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

fn authorization(id: &str, secret: &SecretString, signed: &Signed) -> String {
    let to_sign = format!("ACS3-HMAC-SHA256\n{}", signed.digest());
    let signature = hex(&hmac(secret.expose_secret().as_bytes(), &to_sign));
    format!("ACS3-HMAC-SHA256 Credential={id},SignedHeaders={},Signature={signature}", signed.header_names())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_example_has_the_published_signature() {
        let query = query(
            [("RegionId", "cn-shanghai"), ("ImageId", "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd")].into(),
        );
        let url = Url::parse(&format!("https://ecs.cn-shanghai.aliyuncs.com/?{query}")).unwrap();
        let headers = [
            ("host", "ecs.cn-shanghai.aliyuncs.com"),
            ("x-acs-action", "RunInstances"),
            ("x-acs-content-sha256", &sha256("")),
            ("x-acs-date", "2023-10-26T10:22:32Z"),
            ("x-acs-signature-nonce", "3156853299f313e23d1673dc12e1703d"),
            ("x-acs-version", "2014-05-26"),
        ];
        let signed = Signed { url: &url, headers: headers.into(), body: "" };
        assert_eq!(
            authorization("YourAccessKeyId", &SecretString::from("YourAccessKeySecret"), &signed),
            "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,\
             SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version,\
             Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
        );
    }
}

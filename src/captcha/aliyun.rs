//! The captcha of Alibaba Cloud (阿里云验证码 2.0, `VerifyIntelligentCaptcha` of 2023-03-05).

use std::net::IpAddr;

use async_trait::async_trait;
use reqwest::{
    RequestBuilder, Url,
    header::{ACCEPT, AUTHORIZATION},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use uuid::Uuid;

use super::{Captcha, CaptchaError, Verdict, call};
use crate::{
    clock::Clock,
    vendor::signature::{Signed, acs3, host, query, sha256},
};

const VENDOR: &str = "aliyun";

const FORM: &str = "application/x-www-form-urlencoded";

/// The code of a response that passed.
const PASSED: &str = "T001";

/// An account with the vendor and the scene that its widget shows.
pub struct AliyunScene {
    /// Scheme, host and port; `https://captcha.cn-shanghai.aliyuncs.com` in production.
    pub base_url: Url,
    /// `AccessKey ID` of the vendor's console.
    pub access_key_id: String,
    /// `AccessKey Secret` of the vendor's console.
    pub access_key_secret: SecretString,
    /// `SceneId` of the vendor's console.
    pub scene_id: String,
}

/// Asks Alibaba Cloud.
pub struct AliyunCaptcha {
    client: reqwest::Client,
    scene: AliyunScene,
    clock: Clock,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Code")]
    code: Option<String>,
    #[serde(rename = "Result")]
    result: Option<Checked>,
}

#[derive(Deserialize)]
struct Checked {
    #[serde(rename = "VerifyResult")]
    passed: bool,
    #[serde(rename = "VerifyCode")]
    code: Option<String>,
}

impl AliyunCaptcha {
    /// A checker for one scene; `clock` dates the signatures, which the vendor refuses when they are old.
    pub fn new(client: reqwest::Client, scene: AliyunScene, clock: Clock) -> Self {
        Self { client, scene, clock }
    }

    fn request(&self, response: &SecretString) -> RequestBuilder {
        let AliyunScene { base_url: url, access_key_id, access_key_secret, scene_id } = &self.scene;
        // In the body, as the vendor's own libraries do: a response takes a few thousand characters.
        let body = query([("CaptchaVerifyParam", response.expose_secret()), ("SceneId", scene_id)].into());
        let host = host(url);
        let headers = [
            ("content-type", FORM),
            ("host", host.as_str()),
            ("x-acs-action", "VerifyIntelligentCaptcha"),
            ("x-acs-content-sha256", &sha256(&body)),
            ("x-acs-date", &self.clock.now().format("%Y-%m-%dT%H:%M:%SZ").to_string()),
            ("x-acs-signature-nonce", &Uuid::now_v7().simple().to_string()),
            ("x-acs-version", "2023-03-05"),
        ];
        let signed = Signed { url, headers: headers.into(), body: &body };
        let authorization = acs3(access_key_id, access_key_secret, &signed);
        let request = self.client.post(url.clone()).header(AUTHORIZATION, authorization);
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        request.header(ACCEPT, "application/json").body(body)
    }
}

#[async_trait]
impl Captcha for AliyunCaptcha {
    async fn verify(&self, response: &SecretString, _ip: Option<IpAddr>) -> Result<Verdict, CaptchaError> {
        let (status, answer) = call::<Answer>(VENDOR, self.request(response)).await?;
        match answer.result.filter(|_| status.is_success()) {
            Some(Checked { passed: true, code }) if code.as_deref().is_none_or(|code| code == PASSED) => {
                Ok(Verdict::Passed)
            }
            Some(Checked { code, .. }) => Ok(Verdict::Refused { code: code.unwrap_or_default() }),
            None => {
                let reason = answer.code.unwrap_or_else(|| format!("HTTP {}", status.as_u16()));
                Err(CaptchaError { vendor: VENDOR, reason })
            }
        }
    }
}

//! The captcha of Alibaba Cloud (阿里云验证码 2.0, `VerifyIntelligentCaptcha` of 2023-03-05).

use std::net::IpAddr;

use async_trait::async_trait;
use reqwest::{RequestBuilder, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{Captcha, CaptchaError, Verdict, call};
use crate::{
    clock::Clock,
    vendor::{aliyun, signature::query},
};

const VENDOR: &str = "aliyun";

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
        let form = query([("CaptchaVerifyParam", response.expose_secret()), ("SceneId", scene_id)].into());
        let call = aliyun::Call { url, action: "VerifyIntelligentCaptcha", version: "2023-03-05", form: Some(form) };
        aliyun::request(&self.client, access_key_id, access_key_secret, self.clock.now(), call)
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

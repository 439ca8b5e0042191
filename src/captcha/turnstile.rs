//! Cloudflare Turnstile (`siteverify`).

use std::net::IpAddr;

use async_trait::async_trait;
use reqwest::{RequestBuilder, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{Captcha, CaptchaError, Verdict, call};

const VENDOR: &str = "turnstile";

/// Codes that do not concern the response.
const OUT_OF_ORDER: [&str; 4] = ["missing-input-secret", "invalid-input-secret", "bad-request", "internal-error"];

/// Asks Cloudflare.
pub struct Turnstile {
    client: reqwest::Client,
    url: Url,
    secret: SecretString,
}

#[derive(Deserialize)]
struct Answer {
    success: bool,
    #[serde(default, rename = "error-codes")]
    codes: Vec<String>,
}

impl Turnstile {
    /// A checker for one site; the base URL is `https://challenges.cloudflare.com` in production.
    pub fn new(client: reqwest::Client, base_url: &Url, secret: SecretString) -> Self {
        let mut url = base_url.clone();
        url.set_path(&format!("{}/turnstile/v0/siteverify", base_url.path().trim_end_matches('/')));
        Self { client, url, secret }
    }

    fn request(&self, response: &SecretString, ip: Option<IpAddr>) -> RequestBuilder {
        let mut form =
            vec![("secret", self.secret.expose_secret().to_owned()), ("response", response.expose_secret().to_owned())];
        form.extend(ip.map(|ip| ("remoteip", ip.to_string())));
        self.client.post(self.url.clone()).form(&form)
    }
}

#[async_trait]
impl Captcha for Turnstile {
    async fn verify(&self, response: &SecretString, ip: Option<IpAddr>) -> Result<Verdict, CaptchaError> {
        let (status, Answer { success, codes }) = call(VENDOR, self.request(response, ip)).await?;
        if success && status.is_success() {
            return Ok(Verdict::Passed);
        }
        let broken = codes.iter().find(|code| OUT_OF_ORDER.contains(&code.as_str()));
        if success || broken.is_some() {
            let reason = broken.cloned().unwrap_or_else(|| format!("HTTP {}", status.as_u16()));
            return Err(CaptchaError { vendor: VENDOR, reason });
        }
        Ok(Verdict::Refused { code: codes.join(",") })
    }
}

//! How does a code leave through the operator's own HTTP endpoint?

use std::time::Duration;

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{IntoUrl, RequestBuilder, Response, StatusCode, Url, header::CONTENT_TYPE};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::Sha256;
use uuid::Uuid;

use super::{Objection, SmsError, SmsMessage, SmsProvider};
use crate::clock::Clock;

const VENDOR: &str = "webhook";

/// Both tries together: somebody waits for the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Posts each message as JSON to one URL, signed by the Standard Webhooks scheme when there is a secret.
///
/// One retry, with the same `webhook-id` so that the receiver can tell, follows a 5xx or a connection that could not be
/// made or broke. A request that was sent and not answered in time is not repeated: it may have been delivered, and the
/// 5 seconds for the whole call are over.
pub struct Webhook {
    client: reqwest::Client,
    url: Url,
    key: Option<Hmac<Sha256>>,
    clock: Clock,
}

impl Webhook {
    /// A webhook at `url`; `secret` is base64, with or without the customary `whsec_` before it.
    ///
    /// # Errors
    /// When the URL is not one for HTTP, or the secret is empty or not base64. The words hold neither.
    pub fn new(
        client: reqwest::Client,
        url: impl IntoUrl,
        secret: Option<SecretString>,
        clock: Clock,
    ) -> Result<Self, String> {
        let url = url.into_url().ok().filter(|url| matches!(url.scheme(), "https" | "http"));
        let url = url.ok_or("the webhook URL is not an http or https URL")?;
        let key = secret.as_ref().map(signing_key).transpose()?;
        Ok(Self { client, url, key, clock })
    }

    fn request(&self, message: &SmsMessage) -> RequestBuilder {
        let id = format!("msg_{}", Uuid::now_v7().simple());
        let timestamp = self.clock.now().timestamp();
        let body = json!({
            "mobile": message.mobile.as_str(),
            "purpose": message.purpose,
            "code": message.code,
            "ttl": message.ttl.as_secs(),
            "text": message.text,
        })
        .to_string();
        let mut request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            let mac = key.clone().chain_update(format!("{id}.{timestamp}.{body}")).finalize();
            let signature = format!("v1,{}", BASE64_STANDARD.encode(mac.into_bytes()));
            request = request.header("webhook-signature", signature);
        }
        request.header("webhook-id", id).header("webhook-timestamp", timestamp).body(body)
    }
}

#[async_trait]
impl SmsProvider for Webhook {
    async fn send(&self, message: &SmsMessage) -> Result<(), SmsError> {
        let unreachable = |reason: String| SmsError::Unreachable { vendor: VENDOR, reason };
        let first = self.request(message);
        let second = first.try_clone().expect("a body of bytes can be sent twice");
        let tries = async {
            let answer = first.send().await;
            if worth_a_retry(&answer) { second.send().await } else { answer }
        };
        let answer = tokio::time::timeout(PATIENCE, tries).await.map_err(|_| unreachable("timed out".to_owned()))?;
        let status = answer.map_err(|error| SmsError::no_answer(VENDOR, error))?.status();
        match status {
            _ if status.is_success() => Ok(()),
            _ if status.is_server_error() => Err(unreachable(format!("HTTP {}", status.as_u16()))),
            _ => {
                // RFC 9110 (15.5.21): understood, but not possible with this content.
                let unsendable = status == StatusCode::UNPROCESSABLE_ENTITY;
                let objection = if unsendable { Objection::Number } else { Objection::Else };
                Err(SmsError::said_no(VENDOR, status, status.as_u16().to_string(), objection))
            }
        }
    }
}

fn worth_a_retry(answer: &reqwest::Result<Response>) -> bool {
    match answer {
        Ok(response) => response.status().is_server_error(),
        Err(error) => error.is_connect() || !error.is_timeout(),
    }
}

/// Can calls be signed with this secret?
///
/// # Errors
/// When it is empty or not base64. The words do not hold it.
pub fn check_webhook_secret(secret: &SecretString) -> Result<(), String> {
    signing_key(secret).map(drop)
}

fn signing_key(secret: &SecretString) -> Result<Hmac<Sha256>, String> {
    let secret = secret.expose_secret();
    let bytes = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret));
    // With an empty key anyone could sign, and the decoder's own words quote a byte of the secret.
    let bytes = bytes.ok().filter(|bytes| !bytes.is_empty()).ok_or("the webhook secret is empty or not base64")?;
    Ok(Hmac::new_from_slice(&bytes).expect("HMAC takes a key of any length"))
}

//! How does a code leave through Twilio (`Messages` of 2010-04-01)?

use async_trait::async_trait;
use reqwest::{RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{Objection, SmsError, SmsMessage, SmsProvider, call};

const VENDOR: &str = "twilio";

/// The vendor's code for too many requests.
const TOO_MANY_REQUESTS: u32 = 20429;

/// The vendor's codes for a number that is none, is a short code, has unsubscribed, is no mobile, or is a landline.
/// Others that name the number (21408, 21608, 21612) are about what the account or its sender may reach.
const NUMBER_REFUSALS: [u32; 5] = [21211, 21265, 21610, 21614, 21635];

/// An account with the vendor and who its messages come from.
pub struct TwilioAccount {
    /// Scheme, host and port; `https://api.twilio.com` in production.
    pub base_url: Url,
    /// `Account SID` of the vendor's console.
    pub account_sid: String,
    /// `Auth Token` of the vendor's console.
    pub auth_token: SecretString,
    /// A number of the account, or the `MG…` of a messaging service that chooses one.
    pub from: String,
}

/// Sends a text through Twilio.
pub struct Twilio {
    client: reqwest::Client,
    account: TwilioAccount,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    /// The message has an id.
    Taken { sid: String },
    /// It has none.
    Refused { code: u32 },
}

impl Twilio {
    /// A provider for one account.
    pub fn new(client: reqwest::Client, account: TwilioAccount) -> Self {
        Self { client, account }
    }

    fn request(&self, message: &SmsMessage) -> RequestBuilder {
        let TwilioAccount { base_url, account_sid: sid, auth_token, from } = &self.account;
        let base = base_url.as_str().trim_end_matches('/');
        let sender = if from.starts_with("MG") { "MessagingServiceSid" } else { "From" };
        self.client
            .post(format!("{base}/2010-04-01/Accounts/{sid}/Messages.json"))
            .basic_auth(sid, Some(auth_token.expose_secret()))
            .form(&[("To", message.mobile.international().as_str()), (sender, from), ("Body", &message.text)])
    }
}

#[async_trait]
impl SmsProvider for Twilio {
    async fn send(&self, message: &SmsMessage) -> Result<(), SmsError> {
        let (status, answer) = call(VENDOR, self.request(message)).await?;
        let code = match answer {
            Answer::Taken { sid } if status == StatusCode::CREATED && !sid.is_empty() => return Ok(()),
            Answer::Taken { .. } => status.as_u16().into(),
            Answer::Refused { code } => code,
        };
        let objection = match code {
            TOO_MANY_REQUESTS => Objection::Frequency,
            _ if NUMBER_REFUSALS.contains(&code) => Objection::Number,
            _ => Objection::Else,
        };
        Err(SmsError::said_no(VENDOR, status, code.to_string(), objection))
    }
}

//! Handing of SMS codes to the vendor.

use super::{SmsCodes, send::Sending};
use crate::{
    auth::{
        error::Error,
        event::{self, Event, Subject},
    },
    sms::{SmsError, SmsMessage},
    store::{
        StoreError,
        ephemeral::{CodeSlot, Tally},
    },
};

impl SmsCodes {
    /// Hands a message to the vendor. If none takes it, gap and quotas are given back, the failure counts, and the code
    /// delivered before works again.
    pub(super) async fn hand_over(
        &self,
        sending: &Sending,
        code: String,
        digest: &str,
        message: &Tally,
    ) -> Result<(), Error> {
        let Sending { slot, origin, .. } = sending;
        let subject = Subject { mobile: Some(&slot.mobile), reason: Some(slot.purpose.as_str()), ..Subject::default() };
        let Err(error) = self.provider.send(&self.message(slot, code)).await else {
            event::record(Event::CodeSent, origin, subject);
            return Ok(());
        };
        tracing::error!(%error, mobile = %slot.mobile, "an SMS was not sent");
        event::record(Event::CodeNotSent, origin, subject);
        let settled = if sending.conceals() {
            // All looks as it would if the number were unknown, whose decoy stays.
            self.codes.fall_back(slot, digest).await
        } else {
            self.take_back(sending, digest, message).await
        };
        if let Err(error) = settled {
            tracing::error!(%error, mobile = %slot.mobile, "a code that was not sent could not be withdrawn");
        }
        Err(match error {
            SmsError::Throttled { .. } => Error::SmsTooFrequent { retry_after: self.resend_gap() },
            SmsError::Refused { .. } | SmsError::NumberRefused { .. } | SmsError::Unreachable { .. } => {
                Error::SmsSendFailed
            }
        })
    }

    async fn take_back(
        &self,
        Sending { slot, ask, origin, sender, .. }: &Sending,
        digest: &str,
        message: &Tally,
    ) -> Result<(), StoreError> {
        self.codes.withdraw_code(slot, digest).await?;
        self.codes.uncount(message).await?;
        // Each costs a call, also one that is refused for the number's sake, or that has to wait.
        self.limits.message_failed(ask, origin, sender).await
    }

    fn message(&self, slot: &CodeSlot, code: String) -> SmsMessage {
        let mut message = SmsMessage {
            mobile: slot.mobile.clone(),
            purpose: slot.purpose.as_str(),
            code,
            ttl: self.settings.ttl,
            text: String::new(),
        };
        let minutes = message.minutes().to_string();
        message.text = self.settings.text.replace("{code}", &message.code).replace("{minutes}", &minutes);
        if let Some(domain) = &self.settings.text_domain {
            message.text += &format!("\n@{domain} #{}", message.code);
        }
        message
    }
}

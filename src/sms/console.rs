//! How does a developer without an SMS vendor see the code?

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{SmsError, SmsMessage, SmsProvider};
use crate::clock::Clock;

const KEPT: usize = 50;

/// A message that the console provider took, with everything a developer wants to know about it.
#[derive(Clone)]
pub struct SentMessage {
    /// The eleven digits, unmasked.
    pub mobile: String,
    /// What the code is for, as on the wire.
    pub purpose: String,
    /// The digits of the code.
    pub code: String,
    /// The whole message in words.
    pub text: String,
    /// When it was sent.
    pub sent_at: DateTime<Utc>,
}

/// The last 50 messages, in memory only. Clones share the same messages.
#[derive(Clone, Default)]
pub struct Outbox(Arc<Mutex<VecDeque<SentMessage>>>);

impl Outbox {
    /// Keeps a message and forgets the oldest when there are too many.
    pub fn record(&self, message: SentMessage) {
        let mut kept = self.0.lock().expect("no panic while the outbox is held");
        kept.push_front(message);
        kept.truncate(KEPT);
    }

    /// What was sent, newest first.
    pub fn recent(&self) -> Vec<SentMessage> {
        let kept = self.0.lock().expect("no panic while the outbox is held");
        kept.iter().cloned().collect()
    }
}

/// Sends nothing: prints the message and keeps it in an [`Outbox`]. For development, as it gives the code away.
pub struct Console {
    outbox: Outbox,
    clock: Clock,
}

impl Console {
    /// A console that records in `outbox`, at the time of `clock`.
    pub fn new(outbox: Outbox, clock: Clock) -> Self {
        Self { outbox, clock }
    }
}

#[async_trait]
impl SmsProvider for Console {
    async fn send(&self, message: &SmsMessage) -> Result<(), SmsError> {
        // Standard output stands in for the phone; nobody may be reading it. The text may end with a second line for
        // code autofill; a line a message is easier to find.
        let _ = writeln!(io::stdout(), "SMS to {}: {}", message.mobile, message.text.replace('\n', " "));
        self.outbox.record(SentMessage {
            mobile: message.mobile.as_str().to_owned(),
            purpose: message.purpose.to_owned(),
            code: message.code.clone(),
            text: message.text.clone(),
            sent_at: self.clock.now(),
        });
        Ok(())
    }
}

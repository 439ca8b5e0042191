//! The names of the keys.

use fred::types::Key;

use super::super::{CodeSlot, Counter, Flow, Replay};

/// Names keys after what they hold and for whom.
pub struct Keys {
    prefix: String,
    clustered: bool,
}

impl Keys {
    /// Keys with this prefix.
    pub fn new(prefix: &str, clustered: bool) -> Self {
        Self { prefix: prefix.to_owned(), clustered }
    }

    pub fn image_code(&self, id: &str) -> Key {
        self.key(&["image_code:", id])
    }

    pub fn once(&self, key: &str) -> Key {
        self.key(&["once:", key])
    }

    pub fn code(&self, slot: &CodeSlot) -> Key {
        self.code_of(slot.purpose.as_str(), slot.mobile.as_str())
    }

    pub fn code_of(&self, purpose: &str, mobile: &str) -> Key {
        let [open, close] = self.tag();
        self.key(&["sms_code:", purpose, ":", open, mobile, close])
    }

    pub fn replay(&self, slot: &CodeSlot, replay: Option<&Replay>) -> Key {
        self.replay_of(slot.mobile.as_str(), replay.map_or("", |replay| &replay.key))
    }

    pub fn replay_of(&self, mobile: &str, key: &str) -> Key {
        let [open, close] = self.tag();
        self.key(&["idempotency:", open, mobile, close, ":", key])
    }

    pub fn counter(&self, counter: &Counter) -> Key {
        let [open, close] = self.tag();
        let (colon, part) = counter.part.as_ref().map_or(("", ""), |part| (":", part));
        self.key(&["limit:", counter.name.as_str(), ":", open, &counter.subject, close, colon, part])
    }

    /// The hourly sums of a flow; the scripts put `:days` behind it for the daily ones.
    pub fn flow(&self, flow: &Flow) -> String {
        let [open, close] = self.tag();
        self.text(&["limit:", flow.name.as_str(), ":", open, &flow.group, close])
    }

    /// What stands around a mobile or a network: in a cluster, all of its keys share a slot.
    pub fn tag(&self) -> [&'static str; 2] {
        if self.clustered { ["{", "}"] } else { ["", ""] }
    }

    fn key(&self, parts: &[&str]) -> Key {
        self.text(parts).into()
    }

    fn text(&self, parts: &[&str]) -> String {
        let mut text = String::with_capacity(self.prefix.len() + parts.iter().map(|part| part.len()).sum::<usize>());
        text.push_str(&self.prefix);
        text.extend(parts.iter().copied());
        text
    }
}

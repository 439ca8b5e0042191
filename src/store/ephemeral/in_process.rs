//! How do codes live in the memory of a single instance?

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{CodeSlot, EphemeralStore, Issue, PendingCode, Redemption};
use crate::{auth::clock::Clock, model::mobile::Mobile, store::StoreError};

const STORE: &str = "in-process";

/// At most so many entries of a kind: some 100 MB in all, however hard somebody asks for codes.
const CAPACITY: usize = 200_000;

/// The store of a process that runs alone. Gone with the process, like the codes in it a few minutes later.
pub struct InProcess {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    image_codes: Expiring<String, String>,
    gaps: Expiring<Mobile, String>,
    codes: Expiring<CodeSlot, StoredCode>,
}

struct StoredCode {
    digest: String,
    tries_left: u32,
}

impl InProcess {
    /// An empty store that tells time by this clock.
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// The state, locked: each method is one atomic step.
    fn locked(&self) -> (MutexGuard<'_, State>, DateTime<Utc>) {
        (self.state.lock().expect("no panic while the state is held"), self.clock.now())
    }
}

#[async_trait]
impl EphemeralStore for InProcess {
    async fn put_image_code(&self, id: &str, text: &str, ttl: Duration) -> Result<(), StoreError> {
        let (mut state, now) = self.locked();
        state.image_codes.insert(id.to_owned(), text.to_owned(), now, ttl)
    }

    async fn take_image_code(&self, id: &str) -> Result<Option<String>, StoreError> {
        let (mut state, now) = self.locked();
        Ok(state.image_codes.take(&id.to_owned(), now))
    }

    async fn resend_gap(&self, mobile: &Mobile) -> Result<Option<Duration>, StoreError> {
        let (state, now) = self.locked();
        Ok(state.gaps.get(mobile, now).map(|(_, rest)| rest))
    }

    async fn issue_code(
        &self,
        slot: &CodeSlot,
        code: Option<&PendingCode>,
        gap: Duration,
    ) -> Result<Issue, StoreError> {
        let (mut state, now) = self.locked();
        if let Some((_, rest)) = state.gaps.get(&slot.mobile, now) {
            return Ok(Issue::TooSoon(rest));
        }
        if let Some(code) = code {
            let stored = StoredCode { digest: code.digest.clone(), tries_left: code.tries_left };
            state.codes.insert(slot.clone(), stored, now, code.ttl)?;
        }
        let begun_by = code.map(|code| code.digest.clone()).unwrap_or_default();
        state.gaps.insert(slot.mobile.clone(), begun_by, now, gap)?;
        Ok(Issue::Issued)
    }

    async fn withdraw_code(&self, slot: &CodeSlot, digest: &str) -> Result<(), StoreError> {
        let (mut state, now) = self.locked();
        if state.codes.get(slot, now).is_some_and(|(code, _)| code.digest == digest) {
            state.codes.take(slot, now);
        }
        if state.gaps.get(&slot.mobile, now).is_some_and(|(begun_by, _)| begun_by == digest) {
            state.gaps.take(&slot.mobile, now);
        }
        Ok(())
    }

    async fn redeem_code(&self, slot: &CodeSlot, digest: &str) -> Result<Redemption, StoreError> {
        let (mut state, now) = self.locked();
        let Some((code, ttl)) = state.codes.get_mut(slot, now) else { return Ok(Redemption::Missing) };
        let tries_left = code.tries_left;
        if bool::from(subtle::ConstantTimeEq::ct_eq(code.digest.as_bytes(), digest.as_bytes())) {
            state.codes.take(slot, now);
            return Ok(Redemption::Accepted(PendingCode { digest: digest.to_owned(), tries_left, ttl }));
        }
        code.tries_left = tries_left.saturating_sub(1);
        if tries_left <= 1 {
            state.codes.take(slot, now);
        }
        Ok(Redemption::Wrong { tries_left: tries_left.saturating_sub(1) })
    }

    async fn restore_code(&self, slot: &CodeSlot, code: &PendingCode) -> Result<(), StoreError> {
        let (mut state, now) = self.locked();
        if state.codes.get(slot, now).is_some() {
            return Ok(());
        }
        let stored = StoredCode { digest: code.digest.clone(), tries_left: code.tries_left };
        state.codes.insert(slot.clone(), stored, now, code.ttl)
    }

    fn name(&self) -> &'static str {
        STORE
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A bounded map whose entries are gone when their time is over.
struct Expiring<K, V> {
    entries: HashMap<K, (V, DateTime<Utc>)>,
    swept_at: DateTime<Utc>,
}

impl<K, V> Default for Expiring<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), swept_at: DateTime::UNIX_EPOCH }
    }
}

impl<K: Hash + Eq, V> Expiring<K, V> {
    fn insert(&mut self, key: K, value: V, now: DateTime<Utc>, ttl: Duration) -> Result<(), StoreError> {
        // A full map is swept more often, but not on every insert: that would make each as dear as the whole.
        let sweep_every = if self.entries.len() < CAPACITY { 60 } else { 1 };
        if now - self.swept_at >= chrono::Duration::seconds(sweep_every) {
            self.entries.retain(|_, (_, expires_at)| *expires_at > now);
            self.swept_at = now;
        }
        if self.entries.len() >= CAPACITY && !self.entries.contains_key(&key) {
            return Err(StoreError::new(STORE, "full"));
        }
        self.entries.insert(key, (value, now + ttl));
        Ok(())
    }

    fn get(&self, key: &K, now: DateTime<Utc>) -> Option<(&V, Duration)> {
        let (value, expires_at) = self.entries.get(key)?;
        Some((value, rest(*expires_at, now)?))
    }

    fn get_mut(&mut self, key: &K, now: DateTime<Utc>) -> Option<(&mut V, Duration)> {
        let (value, expires_at) = self.entries.get_mut(key)?;
        let rest = rest(*expires_at, now)?;
        Some((value, rest))
    }

    fn take(&mut self, key: &K, now: DateTime<Utc>) -> Option<V> {
        let (value, expires_at) = self.entries.remove(key)?;
        rest(expires_at, now).map(|_| value)
    }
}

/// How much time is left, if any.
fn rest(expires_at: DateTime<Utc>, now: DateTime<Utc>) -> Option<Duration> {
    (expires_at - now).to_std().ok().filter(|rest| !rest.is_zero())
}

//! How do codes live in the memory of a single instance?

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{Admission, Attempt, CodeSlot, Counter, EphemeralStore, PendingCode, Redemption, Replay, Tally};
use crate::{clock::Clock, model::limit::LimitName, store::StoreError};

const STORE: &str = "in-process";

/// At most so many entries of a kind: a few 100 MB in all, however hard somebody tries.
const CAPACITY: usize = 200_000;

/// The store of a process that runs alone. Gone with the process, like the codes in it a few minutes later.
pub struct InProcess {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    image_codes: Expiring<String, String>,
    once: Expiring<String, ()>,
    codes: Expiring<CodeSlot, StoredCode>,
    replays: Expiring<(CodeSlot, String), String>,
    /// By the name of the counter, so that none can crowd out the others.
    counts: HashMap<LimitName, Expiring<CounterKey, Vec<Counted>>>,
}

/// Subject and part of a counter.
type CounterKey = (String, Option<String>);

/// When and as what an event was counted; the newest is last.
type Counted = (DateTime<Utc>, String);

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

    async fn take_once(&self, key: &str, _network: &str, ttl: Duration) -> Result<bool, StoreError> {
        let (mut state, now) = self.locked();
        let first = state.once.get(&key.to_owned(), now).is_none();
        if first {
            state.once.insert(key.to_owned(), (), now, ttl)?;
        }
        Ok(first)
    }

    async fn survey(&self, tally: &Tally) -> Result<Admission, StoreError> {
        Ok(self.locked().0.survey(tally))
    }

    async fn count(&self, tally: &Tally) -> Result<Admission, StoreError> {
        let (mut state, _) = self.locked();
        let admission = state.survey(tally);
        if !matches!(admission, Admission::Refused { .. }) {
            state.count(tally)?;
        }
        Ok(admission)
    }

    async fn uncount(&self, tally: &Tally) -> Result<(), StoreError> {
        self.locked().0.uncount(tally);
        Ok(())
    }

    async fn clear(&self, tally: &Tally) -> Result<(), StoreError> {
        self.locked().0.clear(tally);
        Ok(())
    }

    async fn issue_code(
        &self,
        slot: &CodeSlot,
        code: Option<&PendingCode>,
        message: &Tally,
        trusted: bool,
    ) -> Result<Admission, StoreError> {
        let (mut state, now) = self.locked();
        let admission = state.survey(message);
        if matches!(admission, Admission::Refused { .. }) || (admission == Admission::Suspicious && !trusted) {
            return Ok(admission);
        }
        state.count(message)?;
        if let Some(code) = code {
            state.put_code(slot, code, now)?;
        }
        Ok(admission)
    }

    async fn withdraw_code(&self, slot: &CodeSlot, digest: &str) -> Result<(), StoreError> {
        let (mut state, now) = self.locked();
        if state.codes.get(slot, now).is_some_and(|(code, _)| code.digest == digest) {
            state.codes.take(slot, now);
        }
        Ok(())
    }

    async fn redeem_code(&self, attempt: &Attempt<'_>) -> Result<Redemption, StoreError> {
        let (mut state, now) = self.locked();
        let Attempt { slot, digest, fixed, guess, unredeemed, replay, presence: _ } = attempt;
        let replay_key = replay.map(|replay| ((*slot).clone(), replay.key.clone()));
        if let Some((value, _)) = replay_key.as_ref().and_then(|key| state.replays.get(key, now)) {
            return Ok(Redemption::Repeated(value.clone()));
        }
        if let Admission::Refused { name, retry_after } = state.survey(guess) {
            return Ok(Redemption::Refused { name, retry_after });
        }
        let stored = state.codes.get(slot, now).map(|(code, ttl)| (code.digest.clone(), code.tries_left, ttl));
        let right = match (fixed, &stored) {
            (Some(fixed), _) => fixed,
            (None, Some((stored, _, _))) => stored.as_str(),
            (None, None) => return Ok(Redemption::Missing),
        };
        if !bool::from(subtle::ConstantTimeEq::ct_eq(right.as_bytes(), digest.as_bytes())) {
            state.count(guess)?;
            let tries_left = if fixed.is_none() { state.spend_try(slot, now) } else { None };
            return Ok(Redemption::Wrong { tries_left });
        }
        if let (Some(replay), Some(key)) = (replay, replay_key) {
            state.replays.insert(key, replay.value.clone(), now, replay.ttl)?;
        }
        state.clear(guess);
        state.counts_of(unredeemed).entries.remove(&key_of(unredeemed));
        let pending = stored.filter(|_| fixed.is_none());
        if pending.is_some() {
            state.codes.take(slot, now);
        }
        Ok(Redemption::Accepted(pending.map(|(digest, tries_left, ttl)| PendingCode { digest, tries_left, ttl })))
    }

    async fn restore_code(
        &self,
        slot: &CodeSlot,
        code: Option<&PendingCode>,
        replay: Option<&Replay>,
    ) -> Result<(), StoreError> {
        let (mut state, now) = self.locked();
        if let Some(replay) = replay {
            state.replays.take(&(slot.clone(), replay.key.clone()), now);
        }
        match code {
            Some(code) if state.codes.get(slot, now).is_none() => state.put_code(slot, code, now),
            _ => Ok(()),
        }
    }

    fn name(&self) -> &'static str {
        STORE
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl State {
    fn put_code(&mut self, slot: &CodeSlot, code: &PendingCode, now: DateTime<Utc>) -> Result<(), StoreError> {
        let stored = StoredCode { digest: code.digest.clone(), tries_left: code.tries_left };
        self.codes.insert(slot.clone(), stored, now, code.ttl)
    }

    /// Counts a wrong try; the last one burns the code. Returns how many are left.
    fn spend_try(&mut self, slot: &CodeSlot, now: DateTime<Utc>) -> Option<u32> {
        let (code, _) = self.codes.get_mut(slot, now)?;
        code.tries_left = code.tries_left.saturating_sub(1);
        let tries_left = code.tries_left;
        if tries_left == 0 {
            self.codes.take(slot, now);
        }
        Some(tries_left)
    }

    fn survey(&mut self, tally: &Tally) -> Admission {
        let mut admission = Admission::Admitted;
        let mut longest = Duration::ZERO;
        for counter in &tally.counters {
            let Some((counted, _)) = self.counts_of(counter).get(&key_of(counter), tally.at) else { continue };
            let rest_of = |time: DateTime<Utc>| rest(time + counter.window, tally.at);
            let is_counted =
                |member| counted.iter().any(|(at, counted_as)| counted_as == member && rest_of(*at).is_some());
            if counter.member.as_ref().is_some_and(is_counted) {
                continue;
            }
            // So long the k-th last event stays within the window, so long there are k of them.
            let fills =
                |k: u32| counted.iter().rev().nth((k as usize).checked_sub(1)?).and_then(|(at, _)| rest_of(*at));
            if let Some(retry_after) = counter.limit.and_then(fills).filter(|rest| *rest > longest) {
                longest = retry_after;
                admission = Admission::Refused { name: counter.name, retry_after };
            }
            if admission == Admission::Admitted && counter.suspicion.and_then(fills).is_some() {
                admission = Admission::Suspicious;
            }
        }
        admission
    }

    fn count(&mut self, tally: &Tally) -> Result<(), StoreError> {
        for counter in &tally.counters {
            let member = member_of(counter, tally);
            let key = key_of(counter);
            let counts = self.counts_of(counter);
            let mut counted = counts.take(&key, tally.at).unwrap_or_default();
            counted.drain(..counted.partition_point(|(at, _)| *at + counter.window <= tally.at));
            if counter.member.is_some() {
                counted.retain(|(_, counted_as)| counted_as != member);
            }
            counted.push((tally.at, member.to_owned()));
            counts.insert(key, counted, tally.at, counter.window)?;
        }
        Ok(())
    }

    fn uncount(&mut self, tally: &Tally) {
        for counter in &tally.counters {
            let member = member_of(counter, tally);
            if let Some((counted, _)) = self.counts_of(counter).get_mut(&key_of(counter), tally.at) {
                counted.retain(|(at, counted_as)| *at != tally.at || counted_as != member);
            }
        }
    }

    fn clear(&mut self, tally: &Tally) {
        let Some((first, others)) = tally.counters.split_first() else { return };
        let cleared = self.counts_of(first).take(&key_of(first), tally.at).unwrap_or_default();
        for counter in others {
            if let Some((counted, _)) = self.counts_of(counter).get_mut(&key_of(counter), tally.at) {
                counted.retain(|entry| !cleared.contains(entry));
            }
        }
    }

    fn counts_of(&mut self, counter: &Counter) -> &mut Expiring<CounterKey, Vec<Counted>> {
        self.counts.entry(counter.name).or_default()
    }
}

fn key_of(counter: &Counter) -> CounterKey {
    (counter.subject.clone(), counter.part.clone())
}

fn member_of<'a>(counter: &'a Counter, tally: &'a Tally) -> &'a str {
    counter.member.as_ref().unwrap_or(&tally.id)
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

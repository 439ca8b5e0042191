//! The store in the memory of a single instance.

mod codes;
mod counters;
mod pictures;
mod places;

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

pub use codes::StoredCode;
use codes::Tries;
use counters::{Counters, no_place};
use pictures::Pictures;
use places::{Expiring, Shares};

use super::{
    Admission, As, Asker, Attempt, CodeSlot, Counter, EphemeralStore, Kept, PendingCode, Redemption, Tally, UsedCode,
};
use crate::{clock::Clock, model::limit::LimitName, store::StoreError};

const STORE: &str = "in-process";

/// The store of a process that runs alone. Gone with the process, like the codes in it a few minutes later.
pub struct InProcess {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pictures: Pictures,
    codes: Expiring<CodeSlot, StoredCode>,
    /// The digests of the codes that were used up, for the life that they had left.
    used: Expiring<CodeSlot, String>,
    replays: Expiring<(CodeSlot, String), String>,
    once: Expiring<String, ()>,
    counters: Counters,
    shares: Shares,
}

impl InProcess {
    /// An empty store that tells time by this clock.
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// The state, locked: each method is one atomic step.
    fn locked(&self) -> (MutexGuard<'_, State>, DateTime<Utc>) {
        let now = self.clock.now();
        let mut state = self.state.lock().expect("lock poisoned");
        state.sweep(now);
        (state, now)
    }
}

#[async_trait]
impl EphemeralStore for InProcess {
    async fn put_image_code(&self, id: &str, text: &str, network: &str, ttl: Duration) -> Result<(), StoreError> {
        let (mut state, now) = self.locked();
        state.pictures.put(id, text, network, now, ttl)
    }

    async fn take_image_code(&self, id: &str) -> Result<Option<String>, StoreError> {
        let (mut state, now) = self.locked();
        Ok(state.pictures.take(id, now))
    }

    async fn take_once(&self, key: &str, network: &str, ttl: Duration) -> Result<bool, StoreError> {
        let (mut state, now) = self.locked();
        let State { once, shares, .. } = &mut *state;
        let key = key.to_owned();
        if !once.lacks(&key, now) || shares.left(network) == 0 {
            return Ok(false);
        }
        once.check_capacity()?;
        once.insert(key, (), Some(network), now, ttl, shares);
        Ok(true)
    }

    async fn survey(&self, tally: &Tally) -> Result<Admission, StoreError> {
        self.locked().0.survey(tally, 0)
    }

    async fn count(&self, tally: &Tally) -> Result<Admission, StoreError> {
        let (mut state, _) = self.locked();
        let admission = state.survey(tally, 0)?;
        state.count(tally, !matches!(admission, Admission::Refused { .. }));
        Ok(admission)
    }

    async fn uncount(&self, tally: &Tally) -> Result<(), StoreError> {
        let (mut state, _) = self.locked();
        let State { counters, shares, .. } = &mut *state;
        counters.uncount(tally, shares);
        Ok(())
    }

    async fn clear(&self, tally: &Tally) -> Result<(), StoreError> {
        let (mut state, _) = self.locked();
        let State { counters, shares, .. } = &mut *state;
        counters.clear(tally, shares);
        Ok(())
    }

    async fn members(&self, counter: &Counter, at: DateTime<Utc>, at_most: u32) -> Result<Vec<String>, StoreError> {
        Ok(self.locked().0.counters.members(counter, at, at_most as usize))
    }

    async fn forget(&self, counter: &Counter, members: &[String]) -> Result<(), StoreError> {
        let (mut state, now) = self.locked();
        let State { counters, shares, .. } = &mut *state;
        counters.forget(counter, members, now, shares);
        Ok(())
    }

    async fn issue_code(
        &self,
        slot: &CodeSlot,
        code: &PendingCode,
        message: &Tally,
        asker: &Asker,
        trusted: bool,
    ) -> Result<Admission, StoreError> {
        let (mut state, now) = self.locked();
        let place = usize::from(state.codes.lacks(slot, now));
        if place > 0 {
            state.codes.check_capacity()?;
        }
        let admission = state.survey(message, place)?;
        let admitted = match admission {
            Admission::Admitted => true,
            Admission::Suspicious { .. } => trusted,
            Admission::Refused { .. } => false,
        };
        state.count(message, admitted);
        if admitted {
            let before = state.codes.get(slot, now).map(|(before, life)| (before.clone(), life));
            let stored = StoredCode::new(code, &message.network, &message.flows, asker, before, message.at);
            state.put_code(slot, stored, now, code.ttl);
        } else if state.counters.survey(message).refusing == [LimitName::SmsGap]
            && let Some(code) = state.codes.get_mut(slot, now)
        {
            code.join(asker.key(), message.at);
        }
        Ok(admission)
    }

    async fn withdraw_code(&self, slot: &CodeSlot, digest: &str) -> Result<(), StoreError> {
        let (mut state, now) = self.locked();
        let State { codes, shares, .. } = &mut *state;
        let Some(code) = codes.get_mut(slot, now) else { return Ok(()) };
        if code.digest != digest {
            // Not put back either when the one in its place is withdrawn.
            code.forget_former(digest);
        } else if let Some((former, life)) = codes.take(slot, now, shares).and_then(|code| code.withdrawn(now)) {
            state.put_code(slot, former, now, life);
        }
        Ok(())
    }

    async fn fall_back(&self, slot: &CodeSlot, digest: &str) -> Result<(), StoreError> {
        let (mut state, now) = self.locked();
        if let Some(code) = state.codes.get_mut(slot, now).filter(|code| code.digest == digest) {
            code.falls_back = true;
        }
        Ok(())
    }

    async fn redeem_code(&self, attempt: &Attempt<'_>) -> Result<Redemption, StoreError> {
        let (mut state, now) = self.locked();
        state.redeem(attempt, now)
    }

    async fn restore_code(&self, used: &UsedCode) -> Result<(), StoreError> {
        let (mut state, now) = self.locked();
        let State { counters, replays, shares, .. } = &mut *state;
        if let Some(replay) = &used.replay {
            replays.take(&(used.slot.clone(), replay.key.clone()), now, shares);
        }
        if let Some(sign_in) = &used.sign_in {
            counters.uncount(sign_in, shares);
        }
        let Some(Kept::InProcess(code)) = &used.code else { return Ok(()) };
        for flow in &code.flows {
            counters.take_redeemed(flow, used.at, &code.network, shares);
        }
        if state.codes.lacks(&used.slot, now) {
            state.take_code(&used.slot, now);
            state.put_code(&used.slot, code.clone(), now, used.ttl);
        }
        Ok(())
    }

    async fn replace_replay(&self, used: &UsedCode, value: &str) -> Result<(), StoreError> {
        let (mut state, now) = self.locked();
        if let Some(replay) = &used.replay
            && let Some(kept) = state.replays.get_mut(&(used.slot.clone(), replay.key.clone()), now)
        {
            value.clone_into(kept);
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        STORE
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl State {
    fn sweep(&mut self, now: DateTime<Utc>) {
        self.pictures.sweep(now);
        self.codes.sweep(now, &mut self.shares);
        self.used.sweep(now, &mut self.shares);
        self.replays.sweep(now, &mut self.shares);
        self.once.sweep(now, &mut self.shares);
        self.counters.sweep(now, &mut self.shares);
    }

    /// What the counters say to an event that needs this many places beside theirs.
    fn survey(&mut self, tally: &Tally, places: usize) -> Result<Admission, StoreError> {
        let admission = self.counters.survey(tally).admission;
        if matches!(admission, Admission::Refused { .. }) {
            return Ok(admission);
        }
        // A counter within its window never goes: a network that fills its share cannot make room for itself.
        let needs = self.counters.needs(tally)? + places;
        let fits = needs == 0 || needs <= self.shares.left(&tally.network);
        Ok(if fits { admission } else { no_place() })
    }

    fn count(&mut self, tally: &Tally, admitted: bool) {
        self.counters.count(tally, admitted, &mut self.shares);
    }

    fn put_code(&mut self, slot: &CodeSlot, code: StoredCode, now: DateTime<Utc>, ttl: Duration) {
        let network = code.network.clone();
        self.codes.insert(slot.clone(), code, Some(&network), now, ttl, &mut self.shares);
    }

    fn take_code(&mut self, slot: &CodeSlot, now: DateTime<Utc>) {
        self.used.take(slot, now, &mut self.shares);
        self.codes.take(slot, now, &mut self.shares);
    }

    fn redeem(&mut self, attempt: &Attempt<'_>, now: DateTime<Utc>) -> Result<Redemption, StoreError> {
        let Attempt { slot, digest, fixed, guess, sign_in, replay, .. } = attempt;
        let replay_key = replay.map(|replay| ((*slot).clone(), replay.key.clone()));
        if let Some((value, _)) = replay_key.as_ref().and_then(|key| self.replays.get(key, now)) {
            return Ok(Redemption::Repeated(value.clone()));
        }
        let presenter = if fixed.is_some() { &As::Other } else { &attempt.presenter };
        let mut needs = usize::from(replay.is_some());
        if *presenter != As::Asker {
            if let Some(refusal) = refusal(self.survey(guess, 0)?) {
                return Ok(refusal);
            }
            needs += self.counters.needs(guess)?;
        }
        let right = match fixed {
            Some(fixed) => (*fixed).to_owned(),
            None => match self.look_at(attempt, presenter, now)? {
                Ok(right) => right,
                Err(outcome) => return Ok(outcome),
            },
        };
        if let Some(refusal) = sign_in.map(|sign_in| self.survey(sign_in, 0)).transpose()?.and_then(refusal) {
            return Ok(refusal);
        }
        needs += sign_in.map_or(Ok(0), |sign_in| self.counters.needs(sign_in))?;
        if replay.is_some() {
            self.replays.check_capacity()?;
        }
        if needs > 0 && needs > self.shares.left(&guess.network) {
            return Ok(refusal(no_place()).unwrap_or(Redemption::Missing));
        }
        if !bool::from(subtle::ConstantTimeEq::ct_eq(right.as_bytes(), digest.as_bytes())) {
            return Ok(self.wrong(attempt, presenter, now));
        }
        if let (Some(replay), Some(key)) = (replay, replay_key) {
            let network = Some(guess.network.as_str());
            self.replays.insert(key, replay.value.clone(), network, now, replay.ttl, &mut self.shares);
        }
        Ok(Redemption::Accepted(Box::new(self.accept(attempt, now))))
    }

    /// The digest to compare with, or what to answer without comparing.
    fn look_at(
        &mut self,
        attempt: &Attempt<'_>,
        presenter: &As,
        now: DateTime<Utc>,
    ) -> Result<Result<String, Redemption>, StoreError> {
        let stored = self.codes.get(attempt.slot, now);
        let tries =
            stored.map(|(code, life)| (code.tries(presenter, attempt.asker), code.right(attempt.digest, now), life));
        Ok(match tries {
            Some((Tries::NotAsker, ..)) => Err(Redemption::NotAsker),
            Some((Tries::Left(0), _, life)) if *presenter == As::Other => {
                Err(Redemption::Refused { name: LimitName::StrangersTries, retry_after: life })
            }
            Some((Tries::Left(1..), right, _)) => Ok(right),
            // Sent twice: no guess.
            None if self.used.get(attempt.slot, now).is_some_and(|(used, _)| used == attempt.digest) => {
                Err(Redemption::Missing)
            }
            Some((Tries::Left(0), ..)) | None => {
                let nothing = (attempt.nothing)();
                let refusal = refusal(self.survey(&nothing, 0)?);
                self.count(&nothing, refusal.is_none());
                Err(refusal.unwrap_or(Redemption::Missing))
            }
        })
    }

    fn wrong(&mut self, attempt: &Attempt<'_>, presenter: &As, now: DateTime<Utc>) -> Redemption {
        if *presenter != As::Asker {
            self.count(attempt.guess, true);
        }
        let code = if attempt.fixed.is_none() { self.codes.get_mut(attempt.slot, now) } else { None };
        let Some(code) = code else { return Redemption::Wrong { tries_left: None } };
        let burnt = code.use_try(presenter, attempt.asker);
        let Tries::Left(tries_left) = code.tries(presenter, attempt.asker) else { return Redemption::NotAsker };
        if burnt {
            self.take_code(attempt.slot, now);
        }
        Redemption::Wrong { tries_left: Some(tries_left) }
    }

    fn accept(&mut self, attempt: &Attempt<'_>, now: DateTime<Utc>) -> UsedCode {
        let Attempt { slot, digest, guess, sign_in, unredeemed, .. } = attempt;
        if attempt.fixed.is_none() {
            self.counters.clear(guess, &mut self.shares);
        }
        self.counters.delete(unredeemed, now, &mut self.shares);
        if let Some(sign_in) = sign_in {
            self.count(sign_in, true);
        }
        let stored = if attempt.fixed.is_none() { self.codes.get(slot, now) } else { None };
        let stored = stored.map(|(code, life)| (code.clone(), life));
        if let Some((code, life)) = &stored {
            self.take_code(slot, now);
            if self.used.check_capacity().is_ok() {
                self.used.insert((*slot).clone(), (*digest).to_owned(), None, now, *life, &mut self.shares);
            }
            for flow in &code.flows {
                self.counters.add_redeemed(flow, guess.at, &code.network, &mut self.shares);
            }
        }
        let (code, ttl) = stored.unzip();
        UsedCode {
            slot: (*slot).clone(),
            code: code.map(Kept::InProcess),
            ttl: ttl.unwrap_or_default(),
            at: guess.at,
            replay: attempt.replay.cloned(),
            sign_in: sign_in.cloned(),
        }
    }
}

fn refusal(admission: Admission) -> Option<Redemption> {
    match admission {
        Admission::Refused { name, retry_after } => Some(Redemption::Refused { name, retry_after }),
        Admission::Admitted | Admission::Suspicious { .. } => None,
    }
}

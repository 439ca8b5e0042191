//! Codes presented to Redis, many at once.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use fred::types::{Key, Value};
use futures_util::future::try_join_all;

use super::{
    super::{Admission, As, Attempt, Counter, Kept, Redemption, UsedCode},
    Redis, STORE, duration, flag,
    link::Link,
    millis, millis_of, run, scripts,
    tallies::{counter_arg, counter_text, unasked},
};
use crate::{
    model::{limit::LimitName, origin::Presence},
    store::{
        StoreError,
        coalesce::{Batch, Call, Failure},
    },
};

/// An attempt as the script takes it.
pub struct Presented {
    /// The key of the code comes first.
    keys: Vec<Key>,
    /// Its arguments, a line each: one text costs less than a dozen.
    args: String,
    presence: Presence,
}

impl Call for Presented {
    fn subject(&self) -> u128 {
        let mut hasher = DefaultHasher::new();
        self.keys[0].hash(&mut hasher);
        hasher.finish().into()
    }

    fn is_abandoned(&self) -> bool {
        self.presence.is_over()
    }
}

/// What the script says of an attempt.
type Outcome = (i64, i64, i64, String, Vec<String>);

/// Redeems codes.
pub struct Redemptions {
    pub link: Link,
    pub clustered: bool,
    pub timeout: Duration,
}

impl Batch for Redemptions {
    type Call = Presented;
    type Answer = Outcome;

    const NAME: &'static str = "redemptions";
    const STORE: &'static str = STORE;

    fn timeout(&self) -> Duration {
        self.timeout
    }

    async fn run(&self, calls: &[Presented]) -> Result<Vec<Self::Answer>, Failure> {
        let keys = calls.iter().flat_map(|call| call.keys.iter().cloned()).collect();
        let mut args = format!("{}\n", u8::from(!self.clustered));
        args.extend(calls.iter().map(|call| call.args.as_str()));
        // Whatever goes wrong with one code is in its own outcome.
        run(&self.link, &scripts::REDEEM, keys, vec![args.into()]).await.map_err(Failure::Store)
    }
}

impl Redemptions {
    /// Redeems one code by itself.
    async fn one(&self, call: &Presented) -> Result<Outcome, StoreError> {
        self.run(std::slice::from_ref(call)).await?.pop().ok_or_else(|| StoreError::new(STORE, "no outcome"))
    }
}

impl Redis {
    /// Redeems one code by itself.
    pub async fn redeem_at(
        &self,
        attempt: &Attempt<'_>,
        mobile: &str,
        code: Key,
        replay: Key,
    ) -> Result<Redemption, StoreError> {
        let redemptions = Redemptions { link: self.link.clone(), clustered: self.clustered, timeout: self.timeout };
        let outcome = redemptions.one(&self.presented(attempt, mobile, code, replay)).await?;
        self.settle(attempt, mobile, outcome).await
    }

    /// Redeems a code together with others.
    pub async fn redeem_in_a_batch(&self, attempt: &Attempt<'_>) -> Result<Redemption, StoreError> {
        let (mobile, code) = (attempt.slot.mobile.as_str(), self.keys.code(attempt.slot));
        let presented = self.presented(attempt, mobile, code.clone(), self.replay_key(attempt, code));
        self.settle(attempt, mobile, self.redemptions.call(presented).await?).await
    }

    /// The key of an attempt's replay; without one that of the code, which costs nothing and is not looked at.
    fn replay_key(&self, attempt: &Attempt<'_>, code: Key) -> Key {
        attempt.replay.map_or(code, |replay| self.keys.replay(attempt.slot, Some(replay)))
    }

    /// What came of an attempt, and what few need beyond the script: a guess at nothing counts before it is answered, and
    /// wrong guesses are cleared where the script does not reach.
    async fn settle(
        &self,
        attempt: &Attempt<'_>,
        mobile: &str,
        (outcome, number, rest, text, cleared): Outcome,
    ) -> Result<Redemption, StoreError> {
        Ok(match outcome {
            2 => Redemption::Repeated(text),
            1 => {
                let used = used_code(attempt, text);
                if let Err(error) = self.follow(attempt, &used, &cleared).await {
                    // The code is used up: an error would lose the sign-in, and these counts expire.
                    tracing::warn!(%error, "failed to count a redeemed code everywhere");
                }
                Redemption::Accepted(Box::new(used))
            }
            0 => {
                let tries_left = attempt.fixed.is_none().then(|| u32::try_from(number).unwrap_or_default());
                Redemption::Wrong { tries_left }
            }
            -1 => {
                let nothing = Box::pin(async { self.admit(&(attempt.nothing)(), None, true).await });
                refusal(nothing.await?).unwrap_or(Redemption::Missing)
            }
            -6 => Redemption::Missing,
            -2 => {
                let mut counters = self.counters(attempt, mobile);
                let counter = usize::try_from(number).ok().and_then(|place| counters.nth(place));
                Redemption::Refused { name: counter.ok_or_else(unasked)?.name, retry_after: duration(rest) }
            }
            -4 => Redemption::NotAsker,
            -5 => Redemption::Refused { name: LimitName::StrangersTries, retry_after: duration(rest) },
            _ => return Err(StoreError::new(STORE, text)),
        })
    }

    async fn follow(&self, attempt: &Attempt<'_>, used: &UsedCode, cleared: &[String]) -> Result<(), StoreError> {
        self.forget_members(&attempt.guess.counters, cleared).await?;
        if self.clustered { self.credit_flows(used, 1).await } else { Ok(()) }
    }

    /// The counters of a guess that the script reaches: in a cluster those of its mobile. An asker's guess counts nowhere,
    /// and clears the first.
    fn guess<'a>(&self, attempt: &Attempt<'a>, mobile: &str) -> impl Iterator<Item = &'a Counter> {
        let is_asker = attempt.fixed.is_none() && attempt.presenter == As::Asker;
        let reached = move |counter: &&Counter| !self.clustered || counter.subject == mobile;
        attempt.guess.counters.iter().filter(reached).take(if is_asker { 1 } else { usize::MAX })
    }

    fn counters<'a>(&self, attempt: &Attempt<'a>, mobile: &str) -> impl Iterator<Item = &'a Counter> {
        self.guess(attempt, mobile).chain(sign_in_counters(attempt))
    }

    /// An attempt at the code with this key and replay.
    fn presented(&self, attempt: &Attempt<'_>, mobile: &str, code: Key, replay: Key) -> Presented {
        let mut asker = attempt.asker.keys();
        let (presenter, names) = match &attempt.presenter {
            _ if attempt.fixed.is_some() => (1, [None, None]),
            As::Asker => (0, [asker.next(), asker.next()]),
            As::Other => (1, [None, None]),
            As::KnownDevice(device) => (2, [Some(device.clone()), None]),
        };
        let name = |n: usize| names[n].as_deref().unwrap_or_default();
        let (value, life) = attempt.replay.map_or(("", 0), |replay| (replay.value.as_str(), millis(replay.ttl)));
        let mut args = format!(
            "{}\n{}\n{}\n{presenter}\n{}\n{}\n{}\n{}\n{value}\n{life}\n{}\n{}\n",
            self.guess(attempt, mobile).count(),
            sign_in_counters(attempt).len(),
            millis_of(attempt.guess.at),
            name(0),
            name(1),
            attempt.digest,
            attempt.fixed.unwrap_or_default(),
            attempt.guess.id,
            attempt.sign_in.map_or("", |sign_in| &sign_in.id),
        );
        let mut keys = vec![code, self.keys.counter(attempt.unredeemed), replay];
        for counter in self.counters(attempt, mobile) {
            keys.push(self.keys.counter(counter));
            args.push_str(&counter_text(counter));
            args.push('\n');
        }
        Presented { keys, args, presence: attempt.presence.clone() }
    }

    /// Redeems a code where a script reaches the keys of its mobile only: a guess counts elsewhere before it is looked
    /// at, and is taken back unless it was wrong.
    pub async fn redeem_in_a_cluster(&self, attempt: &Attempt<'_>) -> Result<Redemption, StoreError> {
        let Attempt { slot, guess, .. } = attempt;
        let mobile = slot.mobile.as_str();
        let counts = attempt.fixed.is_some() || attempt.presenter != As::Asker;
        if counts && let Some(refusal) = refusal(self.admit_elsewhere(guess, mobile).await?) {
            return Ok(refusal);
        }
        let code = self.keys.code(slot);
        let redemption = self.redeem_at(attempt, mobile, code.clone(), self.replay_key(attempt, code)).await?;
        if counts && !matches!(redemption, Redemption::Wrong { .. }) {
            self.uncount_groups(guess, &self.elsewhere(guess, mobile)).await?;
        }
        Ok(redemption)
    }

    /// Undoes the redemption of the code with this key and replay.
    pub async fn restore(&self, code: Key, replay: Key, used: &UsedCode) -> Result<(), StoreError> {
        let mut keys = vec![code, replay];
        let mut args = vec![flag(!self.clustered), millis_of(used.at).into()];
        args.push(used.sign_in.as_ref().map_or("", |sign_in| &sign_in.id).into());
        args.extend([used.digest().into(), used.flows().into()]);
        if let Some(sign_in) = &used.sign_in {
            keys.extend(sign_in.counters.iter().map(|counter| self.keys.counter(counter)));
            args.extend(sign_in.counters.iter().map(counter_arg));
        }
        let _: Value = self.run(&scripts::RESTORE, keys, args).await?;
        if self.clustered { self.credit_flows(used, -1).await } else { Ok(()) }
    }

    /// Adds to the codes redeemed in the flows of a code.
    async fn credit_flows(&self, used: &UsedCode, by: i64) -> Result<(), StoreError> {
        let credits = used.flows().lines().map(|flow| async move {
            let args = vec![millis_of(used.at).into(), by.into()];
            let _: Value = self.run(&scripts::ADD_REDEEMED, vec![flow.into()], args).await?;
            Ok(())
        });
        try_join_all(credits).await.map(drop)
    }
}

impl UsedCode {
    /// What used it up; empty of a fixed code.
    fn digest(&self) -> &str {
        match &self.code {
            Some(Kept::Redis { digest, .. }) => digest,
            Some(Kept::InProcess(_)) | None => "",
        }
    }

    fn flows(&self) -> &str {
        match &self.code {
            Some(Kept::Redis { flows, .. }) => flows,
            Some(Kept::InProcess(_)) | None => "",
        }
    }
}

fn sign_in_counters<'a>(attempt: &Attempt<'a>) -> std::slice::Iter<'a, Counter> {
    attempt.sign_in.map_or(&[][..], |sign_in| &sign_in.counters).iter()
}

/// What undoes a redemption, with the flows of its code.
fn used_code(attempt: &Attempt<'_>, flows: String) -> UsedCode {
    UsedCode {
        slot: attempt.slot.clone(),
        code: attempt.fixed.is_none().then(|| Kept::Redis { digest: attempt.digest.to_owned(), flows }),
        ttl: Duration::ZERO,
        at: attempt.guess.at,
        replay: attempt.replay.cloned(),
        sign_in: attempt.sign_in.cloned(),
    }
}

fn refusal(admission: Admission) -> Option<Redemption> {
    match admission {
        Admission::Refused { name, retry_after } => Some(Redemption::Refused { name, retry_after }),
        Admission::Admitted | Admission::Suspicious { .. } => None,
    }
}

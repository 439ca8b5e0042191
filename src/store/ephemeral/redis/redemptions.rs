//! Codes presented to Redis, many at once.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use fred::types::{Key, Value};
use futures_util::future::try_join_all;

use super::{
    super::{Admission, As, Attempt, Kept, Redemption, UsedCode},
    Redis, STORE, count_of, duration, flag,
    link::Link,
    millis, millis_of, run, scripts,
    tallies::{counter_arg, unasked},
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
    pub keys: Vec<Key>,
    pub args: Vec<Value>,
    /// The names of the counters.
    pub names: Vec<LimitName>,
    /// What was presented; nothing at a fixed code.
    pub digest: Option<String>,
    /// What undoes it, but for the code.
    pub used: UsedCode,
    pub presence: Presence,
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

/// What came of an attempt.
pub struct Answer {
    pub redemption: Redemption,
    /// Was there nothing to guess at?
    at_nothing: bool,
    /// The wrong guesses that a right code cleared.
    cleared: Vec<String>,
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
    type Answer = Result<Answer, StoreError>;

    const NAME: &'static str = "redemptions";
    const STORE: &'static str = STORE;

    fn timeout(&self) -> Duration {
        self.timeout
    }

    async fn run(&self, calls: &[Presented]) -> Result<Vec<Self::Answer>, Failure> {
        let keys = calls.iter().flat_map(|call| call.keys.iter().cloned()).collect();
        let args = calls.iter().flat_map(|call| call.args.iter().cloned());
        let args = [flag(!self.clustered)].into_iter().chain(args).collect();
        // Whatever goes wrong with one code is in its own outcome.
        let outcomes: Vec<Outcome> = run(&self.link, &scripts::REDEEM, keys, args).await.map_err(Failure::Store)?;
        Ok(calls.iter().zip(outcomes).map(|(call, outcome)| call.answer(outcome)).collect())
    }
}

impl Redemptions {
    /// Redeems one code by itself.
    pub async fn one(&self, call: &Presented) -> Result<Answer, StoreError> {
        let answer = self.run(std::slice::from_ref(call)).await?.pop();
        answer.unwrap_or_else(|| Err(StoreError::new(STORE, "no outcome")))
    }
}

impl Presented {
    fn answer(&self, (outcome, number, rest, text, cleared): Outcome) -> Result<Answer, StoreError> {
        let redemption = match outcome {
            2 => Redemption::Repeated(text),
            1 => Redemption::Accepted(Box::new(UsedCode {
                code: self.digest.clone().map(|digest| Kept::Redis { digest, flows: text }),
                ..self.used.clone()
            })),
            0 => {
                let tries_left = self.digest.as_ref().map(|_| u32::try_from(number).unwrap_or_default());
                Redemption::Wrong { tries_left }
            }
            -1 | -6 => Redemption::Missing,
            -2 => {
                let name = usize::try_from(number).ok().and_then(|place| self.names.get(place));
                Redemption::Refused { name: *name.ok_or_else(unasked)?, retry_after: duration(rest) }
            }
            -4 => Redemption::NotAsker,
            -5 => Redemption::Refused { name: LimitName::StrangersTries, retry_after: duration(rest) },
            _ => return Err(StoreError::new(STORE, text)),
        };
        Ok(Answer { redemption, at_nothing: outcome == -1, cleared })
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
        let answer = redemptions.one(&self.presented(attempt, mobile, code, replay)).await?;
        self.settle(attempt, answer).await
    }

    /// Redeems a code together with others.
    pub async fn redeem_in_a_batch(&self, attempt: &Attempt<'_>) -> Result<Redemption, StoreError> {
        let (mobile, replay) = (attempt.slot.mobile.as_str(), self.keys.replay(attempt.slot, attempt.replay));
        let presented = self.presented(attempt, mobile, self.keys.code(attempt.slot), replay);
        self.settle(attempt, self.redemptions.call(presented).await??).await
    }

    /// What few redemptions need, beyond the script: a guess at nothing counts before it is answered, and wrong guesses
    /// are cleared where the script does not reach.
    async fn settle(
        &self,
        attempt: &Attempt<'_>,
        Answer { redemption, at_nothing, cleared }: Answer,
    ) -> Result<Redemption, StoreError> {
        if at_nothing && let Some(refusal) = refusal(self.admit(&(attempt.nothing)(), None, true).await?) {
            return Ok(refusal);
        }
        if let Redemption::Accepted(used) = &redemption
            && let Err(error) = self.follow(attempt, used, &cleared).await
        {
            // The code is used up: an error would lose the sign-in, and these counts expire.
            tracing::warn!(%error, "failed to count a redeemed code everywhere");
        }
        Ok(redemption)
    }

    async fn follow(&self, attempt: &Attempt<'_>, used: &UsedCode, cleared: &[String]) -> Result<(), StoreError> {
        self.forget_members(&attempt.guess.counters, cleared).await?;
        if self.clustered { self.credit_flows(used, 1).await } else { Ok(()) }
    }

    /// An attempt at the code with this key and replay; in a cluster with the counters of its mobile alone.
    fn presented(&self, attempt: &Attempt<'_>, mobile: &str, code: Key, replay: Key) -> Presented {
        let is_asker = attempt.fixed.is_none() && attempt.presenter == As::Asker;
        let guess = attempt.guess.counters.iter().filter(|counter| !self.clustered || counter.subject == mobile);
        let guess: Vec<_> = guess.take(if is_asker { 1 } else { usize::MAX }).collect();
        let sign_in = attempt.sign_in.map_or(&[][..], |sign_in| &sign_in.counters);
        let (presenter, names) = match &attempt.presenter {
            _ if attempt.fixed.is_some() => (1, vec![]),
            As::Asker => (0, attempt.asker.keys().collect()),
            As::Other => (1, vec![]),
            As::KnownDevice(device) => (2, vec![device.clone()]),
        };
        let mut names = names.into_iter();
        let mut name = || Value::from(names.next().unwrap_or_default());
        let mut args = vec![
            count_of(&guess),
            count_of(sign_in),
            millis_of(attempt.guess.at).into(),
            Value::from(presenter),
            name(),
            name(),
            attempt.digest.into(),
            attempt.fixed.unwrap_or_default().into(),
            attempt.replay.map_or("", |replay| &replay.value).into(),
            attempt.replay.map_or(0, |replay| millis(replay.ttl)).into(),
            attempt.guess.id.as_str().into(),
            attempt.sign_in.map_or("", |sign_in| &sign_in.id).into(),
        ];
        let counters = || guess.iter().copied().chain(sign_in);
        args.extend(counters().map(counter_arg));
        let mut keys = vec![code, self.keys.counter(attempt.unredeemed), replay];
        keys.extend(counters().map(|counter| self.keys.counter(counter)));
        Presented {
            keys,
            args,
            names: counters().map(|counter| counter.name).collect(),
            digest: attempt.fixed.is_none().then(|| attempt.digest.to_owned()),
            used: UsedCode {
                slot: attempt.slot.clone(),
                code: None,
                ttl: Duration::ZERO,
                at: attempt.guess.at,
                replay: attempt.replay.cloned(),
                sign_in: attempt.sign_in.cloned(),
            },
            presence: attempt.presence.clone(),
        }
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
        let (code, replay) = (self.keys.code(slot), self.keys.replay(slot, attempt.replay));
        let redemption = self.redeem_at(attempt, mobile, code, replay).await?;
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

fn refusal(admission: Admission) -> Option<Redemption> {
    match admission {
        Admission::Refused { name, retry_after } => Some(Redemption::Refused { name, retry_after }),
        Admission::Admitted | Admission::Suspicious { .. } => None,
    }
}

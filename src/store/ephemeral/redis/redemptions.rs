//! Codes presented to Redis, many at once.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use chrono::{DateTime, Utc};
use fred::types::{Key, Value};
use futures_util::future::try_join_all;

use super::{
    super::{Admission, As, Attempt, Counter, Kept, Redemption, Tally, UsedCode},
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
    pub is_fixed: bool,
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
    /// The wrong guesses that a right code cleared.
    cleared: Vec<String>,
}

/// What the script says of an attempt.
type Outcome = (i64, i64, i64, String, Vec<String>, Vec<String>);

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
    fn answer(&self, (outcome, number, rest, text, fields, cleared): Outcome) -> Result<Answer, StoreError> {
        let redemption = match outcome {
            2 => Redemption::Repeated(text),
            1 => Redemption::Accepted(Box::new(UsedCode {
                code: (!self.is_fixed).then_some(Kept::Redis(fields)),
                ttl: duration(rest),
                ..self.used.clone()
            })),
            0 => Redemption::Wrong { tries_left: (!self.is_fixed).then(|| u32::try_from(number).unwrap_or_default()) },
            -1 => Redemption::Missing,
            -2 => {
                let name = usize::try_from(number).ok().and_then(|place| self.names.get(place));
                Redemption::Refused { name: *name.ok_or_else(unasked)?, retry_after: duration(rest) }
            }
            -4 => Redemption::NotAsker,
            -5 => Redemption::Refused { name: LimitName::StrangersTries, retry_after: duration(rest) },
            _ => return Err(StoreError::new(STORE, text)),
        };
        Ok(Answer { redemption, cleared })
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
        let Answer { redemption, cleared } = redemptions.one(&self.presented(attempt, mobile, code, replay)).await?;
        if self.clustered
            && let Redemption::Accepted(used) = &redemption
        {
            self.forget_elsewhere(attempt.guess, mobile, &cleared).await?;
            self.credit_flows(used.fields(), used.at, 1).await?;
        }
        Ok(redemption)
    }

    /// An attempt as the script takes it.
    pub fn present(&self, attempt: &Attempt<'_>) -> Presented {
        let replay = self.keys.replay(attempt.slot, attempt.replay);
        self.presented(attempt, attempt.slot.mobile.as_str(), self.keys.code(attempt.slot), replay)
    }

    /// An attempt at the code with this key and replay; in a cluster with the counters of its mobile alone.
    fn presented(&self, attempt: &Attempt<'_>, mobile: &str, code: Key, replay: Key) -> Presented {
        let near = |tally: Option<&'_ Tally>| -> Vec<_> {
            let counters = tally.map_or(&[][..], |tally| &tally.counters).iter();
            counters.filter(|counter| !self.clustered || counter.subject == mobile).cloned().collect::<Vec<Counter>>()
        };
        let (guess, nothing, sign_in) = (near(Some(attempt.guess)), near(Some(attempt.nothing)), near(attempt.sign_in));
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
            count_of(&nothing),
            count_of(&sign_in),
            millis_of(attempt.guess.at).into(),
            Value::from(presenter),
            name(),
            name(),
            attempt.digest.into(),
            attempt.fixed.unwrap_or_default().into(),
            attempt.replay.map_or("", |replay| &replay.value).into(),
            attempt.replay.map_or(0, |replay| millis(replay.ttl)).into(),
            attempt.guess.id.as_str().into(),
            attempt.nothing.id.as_str().into(),
            attempt.sign_in.map_or("", |sign_in| &sign_in.id).into(),
        ];
        let counters = || guess.iter().chain(&nothing).chain(&sign_in);
        args.extend(counters().map(counter_arg));
        let mut keys = vec![code, self.keys.counter(attempt.unredeemed), replay];
        keys.extend(counters().map(|counter| self.keys.counter(counter)));
        Presented {
            keys,
            args,
            names: counters().map(|counter| counter.name).collect(),
            is_fixed: attempt.fixed.is_some(),
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
        let Attempt { slot, guess, nothing, .. } = attempt;
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
        if matches!(redemption, Redemption::Missing)
            && let Some(refusal) = refusal(self.admit_elsewhere(nothing, mobile).await?)
        {
            self.uncount_groups(nothing, self.groups(nothing, Some(mobile)).last()).await?;
            return Ok(refusal);
        }
        Ok(redemption)
    }

    /// Undoes the redemption of the code with this key and replay.
    pub async fn restore(&self, code: Key, replay: Key, used: &UsedCode) -> Result<(), StoreError> {
        let mut keys = vec![code, replay];
        let mut args = vec![flag(!self.clustered), millis_of(used.at).into()];
        args.push(used.sign_in.as_ref().map_or("", |sign_in| &sign_in.id).into());
        args.push(millis(used.ttl).into());
        if let Some(sign_in) = &used.sign_in {
            keys.extend(sign_in.counters.iter().map(|counter| self.keys.counter(counter)));
            args.extend(sign_in.counters.iter().map(counter_arg));
        }
        let fields = used.fields();
        args.extend(fields.iter().map(|field| field.as_str().into()));
        let _: Value = self.run(&scripts::RESTORE, keys, args).await?;
        if self.clustered { self.credit_flows(fields, used.at, -1).await } else { Ok(()) }
    }

    /// Adds to the codes redeemed in the flows of a code, given by its fields.
    pub async fn credit_flows(&self, fields: &[String], at: DateTime<Utc>, by: i64) -> Result<(), StoreError> {
        let flows = fields.chunks_exact(2).find(|field| field[0] == "flows").map_or("", |field| &field[1]);
        let credits = flows.lines().map(|flow| async move {
            let args = vec![millis_of(at).into(), by.into()];
            let _: Value = self.run(&scripts::ADD_REDEEMED, vec![flow.into()], args).await?;
            Ok(())
        });
        try_join_all(credits).await.map(drop)
    }
}

impl UsedCode {
    fn fields(&self) -> &[String] {
        match &self.code {
            Some(Kept::Redis(fields)) => fields,
            Some(Kept::InProcess(_)) | None => &[],
        }
    }
}

fn refusal(admission: Admission) -> Option<Redemption> {
    match admission {
        Admission::Refused { name, retry_after } => Some(Redemption::Refused { name, retry_after }),
        Admission::Admitted | Admission::Suspicious { .. } => None,
    }
}

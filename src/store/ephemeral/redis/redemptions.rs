//! How does Redis look at many codes at once?

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use fred::types::{Key, Value};

use super::{super::Redemption, STORE, TIMEOUT, duration, link::Link, run, scripts};
use crate::{
    model::{limit::LimitName, origin::Presence},
    store::{
        StoreError,
        coalesce::{Batch, Call, Failure},
        ephemeral::{Kept, UsedCode},
    },
};

/// An attempt as the script takes it.
pub struct Presented {
    /// The key of the code comes first.
    pub keys: Vec<Key>,
    pub args: Vec<Value>,
    /// What the code is kept as; nothing for a fixed one, which is not used up.
    pub digest: Option<String>,
    /// The names of the counters of guesses.
    pub names: Vec<LimitName>,
    pub presence: Presence,
    pub used: UsedCode,
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
type Outcome = (i64, i64, i64, String);

/// Redeems codes.
pub struct Redemptions(pub Link);

impl Batch for Redemptions {
    type Call = Presented;
    type Answer = Result<Redemption, StoreError>;

    const NAME: &'static str = "redemptions";
    const STORE: &'static str = STORE;
    const TIMEOUT: Duration = TIMEOUT;

    async fn run(&self, calls: &[Presented]) -> Result<Vec<Self::Answer>, Failure> {
        let keys = calls.iter().flat_map(|call| call.keys.iter().cloned()).collect();
        let args = calls.iter().flat_map(|call| call.args.iter().cloned()).collect();
        // Whatever goes wrong with one code is in its own outcome.
        let outcomes: Vec<Outcome> = run(&self.0, &scripts::REDEEM, keys, args).await.map_err(Failure::Store)?;
        Ok(calls.iter().zip(outcomes).map(|(call, outcome)| call.answer(outcome)).collect())
    }
}

impl Redemptions {
    /// Redeems one code by itself.
    pub async fn one(&self, call: &Presented) -> Result<Redemption, StoreError> {
        let answer = self.run(std::slice::from_ref(call)).await?.pop();
        answer.unwrap_or_else(|| Err(StoreError::new(STORE, "no outcome")))
    }
}

impl Presented {
    fn answer(&self, (outcome, number, rest, text): Outcome) -> Result<Redemption, StoreError> {
        let tries = u32::try_from(number).unwrap_or_default();
        Ok(match outcome {
            2 => Redemption::Repeated(text),
            1 => Redemption::Accepted(UsedCode {
                code: self.digest.clone().map(|digest| Kept::Redis(vec![digest, tries.to_string()])),
                ttl: duration(rest),
                ..self.used.clone()
            }),
            0 => Redemption::Wrong { tries_left: self.digest.as_ref().map(|_| tries) },
            -1 => Redemption::Missing,
            -2 => {
                let name = usize::try_from(number).ok().and_then(|index| self.names.get(index));
                let name = *name.ok_or_else(|| StoreError::new(STORE, "a counter that was not asked for refused"))?;
                Redemption::Refused { name, retry_after: duration(rest) }
            }
            _ => return Err(StoreError::new(STORE, text)),
        })
    }
}

//! How do codes live in Redis, Valkey, Sentinel or Cluster?

mod link;
mod redemptions;
mod rehearsal;
mod scripts;
mod url;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use fred::{
    interfaces::{KeysInterface, LuaInterface},
    types::{
        Builder, Expiration, FromValue, Key, SetOptions, Value,
        config::{ReconnectPolicy, TcpConfig},
        scripts::Script,
    },
};
use tokio::task::AbortHandle;
use uuid::Uuid;

use link::Link;
use redemptions::{Presented, Redemptions};
pub use url::RedisUrl;

use super::{
    Admission, Asker, Attempt, CodeSlot, Counter, EphemeralStore, Kept, PendingCode, Redemption, Replay, Tally,
    UsedCode,
};
use crate::{
    model::limit::LimitName,
    store::{StoreError, coalesce::Coalescer},
    telemetry::traces,
};

const STORE: &str = "redis";

/// How long one connection attempt and one command may take.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The store on Redis.
pub struct Redis {
    link: Link,
    prefix: String,
    clustered: bool,
    /// Unlike that of any other instance.
    instance: String,
    redemptions: Coalescer<Redemptions>,
    watchers: Vec<AbortHandle>,
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.watchers.iter().for_each(AbortHandle::abort);
    }
}

impl Redis {
    /// Starts connecting. A server that is not there yet is tried again for ever, in the background.
    pub async fn connect(RedisUrl(config): &RedisUrl, prefix: &str) -> Result<Self, StoreError> {
        let mut config = config.clone();
        config.fail_fast = false;
        let clustered = config.server.is_clustered();
        let pool = Builder::from_config(config)
            .with_connection_config(|connection| {
                connection.connection_timeout = TIMEOUT;
                connection.internal_command_timeout = TIMEOUT;
                // A script that uses up a code must not be sent twice.
                connection.max_command_attempts = 1;
                connection.unresponsive.max_timeout = Some(2 * TIMEOUT);
                connection.unresponsive.interval = TIMEOUT;
                connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
            })
            .with_performance_config(|performance| performance.default_command_timeout = TIMEOUT)
            .set_policy(ReconnectPolicy::new_constant(0, 200))
            .build_pool(2)
            .map_err(|error| StoreError::new(STORE, error))?;
        let (link, watchers) = Link::connect(pool).await;
        let redemptions = Coalescer::new(Redemptions(link.clone()));
        let (prefix, instance) = (prefix.to_owned(), Uuid::now_v7().to_string());
        Ok(Self { link, prefix, clustered, instance, redemptions, watchers })
    }

    fn image_code_key(&self, id: &str) -> Key {
        self.key(&["image_code:", id])
    }

    fn code_key(&self, slot: &CodeSlot) -> Key {
        let [open, close] = self.tag();
        self.key(&["sms_code:", slot.purpose.as_str(), ":", open, slot.mobile.as_str(), close])
    }

    fn counter_key(&self, counter: &Counter) -> Key {
        let [open, close] = self.tag();
        let (colon, part) = counter.part.as_ref().map_or(("", ""), |part| (":", part));
        self.key(&["limit:", counter.name.as_str(), ":", open, &counter.subject, close, colon, part])
    }

    fn replay_key(&self, slot: &CodeSlot, replay: Option<&Replay>) -> Key {
        let [open, close] = self.tag();
        let key = replay.map_or("", |replay| &replay.key);
        self.key(&["idempotency:", open, slot.mobile.as_str(), close, ":", key])
    }

    fn key(&self, parts: &[&str]) -> Key {
        let mut key = String::with_capacity(self.prefix.len() + parts.iter().map(|part| part.len()).sum::<usize>());
        key.push_str(&self.prefix);
        key.extend(parts.iter().copied());
        key.into()
    }

    /// What stands around a mobile or a network: in a cluster, all of its keys share a slot.
    fn tag(&self) -> [&'static str; 2] {
        if self.clustered { ["{", "}"] } else { ["", ""] }
    }

    /// The counters that one script can reach together: all of them, but in a cluster only those of one subject. The
    /// group of a slot comes last; it is there, to take the code along, even if nothing counts on it.
    fn groups<'a>(&self, tally: &'a Tally, slot: Option<&CodeSlot>) -> Vec<Vec<&'a Counter>> {
        let of = |subject: &str| if self.clustered { subject.to_owned() } else { String::new() };
        let mut groups = BTreeMap::<String, Vec<_>>::new();
        for counter in &tally.counters {
            groups.entry(of(&counter.subject)).or_default().push(counter);
        }
        let last = slot.map(|slot| groups.remove(&of(slot.mobile.as_str())).unwrap_or_default());
        groups.into_values().chain(last).collect()
    }

    /// Counts a tally, group by group; the group of the slot comes last and takes the code along. A group that
    /// refuses has the ones before it take it back.
    async fn admit(
        &self,
        tally: &Tally,
        code: Option<(&CodeSlot, Option<&PendingCode>)>,
        trusted: bool,
    ) -> Result<Admission, StoreError> {
        let groups = self.groups(tally, code.map(|(slot, _)| slot));
        let mut counted = Vec::new();
        let mut admission = Admission::Admitted;
        for (place, group) in groups.iter().enumerate() {
            let code = code.filter(|_| place + 1 == groups.len());
            let mut keys = self.counter_keys(group);
            let mut args = vec![millis_of(tally.at).into(), count_of(group), i64::from(trusted).into()];
            args.extend(counter_args(tally, group));
            if let Some((slot, Some(code))) = code {
                keys.push(self.code_key(slot));
                args.extend(code_args(code));
            }
            match admission_by(group, self.run(&scripts::COUNT, keys, args).await?)? {
                Admission::Admitted => {}
                Admission::Suspicious { .. } if trusted => {
                    admission = Admission::Suspicious { name: LimitName::SmsTotal }
                }
                obstacle => {
                    for group in counted {
                        self.uncount_group(tally, group).await?;
                    }
                    return Ok(obstacle);
                }
            }
            counted.push(group);
        }
        Ok(admission)
    }

    async fn uncount_group(&self, tally: &Tally, group: &[&Counter]) -> Result<(), StoreError> {
        let mut args = vec![millis_of(tally.at).into()];
        args.extend(counter_args(tally, group));
        self.run(&scripts::UNCOUNT, self.counter_keys(group), args).await
    }

    fn counter_keys(&self, counters: &[&Counter]) -> Vec<Key> {
        counters.iter().map(|counter| self.counter_key(counter)).collect()
    }

    /// An attempt as the script takes it.
    fn prepare(&self, attempt: &Attempt<'_>) -> Presented {
        let guesses: Vec<_> = attempt.guess.counters.iter().collect();
        let mut keys = vec![
            self.code_key(attempt.slot),
            self.counter_key(attempt.unredeemed),
            self.replay_key(attempt.slot, attempt.replay),
        ];
        keys.extend(self.counter_keys(&guesses));
        let mut args = vec![
            count_of(&guesses),
            millis_of(attempt.guess.at).into(),
            attempt.digest.into(),
            attempt.fixed.unwrap_or_default().into(),
            attempt.replay.map_or("", |replay| &replay.value).into(),
            attempt.replay.map_or(0, |replay| millis(replay.ttl)).into(),
        ];
        args.extend(counter_args(attempt.guess, &guesses));
        Presented {
            keys,
            args,
            digest: attempt.fixed.is_none().then(|| attempt.digest.to_owned()),
            names: guesses.iter().map(|counter| counter.name).collect(),
            presence: attempt.presence.clone(),
            used: UsedCode {
                slot: attempt.slot.clone(),
                code: None,
                ttl: Duration::ZERO,
                at: attempt.guess.at,
                replay: attempt.replay.cloned(),
                sign_in: attempt.sign_in.cloned(),
            },
        }
    }

    async fn run<R: FromValue>(&self, script: &Script, keys: Vec<Key>, args: Vec<Value>) -> Result<R, StoreError> {
        run(&self.link, script, keys, args).await
    }
}

#[async_trait]
impl EphemeralStore for Redis {
    async fn put_image_code(&self, id: &str, text: &str, _network: &str, ttl: Duration) -> Result<(), StoreError> {
        let expiry = Expiration::PX(millis(ttl));
        let set = self.link.pool.set(self.image_code_key(id), text, Some(expiry), None, false);
        traces::call(STORE, set).await.map_err(|error| self.link.unavailable(&error))
    }

    async fn take_image_code(&self, id: &str) -> Result<Option<String>, StoreError> {
        let text = self.link.pool.getdel(self.image_code_key(id));
        traces::call(STORE, text).await.map_err(|error| self.link.unavailable(&error))
    }

    async fn take_once(&self, key: &str, _network: &str, ttl: Duration) -> Result<bool, StoreError> {
        let expiry = Expiration::PX(millis(ttl));
        let set = self.link.pool.set(self.key(&["once:", key]), 1, Some(expiry), Some(SetOptions::NX), false);
        let set: Option<String> = traces::call(STORE, set).await.map_err(|error| self.link.unavailable(&error))?;
        Ok(set.is_some())
    }

    async fn survey(&self, tally: &Tally) -> Result<Admission, StoreError> {
        let mut admission = Admission::Admitted;
        for group in self.groups(tally, None) {
            let mut args = vec![millis_of(tally.at).into()];
            args.extend(counter_args(tally, &group));
            match admission_by(&group, self.run(&scripts::SURVEY, self.counter_keys(&group), args).await?)? {
                Admission::Admitted => {}
                Admission::Suspicious { .. } => admission = Admission::Suspicious { name: LimitName::SmsTotal },
                refused @ Admission::Refused { .. } => return Ok(refused),
            }
        }
        Ok(admission)
    }

    async fn count(&self, tally: &Tally) -> Result<Admission, StoreError> {
        self.admit(tally, None, true).await
    }

    async fn uncount(&self, tally: &Tally) -> Result<(), StoreError> {
        for group in self.groups(tally, None) {
            self.uncount_group(tally, &group).await?;
        }
        Ok(())
    }

    async fn clear(&self, tally: &Tally) -> Result<(), StoreError> {
        let counters: Vec<_> = tally.counters.iter().collect();
        if counters.is_empty() {
            return Ok(());
        }
        self.run(&scripts::CLEAR, self.counter_keys(&counters), Vec::new()).await
    }

    async fn members(&self, _counter: &Counter, _at: DateTime<Utc>) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn forget(&self, _counter: &Counter, _members: &[String]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn issue_code(
        &self,
        slot: &CodeSlot,
        code: &PendingCode,
        message: &Tally,
        _asker: &Asker,
        trusted: bool,
    ) -> Result<Admission, StoreError> {
        self.admit(message, Some((slot, Some(code))), trusted).await
    }

    async fn withdraw_code(&self, slot: &CodeSlot, digest: &str) -> Result<(), StoreError> {
        self.run(&scripts::WITHDRAW, vec![self.code_key(slot)], vec![digest.into()]).await
    }

    async fn redeem_code(&self, attempt: &Attempt<'_>) -> Result<Redemption, StoreError> {
        let attempt = self.prepare(attempt);
        if self.clustered {
            // A script reaches the keys of one mobile only.
            Redemptions(self.link.clone()).one(&attempt).await
        } else {
            self.redemptions.call(attempt).await?
        }
    }

    async fn restore_code(&self, used: &UsedCode) -> Result<(), StoreError> {
        let keys = vec![self.code_key(&used.slot), self.replay_key(&used.slot, used.replay.as_ref())];
        let mut args = Vec::<Value>::new();
        if let Some(Kept::Redis(kept)) = &used.code {
            args.extend(kept.iter().map(|value| value.as_str().into()));
            args.push(millis(used.ttl).into());
        }
        self.run(&scripts::RESTORE, keys, args).await
    }

    fn name(&self) -> &'static str {
        STORE
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.rehearse().await
    }
}

/// Runs a script by its hash, and by its source where the server does not know it yet.
async fn run<R: FromValue>(link: &Link, script: &Script, keys: Vec<Key>, args: Vec<Value>) -> Result<R, StoreError> {
    let client = link.pool.next();
    let outcome = traces::call(STORE, async {
        match client.evalsha(script.sha1().clone(), keys.clone(), args.clone()).await {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                client.eval(script.lua().cloned().unwrap_or_default(), keys, args).await
            }
            outcome => outcome,
        }
    });
    outcome.await.map_err(|error| link.unavailable(&error))
}

/// What the survey in a script found.
fn admission_by(counters: &[&Counter], (refusing, wait, suspicious): (i64, i64, i64)) -> Result<Admission, StoreError> {
    Ok(match (refusing, suspicious) {
        (-1, 0) => Admission::Admitted,
        (-1, _) => Admission::Suspicious { name: LimitName::SmsTotal },
        _ => {
            let counter = usize::try_from(refusing).ok().and_then(|index| counters.get(index));
            let counter = counter.ok_or_else(|| StoreError::new(STORE, "a counter that was not asked for refused"))?;
            Admission::Refused { name: counter.name, retry_after: duration(wait) }
        }
    })
}

/// Counters as the scripts take them: member, milliseconds of the window, limit, suspicion.
fn counter_args<'a>(tally: &'a Tally, counters: &'a [&Counter]) -> impl Iterator<Item = Value> + 'a {
    counters.iter().flat_map(|counter| {
        [
            counter.member.as_ref().unwrap_or(&tally.id).into(),
            millis(counter.window).into(),
            counter.limit.unwrap_or(0).into(),
            counter.suspicion.unwrap_or(0).into(),
        ]
    })
}

/// A code as the scripts take it: digest, tries, milliseconds.
fn code_args(code: &PendingCode) -> [Value; 3] {
    [(&code.digest).into(), code.tries_per_asker.into(), millis(code.ttl).into()]
}

fn count_of(counters: &[&Counter]) -> Value {
    i64::try_from(counters.len()).unwrap_or_default().into()
}

fn millis(duration: Duration) -> i64 {
    duration.as_millis().try_into().unwrap_or(i64::MAX)
}

fn millis_of(time: DateTime<Utc>) -> i64 {
    time.timestamp_millis()
}

/// Milliseconds from a script; negative is nothing left.
fn duration(millis: i64) -> Duration {
    Duration::from_millis(millis.try_into().unwrap_or_default())
}

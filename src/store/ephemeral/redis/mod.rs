//! The store on Redis, Valkey, Sentinel or Cluster.

mod keys;
mod link;
mod redemptions;
mod rehearsal;
mod scripts;
mod tallies;
mod url;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use fred::{
    interfaces::{KeysInterface, LuaInterface, SortedSetsInterface},
    types::{
        Builder, Expiration, FromValue, Key, SetOptions, Value,
        config::{ReconnectPolicy, TcpConfig},
        scripts::Script,
    },
};
use tokio::task::AbortHandle;
use uuid::Uuid;

use keys::Keys;
use link::Link;
use redemptions::Redemptions;
use tallies::Issue;
pub use url::RedisUrl;

use super::{Admission, Asker, Attempt, CodeSlot, Counter, EphemeralStore, PendingCode, Redemption, Tally, UsedCode};
use crate::{
    store::{StoreError, coalesce::Coalescer},
    telemetry::traces,
};

const STORE: &str = "redis";

/// The store on Redis.
pub struct Redis {
    link: Link,
    keys: Keys,
    clustered: bool,
    timeout: Duration,
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
    pub async fn connect(RedisUrl(config): &RedisUrl, prefix: &str, timeout: Duration) -> Result<Self, StoreError> {
        let mut config = config.clone();
        config.fail_fast = false;
        let clustered = config.server.is_clustered();
        let pool = Builder::from_config(config)
            .with_connection_config(|connection| {
                connection.connection_timeout = timeout;
                connection.internal_command_timeout = timeout;
                // A script that uses up a code must not be sent twice.
                connection.max_command_attempts = 1;
                connection.unresponsive.max_timeout = Some(2 * timeout);
                connection.unresponsive.interval = timeout;
                connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
            })
            .with_performance_config(|performance| performance.default_command_timeout = timeout)
            .set_policy(ReconnectPolicy::new_constant(0, 200))
            .build_pool(2)
            .map_err(|error| StoreError::new(STORE, error))?;
        let (link, watchers) = Link::connect(pool, timeout).await;
        let redemptions = Coalescer::new(Redemptions { link: link.clone(), clustered, timeout });
        let (keys, instance) = (Keys::new(prefix, clustered), Uuid::now_v7().to_string());
        Ok(Self { link, keys, clustered, timeout, instance, redemptions, watchers })
    }

    async fn run<R: FromValue>(&self, script: &Script, keys: Vec<Key>, args: Vec<Value>) -> Result<R, StoreError> {
        run(&self.link, script, keys, args).await
    }
}

#[async_trait]
impl EphemeralStore for Redis {
    async fn put_image_code(&self, id: &str, text: &str, _network: &str, ttl: Duration) -> Result<(), StoreError> {
        let expiry = Expiration::PX(millis(ttl));
        let set = self.link.pool.set(self.keys.image_code(id), text, Some(expiry), None, false);
        traces::call(STORE, set).await.map_err(|error| self.link.unavailable(&error))
    }

    async fn take_image_code(&self, id: &str) -> Result<Option<String>, StoreError> {
        let text = self.link.pool.getdel(self.keys.image_code(id));
        traces::call(STORE, text).await.map_err(|error| self.link.unavailable(&error))
    }

    async fn take_once(&self, key: &str, _network: &str, ttl: Duration) -> Result<bool, StoreError> {
        let expiry = Expiration::PX(millis(ttl));
        let set = self.link.pool.set(self.keys.once(key), 1, Some(expiry), Some(SetOptions::NX), false);
        let set: Option<String> = traces::call(STORE, set).await.map_err(|error| self.link.unavailable(&error))?;
        Ok(set.is_some())
    }

    async fn survey(&self, tally: &Tally) -> Result<Admission, StoreError> {
        self.survey_tally(tally).await
    }

    async fn count(&self, tally: &Tally) -> Result<Admission, StoreError> {
        self.admit(tally, None, true).await
    }

    async fn uncount(&self, tally: &Tally) -> Result<(), StoreError> {
        self.uncount_groups(tally, &self.groups(tally, None)).await
    }

    async fn clear(&self, tally: &Tally) -> Result<(), StoreError> {
        self.clear_tally(tally).await
    }

    async fn members(&self, counter: &Counter, at: DateTime<Utc>, at_most: u32) -> Result<Vec<String>, StoreError> {
        let since = format!("({}", millis_of(at) - millis(counter.window));
        self.run(&scripts::MEMBERS, vec![self.keys.counter(counter)], vec![since.into(), at_most.into()]).await
    }

    async fn forget(&self, counter: &Counter, members: &[String]) -> Result<(), StoreError> {
        if members.is_empty() {
            return Ok(());
        }
        let forget = self.link.pool.zrem(self.keys.counter(counter), members.to_vec());
        traces::call(STORE, forget).await.map_err(|error| self.link.unavailable(&error))
    }

    async fn issue_code(
        &self,
        slot: &CodeSlot,
        code: &PendingCode,
        message: &Tally,
        asker: &Asker,
        trusted: bool,
    ) -> Result<Admission, StoreError> {
        let issue = Issue { mobile: slot.mobile.as_str(), key: self.keys.code(slot), code, asker };
        self.admit(message, Some(issue), trusted).await
    }

    async fn withdraw_code(&self, slot: &CodeSlot, digest: &str) -> Result<(), StoreError> {
        self.run(&scripts::WITHDRAW, vec![self.keys.code(slot)], vec![digest.into()]).await
    }

    async fn fall_back(&self, slot: &CodeSlot, digest: &str) -> Result<(), StoreError> {
        self.run(&scripts::FALL_BACK, vec![self.keys.code(slot)], vec![digest.into()]).await
    }

    async fn redeem_code(&self, attempt: &Attempt<'_>) -> Result<Redemption, StoreError> {
        if self.clustered { self.redeem_in_a_cluster(attempt).await } else { self.redeem_in_a_batch(attempt).await }
    }

    async fn restore_code(&self, used: &UsedCode) -> Result<(), StoreError> {
        self.restore(self.keys.code(&used.slot), self.keys.replay(&used.slot, used.replay.as_ref()), used).await
    }

    async fn replace_replay(&self, used: &UsedCode, value: &str) -> Result<(), StoreError> {
        let Some(replay) = &used.replay else { return Ok(()) };
        let (key, expiry) = (self.keys.replay(&used.slot, Some(replay)), Some(Expiration::KEEPTTL));
        let set = self.link.pool.set(key, value, expiry, Some(SetOptions::XX), false);
        traces::call(STORE, set).await.map_err(|error| self.link.unavailable(&error))
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

fn flag(on: bool) -> Value {
    i64::from(on).into()
}

fn count_of<T>(items: &[T]) -> Value {
    i64::try_from(items.len()).unwrap_or_default().into()
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

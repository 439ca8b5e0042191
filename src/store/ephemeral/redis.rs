//! How do codes live in Redis, Valkey, Sentinel or Cluster?

use std::{sync::LazyLock, time::Duration};

use async_trait::async_trait;
use fred::{
    clients::Pool,
    interfaces::{ClientLike, KeysInterface, LuaInterface},
    types::{
        Builder, Expiration, FromValue,
        config::{Config, ReconnectPolicy, TcpConfig},
        scripts::Script,
    },
};

use super::{CodeSlot, EphemeralStore, Issue, PendingCode, Redemption};
use crate::{model::mobile::Mobile, store::StoreError};

const STORE: &str = "redis";

/// How long one connection attempt and one command may take.
const TIMEOUT: Duration = Duration::from_secs(1);

/// `KEYS`: gap, code. `ARGV`: milliseconds of the gap; for a code: digest, tries, milliseconds.
/// Returns what is left of a running gap, or 0 for a code that was issued.
static ISSUE: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        "local gap = redis.call('PTTL', KEYS[1])
         if gap > 0 then return gap end
         if ARGV[2] then
             redis.call('DEL', KEYS[2])
             redis.call('HSET', KEYS[2], 'digest', ARGV[2], 'tries_left', ARGV[3])
             redis.call('PEXPIRE', KEYS[2], ARGV[4])
         end
         if tonumber(ARGV[1]) > 0 then redis.call('SET', KEYS[1], ARGV[2] or '', 'PX', ARGV[1]) end
         return 0",
    )
});

/// `KEYS`: gap, code. `ARGV`: digest.
static WITHDRAW: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        "if redis.call('HGET', KEYS[2], 'digest') == ARGV[1] then redis.call('DEL', KEYS[2]) end
         if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
         return 0",
    )
});

/// `KEYS`: code. `ARGV`: digest. Returns the outcome (1 accepted, 0 wrong, -1 missing), the tries left, and the
/// milliseconds that an accepted code would have lived on.
///
/// The comparison needs no constant time: both sides are keyed hashes that no caller can steer.
static REDEEM: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        "local code = redis.call('HMGET', KEYS[1], 'digest', 'tries_left')
         if not code[1] then return {-1, 0, 0} end
         local tries = tonumber(code[2])
         if code[1] == ARGV[1] then
             local ttl = redis.call('PTTL', KEYS[1])
             redis.call('DEL', KEYS[1])
             return {1, tries, ttl}
         end
         if tries <= 1 then redis.call('DEL', KEYS[1]) else redis.call('HINCRBY', KEYS[1], 'tries_left', -1) end
         return {0, tries - 1, 0}",
    )
});

/// `KEYS`: code. `ARGV`: digest, tries, milliseconds.
static RESTORE: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        "if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
         redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'tries_left', ARGV[2])
         redis.call('PEXPIRE', KEYS[1], ARGV[3])
         return 1",
    )
});

/// The store on Redis.
pub struct Redis {
    pool: Pool,
    prefix: String,
    clustered: bool,
}

impl Redis {
    /// Starts connecting. A server that is not there yet is tried again for ever, in the background.
    pub async fn connect(url: &str, prefix: &str) -> Result<Self, StoreError> {
        let mut config = Config::from_url(url).map_err(|error| StoreError::new(STORE, error))?;
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
        pool.connect();
        if tokio::time::timeout(TIMEOUT, pool.wait_for_connect()).await.is_err() {
            tracing::warn!("redis cannot be reached yet; trying on");
        }
        Ok(Self { pool, prefix: prefix.to_owned(), clustered })
    }

    fn image_code_key(&self, id: &str) -> String {
        format!("{}image_code:{id}", self.prefix)
    }

    fn gap_key(&self, mobile: &Mobile) -> String {
        format!("{}limit:sms_gap:{}", self.prefix, self.mobile_tag(mobile))
    }

    fn code_key(&self, slot: &CodeSlot) -> String {
        format!("{}sms_code:{}:{}", self.prefix, slot.purpose.as_str(), self.mobile_tag(&slot.mobile))
    }

    /// In a cluster, the keys of one mobile share a slot.
    fn mobile_tag(&self, mobile: &Mobile) -> String {
        if self.clustered { format!("{{{}}}", mobile.as_str()) } else { mobile.as_str().to_owned() }
    }

    /// Runs a script by its hash, and by its source where the server does not know it yet.
    async fn run<R: FromValue>(&self, script: &Script, keys: Vec<String>, args: Vec<String>) -> Result<R, StoreError> {
        let client = self.pool.next();
        let outcome = match client.evalsha(script.sha1().clone(), keys.clone(), args.clone()).await {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                client.eval(script.lua().cloned().unwrap_or_default(), keys, args).await
            }
            outcome => outcome,
        };
        outcome.map_err(unavailable)
    }
}

#[async_trait]
impl EphemeralStore for Redis {
    async fn put_image_code(&self, id: &str, text: &str, ttl: Duration) -> Result<(), StoreError> {
        let expiry = Expiration::PX(millis(ttl));
        self.pool.set(self.image_code_key(id), text, Some(expiry), None, false).await.map_err(unavailable)
    }

    async fn take_image_code(&self, id: &str) -> Result<Option<String>, StoreError> {
        self.pool.getdel(self.image_code_key(id)).await.map_err(unavailable)
    }

    async fn resend_gap(&self, mobile: &Mobile) -> Result<Option<Duration>, StoreError> {
        let rest: i64 = self.pool.pttl(self.gap_key(mobile)).await.map_err(unavailable)?;
        Ok(duration(rest))
    }

    async fn issue_code(
        &self,
        slot: &CodeSlot,
        code: Option<&PendingCode>,
        gap: Duration,
    ) -> Result<Issue, StoreError> {
        let keys = vec![self.gap_key(&slot.mobile), self.code_key(slot)];
        let mut args = vec![millis(gap).to_string()];
        args.extend(code.into_iter().flat_map(code_args));
        let rest: i64 = self.run(&ISSUE, keys, args).await?;
        Ok(duration(rest).map_or(Issue::Issued, Issue::TooSoon))
    }

    async fn withdraw_code(&self, slot: &CodeSlot, digest: &str) -> Result<(), StoreError> {
        let keys = vec![self.gap_key(&slot.mobile), self.code_key(slot)];
        self.run(&WITHDRAW, keys, vec![digest.to_owned()]).await
    }

    async fn redeem_code(&self, slot: &CodeSlot, digest: &str) -> Result<Redemption, StoreError> {
        let (outcome, tries_left, ttl): (i64, u32, i64) =
            self.run(&REDEEM, vec![self.code_key(slot)], vec![digest.to_owned()]).await?;
        Ok(match outcome {
            1 => Redemption::Accepted(PendingCode {
                digest: digest.to_owned(),
                tries_left,
                ttl: duration(ttl).unwrap_or_default(),
            }),
            0 => Redemption::Wrong { tries_left },
            _ => Redemption::Missing,
        })
    }

    async fn restore_code(&self, slot: &CodeSlot, code: &PendingCode) -> Result<(), StoreError> {
        self.run(&RESTORE, vec![self.code_key(slot)], code_args(code).into()).await
    }

    fn name(&self) -> &'static str {
        STORE
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.pool.ping(None).await.map_err(unavailable)
    }
}

fn unavailable(error: fred::error::Error) -> StoreError {
    StoreError::new(STORE, error)
}

/// A code as the scripts take it: digest, tries, milliseconds.
fn code_args(code: &PendingCode) -> [String; 3] {
    [code.digest.clone(), code.tries_left.to_string(), millis(code.ttl).to_string()]
}

fn millis(duration: Duration) -> i64 {
    duration.as_millis().try_into().unwrap_or(i64::MAX)
}

/// What a `PTTL` means: negative or zero is nothing left.
fn duration(millis: i64) -> Option<Duration> {
    u64::try_from(millis).ok().filter(|millis| *millis > 0).map(Duration::from_millis)
}

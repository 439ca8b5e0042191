//! Places: maps whose entries expire, and the share of them that each network has.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};

use super::STORE;
use crate::store::StoreError;

/// At most so many entries of a kind: a few 100 MB in all, however many networks an attacker has.
pub const CAPACITY: usize = 200_000;

/// At most so many entries of one network, of all kinds but pictures together.
pub const SHARE: usize = 1_000;

/// When a refused network may try again: any of its entries may have expired by then.
pub const RETRY_AFTER: Duration = Duration::from_secs(60);

/// How many places each network uses.
#[derive(Default)]
pub struct Shares {
    used: HashMap<Arc<str>, usize>,
}

impl Shares {
    /// How many places a network may still take.
    pub fn left(&self, network: &str) -> usize {
        SHARE.saturating_sub(self.used.get(network).copied().unwrap_or_default())
    }

    pub fn take(&mut self, network: &str) -> Arc<str> {
        let owner = self.used.get_key_value(network).map_or_else(|| network.into(), |(owner, _)| owner.clone());
        *self.used.entry(owner.clone()).or_default() += 1;
        owner
    }

    pub fn give_back(&mut self, owner: &Arc<str>) {
        if let Some(used) = self.used.get_mut(owner) {
            *used -= 1;
            if *used == 0 {
                self.used.remove(owner);
            }
        }
    }
}

/// When an entry is looked at to see whether it has expired; the number tells those of the same time apart.
type Due = (DateTime<Utc>, u64);

/// A bounded map whose entries are gone when their time is over. Each operation costs the logarithm of its size.
pub struct Expiring<K, V> {
    entries: HashMap<Arc<K>, Entry<V>>,
    due: BTreeMap<Due, Arc<K>>,
    serial: u64,
}

struct Entry<V> {
    value: V,
    expires_at: DateTime<Utc>,
    /// Not later than `expires_at`, which moves.
    due: Due,
    /// Whose share it uses, if any's.
    owner: Option<Arc<str>>,
}

impl<K, V> Default for Expiring<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), due: BTreeMap::new(), serial: 0 }
    }
}

impl<K: Hash + Eq, V> Expiring<K, V> {
    /// Removes what has expired.
    pub fn sweep(&mut self, now: DateTime<Utc>, shares: &mut Shares) {
        while let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= now) {
            let ((_, serial), key) = first.remove_entry();
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            if entry.expires_at > now {
                entry.due = (entry.expires_at, serial);
                self.due.insert(entry.due, key);
            } else if let Some(owner) = self.entries.remove(&key).and_then(|entry| entry.owner) {
                shares.give_back(&owner);
            }
        }
    }

    /// Puts an entry in the place of any other with this key. It uses the share of a network, if one is given; the
    /// caller has looked whether it may.
    pub fn insert(
        &mut self,
        key: K,
        value: V,
        network: Option<&str>,
        now: DateTime<Utc>,
        ttl: Duration,
        shares: &mut Shares,
    ) {
        self.remove(&key, shares);
        self.serial += 1;
        let (key, due) = (Arc::new(key), (now + ttl, self.serial));
        let owner = network.map(|network| shares.take(network));
        self.due.insert(due, key.clone());
        self.entries.insert(key, Entry { value, expires_at: now + ttl, due, owner });
    }

    /// Whether there is no such entry.
    pub fn lacks(&self, key: &K, now: DateTime<Utc>) -> bool {
        self.get(key, now).is_none()
    }

    /// # Errors
    /// When no new entry fits in.
    pub fn check_capacity(&self) -> Result<(), StoreError> {
        if self.entries.len() < CAPACITY { Ok(()) } else { Err(StoreError::new(STORE, "full")) }
    }

    /// The value, and for how long it is there.
    pub fn get(&self, key: &K, now: DateTime<Utc>) -> Option<(&V, Duration)> {
        let entry = self.entries.get(key)?;
        Some((&entry.value, rest(entry.expires_at, now)?))
    }

    pub fn get_mut(&mut self, key: &K, now: DateTime<Utc>) -> Option<&mut V> {
        let entry = self.entries.get_mut(key)?;
        rest(entry.expires_at, now).map(|_| &mut entry.value)
    }

    /// Lets an entry live until this time, if that is later.
    pub fn extend(&mut self, key: &K, expires_at: DateTime<Utc>) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.expires_at = entry.expires_at.max(expires_at);
        }
    }

    pub fn take(&mut self, key: &K, now: DateTime<Utc>, shares: &mut Shares) -> Option<V> {
        let entry = self.remove(key, shares)?;
        rest(entry.expires_at, now).map(|_| entry.value)
    }

    fn remove(&mut self, key: &K, shares: &mut Shares) -> Option<Entry<V>> {
        let entry = self.entries.remove(key)?;
        self.due.remove(&entry.due);
        if let Some(owner) = &entry.owner {
            shares.give_back(owner);
        }
        Some(entry)
    }
}

/// How much time is left, if any.
pub fn rest(expires_at: DateTime<Utc>, now: DateTime<Utc>) -> Option<Duration> {
    (expires_at - now).to_std().ok().filter(|rest| !rest.is_zero())
}

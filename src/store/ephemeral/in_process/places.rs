//! Places: maps whose entries expire, and the share of them that each network and each block of networks has.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use ipnet::IpNet;

use super::STORE;
use crate::{model::origin::largest_block_of, store::StoreError};

/// At most so many entries of a kind: a few 100 MB in all, however many networks an attacker has.
pub const CAPACITY: usize = 200_000;

/// At most so many entries of one network, of all kinds but pictures together.
pub const SHARE: usize = 1_000;

/// At most so many of all networks in one block together: an IPv6 /48 alone has 65,536 networks.
pub const BLOCK_SHARE: usize = 10_000;

/// When a refused network may try again: any entries of its share may have expired by then.
pub const RETRY_AFTER: Duration = Duration::from_secs(60);

/// How many places each network uses, and each block of networks.
#[derive(Default)]
pub struct Shares {
    of_networks: HashMap<Arc<str>, usize>,
    of_blocks: HashMap<IpNet, usize>,
}

/// Whose shares a place uses.
#[derive(Clone)]
pub struct Owner {
    pub network: Arc<str>,
    /// `None` for what is no network of addresses, such as a device.
    pub block: Option<IpNet>,
}

/// What has used up its share.
pub enum Full {
    Network,
    Block(IpNet),
}

impl Shares {
    /// How many places a network may still take.
    pub fn left(&self, network: &str) -> usize {
        let of_network = SHARE.saturating_sub(self.used_by(network));
        block_of(network).map_or(of_network, |block| of_network.min(BLOCK_SHARE.saturating_sub(self.used_in(&block))))
    }

    /// Whether a network may take no more places, and why.
    pub fn full(&self, network: &str) -> Option<Full> {
        if self.used_by(network) >= SHARE {
            return Some(Full::Network);
        }
        block_of(network).filter(|block| self.used_in(block) >= BLOCK_SHARE).map(Full::Block)
    }

    pub fn take(&mut self, network: &str) -> Owner {
        let known = self.of_networks.get_key_value(network).map(|(network, _)| network.clone());
        let owner = Owner { network: known.unwrap_or_else(|| network.into()), block: block_of(network) };
        *self.of_networks.entry(owner.network.clone()).or_default() += 1;
        if let Some(block) = owner.block {
            *self.of_blocks.entry(block).or_default() += 1;
        }
        owner
    }

    pub fn give_back(&mut self, owner: &Owner) {
        give_back(&mut self.of_networks, &owner.network);
        if let Some(block) = &owner.block {
            give_back(&mut self.of_blocks, block);
        }
    }

    fn used_by(&self, network: &str) -> usize {
        self.of_networks.get(network).copied().unwrap_or_default()
    }

    fn used_in(&self, block: &IpNet) -> usize {
        self.of_blocks.get(block).copied().unwrap_or_default()
    }
}

fn give_back<K: Hash + Eq>(used: &mut HashMap<K, usize>, by: &K) {
    if let Some(places) = used.get_mut(by) {
        *places -= 1;
        if *places == 0 {
            used.remove(by);
        }
    }
}

fn block_of(network: &str) -> Option<IpNet> {
    network.parse().ok().map(largest_block_of)
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
    owner: Option<Owner>,
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

//! Picture codes in memory: each network and each block of networks has a share, of which its own oldest go.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use ipnet::IpNet;

use super::{
    STORE,
    places::{CAPACITY, Full, Owner, Shares, rest},
};
use crate::store::StoreError;

#[derive(Default)]
pub struct Pictures {
    by_id: HashMap<Arc<str>, Picture>,
    /// The number tells those of the same time apart.
    by_expiry: BTreeMap<(DateTime<Utc>, u64), Arc<str>>,
    by_age: BTreeMap<(Arc<str>, u64), Arc<str>>,
    by_age_in_block: BTreeMap<(IpNet, u64), Arc<str>>,
    shares: Shares,
    serial: u64,
}

struct Picture {
    text: String,
    expires_at: DateTime<Utc>,
    owner: Owner,
    serial: u64,
}

impl Pictures {
    /// Keeps the text of a picture.
    ///
    /// # Errors
    /// When no more fit in.
    pub fn put(
        &mut self,
        id: &str,
        text: &str,
        network: &str,
        now: DateTime<Utc>,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        self.remove(id);
        let oldest = match self.shares.full(network) {
            Some(Full::Network) => self.by_age.range((Arc::from(network), 0)..).next().map(|(_, id)| id.clone()),
            Some(Full::Block(block)) => self.by_age_in_block.range((block, 0)..).next().map(|(_, id)| id.clone()),
            None => None,
        };
        if let Some(oldest) = oldest {
            self.remove(&oldest);
        }
        if self.by_id.len() >= CAPACITY {
            return Err(StoreError::new(STORE, "full"));
        }
        self.serial += 1;
        let (id, owner, serial) = (Arc::<str>::from(id), self.shares.take(network), self.serial);
        self.by_expiry.insert((now + ttl, serial), id.clone());
        self.by_age.insert((owner.network.clone(), serial), id.clone());
        if let Some(block) = owner.block {
            self.by_age_in_block.insert((block, serial), id.clone());
        }
        self.by_id.insert(id, Picture { text: text.to_owned(), expires_at: now + ttl, owner, serial });
        Ok(())
    }

    pub fn take(&mut self, id: &str, now: DateTime<Utc>) -> Option<String> {
        let picture = self.remove(id)?;
        rest(picture.expires_at, now).map(|_| picture.text)
    }

    /// Removes what has expired.
    pub fn sweep(&mut self, now: DateTime<Utc>) {
        while let Some(id) =
            self.by_expiry.first_key_value().filter(|((at, _), _)| *at <= now).map(|(_, id)| id.clone())
        {
            self.remove(&id);
        }
    }

    fn remove(&mut self, id: &str) -> Option<Picture> {
        let picture = self.by_id.remove(id)?;
        self.by_expiry.remove(&(picture.expires_at, picture.serial));
        self.by_age.remove(&(picture.owner.network.clone(), picture.serial));
        if let Some(block) = picture.owner.block {
            self.by_age_in_block.remove(&(block, picture.serial));
        }
        self.shares.give_back(&picture.owner);
        Some(picture)
    }
}

//! Picture codes in memory: each network has a share, of which its own oldest go.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};

use super::{
    STORE,
    places::{CAPACITY, Shares, rest},
};
use crate::store::StoreError;

#[derive(Default)]
pub struct Pictures {
    by_id: HashMap<Arc<str>, Picture>,
    /// The number tells those of the same time apart.
    by_expiry: BTreeMap<(DateTime<Utc>, u64), Arc<str>>,
    by_age: BTreeMap<(Arc<str>, u64), Arc<str>>,
    shares: Shares,
    serial: u64,
}

struct Picture {
    text: String,
    expires_at: DateTime<Utc>,
    network: Arc<str>,
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
        if self.shares.left(network) == 0 {
            let all = (Arc::<str>::from(network), 0)..;
            if let Some(oldest) = self.by_age.range(all).next().map(|(_, id)| id.clone()) {
                self.remove(&oldest);
            }
        }
        if self.by_id.len() >= CAPACITY {
            return Err(StoreError::new(STORE, "full"));
        }
        self.serial += 1;
        let (id, network, serial) = (Arc::<str>::from(id), self.shares.take(network), self.serial);
        self.by_expiry.insert((now + ttl, serial), id.clone());
        self.by_age.insert((network.clone(), serial), id.clone());
        self.by_id.insert(id, Picture { text: text.to_owned(), expires_at: now + ttl, network, serial });
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
        self.by_age.remove(&(picture.network.clone(), picture.serial));
        self.shares.give_back(&picture.network);
        Some(picture)
    }
}

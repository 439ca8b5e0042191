//! Which sessions are over although their access tokens have not expired?

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
};

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use crate::{
    clock::Clock,
    model::session,
    store::{
        StoreError,
        users::{Endings, UserStore},
    },
};

/// How much of the past each look at the database repeats: what commits late, or on an instance whose clock is slow,
/// is seen all the same.
const OVERLAP: Duration = Duration::seconds(30);

/// The sessions that ended during the last lifetime of an access token, in memory: a token is verified without any
/// I/O, and still refused once its session is over (ASVS 7.4.1). All sessions that ended at once are a single time.
pub struct Revocations {
    users: Arc<dyn UserStore>,
    clock: Clock,
    access_token_ttl: Duration,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    valid_from: DateTime<Utc>,
    /// When this instance learnt of each, by its own clock.
    ended: HashMap<Uuid, DateTime<Utc>>,
    synced_at: Option<DateTime<Utc>>,
}

impl Revocations {
    /// Knows of no session until it is synced.
    pub fn new(users: Arc<dyn UserStore>, clock: Clock, access_token_ttl: Duration) -> Self {
        Self { users, clock, access_token_ttl, state: RwLock::default() }
    }

    /// Has this session been ended, by itself or with all others?
    pub fn is_over(&self, session_id: Uuid) -> bool {
        let state = self.state.read().expect("lock poisoned");
        session::begun_at(session_id) < state.valid_from || state.ended.contains_key(&session_id)
    }

    /// The sessions that began before this have ended.
    pub fn valid_from(&self) -> DateTime<Utc> {
        self.state.read().expect("lock poisoned").valid_from
    }

    /// Takes note of a session that ended here: others learn of it from the database.
    pub fn add(&self, session_id: Uuid) {
        let now = self.clock.now();
        self.state.write().expect("lock poisoned").ended.insert(session_id, now);
    }

    /// Learns what ended elsewhere, and forgets what no access token can outlive.
    pub async fn sync(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let oldest = now - self.access_token_ttl - OVERLAP;
        let synced_at = self.state.read().expect("lock poisoned").synced_at;
        let since = synced_at.map_or(oldest, |at| (at - OVERLAP).max(oldest));
        let Endings { valid_from, ended } = self.users.endings_since(since).await?;
        let mut state = self.state.write().expect("lock poisoned");
        state.valid_from = valid_from;
        state.ended.retain(|_, learnt_at| *learnt_at >= oldest);
        state.ended.extend(ended.into_iter().map(|session_id| (session_id, now)));
        state.synced_at = Some(now);
        Ok(())
    }
}

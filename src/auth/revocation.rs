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
        users::{Ending, Endings, UserStore},
    },
};

/// How much of the past each look at the database repeats: what commits late is seen all the same.
const OVERLAP: Duration = Duration::seconds(30);

/// The sessions that ended during the last lifetime of an access token, in memory: a token is verified without any
/// I/O, and still refused once its session is over (ASVS 7.4.1). All sessions that ended together, of one user or of all,
/// are a single time.
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
    /// The last ending of all sessions of a user, and when this instance learnt of it.
    of_users: HashMap<Uuid, (Ending, DateTime<Utc>)>,
    /// By the clock of the database, whatever those of instances say.
    synced_at: Option<DateTime<Utc>>,
}

impl State {
    fn learn(&mut self, ending: Ending, now: DateTime<Utc>) {
        let newest = self.of_users.entry(ending.user_id).or_insert((ending, now));
        // A look at the database may have begun before the ending that is known already. Each is later than the one before.
        if ending.valid_from >= newest.0.valid_from {
            *newest = (ending, now);
        }
    }
}

impl Revocations {
    /// Knows of no session until it is synced.
    pub fn new(users: Arc<dyn UserStore>, clock: Clock, access_token_ttl: Duration) -> Self {
        Self { users, clock, access_token_ttl, state: RwLock::default() }
    }

    /// Has this session of this user been ended, by itself or with others?
    pub fn is_over(&self, user_id: Uuid, session_id: Uuid) -> bool {
        let begun_at = session::begun_at(session_id);
        let state = self.state.read().expect("lock poisoned");
        begun_at < state.valid_from
            || state.ended.contains_key(&session_id)
            || state
                .of_users
                .get(&user_id)
                .is_some_and(|(ending, _)| begun_at < ending.valid_from && ending.kept != Some(session_id))
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

    /// Takes note of sessions that ended together here.
    pub fn add_all(&self, ending: Ending) {
        let now = self.clock.now();
        self.state.write().expect("lock poisoned").learn(ending, now);
    }

    /// Learns what ended elsewhere, and forgets what no access token can outlive.
    pub async fn sync(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let oldest = now - self.access_token_ttl - OVERLAP;
        let since = self.state.read().expect("lock poisoned").synced_at.map(|at| at - OVERLAP);
        let at_most = (self.access_token_ttl + OVERLAP).to_std().unwrap_or_default();
        let Endings { at, valid_from, ended, of_users } = self.users.endings_since(since, at_most).await?;
        let mut state = self.state.write().expect("lock poisoned");
        state.valid_from = valid_from;
        state.ended.retain(|_, learnt_at| *learnt_at >= oldest);
        state.ended.extend(ended.into_iter().map(|session_id| (session_id, now)));
        state.of_users.retain(|_, (_, learnt_at)| *learnt_at >= oldest);
        of_users.into_iter().for_each(|ending| state.learn(ending, now));
        state.synced_at = Some(at);
        Ok(())
    }
}

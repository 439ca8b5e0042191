//! Whether this instance can serve, as `/readyz` and `/metrics` report it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};

use crate::store::{StoreError, ephemeral::EphemeralStore, users::UserStore};

/// How long to wait for a store.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a result serves everyone who asks: a check costs the stores some work.
const FRESH: Duration = Duration::from_millis(200);

/// The stores, and the result of their last check. Clones share it.
#[derive(Clone)]
pub struct Readiness {
    /// Users and sessions.
    pub users: Arc<dyn UserStore>,
    /// Codes.
    pub codes: Arc<dyn EphemeralStore>,
    /// Set as soon as the process begins to stop.
    pub stopping: Arc<AtomicBool>,
    last: Arc<Mutex<Option<Look>>>,
}

/// Each store's name, and whether it can do what a sign-in needs.
pub type Checks = [(&'static str, bool); 2];

/// A check: when it ended, and its result.
type Look = Shared<BoxFuture<'static, (Instant, Checks)>>;

impl Readiness {
    /// Of these stores.
    pub fn new(users: Arc<dyn UserStore>, codes: Arc<dyn EphemeralStore>, stopping: Arc<AtomicBool>) -> Self {
        Self { users, codes, stopping, last: Arc::default() }
    }

    /// Checks the stores, or returns the result of a check that has just been made. Callers that arrive during a check share
    /// its result.
    pub async fn stores(&self) -> Checks {
        let asked = Instant::now();
        let is_fresh = |at: Instant| asked.saturating_duration_since(at) < FRESH;
        loop {
            let look = {
                let mut last = self.last.lock().expect("lock poisoned");
                let current = last.take().filter(|look| look.peek().is_none_or(|(at, _)| is_fresh(*at)));
                last.insert(current.unwrap_or_else(|| self.look())).clone()
            };
            // A check whose client hung up may have ended long ago.
            let (at, checks) = look.await;
            if is_fresh(at) {
                return checks;
            }
        }
    }

    /// Starts a check. It runs to its end even if the client hangs up: a transaction is not left half-way.
    fn look(&self) -> Look {
        let (users, codes) = (self.users.clone(), self.codes.clone());
        let names = [users.name(), codes.name()];
        let looked = tokio::spawn(async move {
            let (users_ok, codes_ok) = tokio::join!(works(names[0], users.ping()), works(names[1], codes.ping()));
            (Instant::now(), [(names[0], users_ok), (names[1], codes_ok)])
        });
        let nothing_known = move |_| (Instant::now(), names.map(|name| (name, false)));
        looked.map(move |looked| looked.unwrap_or_else(nothing_known)).boxed().shared()
    }

    /// Is the process stopping?
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

async fn works(store: &'static str, ping: impl Future<Output = Result<(), StoreError>>) -> bool {
    match tokio::time::timeout(PATIENCE, ping).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => tracing::warn!(store, %error, "a store is not ready"),
        Err(_) => tracing::warn!(store, "a store is not ready: timed out"),
    }
    false
}

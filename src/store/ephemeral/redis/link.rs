//! The connection to Redis, and what keeps it from being made.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use fred::{
    clients::{Client, Pool},
    error::{Error, ErrorKind},
    interfaces::{ClientLike, EventInterface},
    types::{
        Builder,
        config::{Config, Server, ServerConfig},
    },
};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::AbortHandle,
    time::MissedTickBehavior,
};

use super::STORE;
use crate::store::StoreError;

const TIMED_OUT: &str = "timed out";

/// Connections, and what keeps them from being made.
#[derive(Clone)]
pub struct Link {
    pub pool: Pool,
    troubles: Troubles,
}

impl Link {
    /// Starts connecting, and waits a moment for it. A server that is not there yet is tried again for ever, in the
    /// background.
    pub async fn connect(pool: Pool, timeout: Duration) -> (Self, Vec<AbortHandle>) {
        let encrypted = pool.clients().iter().any(|client| client.client_config().uses_tls());
        let troubles = Troubles { each: Arc::new(Mutex::new(vec![None; pool.clients().len()])), encrypted };
        let watchers = pool.clients().iter().cloned().enumerate().map(|(place, client)| {
            // Before it connects, or its first failure goes unheard.
            let events = Events { errors: client.error_rx(), connected: client.reconnect_rx() };
            tokio::spawn(watch(client, events, place, troubles.clone(), timeout)).abort_handle()
        });
        let watchers = watchers.collect();
        pool.connect();
        if tokio::time::timeout(timeout, pool.wait_for_connect()).await.is_err() && troubles.first().is_none() {
            let waiting = pool.clients().iter().enumerate().filter(|(_, client)| !client.is_connected());
            waiting.for_each(|(place, _)| troubles.found(place, TIMED_OUT.to_owned()));
        }
        (Self { pool, troubles }, watchers)
    }

    /// Why a command failed. One that waited for a connection in vain says no more than that it waited.
    pub fn unavailable(&self, error: &Error) -> StoreError {
        let waited = matches!(
            error.kind(),
            ErrorKind::Timeout | ErrorKind::Canceled | ErrorKind::IO | ErrorKind::Cluster | ErrorKind::Routing
        );
        let trouble = if waited { self.troubles.first() } else { None };
        StoreError::new(STORE, trouble.unwrap_or_else(|| reason(error)))
    }
}

/// What a client tells.
struct Events {
    errors: Receiver<(Error, Option<Server>)>,
    connected: Receiver<Server>,
}

/// What keeps each client from its server, if anything does.
#[derive(Clone)]
struct Troubles {
    each: Arc<Mutex<Vec<Option<String>>>>,
    /// A server that does not expect TLS says nothing, and waits for more.
    encrypted: bool,
}

impl Troubles {
    /// Logs what is new.
    fn found(&self, place: usize, mut reason: String) {
        if self.encrypted && reason == TIMED_OUT {
            reason += " in the TLS handshake: does this port speak TLS?";
        }
        let mut troubles = self.locked();
        if !troubles.iter().flatten().any(|known| *known == reason) {
            tracing::warn!(%reason, "redis unreachable, retrying");
        }
        troubles[place] = Some(reason);
    }

    fn over(&self, place: usize) {
        let mut troubles = self.locked();
        if troubles[place].take().is_some() && troubles.iter().all(Option::is_none) {
            tracing::info!("redis connected");
        }
    }

    fn first(&self) -> Option<String> {
        self.locked().iter().flatten().next().cloned()
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Option<String>>> {
        self.each.lock().expect("lock poisoned")
    }
}

/// Keeps what goes wrong while a client connects, and drops a connection whose other end is gone without a word, as
/// after a power cut. The driver's own check sees that only while nothing is sent, and under load something always
/// is.
async fn watch(client: Client, mut events: Events, place: usize, troubles: Troubles, timeout: Duration) {
    let mut pings = tokio::time::interval(timeout);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.tick().await;
    loop {
        tokio::select! {
            biased;
            error = events.errors.recv() => match error {
                Ok((error, _)) => {
                    let cause = if *error.kind() == ErrorKind::Sentinel { ask_sentinel(&client, timeout).await } else { None };
                    // What came while that took its time is no news.
                    events.errors = events.errors.resubscribe();
                    troubles.found(place, reason(&cause.unwrap_or(error)));
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            connected = events.connected.recv() => if connected.is_ok() {
                troubles.over(place);
            },
            _ = pings.tick() => {
                let answer: Result<(), _> = client.ping(None).await;
                let silent = answer.is_err_and(|error| *error.kind() == ErrorKind::Timeout);
                if silent && client.is_connected() && client.force_reconnection().await.is_ok() {
                    tracing::warn!("redis did not answer: connected anew");
                }
            }
        }
    }
}

/// What the first sentinel says to a connection, if it is no welcome: of several, the driver tells merely that none
/// did.
async fn ask_sentinel(client: &Client, timeout: Duration) -> Option<Error> {
    let config = client.client_config();
    let ServerConfig::Sentinel { hosts, username, password, .. } = &config.server else { return None };
    let direct = Config {
        server: ServerConfig::Centralized { server: hosts.last()?.clone() },
        username: username.clone(),
        password: password.clone(),
        database: None,
        fail_fast: true,
        ..config.clone()
    };
    let probe = Builder::from_config(direct).build().ok()?;
    let timed_out = || Err(Error::new(ErrorKind::Timeout, TIMED_OUT));
    let outcome = tokio::time::timeout(timeout, probe.init()).await.unwrap_or_else(|_| timed_out());
    // Detached, as it may hang.
    tokio::spawn(async move { probe.quit().await });
    outcome.err()
}

/// What an error says, in words. The driver writes those of the system as Rust's `Debug` does.
fn reason(error: &Error) -> String {
    let details = error.details().trim_end_matches('.');
    let quoted = details.strip_suffix("\" }").and_then(|details| details.rsplit_once(": \"")).map(|(_, text)| text);
    match (error.kind(), quoted) {
        (ErrorKind::Timeout, _) => TIMED_OUT.to_owned(),
        (ErrorKind::IO, Some("Connection refused")) => "connection refused".to_owned(),
        (ErrorKind::IO, Some(text)) => text.to_owned(),
        (ErrorKind::Tls, _) => error.to_string(),
        _ => details.to_owned(),
    }
}

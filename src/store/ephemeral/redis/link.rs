//! How does the service stay connected to Redis, and why is it not?

use std::sync::{Arc, Mutex, MutexGuard};

use fred::{
    clients::{Client, Pool},
    error::{Error, ErrorKind},
    interfaces::{ClientLike, EventInterface},
};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{STORE, TIMEOUT};
use crate::store::StoreError;

/// Connections, and what keeps them from being made.
#[derive(Clone)]
pub struct Link {
    pub pool: Pool,
    troubles: Troubles,
}

impl Link {
    /// Starts connecting, and waits a moment for it. A server that is not there yet is tried again for ever, in the
    /// background.
    pub async fn connect(pool: Pool) -> (Self, Vec<tokio::task::AbortHandle>) {
        let troubles = Troubles(Arc::new(Mutex::new(vec![None; pool.clients().len()])));
        let watchers = pool.clients().iter().cloned().enumerate().map(|(place, client)| {
            // Before it connects, or its first failure goes unheard.
            let errors = client.error_rx();
            tokio::spawn(watch(client, errors, place, troubles.clone())).abort_handle()
        });
        let watchers = watchers.collect();
        pool.connect();
        if tokio::time::timeout(TIMEOUT, pool.wait_for_connect()).await.is_err() && troubles.first().is_none() {
            troubles.found(0, "timed out".to_owned());
        }
        (Self { pool, troubles }, watchers)
    }

    /// Why a command failed. One that waited for a connection in vain says no more than that it waited.
    pub fn unavailable(&self, error: &Error) -> StoreError {
        let waited = matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Canceled | ErrorKind::IO);
        let trouble = if waited { self.troubles.first() } else { None };
        StoreError::new(STORE, trouble.unwrap_or_else(|| reason(error)))
    }
}

/// What keeps each client from its server, if anything does.
#[derive(Clone)]
struct Troubles(Arc<Mutex<Vec<Option<String>>>>);

impl Troubles {
    /// Logs what is new.
    fn found(&self, place: usize, reason: String) {
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
        self.0.lock().expect("no panic while they are held")
    }
}

/// Keeps what goes wrong while a client connects, and drops a connection whose other end is gone without a word, as after a
/// power cut. The driver's own check sees that only while nothing is sent, and under load something always is.
async fn watch(
    client: Client,
    mut errors: Receiver<(Error, Option<fred::types::config::Server>)>,
    place: usize,
    troubles: Troubles,
) {
    let mut pings = tokio::time::interval(TIMEOUT);
    pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    pings.tick().await;
    loop {
        tokio::select! {
            biased;
            error = errors.recv() => match error {
                Ok((error, _)) => troubles.found(place, reason(&error)),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            _ = pings.tick() => match client.ping::<()>(None).await {
                Ok(()) => {
                    // What went wrong before is over.
                    errors = errors.resubscribe();
                    troubles.over(place);
                }
                Err(error) if *error.kind() != ErrorKind::Timeout => {}
                Err(_) => {
                    if client.is_connected() && client.force_reconnection().await.is_ok() {
                        tracing::warn!("redis did not answer: connected anew");
                    }
                }
            },
        }
    }
}

/// What an error says, in words. The driver writes those of the system as Rust's `Debug` does.
fn reason(error: &Error) -> String {
    let details = error.details().trim_end_matches('.');
    let quoted = details.strip_suffix("\" }").and_then(|details| details.rsplit_once(": \"")).map(|(_, text)| text);
    match (error.kind(), quoted) {
        (ErrorKind::Timeout, _) => "timed out".to_owned(),
        (ErrorKind::IO, Some("Connection refused")) => "connection refused".to_owned(),
        (ErrorKind::IO, Some(text)) => text.to_owned(),
        (ErrorKind::Tls, _) => error.to_string(),
        _ => details.to_owned(),
    }
}

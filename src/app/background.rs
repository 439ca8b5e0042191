//! Work in the background: sessions ended elsewhere, new keys, rows that are not needed any more.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

use crate::{
    auth::{keys::Keys, revocation::Revocations, standing::KNOWN_FOR},
    clock::Clock,
    store::{StoreError, users::UserStore},
};

/// How often an instance looks for sessions that ended on another.
const REVOCATION_POLL: Duration = Duration::from_millis(500);

/// How often `JWT_KEYS_DIR` is looked at.
const KEYS_POLL: Duration = Duration::from_secs(2);

/// How often old sessions and counts are deleted, and how many in one statement.
const CLEANING: Duration = Duration::from_secs(60);
const CLEANING_BATCH: u32 = 1000;

/// How long expired sessions are kept, for whoever looks into an incident.
const KEPT_AFTER_EXPIRY: chrono::Duration = chrono::Duration::days(1);

/// How long after the last wrong guess at a number its count is kept: as long as a session makes the owner known.
const GUESSES_KEPT: chrono::Duration = KNOWN_FOR;

/// Polls for what ended on other instances.
pub(super) async fn watch_revocations(revocations: Arc<Revocations>) {
    loop {
        tokio::time::sleep(REVOCATION_POLL).await;
        if let Err(error) = revocations.sync().await {
            tracing::warn!(%error, "failed to poll revoked sessions");
        }
    }
}

/// Reloads the signing keys when their files change.
pub(super) async fn watch_keys(keys: Arc<Keys>) {
    loop {
        tokio::time::sleep(KEYS_POLL).await;
        let keys = keys.clone();
        let reload = tokio::task::spawn_blocking(move || keys.reload());
        if let Err(error) = reload.await {
            tracing::error!(%error, "the signing keys could not be looked at");
        }
    }
}

/// Deletes old sessions and counts of wrong guesses.
pub(super) async fn clean(users: Arc<dyn UserStore>, clock: Clock, access_token_ttl: chrono::Duration) {
    loop {
        tokio::time::sleep(CLEANING).await;
        if let Err(error) = delete_old(users.as_ref(), clock.now(), access_token_ttl).await {
            tracing::warn!(%error, "failed to delete old sessions and guess counts");
        }
    }
}

async fn delete_old(
    users: &dyn UserStore,
    now: DateTime<Utc>,
    access_token_ttl: chrono::Duration,
) -> Result<(), StoreError> {
    // While a token may name a session, its row tells instances that start that it has been ended.
    let over = now - KEPT_AFTER_EXPIRY - access_token_ttl;
    let known = over.min(now - KNOWN_FOR);
    let full = u64::from(CLEANING_BATCH);
    while users.delete_sessions_over_before(over, known, CLEANING_BATCH).await? >= full {}
    while users.delete_guesses_before(now - GUESSES_KEPT, CLEANING_BATCH).await? >= full {}
    Ok(())
}

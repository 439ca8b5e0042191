//! Errors after which older connections are not used again.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// SQLSTATE of a write on a server that only reads.
const READ_ONLY: &str = "25006";

/// SQLSTATE of a statement whose result has other types than when it was prepared: a migration has changed a table.
const PLAN_OUTDATED: &str = "0A000";

/// When a connection last turned out to be useless: its server only reads, or one of its plans is outdated. Connections
/// that were open by then are closed instead of being used again.
#[derive(Clone, Debug, Default)]
pub struct Decline(Arc<Mutex<Option<Instant>>>);

impl Decline {
    /// Takes note of an error that says so.
    pub fn look_at(&self, error: &sqlx::Error) {
        if has_code(error, READ_ONLY) || has_code(error, PLAN_OUTDATED) {
            *self.0.lock().expect("lock poisoned") = Some(Instant::now());
        }
    }

    /// Was such an error noticed within this time before now?
    pub fn within(&self, time: Duration) -> bool {
        let noticed = *self.0.lock().expect("lock poisoned");
        noticed.is_some_and(|noticed| noticed.elapsed() <= time)
    }
}

/// Runs a statement, or a whole transaction, and repeats it once if a plan was outdated. PostgreSQL finds that out before it
/// executes anything, and the repetition gets a connection that was opened since.
pub async fn again<T, F: Future<Output = sqlx::Result<T>>>(work: impl Fn() -> F) -> sqlx::Result<T> {
    match work().await {
        Err(error) if has_code(&error, PLAN_OUTDATED) => work().await,
        outcome => outcome,
    }
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|of_error| of_error == code)
}

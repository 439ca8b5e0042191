//! The seams to what is kept: users for good, codes for minutes.

mod coalesce;
pub mod ephemeral;
pub mod users;

/// A store did not do what it was asked, and nothing is known to have changed. Every answer becomes 503.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{store} is unavailable: {reason}")]
pub struct StoreError {
    /// Which store, as `/readyz` and the logs name it.
    pub store: &'static str,
    /// What the driver said. Drivers name statements and hosts, never parameters.
    pub reason: String,
}

impl StoreError {
    /// Wraps whatever a driver said.
    pub fn new(store: &'static str, reason: impl std::fmt::Display) -> Self {
        Self { store, reason: reason.to_string() }
    }
}

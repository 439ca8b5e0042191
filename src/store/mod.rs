//! The seams to what is kept: users for good, codes for minutes.

mod coalesce;
pub mod ephemeral;
pub mod users;

/// A store did not do what it was asked, and nothing is known to have changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It does not answer, or refuses: the same may work in a moment.
    #[error("{store} is unavailable: {reason}")]
    Unavailable {
        /// Which store, as `/readyz` and the logs name it.
        store: &'static str,
        /// What the driver said. Drivers name statements and hosts, never parameters.
        reason: String,
    },
    /// It holds a row that makes no sense: it will not work before that is mended.
    #[error("{store}: {value}")]
    Unreadable {
        /// Which store.
        store: &'static str,
        /// Where in it.
        value: users::Unreadable,
    },
}

impl StoreError {
    /// Wraps whatever a driver said.
    pub fn new(store: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Unavailable { store, reason: reason.to_string() }
    }
}

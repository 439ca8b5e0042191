//! Why does the service not start?

use crate::{auth::keys::KeyError, store::StoreError};

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings have to be changed.
    #[error("{0}")]
    Config(String),
    /// A store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file or the listen address cannot be used.
    #[error("{0}")]
    Io(String),
}

impl From<KeyError> for StartError {
    fn from(error: KeyError) -> Self {
        Self::Config(error.to_string())
    }
}

//! Where does work go that keeps a core busy for milliseconds? Never on the async threads, never on all cores twice.

use std::{num::NonZero, sync::Arc};

use tokio::sync::Semaphore;

use super::error::Error;
use crate::store::StoreError;

/// Runs one kind of work on blocking threads: so much at once as there are cores, so much waiting as is worth it.
pub struct Cores {
    name: &'static str,
    running: Arc<Semaphore>,
    places: Semaphore,
}

impl Cores {
    /// So many may wait for each core; the next one is turned away.
    pub fn new(name: &'static str, queue_per_core: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            name,
            running: Arc::new(Semaphore::new(cores)),
            places: Semaphore::new((cores * (1 + queue_per_core)).max(256)),
        }
    }

    /// Runs the work when its turn comes.
    ///
    /// # Errors
    /// [`Error::Unavailable`] at once when too many wait already.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let _place = self.places.try_acquire().map_err(|_| StoreError::new(self.name, "too many at once"))?;
        let core = self.running.clone().acquire_owned().await.map_err(|error| Error::Internal(error.to_string()))?;
        let done = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also when nobody waits for it any more.
            let _core = core;
            work()
        });
        done.await.map_err(|error| Error::Internal(error.to_string()))
    }
}

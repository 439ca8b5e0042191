//! Where does work go that keeps a core busy for milliseconds? Never on the async threads, never on all cores twice.

use std::{num::NonZero, sync::Arc};

use tokio::sync::Semaphore;

use super::error::Error;
use crate::store::StoreError;

/// Runs one kind of work on blocking threads: on so many cores, with so much waiting as is worth it.
pub struct Cores {
    name: &'static str,
    running: Arc<Semaphore>,
    places: Semaphore,
}

impl Cores {
    /// On every core, for work that is done in a millisecond. So many may wait for each; the next one is turned away.
    pub fn all(name: &'static str, queue_per_core: usize) -> Self {
        Self::new(name, cores(), queue_per_core)
    }

    /// On half of the cores (at least one), for work that takes long: the other half answers everybody else.
    pub fn half(name: &'static str, queue_per_core: usize) -> Self {
        Self::new(name, cores().div_ceil(2), queue_per_core)
    }

    fn new(name: &'static str, cores: usize, queue_per_core: usize) -> Self {
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

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

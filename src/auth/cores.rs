//! Work that keeps a core busy for milliseconds: never on the async threads, never on all cores twice.

use std::{
    collections::HashMap,
    num::NonZero,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::error::Error;
use crate::telemetry::{metrics, traces};

/// How long work waits for its turn before its caller is refused, on however few cores and behind however costly work.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// How much short work may wait, what callers have given up on included: it takes memory until its turn comes.
const QUEUE: usize = 4096;

/// How much long work may wait for each thread: about as much as the thread does within [`MAX_WAIT`].
const QUEUE_OF_LONG_WORK: usize = 32;

/// The share of one network in a queue is one in so many.
const SHARES: usize = 4;

/// Runs one kind of work on dedicated threads, in the order in which it came. The same few threads for good: what they
/// have freed they use again, where many would each keep the memory of a hash.
pub struct Cores {
    name: &'static str,
    queue: SyncSender<Job>,
    max_wait_millis: AtomicU64,
    places: Arc<Places>,
}

/// The places in a queue.
struct Places {
    capacity: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_network: HashMap<String, usize>,
}

/// A place in a queue, free again once the work in it begins or is dropped.
pub struct Place {
    places: Arc<Places>,
    network: Option<String>,
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().expect("lock poisoned")
    }

    fn take(self: &Arc<Self>, network: Option<String>) -> Option<Place> {
        let mut taken = self.taken();
        let of_network = network.as_ref().and_then(|network| taken.by_network.get(network)).copied().unwrap_or(0);
        if taken.all >= self.capacity || of_network >= (self.capacity / SHARES).max(1) {
            return None;
        }
        taken.all += 1;
        if let Some(network) = &network {
            taken.by_network.insert(network.clone(), of_network + 1);
        }
        Some(Place { places: self.clone(), network })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        let Some(network) = &self.network else { return };
        if let Some(of_network) = taken.by_network.get_mut(network) {
            *of_network -= 1;
            if *of_network == 0 {
                taken.by_network.remove(network);
            }
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

impl Cores {
    /// On every core, for work that is done in a millisecond.
    pub fn all(name: &'static str) -> Self {
        Self::new(name, cores(), QUEUE)
    }

    /// On half of the cores (at least one), for work that takes long: the other half answers everybody else.
    pub fn half(name: &'static str) -> Self {
        let threads = cores().div_ceil(2);
        Self::new(name, threads, threads * QUEUE_OF_LONG_WORK)
    }

    fn new(name: &'static str, threads: usize, capacity: usize) -> Self {
        metrics::WORK_QUEUE.add([name], 0.0);
        metrics::QUEUE_FULL.expect([name]);
        let (queue, jobs) = sync_channel(capacity);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..threads {
            let jobs = Arc::clone(&jobs);
            let thread = thread::Builder::new().name(name.to_owned());
            thread.spawn(move || work(&jobs)).expect("the system has room for a thread of each core");
        }
        let places = Arc::new(Places { capacity, taken: Mutex::default() });
        let cores = Self { name, queue, max_wait_millis: AtomicU64::default(), places };
        cores.set_max_wait(MAX_WAIT);
        cores
    }

    /// Lets work wait for so long, in place of a second: tests are no slower than the machine that they run on.
    pub fn set_max_wait(&self, max_wait: Duration) {
        self.max_wait_millis.store(max_wait.as_millis().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A place in the queue, in the share of a network if one is named.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when the queue or the share is full.
    pub fn place(&self, network: Option<String>) -> Result<Place, Error> {
        self.places.take(network).ok_or_else(|| overloaded(self.name))
    }

    /// Runs the work when its turn comes, in a place outside all shares, unless the caller has gone away by then.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when the queue is full or its turn does not come in time; the work is not done then.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        self.timed(self.place(None)?, work).await.map(|(done, _)| done)
    }

    /// Does what [`Cores::run`] does, in a place that was taken before, and also tells when the turn came.
    ///
    /// # Errors
    /// As there.
    pub async fn timed<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, Instant), Error> {
        traces::step(self.name, async {
            let (turn, answered) = self.queue(place, work)?;
            let began = turn.await?;
            let done = answered.await.map_err(|_| Error::Internal(format!("{}: a panic", self.name)))?;
            Ok((done, began))
        })
        .await
    }

    /// Lines work up; returns what waits for its turn, and what waits for its outcome.
    fn queue<T: Send + 'static>(
        &self,
        place: Place,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(impl Future<Output = Result<Instant, Error>>, oneshot::Receiver<T>), Error> {
        let (name, queued) = (self.name, Instant::now());
        let (begin, mut begun) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        let job = move || {
            drop(place);
            metrics::WORK_QUEUE.add([name], -1.0);
            metrics::WORK_WAIT.took([name], queued.elapsed());
            // Left out if its caller was refused or has hung up.
            if begin.send(()).is_ok() {
                let started = Instant::now();
                let done = work();
                metrics::WORK_SECONDS.took([name], started.elapsed());
                let _ = answer.send(done);
            }
        };
        metrics::WORK_QUEUE.add([name], 1.0);
        self.queue.try_send(Box::new(job)).map_err(|_| {
            metrics::WORK_QUEUE.add([name], -1.0);
            overloaded(name)
        })?;
        let max_wait = Duration::from_millis(self.max_wait_millis.load(Ordering::Relaxed));
        let turn = async move {
            let came = match timeout(max_wait, &mut begun).await {
                Ok(came) => came.is_ok(),
                Err(_) => {
                    begun.close();
                    // It may have come at the very last.
                    begun.try_recv().is_ok()
                }
            };
            if came { Ok(Instant::now()) } else { Err(overloaded(name)) }
        };
        Ok((turn, answered))
    }
}

fn overloaded(name: &'static str) -> Error {
    metrics::QUEUE_FULL.count([name]);
    Error::Overloaded
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().expect("no panic while the queue is held").recv();
        // When nobody can ask any more, there is nothing left to do.
        let Ok(job) = job else { break };
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("work on a core ended in a panic");
        }
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

#[cfg(test)]
mod tests;

//! Where does work go that keeps a core busy for milliseconds? Never on the async threads, never on all cores twice.

use std::{
    num::NonZero,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Instant,
};

use tokio::sync::oneshot;

use super::error::Error;
use crate::{
    store::StoreError,
    telemetry::{metrics, traces},
};

/// The least that may wait, however few cores there are.
const MIN_QUEUE: usize = 256;

/// Runs one kind of work on threads of its own, with so much waiting as is worth it. The same few threads for good: what
/// they have freed they use again, where many would each keep the memory of a hash.
pub struct Cores {
    name: &'static str,
    queue: SyncSender<Job>,
}

type Job = Box<dyn FnOnce() + Send>;

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
        metrics::WORK_QUEUE.add([name], 0.0);
        metrics::QUEUE_FULL.expect([name]);
        let (queue, jobs) = sync_channel((cores * queue_per_core).max(MIN_QUEUE));
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..cores {
            let jobs = Arc::clone(&jobs);
            let thread = thread::Builder::new().name(name.to_owned());
            thread.spawn(move || work(&jobs)).expect("the system has room for a thread of each core");
        }
        Self { name, queue }
    }

    /// Runs the work when its turn comes, unless the caller has gone away by then.
    ///
    /// # Errors
    /// [`Error::Unavailable`] at once when too many wait already.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let (name, queued) = (self.name, Instant::now());
        let job = move || {
            metrics::WORK_QUEUE.add([name], -1.0);
            metrics::WORK_WAIT.took([name], queued.elapsed());
            if !answer.is_closed() {
                let started = Instant::now();
                let done = work();
                metrics::WORK_SECONDS.took([name], started.elapsed());
                // Whoever has gone away meanwhile needs no answer.
                let _ = answer.send(done);
            }
        };
        metrics::WORK_QUEUE.add([name], 1.0);
        self.queue.try_send(Box::new(job)).map_err(|_| {
            metrics::WORK_QUEUE.add([name], -1.0);
            metrics::QUEUE_FULL.count([name]);
            StoreError::new(name, "too many at once")
        })?;
        traces::step(name, answered).await.map_err(|_| Error::Internal(format!("{name}: a panic")))
    }
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

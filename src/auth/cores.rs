//! Work that keeps a core busy for milliseconds: never on the async threads, never on all cores twice.

mod line;

use std::{
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use line::Line;
pub use line::{Party, Place};

use super::error::Error;
use crate::telemetry::{metrics, traces};

/// How long work waits for its turn before its caller is refused, on however few cores and behind however costly work.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// How much may wait, what callers have given up on included: it takes memory until its turn comes.
const QUEUE: usize = 4096;

/// Runs one kind of work on dedicated threads: that of one network in the order in which it came, and one piece of each
/// network in turn. The same few threads for good: what they have freed they use again, where many would each keep the
/// memory of a hash.
pub struct Cores {
    name: &'static str,
    line: Arc<Line>,
    max_wait_millis: AtomicU64,
}

impl Drop for Cores {
    fn drop(&mut self) {
        self.line.close();
    }
}

impl Cores {
    /// On every core, for work that is done in a millisecond.
    pub fn all(name: &'static str) -> Self {
        Self::new(name, cores())
    }

    /// On half of the cores (at least one), for work that takes long: the other half answers everybody else.
    pub fn half(name: &'static str) -> Self {
        Self::new(name, cores().div_ceil(2))
    }

    fn new(name: &'static str, threads: usize) -> Self {
        metrics::WORK_QUEUE.add([name], 0.0);
        metrics::QUEUE_FULL.expect([name]);
        let line = Arc::new(Line::new(QUEUE));
        for _ in 0..threads {
            let line = line.clone();
            let thread = thread::Builder::new().name(name.to_owned());
            thread.spawn(move || work(&line)).expect("the system has room for a thread of each core");
        }
        let cores = Self { name, line, max_wait_millis: AtomicU64::default() };
        cores.set_max_wait(MAX_WAIT);
        cores
    }

    /// Lets work wait for so long, in place of a second: tests are no slower than the machine that they run on.
    pub fn set_max_wait(&self, max_wait: Duration) {
        self.max_wait_millis.store(max_wait.as_millis().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A place in the queue, in the share of its network if it has one.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when the queue or the share is full.
    pub fn place(&self, party: Party) -> Result<Place, Error> {
        self.line.place(party).ok_or_else(|| overloaded(self.name))
    }

    /// Runs the work when its turn comes, in a place outside all shares, unless the caller has gone away by then.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when the queue is full or its turn does not come in time; the work is not done then.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        self.timed(self.place(Party::Service)?, work).await.map(|(done, _)| done)
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
            let (turn, answered) = self.queue(place, work);
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
    ) -> (impl Future<Output = Result<Instant, Error>>, oneshot::Receiver<T>) {
        let (name, queued) = (self.name, Instant::now());
        let (begin, mut begun) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        let party = place.party().clone();
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
        self.line.push(&party, Box::new(job));
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
        (turn, answered)
    }
}

fn overloaded(name: &'static str) -> Error {
    metrics::QUEUE_FULL.count([name]);
    Error::Overloaded
}

fn work(line: &Line) {
    while let Some(job) = line.take() {
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

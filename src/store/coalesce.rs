//! How do calls that arrive at the same time share one round trip?
//!
//! What a request costs a store is mostly the trip: waking up, parsing, committing. Whatever arrives while a trip is
//! under way waits for the next one, and goes there together. A call that finds nobody under way leaves at once.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::StoreError;
use crate::telemetry::{
    metrics,
    traces::{self, Span},
};

/// At most so many calls go together: more make the batch slower, and no cheaper.
const BATCH: usize = 256;

/// How many calls may wait. The next one is refused at once: it would wait for longer than anybody does.
const QUEUE: usize = 4096;

/// How many of those may concern one subject, so that one noisy mobile leaves room for everybody else.
const QUEUE_PER_SUBJECT: u32 = 256;

/// How soon after a batch of several the next one leaves: where many call, a millisecond makes batches that cost less. A
/// call that is alone never waits for it.
const PACE: Duration = Duration::from_millis(1);

/// How long the next batch waits for the one before. One that takes longer waits for something (a lock, a disk), and
/// what is behind it may not have to.
const PATIENCE: Duration = Duration::from_millis(20);

/// How many batches may be under way, however slow they are.
const AT_ONCE: usize = 4;

/// What is asked of a store.
pub trait Call: Send + Sync + 'static {
    /// Whom it is about: calls about one subject get a part of the queue only.
    fn subject(&self) -> u128;

    /// Does nobody wait for it any more, so that it may be left out?
    fn is_abandoned(&self) -> bool {
        false
    }
}

/// Work that can be done for many calls at once.
pub trait Batch: Send + Sync + 'static {
    /// What is asked.
    type Call: Call;
    /// What is answered.
    type Answer: Send + 'static;

    /// What metrics call it.
    const NAME: &'static str;

    /// How the store is called in errors.
    const STORE: &'static str;

    /// How long a call waits for its answer, time in the queue included.
    fn timeout(&self) -> Duration;

    /// Answers all calls, in their order.
    fn run(&self, calls: &[Self::Call]) -> impl Future<Output = Result<Vec<Self::Answer>, Failure>> + Send;
}

/// Why a batch was not done.
#[derive(Debug)]
pub enum Failure {
    /// The store cannot do anything now.
    Store(StoreError),
    /// It may be the fault of a single call: each is tried by itself.
    Call(StoreError),
}

impl From<Failure> for StoreError {
    fn from((Failure::Store(error) | Failure::Call(error)): Failure) -> Self {
        error
    }
}

/// Runs calls in batches. The work ends when this is dropped.
pub struct Coalescer<B: Batch> {
    queue: mpsc::Sender<Waiting<B>>,
    waiting: Arc<Mutex<Subjects>>,
    timeout: Duration,
}

/// How many calls wait about whom.
type Subjects = HashMap<u128, u32>;

struct Waiting<B: Batch> {
    call: B::Call,
    caller: Caller<B>,
}

struct Caller<B: Batch> {
    answer: oneshot::Sender<Result<B::Answer, StoreError>>,
    span: Span,
}

impl<B: Batch> Coalescer<B> {
    /// Starts the work, on the runtime that this is called on.
    pub fn new(batch: B) -> Self {
        metrics::BATCH_QUEUE.add([B::NAME], 0.0);
        metrics::QUEUE_FULL.expect([B::NAME]);
        let (queue, calls) = mpsc::channel(QUEUE);
        let (waiting, timeout) = (Arc::default(), batch.timeout());
        tokio::spawn(work(Arc::new(batch), calls, Arc::clone(&waiting)));
        Self { queue, waiting, timeout }
    }

    /// Does one call together with whatever else arrives. When the caller goes away before it is its turn, it is not
    /// done at all.
    ///
    /// # Errors
    /// At once when too many wait; when the store fails; when it takes too long, and nobody knows how it ended.
    pub async fn call(&self, call: B::Call) -> Result<B::Answer, StoreError> {
        traces::step(B::NAME, async {
            let (answer, answered) = oneshot::channel();
            self.enqueue(Waiting { call, caller: Caller { answer, span: Span::current() } })?;
            match timeout(self.timeout, answered).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(StoreError::new(B::STORE, "nobody waited")),
                Err(_) => Err(StoreError::new(B::STORE, "no answer in time")),
            }
        })
        .await
    }

    fn enqueue(&self, waiting: Waiting<B>) -> Result<(), StoreError> {
        let full = || {
            metrics::QUEUE_FULL.count([B::NAME]);
            StoreError::new(B::STORE, "too many at once")
        };
        let mut subjects = self.waiting.lock().expect("no panic while the queue is held");
        let place = self.queue.try_reserve().map_err(|_| full())?;
        let count = subjects.entry(waiting.call.subject()).or_default();
        if *count >= QUEUE_PER_SUBJECT {
            return Err(full());
        }
        *count += 1;
        metrics::BATCH_QUEUE.add([B::NAME], 1.0);
        place.send(waiting);
        Ok(())
    }
}

async fn work<B: Batch>(batch: Arc<B>, mut calls: mpsc::Receiver<Waiting<B>>, subjects: Arc<Mutex<Subjects>>) {
    let mut running = FuturesUnordered::new();
    let (mut due, mut overdue) = (Instant::now(), Instant::now());
    let mut next = Vec::new();
    loop {
        let now = Instant::now();
        let may_start = if running.is_empty() { due <= now } else { running.len() < AT_ONCE && overdue <= now };
        if may_start && !next.is_empty() {
            while next.len() < BATCH
                && let Ok(waiting) = calls.try_recv()
            {
                next.push(waiting);
            }
            leave(&subjects, &next);
            next.retain(|waiting| !waiting.caller.answer.is_closed() && !waiting.call.is_abandoned());
            if !next.is_empty() {
                due = if next.len() > 1 { now + PACE } else { now };
                overdue = now + PATIENCE;
                running.push(run(batch.clone(), std::mem::take(&mut next)));
            }
            continue;
        }
        let wake = if running.is_empty() { due } else { overdue };
        tokio::select! {
            biased;
            Some(()) = running.next() => {}
            // Until the next batch starts, the first who waits is all that this has to know of.
            first = calls.recv(), if next.is_empty() => match first {
                Some(first) => next.push(first),
                None => break,
            },
            () = sleep_until(wake), if !next.is_empty() && running.len() < AT_ONCE => {}
        }
    }
    while running.next().await.is_some() {}
}

fn leave<B: Batch>(subjects: &Mutex<Subjects>, taken: &[Waiting<B>]) {
    metrics::BATCH_QUEUE.add([B::NAME], -(taken.len() as f64));
    let mut subjects = subjects.lock().expect("no panic while the queue is held");
    for waiting in taken {
        let subject = waiting.call.subject();
        match subjects.get_mut(&subject) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(subjects.remove(&subject)),
        }
    }
}

async fn run<B: Batch>(batch: Arc<B>, taken: Vec<Waiting<B>>) {
    for waiting in together(batch.as_ref(), taken).await {
        let batch = batch.clone();
        // Not here: the one at fault may take long, and the next batch need not wait for it.
        tokio::spawn(async move { together(batch.as_ref(), vec![waiting]).await });
    }
}

/// Does a batch, and returns those that are to be tried one by one.
async fn together<B: Batch>(batch: &B, taken: Vec<Waiting<B>>) -> Vec<Waiting<B>> {
    let (calls, callers): (Vec<_>, Vec<_>) = taken.into_iter().map(|waiting| (waiting.call, waiting.caller)).unzip();
    metrics::BATCH_SIZE.record([B::NAME], calls.len() as f64);
    let started = Instant::now();
    // A panic would end the work for good.
    let work = traces::batch(B::NAME, callers.iter().map(|caller| &caller.span), batch.run(&calls));
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    metrics::BATCH_SECONDS.took([B::NAME], started.elapsed());
    match outcome.unwrap_or_else(|_| Err(Failure::Call(StoreError::new(B::STORE, "a panic")))) {
        // Whoever has gone away meanwhile needs no answer.
        Ok(answers) => {
            callers.into_iter().zip(answers).for_each(|(caller, answer)| drop(caller.answer.send(Ok(answer))));
        }
        Err(Failure::Call(_)) if calls.len() > 1 => {
            return calls.into_iter().zip(callers).map(|(call, caller)| Waiting { call, caller }).collect();
        }
        Err(Failure::Call(error) | Failure::Store(error)) => {
            callers.into_iter().for_each(|caller| drop(caller.answer.send(Err(error.clone()))));
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests;

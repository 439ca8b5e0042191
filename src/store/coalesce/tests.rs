//! Are batches formed, split and refused as they should be? With a store that does as it is told.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::{sync::Semaphore, task::JoinSet};

use super::*;

/// What a call wants to happen.
#[derive(Clone, Debug, PartialEq)]
enum Wish {
    /// Its number back.
    Echo(u32),
    /// A failure of whatever batch it is in.
    Poison,
    /// A panic.
    Panic,
    /// The failure of the store.
    Outage,
}

/// Somebody's wish.
#[derive(Clone)]
struct Asked {
    subject: u128,
    wish: Wish,
    abandoned: Arc<AtomicBool>,
}

fn call(subject: u128, wish: Wish) -> Asked {
    Asked { subject, wish, abandoned: Arc::default() }
}

fn echo(number: u32) -> Asked {
    call(number.into(), Wish::Echo(number))
}

impl Call for Asked {
    fn subject(&self) -> u128 {
        self.subject
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }
}

/// Runs a batch for each permit, and writes down what was in it.
#[derive(Clone)]
struct Gate {
    permits: Arc<Semaphore>,
    batches: Arc<Mutex<Vec<Vec<Wish>>>>,
}

impl Batch for Gate {
    type Call = Asked;
    type Answer = u32;

    const NAME: &'static str = "gate";
    const STORE: &'static str = "gate";

    fn timeout(&self) -> Duration {
        Duration::from_secs(5)
    }

    async fn run(&self, calls: &[Asked]) -> Result<Vec<u32>, Failure> {
        self.batches.lock().unwrap().push(calls.iter().map(|call| call.wish.clone()).collect());
        self.permits.acquire().await.unwrap().forget();
        let answer = |call: &Asked| match &call.wish {
            Wish::Echo(number) => Ok(*number),
            Wish::Poison => Err(Failure::Call(StoreError::new("gate", "poison"))),
            Wish::Outage => Err(Failure::Store(StoreError::new("gate", "outage"))),
            Wish::Panic => panic!("as wished"),
        };
        calls.iter().map(answer).collect()
    }
}

struct Harness {
    gate: Gate,
    coalescer: Arc<Coalescer<Gate>>,
}

impl Harness {
    fn new() -> Self {
        let gate = Gate { permits: Arc::new(Semaphore::new(0)), batches: Arc::default() };
        Self { coalescer: Arc::new(Coalescer::new(gate.clone())), gate }
    }

    /// Lets so many batches run.
    fn open(&self, batches: usize) {
        self.gate.permits.add_permits(batches);
    }

    /// Calls, and returns as soon as the call is in the queue, refused, or under way.
    async fn send(&self, answers: &mut JoinSet<(Wish, Result<u32, StoreError>)>, call: Asked) {
        let coalescer = self.coalescer.clone();
        answers.spawn(async move { (call.wish.clone(), coalescer.call(call).await) });
        // On the one thread of a test: everything that can go on does so before the next line.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    fn batches(&self) -> Vec<Vec<Wish>> {
        self.gate.batches.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_leaves_at_once_and_the_others_go_together() {
    let (harness, mut answers) = (Harness::new(), JoinSet::new());
    for number in 0..10 {
        harness.send(&mut answers, echo(number)).await;
    }
    assert_eq!(harness.batches(), [[Wish::Echo(0)]]);
    harness.open(2);
    for (wish, answer) in answers.join_all().await {
        assert_eq!(Wish::Echo(answer.unwrap()), wish);
    }
    let sizes: Vec<_> = harness.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 9]);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_or_panics_fails_alone() {
    for culprit in [Wish::Poison, Wish::Panic] {
        let (harness, mut answers) = (Harness::new(), JoinSet::new());
        harness.send(&mut answers, echo(0)).await;
        harness.send(&mut answers, echo(1)).await;
        harness.send(&mut answers, call(2, culprit.clone())).await;
        harness.send(&mut answers, echo(3)).await;
        harness.open(100);
        for (wish, answer) in answers.join_all().await {
            assert_eq!(answer.is_ok(), wish != culprit, "{wish:?}");
        }
        // And the work goes on.
        assert_eq!(harness.coalescer.call(echo(4)).await.unwrap(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_fails_all_of_a_batch_without_another_try() {
    let (harness, mut answers) = (Harness::new(), JoinSet::new());
    harness.send(&mut answers, echo(0)).await;
    harness.send(&mut answers, echo(1)).await;
    harness.send(&mut answers, call(2, Wish::Outage)).await;
    harness.open(100);
    let failed = answers.join_all().await.iter().filter(|(_, answer)| answer.is_err()).count();
    assert_eq!((failed, harness.batches().len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_away_before_their_turn_is_left_out() {
    let (harness, mut answers, mut gone) = (Harness::new(), JoinSet::new(), JoinSet::new());
    harness.send(&mut answers, echo(0)).await;
    harness.send(&mut gone, echo(1)).await;
    let hung_up = echo(2);
    harness.send(&mut answers, hung_up.clone()).await;
    harness.send(&mut answers, echo(3)).await;
    gone.shutdown().await;
    hung_up.abandoned.store(true, Ordering::Relaxed);
    harness.open(100);
    for (wish, answer) in answers.join_all().await {
        assert_eq!(answer.is_err(), wish == Wish::Echo(2), "{wish:?}");
    }
    assert_eq!(harness.batches(), [[Wish::Echo(0)], [Wish::Echo(3)]]);
}

#[tokio::test(start_paused = true)]
async fn one_noisy_subject_leaves_room_for_the_others() {
    let (harness, mut answers) = (Harness::new(), JoinSet::new());
    harness.send(&mut answers, echo(0)).await;
    let (mut refused, mut noise) = (0, JoinSet::new());
    for _ in 0..QUEUE_PER_SUBJECT + 50 {
        harness.send(&mut noise, call(7, Wish::Echo(7))).await;
        refused += noise.try_join_next().map_or(0, |noise| u32::from(noise.unwrap().1.is_err()));
    }
    assert_eq!(refused, 50);
    harness.send(&mut answers, echo(1)).await;
    harness.open(100);
    assert!(answers.join_all().await.iter().all(|(_, answer)| answer.is_ok()));
    assert!(noise.join_all().await.iter().all(|(_, answer)| answer.is_ok()));
    // The places are free again.
    assert!(harness.coalescer.waiting.lock().unwrap().is_empty());
    assert_eq!(harness.coalescer.call(call(7, Wish::Echo(7))).await.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once() {
    let (harness, mut answers) = (Harness::new(), JoinSet::new());
    // One under way, and one that is the next for sure.
    let calls = 2 + u32::try_from(QUEUE).unwrap();
    for number in 0..calls {
        harness.send(&mut answers, echo(number)).await;
    }
    let error = harness.coalescer.call(echo(calls)).await.unwrap_err();
    assert!(error.to_string().ends_with(": too many at once"), "{error}");
    harness.open(QUEUE);
    assert!(answers.join_all().await.iter().all(|(_, answer)| answer.is_ok()));
}

#[tokio::test(start_paused = true)]
async fn a_slow_batch_is_overtaken() {
    let (harness, mut answers) = (Harness::new(), JoinSet::new());
    for number in 0..10 {
        harness.send(&mut answers, echo(number)).await;
        tokio::time::sleep(PATIENCE).await;
    }
    let sizes: Vec<_> = harness.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1; AT_ONCE]);
    harness.open(100);
    assert!(answers.join_all().await.iter().all(|(_, answer)| answer.is_ok()));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever() {
    let harness = Harness::new();
    let error = harness.coalescer.call(echo(1)).await.unwrap_err();
    assert!(error.to_string().ends_with(": no answer in time"), "{error}");
}

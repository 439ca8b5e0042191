//! Is work done in its turn, and refused when that does not come in time? On one thread, with work that waits to be let
//! go, and with a clock that only the tests move.

use std::sync::{
    atomic::{AtomicBool, Ordering},
    mpsc,
};

use super::*;

/// Work that has begun and keeps the only thread until it is dropped.
struct Blocker {
    _let_go: mpsc::Sender<()>,
}

impl Blocker {
    /// Returns once it has the thread; from then on the clock stands still, and jumps to whatever is waited for.
    async fn on(cores: &Arc<Cores>) -> (Self, tokio::task::JoinHandle<Result<&'static str, Error>>) {
        let (let_go, wait) = mpsc::channel();
        let (begin, begun) = oneshot::channel();
        let cores = cores.clone();
        let work = move || {
            begin.send(()).unwrap();
            let _: Result<(), _> = wait.recv();
            "blocker"
        };
        let blocked = tokio::spawn(async move { cores.run(work).await });
        begun.await.unwrap();
        // Its caller has to learn of it before the clock jumps.
        tokio::task::yield_now().await;
        tokio::time::pause();
        (Self { _let_go: let_go }, blocked)
    }
}

fn one_thread() -> Arc<Cores> {
    Arc::new(Cores::new("test", 1))
}

#[tokio::test]
async fn work_whose_turn_does_not_come_in_time_is_refused_and_never_done() {
    let cores = one_thread();
    let (blocker, blocked) = Blocker::on(&cores).await;
    let done = Arc::new(AtomicBool::new(false));
    let before = Instant::now();
    let late = done.clone();
    let refused = cores.run(move || late.store(true, Ordering::SeqCst)).await;
    assert!(matches!(refused, Err(Error::Overloaded)), "{refused:?}");
    assert_eq!((Instant::now() - before).as_secs(), MAX_WAIT.as_secs());

    tokio::time::resume();
    drop(blocker);
    assert_eq!(blocked.await.unwrap().unwrap(), "blocker");
    // The thread skips what was refused.
    assert_eq!(cores.run(|| "next").await.unwrap(), "next");
    assert!(!done.load(Ordering::SeqCst));
}

#[tokio::test]
async fn work_that_has_begun_may_take_long() {
    let cores = one_thread();
    let (blocker, blocked) = Blocker::on(&cores).await;
    tokio::time::advance(100 * MAX_WAIT).await;
    drop(blocker);
    assert_eq!(blocked.await.unwrap().unwrap(), "blocker");
}

#[tokio::test]
async fn work_whose_caller_has_gone_away_is_not_done() {
    let cores = one_thread();
    let (blocker, blocked) = Blocker::on(&cores).await;
    tokio::time::resume();
    let done = Arc::new(AtomicBool::new(false));
    let late = done.clone();
    let mut gone = Box::pin(cores.run(move || late.store(true, Ordering::SeqCst)));
    assert!(futures_util::poll!(&mut gone).is_pending());
    drop(gone);
    drop(blocker);
    blocked.await.unwrap().unwrap();
    cores.run(|| ()).await.unwrap();
    assert!(!done.load(Ordering::SeqCst));
}

#[tokio::test]
async fn more_than_memory_should_hold_is_refused_at_once() {
    let cores = one_thread();
    let (blocker, _blocked) = Blocker::on(&cores).await;
    let waiting: Vec<_> = (0..QUEUE).map(|_| cores.queue(cores.place(Party::Service).unwrap(), || ())).collect();
    assert_eq!(waiting.len(), QUEUE);
    let before = Instant::now();
    assert!(matches!(cores.run(|| ()).await, Err(Error::Overloaded)));
    assert_eq!(Instant::now(), before);
    drop(blocker);
}

#[tokio::test]
async fn a_panic_ends_the_work_and_not_the_thread() {
    let cores = one_thread();
    let outcome = cores.run(|| panic!("as wanted")).await;
    assert!(matches!(outcome, Err::<(), _>(Error::Internal(_))));
    assert_eq!(cores.run(|| 1).await.unwrap(), 1);
}

#[tokio::test]
async fn a_network_takes_no_more_than_its_share_and_has_it_back_once_its_work_begins() {
    let cores = one_thread();
    let (blocker, _blocked) = Blocker::on(&cores).await;
    let crowd = || cores.place(Party::Network("192.0.2.1".to_owned()));
    let share = QUEUE / line::SHARES;
    let mut places: Vec<_> = (0..share - 1).map(|_| crowd().unwrap()).collect();
    let queued = cores.queue(crowd().unwrap(), || ());
    assert!(matches!(crowd(), Err(Error::Overloaded)));
    assert!(cores.place(Party::Network("192.0.2.2".to_owned())).is_ok());
    assert!(cores.place(Party::Service).is_ok());
    let exempt: Vec<_> = (0..=share).map(|_| cores.place(Party::Exempt("192.0.2.3".to_owned()))).collect();
    assert!(exempt.iter().all(Result::is_ok));
    drop(places.pop());
    places.push(crowd().unwrap());
    assert!(crowd().is_err());

    tokio::time::resume();
    drop(blocker);
    queued.1.await.unwrap();
    assert!(crowd().is_ok());
}

#[tokio::test]
async fn all_networks_together_take_no_more_than_the_queue() {
    let cores = one_thread();
    let place = |network: usize| cores.place(Party::Network(network.to_string()));
    let places: Vec<_> = (0..QUEUE).map(|place_of| place(place_of % 8)).collect();
    assert!(places.iter().all(Result::is_ok));
    assert!(matches!(place(8), Err(Error::Overloaded)));
    assert!(matches!(cores.place(Party::Service), Err(Error::Overloaded)));
    drop(places);
    assert!(place(8).is_ok());
    assert_eq!(cores.line.taken(), (0, 0));
}

#[tokio::test]
async fn a_network_with_much_work_delays_another_by_one_piece() {
    let cores = one_thread();
    let (blocker, _blocked) = Blocker::on(&cores).await;
    tokio::time::resume();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let queue = |network: &str| {
        let (order, noted) = (order.clone(), network.to_owned());
        let of = if network == "exempt" { Party::Exempt } else { Party::Network };
        let place = cores.place(of(network.to_owned())).unwrap();
        cores.queue(place, move || order.lock().unwrap().push(noted))
    };
    let waiting: Vec<_> = ["crowd"; 20].into_iter().chain(["one", "exempt"]).map(queue).collect();
    drop(blocker);
    for (_, done) in waiting {
        done.await.unwrap();
    }
    assert_eq!(order.lock().unwrap()[..4], ["crowd", "one", "exempt", "crowd"]);
}

#[tokio::test]
async fn work_that_waits_goes_with_its_queue() {
    let cores = one_thread();
    let (blocker, blocked) = Blocker::on(&cores).await;
    tokio::time::resume();
    let line = Arc::downgrade(&cores.line);
    let (_, answered) = cores.queue(cores.place(Party::Service).unwrap(), || ());
    blocked.abort();
    assert!(blocked.await.unwrap_err().is_cancelled());
    drop(cores);
    assert!(answered.await.is_err());
    drop(blocker);
    // Its thread ends, too.
    while line.upgrade().is_some() {
        tokio::task::yield_now().await;
    }
}

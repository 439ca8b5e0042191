//! How is load offered, and how is it timed?
//!
//! A phase consists of bursts: a user of the population has one code at a time, so a small population runs out of codes
//! within a second. Between bursts new codes are fetched; that time and that work count for nothing.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    net::SocketAddr,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::{
    sync::{
        Mutex, Notify,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    task::JoinSet,
};

use crate::{
    http::Connection,
    operations::{Codes, Offer, Script, Supplies},
    usage::{Processes, Usage},
};

/// Before anything counts.
const WARM_UP: Duration = Duration::from_millis(500);

/// At the start of each burst, until all connections are busy.
const RUN_UP: Duration = Duration::from_millis(100);

/// A burst that would be shorter is not worth its codes.
const SHORTEST: Duration = Duration::from_millis(20);

/// So many bursts in a row that are over before they count show that none will.
const PATIENCE: u32 = 5;

/// The pause between two looks at the clock when requests are offered at a rate.
const PACE: Duration = Duration::from_micros(100);

/// Latencies over this count as this, in microseconds.
const LONGEST: u64 = 60_000_000;

/// What came of one offer.
pub struct Outcome {
    /// What was offered.
    pub offer: Offer,
    /// Right answers.
    pub answered: u64,
    /// Other answers by status; 0 stands for broken connections.
    pub errors: BTreeMap<u16, u64>,
    /// Microseconds until the answer: from the moment a request was sent, or at a rate should have been sent.
    pub latencies: Histogram<u64>,
}

/// What came of a phase.
pub struct Report {
    /// For each offer.
    pub outcomes: Vec<Outcome>,
    /// The time that counts.
    pub measured: Duration,
    /// Processor time within it.
    pub usage: Usage,
    /// Resident memory of the server at the end, in kB.
    pub server_memory: Option<u64>,
}

/// Runs the offers side by side until `seconds` have been measured.
pub async fn run(
    offers: &[Offer],
    seconds: Duration,
    service: SocketAddr,
    supplies: &Supplies,
    processes: Processes,
) -> io::Result<Report> {
    let mut groups = Vec::new();
    for offer in offers {
        groups.push(Group::prepare(*offer, service, supplies).await?);
    }
    let mut measured = Duration::ZERO;
    let mut usage = Usage::default();
    let mut warm = Duration::ZERO;
    while warm < WARM_UP {
        refill(&groups, WARM_UP - warm, supplies).await?;
        let start = Instant::now();
        burst(&mut groups, WARM_UP - warm, Duration::ZERO, processes).await;
        warm += start.elapsed();
    }
    let mut in_vain = 0;
    while measured + SHORTEST < seconds {
        let rest = seconds - measured;
        refill(&groups, RUN_UP + rest, supplies).await?;
        let (took, used) = burst(&mut groups, RUN_UP, rest, processes).await;
        measured += took;
        in_vain = if took.is_zero() { in_vain + 1 } else { 0 };
        if in_vain == PATIENCE {
            return Err(io::Error::other("codes run out before anything can be measured: take more users"));
        }
        usage = usage.plus(used);
    }
    let server_memory = processes.server_memory();
    let outcomes = groups.into_iter().map(|group| group.meter.outcome(group.offer)).collect();
    Ok(Report { outcomes, measured, usage, server_memory })
}

/// One offer with its connections.
struct Group {
    offer: Offer,
    codes: Option<Codes>,
    clients: Vec<(Connection, Script)>,
    meter: Rc<Meter>,
    /// Answers a second in the last burst.
    speed: f64,
}

impl Group {
    async fn prepare(offer: Offer, service: SocketAddr, supplies: &Supplies) -> io::Result<Self> {
        let (scripts, codes) = supplies.scripts(offer).await?;
        let mut clients = Vec::new();
        for script in scripts {
            clients.push((Connection::open(service).await?, script));
        }
        let meter = Rc::new(Meter::new(service, offer));
        // Until something is known: little, so that it is not in the way.
        let speed = 2_000.0 + 20.0 * offer.connections as f64;
        Ok(Self { offer, codes, clients, meter, speed: offer.rate.unwrap_or(speed) })
    }
}

/// Gets the codes that a burst of this length needs, and some more.
async fn refill(groups: &[Group], time: Duration, supplies: &Supplies) -> io::Result<()> {
    for group in groups {
        if let Some(codes) = &group.codes {
            let count = 1.2 * group.speed * time.as_secs_f64();
            supplies.refill(codes, count as usize + 2 * group.offer.connections).await?;
        }
    }
    Ok(())
}

/// Offers load, and measures from `run_up` on until `time` is over or codes run out. Returns how long was measured, and
/// what it cost.
async fn burst(groups: &mut [Group], run_up: Duration, time: Duration, processes: Processes) -> (Duration, Usage) {
    let exhausted = Rc::new(Notify::new());
    let stop = Rc::new(Cell::new(false));
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for (number, group) in groups.iter_mut().enumerate() {
        group.meter.all.set(0);
        let pace = group.offer.rate.map(|rate| Pace::start(rate, start, start + run_up + time));
        let pace = pace.map(Rc::new);
        for client in group.clients.drain(..) {
            let signals = Signals { pace: pace.clone(), stop: stop.clone(), exhausted: exhausted.clone() };
            let meter = group.meter.clone();
            clients.spawn_local(async move { (number, drive(client, meter, signals).await) });
        }
    }

    let mut out_of_codes = std::pin::pin!(exhausted.notified());
    let early = tokio::time::timeout(run_up, &mut out_of_codes).await.is_ok();
    let mut measured = Duration::ZERO;
    let mut used = Usage::default();
    if !early && !time.is_zero() {
        let before = usage(processes).await;
        let begin = Instant::now();
        groups.iter().for_each(|group| group.meter.begin.set(Some(begin)));
        let _ = tokio::time::timeout(time, out_of_codes).await;
        let end = Instant::now();
        groups.iter().for_each(|group| group.meter.end.set(Some(end)));
        measured = end - begin;
        used = usage(processes).await.since(before);
    }
    stop.set(true);
    let elapsed = start.elapsed().as_secs_f64();
    for group in groups.iter_mut() {
        group.speed = group.meter.all.get() as f64 / elapsed;
    }
    while let Some(client) = clients.join_next().await {
        let (number, client) = client.expect("no panic");
        groups[number].clients.push(client);
    }
    for group in groups.iter() {
        group.meter.begin.set(None);
        group.meter.end.set(None);
    }
    (measured, used)
}

/// Off the thread that serves the connections: it takes a millisecond.
async fn usage(processes: Processes) -> Usage {
    tokio::task::spawn_blocking(move || processes.usage()).await.expect("no panic")
}

struct Signals {
    pace: Option<Rc<Pace>>,
    stop: Rc<Cell<bool>>,
    exhausted: Rc<Notify>,
}

/// One connection, until the burst is over.
async fn drive(client: (Connection, Script), meter: Rc<Meter>, signals: Signals) -> (Connection, Script) {
    let (mut connection, mut script) = client;
    loop {
        let due = match &signals.pace {
            Some(pace) => match pace.next().await {
                Some(due) => due,
                None => break,
            },
            None if signals.stop.get() => break,
            None => Instant::now(),
        };
        let Some(request) = script.next() else {
            signals.exhausted.notify_one();
            break;
        };
        match connection.ask(request).await {
            Ok(response) => {
                let right = response.status == meter.offer.operation.expected_status();
                meter.answer(due, response.status, right);
                if right {
                    script.answered(response.body);
                }
            }
            Err(_) => {
                meter.answer(due, 0, false);
                match Connection::open(meter.service).await {
                    Ok(fresh) => connection = fresh,
                    Err(_) => break,
                }
            }
        }
    }
    (connection, script)
}

/// Counts and times the answers of an offer.
struct Meter {
    service: SocketAddr,
    offer: Offer,
    /// What counts is between these.
    begin: Cell<Option<Instant>>,
    end: Cell<Option<Instant>>,
    /// Answers of this burst, whether they are right and count or not.
    all: Cell<u64>,
    answered: Cell<u64>,
    errors: RefCell<BTreeMap<u16, u64>>,
    latencies: RefCell<Histogram<u64>>,
}

impl Meter {
    fn new(service: SocketAddr, offer: Offer) -> Self {
        Self {
            service,
            offer,
            begin: Cell::new(None),
            end: Cell::new(None),
            all: Cell::new(0),
            answered: Cell::new(0),
            errors: RefCell::default(),
            latencies: RefCell::new(Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are in order")),
        }
    }

    /// An answer is counted when it comes in time. It is timed when its request was due in time, however late it comes:
    /// else slow ones would be missing.
    fn answer(&self, due: Instant, status: u16, right: bool) {
        self.all.set(self.all.get() + 1);
        let Some(begin) = self.begin.get() else { return };
        let end = self.end.get();
        match (end, right) {
            (None, true) => self.answered.set(self.answered.get() + 1),
            (None, false) => *self.errors.borrow_mut().entry(status).or_default() += 1,
            (Some(_), _) => {}
        }
        if right && due >= begin && end.is_none_or(|end| due < end) {
            let micros = due.elapsed().as_micros().try_into().unwrap_or(u64::MAX);
            self.latencies.borrow_mut().saturating_record(micros);
        }
    }

    fn outcome(&self, offer: Offer) -> Outcome {
        Outcome {
            offer,
            answered: self.answered.get(),
            errors: self.errors.borrow().clone(),
            latencies: self.latencies.borrow().clone(),
        }
    }
}

/// The moments at which requests are due, evenly spaced.
struct Pace(Mutex<UnboundedReceiver<Instant>>);

impl Pace {
    fn start(rate: f64, start: Instant, end: Instant) -> Self {
        let (sender, receiver) = unbounded_channel();
        thread::spawn(move || tick(rate, start, end, &sender));
        Self(Mutex::new(receiver))
    }

    /// When the next request is due, which is now or was before; `None` when the time is over.
    async fn next(&self) -> Option<Instant> {
        self.0.lock().await.recv().await
    }
}

/// On a thread of its own: the timers of tokio are no finer than a millisecond.
fn tick(rate: f64, start: Instant, end: Instant, due: &UnboundedSender<Instant>) {
    for number in 0_u32.. {
        let moment = start + Duration::from_secs_f64(f64::from(number) / rate);
        if moment >= end {
            break;
        }
        let wait = moment.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            thread::sleep(wait.max(PACE));
        }
        if due.send(moment).is_err() {
            break;
        }
    }
}

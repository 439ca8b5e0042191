//! What is measured, and under which name? The one table of metrics, and how a measurement is taken.

use std::{
    collections::BTreeMap,
    sync::{OnceLock, PoisonError, RwLock},
    thread,
    time::Duration,
};

use chrono::{DateTime, Utc};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};

/// The buckets of what takes time: from a token that is looked at to a request that is given up.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The buckets of what is counted: up to the largest batch.
const SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// How often measurements are sorted into buckets: until then each of them takes room.
const UPKEEP: Duration = Duration::from_secs(1);

/// Where measurements go; nothing is measured while there is nobody to tell.
static RECORDER: OnceLock<PrometheusRecorder> = OnceLock::new();

/// What a metric is called, and what it means.
#[derive(Debug)]
pub struct About {
    /// As Prometheus knows it.
    pub name: &'static str,
    /// What its values do.
    pub kind: Kind,
    /// What its values are counted in.
    pub unit: Unit,
    /// What tells its series apart. Each has few values, and none is about a person.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

/// What the values of a metric do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They only grow.
    Counter,
    /// They come and go.
    Gauge,
    /// They are counted by size.
    Histogram,
}

/// One metric, and the handles of its series, which are looked up once.
pub struct Metric<H, const LABELS: usize> {
    about: About,
    series: RwLock<BTreeMap<[&'static str; LABELS], H>>,
}

macro_rules! metrics {
    ($($name:ident: $kind:ident $text:literal [$($label:literal),*] $unit:ident, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $name: Metric<$kind, { const LABELS: &[&str] = &[$($label),*]; LABELS.len() }> = Metric {
                about: About {
                    name: $text,
                    kind: Kind::$kind,
                    unit: Unit::$unit,
                    labels: &[$($label),*],
                    help: $help,
                },
                series: RwLock::new(BTreeMap::new()),
            };
        )*

        /// Every metric.
        pub static ALL: &[&About] = &[$(&$name.about),*];
    };
}

metrics! {
    REQUESTS: Counter "phonepass_http_requests_total" ["operation", "status", "code"] Count,
        "Requests, answered or not.";
    REQUEST_SECONDS: Histogram "phonepass_http_request_duration_seconds" ["operation"] Seconds,
        "Time from the head of a request to its answer.";
    REQUESTS_IN_FLIGHT: Gauge "phonepass_http_requests_in_flight" [] Count,
        "Requests that wait for their answer.";
    CONNECTIONS_OPEN: Gauge "phonepass_http_connections" [] Count,
        "Connections of clients.";
    CONNECTIONS_REFUSED: Counter "phonepass_http_connections_refused_total" ["reason"] Count,
        "Connections that were closed at once.";
    SMS: Counter "phonepass_sms_messages_total" ["vendor", "outcome"] Count,
        "Messages handed to a vendor.";
    SMS_SECONDS: Histogram "phonepass_sms_duration_seconds" ["vendor"] Seconds,
        "Time that a vendor took for a message.";
    SMS_CODES: Counter "phonepass_sms_codes_checked_total" ["purpose", "outcome"] Count,
        "SMS codes that somebody presented.";
    IMAGE_CODES: Counter "phonepass_image_codes_checked_total" ["outcome"] Count,
        "Picture codes that somebody presented.";
    CHALLENGES: Counter "phonepass_challenges_checked_total" ["kind", "outcome"] Count,
        "Challenges that clients solved after a refusal.";
    LIMITS: Counter "phonepass_limits_hit_total" ["limit"] Count,
        "What a limit refused.";
    EVENTS: Counter "phonepass_security_events_total" ["event"] Count,
        "Security events.";
    REFRESHES: Counter "phonepass_refreshes_total" ["outcome"] Count,
        "Refresh tokens that somebody presented.";
    BATCH_QUEUE: Gauge "phonepass_batch_queue_depth" ["batch"] Count,
        "Calls that wait for their batch.";
    BATCH_SIZE: Histogram "phonepass_batch_size" ["batch"] Count,
        "Calls that went to a store together.";
    BATCH_SECONDS: Histogram "phonepass_batch_duration_seconds" ["batch"] Seconds,
        "Time that a store took for a batch.";
    WORK_QUEUE: Gauge "phonepass_work_queue_depth" ["work"] Count,
        "Work that waits for a core.";
    WORK_WAIT: Histogram "phonepass_work_wait_seconds" ["work"] Seconds,
        "Time that work waited for a core.";
    WORK_SECONDS: Histogram "phonepass_work_duration_seconds" ["work"] Seconds,
        "Time that work kept a core busy.";
    QUEUE_FULL: Counter "phonepass_queue_refusals_total" ["queue"] Count,
        "What was refused because too much waited already.";
    CONNECTIONS: Gauge "phonepass_database_connections" ["pool", "state"] Count,
        "Connections to the database.";
    CONNECTIONS_MAX: Gauge "phonepass_database_connections_max" ["pool"] Count,
        "Connections to the database that there may be.";
    STORE_UP: Gauge "phonepass_store_up" ["store"] Count,
        "1 if a store answers, else 0.";
    READY: Gauge "phonepass_ready" [] Count,
        "1 if /readyz answers 200, else 0.";
    BUILD: Gauge "phonepass_build_info" ["version"] Count,
        "Always 1; the label tells which version runs.";
    STARTED: Gauge "process_start_time_seconds" [] Seconds,
        "When the process started, in Unix time.";
}

/// Measures from now on.
pub fn install(now: DateTime<Utc>) {
    let handle = RECORDER.get_or_init(recorder).handle();
    thread::spawn(move || {
        loop {
            thread::sleep(UPKEEP);
            handle.run_upkeep();
        }
    });
    BUILD.set([env!("CARGO_PKG_VERSION")], 1.0);
    STARTED.set([], now.timestamp() as f64);
}

fn recorder() -> PrometheusRecorder {
    let histograms = ALL.iter().filter(|about| about.kind == Kind::Histogram);
    let builder = histograms.fold(PrometheusBuilder::new(), |builder, about| {
        let buckets: &[f64] = if about.unit == Unit::Seconds { &SECONDS } else { &SIZES };
        let name = Matcher::Full(about.name.to_owned());
        builder.set_buckets_for_metric(name, buckets).expect("there are buckets")
    });
    let recorder = builder.build_recorder();
    for About { name, kind, unit, help, .. } in ALL {
        let (name, unit, help) = (KeyName::from_const_str(name), Some(*unit), (*help).into());
        match kind {
            Kind::Counter => recorder.describe_counter(name, unit, help),
            Kind::Gauge => recorder.describe_gauge(name, unit, help),
            Kind::Histogram => recorder.describe_histogram(name, unit, help),
        }
    }
    recorder
}

/// Everything that was measured, in the text format of Prometheus; empty while nothing is.
pub fn render() -> String {
    RECORDER.get().map(|recorder| recorder.handle().render()).unwrap_or_default()
}

/// A handle of one series.
pub trait Handle: Clone {
    /// Makes the series, if it is not there.
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self;
}

/// Says no more than that it comes from here.
static ORIGIN: Metadata<'_> = Metadata::new(module_path!(), Level::INFO, None);

impl Handle for Counter {
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self {
        recorder.register_counter(key, &ORIGIN)
    }
}

impl Handle for Gauge {
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self {
        recorder.register_gauge(key, &ORIGIN)
    }
}

impl Handle for Histogram {
    fn register(recorder: &PrometheusRecorder, key: &Key) -> Self {
        recorder.register_histogram(key, &ORIGIN)
    }
}

impl<H: Handle, const LABELS: usize> Metric<H, LABELS> {
    fn with(&self, labels: [&'static str; LABELS], measure: impl FnOnce(&H)) {
        let Some(recorder) = RECORDER.get() else { return };
        if let Some(handle) = self.series.read().unwrap_or_else(PoisonError::into_inner).get(&labels) {
            return measure(handle);
        }
        let pairs = self.about.labels.iter().zip(labels);
        let pairs = pairs.map(|(name, value)| Label::from_static_parts(name, value)).collect::<Vec<_>>();
        let handle = H::register(recorder, &Key::from_parts(self.about.name, pairs));
        measure(self.series.write().unwrap_or_else(PoisonError::into_inner).entry(labels).or_insert(handle));
    }
}

impl<const LABELS: usize> Metric<Counter, LABELS> {
    /// One more.
    pub fn count(&self, labels: [&'static str; LABELS]) {
        self.with(labels, |counter| counter.increment(1));
    }

    /// None yet: with it, the first one shows as a rise.
    pub fn expect(&self, labels: [&'static str; LABELS]) {
        self.with(labels, |counter| counter.increment(0));
    }
}

impl<const LABELS: usize> Metric<Gauge, LABELS> {
    /// So many now.
    pub fn set(&self, labels: [&'static str; LABELS], value: f64) {
        self.with(labels, |gauge| gauge.set(value));
    }

    /// So many more, or fewer.
    pub fn add(&self, labels: [&'static str; LABELS], change: f64) {
        self.with(labels, |gauge| gauge.increment(change));
    }
}

impl<const LABELS: usize> Metric<Histogram, LABELS> {
    /// One of this size.
    pub fn record(&self, labels: [&'static str; LABELS], value: f64) {
        self.with(labels, |histogram| histogram.record(value));
    }

    /// One that took so long.
    pub fn took(&self, labels: [&'static str; LABELS], time: Duration) {
        self.record(labels, time.as_secs_f64());
    }
}

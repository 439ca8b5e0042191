//! Does Prometheus see what happens, under the names that operators are told, and nothing about anybody?

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use fred::interfaces::KeysInterface;
use phonepass::{auth::event::Event, telemetry::metrics};
use regex::Regex;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    sms_providers::StandIn,
    support::{
        Answer, PASSWORD, Tokens,
        backends::{Backends, Stores},
        process::{Process, free_port, until},
        servers::Server,
    },
};

const ANNA: &str = "13812345670";
const BERT: &str = "13812345671";
const CARL: &str = "13812345672";

/// One line of a scrape.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// What a scrape found.
pub struct Scrape {
    text: String,
    samples: Vec<Sample>,
}

impl Scrape {
    pub async fn of(address: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
        let answer = Answer::to(client.get(format!("http://{address}/metrics"))).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        let text = String::from_utf8(answer.bytes).unwrap();
        let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(sample).collect();
        Self { text, samples }
    }

    /// The sum of the series with these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| {
            sample.name == name && labels.iter().all(|(label, value)| sample.labels.get(*label).unwrap() == value)
        };
        self.samples.iter().filter(fits).map(|sample| sample.value).sum()
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let pair = Regex::new(r#"([a-z_]+)="([^"]*)""#).unwrap();
    let labels = pair.captures_iter(labels).map(|pair| (pair[1].to_owned(), pair[2].to_owned()));
    Sample { name: name.to_owned(), labels: labels.collect(), value: value.parse().unwrap() }
}

fn repository(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A service with metrics, and where they are.
pub async fn serve(folder: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> (Process, String) {
    let address = format!("127.0.0.1:{}", free_port());
    let mut all = vec![("METRICS_ADDR", address.as_str()), ("SHUTDOWN_DELAY", "0")];
    all.extend(environment);
    (Process::serve(folder, &all, arguments).await, address)
}

/// The code of the last message that a vendor took.
fn code(vendor: &StandIn) -> String {
    let received = vendor.received().pop().unwrap();
    serde_json::from_str::<Value>(&received.body).unwrap()["code"].as_str().unwrap().to_owned()
}

async fn ask_for_code(process: &Process, mobile: &str, status: u16) {
    process.get(&format!("/app/v1_0/sms/codes/{mobile}")).await.expect(status);
}

/// A service that has seen one of each, and what it tells then.
async fn one_of_each() -> (Scrape, Vec<String>) {
    let stores = Stores::create(Backends::POSTGRESQL_AND_REDIS).await;
    let (failing, refusing) = ([(500, ""); 2], [(400, "")]);
    let answers = [&[(200, ""); 4][..], &failing, &refusing, &[(200, ""); 20]].concat();
    let (vendor, url) = StandIn::start(0, &answers).await;
    let environment = [
        ("SMS_PROVIDER", "webhook"),
        ("SMS_WEBHOOK_URL", url.as_str()),
        ("IMAGE_CODE", "never"),
        ("SMS_RESEND_SECONDS", "0"),
        ("SMS_PER_IP_PER_HOUR", "0"),
        // Strangers get eight of them.
        ("SMS_TOTAL_PER_HOUR", "10"),
        ("VERIFY_PER_MOBILE_PER_HOUR", "3"),
    ];
    let flags = stores.flags();
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let (process, metrics) = serve(stores.folder.path(), &environment, &flags).await;
    let mut secrets = vec![ANNA.to_owned(), BERT.to_owned(), CARL.to_owned(), "127.0.0.1".to_owned()];

    // A code that is right, told again, and of no use any more.
    ask_for_code(&process, ANNA, 200).await;
    let right = code(&vendor);
    let key = Uuid::now_v7().to_string();
    let sign_in = || {
        let request = process.request(reqwest::Method::POST, "/app/v1_0/authorizations");
        request.header("idempotency-key", &key).json(&json!({ "mobile": ANNA, "code": right }))
    };
    let first = Tokens::of(&process.send(sign_in()).await.expect(201));
    process.send(sign_in()).await.expect(201);
    process.sign_in_with(ANNA, &right).await.expect_error(400, "sms_code_expired");
    secrets.extend([right, first.access.clone(), first.session_id()]);

    // Refresh tokens: the next, the next but one, one from long ago, one that nobody issued.
    let me = process.request(reqwest::Method::GET, "/app/v1_0/user").bearer_auth(&first.access);
    secrets.push(process.send(me).await.expect(200)["data"]["id"].as_str().unwrap().to_owned());
    let second = Tokens::of(&process.refresh(&first.refresh).await.expect(201));
    process.refresh(&second.refresh).await.expect(201);
    process.refresh(&first.refresh).await.expect_error(401, "refresh_token_reused");
    process.refresh("rt_forged").await.expect_error(401, "refresh_token_invalid");

    // Pictures: one that is not there, one that says something else, one that is read.
    let (redis, prefix) = stores.redis().unwrap();
    let send = |id: &str, text: &str| format!("/api/v1.0/smscode/{BERT}?text={text}&id={id}");
    process.get(&send("nothing", "abcd")).await.expect_errno(4002);
    process.get("/api/v1.0/imagecode/a-picture").await;
    process.get(&send("a-picture", "----")).await.expect_errno(4004);
    process.get("/api/v1.0/imagecode/a-picture").await;
    let text: String = redis.get(format!("{prefix}image_code:a-picture")).await.unwrap();
    process.get(&send("a-picture", &text)).await.expect_errno(0);

    // Passwords are hashed.
    let body = json!({ "mobile": BERT, "sms_code": code(&vendor), "password": PASSWORD, "password2": PASSWORD });
    process.post("/api/v1.0/users", body).await.expect_errno(0);
    process.post("/api/v1.0/sessions", json!({ "mobile": BERT, "password": PASSWORD })).await.expect_errno(0);

    // Wrong codes.
    ask_for_code(&process, CARL, 200).await;
    let wrong = if code(&vendor) == "000000" { "000001" } else { "000000" };
    for _ in 0..3 {
        process.sign_in_with(CARL, wrong).await.expect_error(400, "sms_code_invalid");
    }
    // And guesses where no code is.
    for _ in 0..3 {
        process.sign_in_with("13600136000", wrong).await.expect_error(400, "sms_code_expired");
    }
    process.sign_in_with("13600136000", wrong).await.expect_error(429, "too_many_requests");
    let guess = json!({ "mobile": CARL, "password": "not the right secret" });
    for _ in 0..3 {
        process.post("/app/v1_0/authorizations/password", guess.clone()).await.expect(401);
    }
    process.post("/app/v1_0/authorizations/password", guess).await.expect(429);

    // A vendor that takes one more, then fails, refuses, and goes on until the total is reached.
    ask_for_code(&process, CARL, 200).await;
    ask_for_code(&process, CARL, 502).await;
    ask_for_code(&process, CARL, 502).await;
    until("the total", Duration::from_secs(30), async || {
        process.get(&format!("/app/v1_0/sms/codes/{CARL}")).await.status == 429
    })
    .await;
    (Scrape::of(&metrics).await, secrets)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_happened_is_counted_and_the_dashboard_and_the_alerts_find_it() {
    let (scrape, secrets) = one_of_each().await;

    let requests = |operation, status, code| {
        let labels = [("operation", operation), ("status", status), ("code", code)];
        scrape.value("phonepass_http_requests_total", &labels)
    };
    assert_eq!(requests("sign_in_with_sms_code", "2xx", "ok"), 2.0);
    assert_eq!(requests("sign_in_with_sms_code", "4xx", "sms_code_expired"), 4.0);
    assert_eq!(requests("sign_in_with_sms_code", "4xx", "too_many_requests"), 1.0);
    assert_eq!(scrape.value("phonepass_http_requests_total", &[("status", "5xx"), ("code", "sms_send_failed")]), 2.0);
    assert_eq!(
        scrape.value("phonepass_http_requests_total", &[("status", "2xx"), ("code", "image_code_invalid")]),
        1.0
    );
    let sign_ins = [("operation", "sign_in_with_sms_code")];
    assert_eq!(scrape.value("phonepass_http_request_duration_seconds_count", &sign_ins), 10.0);
    assert_eq!(scrape.value("phonepass_http_requests_in_flight", &[]), 0.0);
    for (outcome, number) in [("right", 1.0), ("repeated", 1.0), ("expired", 4.0), ("wrong", 3.0), ("over_budget", 1.0)]
    {
        let more = if outcome == "right" { 1.0 } else { 0.0 };
        let labels = [("purpose", "login"), ("outcome", outcome)];
        assert_eq!(scrape.value("phonepass_sms_codes_checked_total", &labels), number + more, "{outcome}");
    }
    for outcome in ["right", "wrong", "expired"] {
        assert_eq!(scrape.value("phonepass_image_codes_checked_total", &[("outcome", outcome)]), 1.0, "{outcome}");
    }
    for (outcome, number) in [("rotated", 2.0), ("reused", 1.0), ("forged", 1.0)] {
        assert_eq!(scrape.value("phonepass_refreshes_total", &[("outcome", outcome)]), number, "{outcome}");
    }
    for (outcome, number) in
        [("sent", 8.0), ("unreachable", 1.0), ("refused", 1.0), ("number_refused", 0.0), ("throttled", 0.0)]
    {
        let labels = [("vendor", "webhook"), ("outcome", outcome)];
        assert_eq!(scrape.value("phonepass_sms_messages_total", &labels), number, "{outcome}");
    }
    for limit in ["wrong_codes", "wrong_passwords", "sms_total"] {
        assert_eq!(scrape.value("phonepass_limits_hit_total", &[("limit", limit)]), 1.0, "{limit}");
    }
    for (event, number) in [("registered", 2.0), ("signed_in", 1.0), ("code_sent", 8.0), ("code_not_sent", 2.0)] {
        assert_eq!(scrape.value("phonepass_security_events_total", &[("event", event)]), number, "{event}");
    }
    for batch in ["sign_ins", "refreshes", "look_ups", "redemptions"] {
        assert!(scrape.value("phonepass_batch_size_count", &[("batch", batch)]) >= 1.0, "{batch}");
        assert_eq!(scrape.value("phonepass_batch_queue_depth", &[("batch", batch)]), 0.0, "{batch}");
    }
    assert_eq!(scrape.value("phonepass_work_duration_seconds_count", &[("work", "password_hashing")]), 5.0);
    assert_eq!(scrape.value("phonepass_work_queue_depth", &[("work", "password_hashing")]), 0.0);
    for (pool, max) in [("statements", 6.0), ("batches", 2.0)] {
        assert_eq!(scrape.value("phonepass_database_connections_max", &[("pool", pool)]), max, "{pool}");
        let [in_use, idle] = ["in_use", "idle"]
            .map(|state| scrape.value("phonepass_database_connections", &[("pool", pool), ("state", state)]));
        assert!(idle >= 1.0 && in_use + idle <= max, "{pool}: {in_use} in use, {idle} idle");
    }
    assert_eq!(scrape.value("phonepass_ready", &[]), 1.0);
    assert_eq!(scrape.value("phonepass_store_up", &[]), 2.0);
    assert_eq!(scrape.value("phonepass_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert!(scrape.value("process_start_time_seconds", &[]) > 1.7e9);

    every_metric_is_there_with_its_labels(&scrape);
    for (place, query) in queries() {
        every_series_is_found(&scrape, &place, &query);
    }

    for secret in secrets {
        assert!(!scrape.text.contains(&secret), "{secret}");
    }
    let bounded = Regex::new(r"^(-|[a-z][a-z0-9_]*|[1-5]xx|[0-9.]+|\+Inf)$").unwrap();
    for sample in &scrape.samples {
        assert!(sample.labels.values().all(|value| bounded.is_match(value)), "{sample:?}");
    }
}

fn every_metric_is_there_with_its_labels(scrape: &Scrape) {
    for about in metrics::ALL {
        let suffix = if about.kind == metrics::Kind::Histogram { "_count" } else { "" };
        let name = format!("{}{suffix}", about.name);
        let found: Vec<_> = scrape.samples.iter().filter(|sample| sample.name == name).collect();
        assert!(!found.is_empty(), "{name} is not exported");
        for sample in found {
            let mut labels = about.labels.to_vec();
            labels.sort_unstable();
            assert_eq!(sample.labels.keys().collect::<Vec<_>>(), labels, "{name}");
        }
        assert!(scrape.text.contains(&format!("# HELP {} {}", about.name, about.help)), "{}", about.name);
    }
    let known = |sample: &Sample| {
        let stem = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| sample.name.strip_suffix(suffix));
        let is = |name: &str| metrics::ALL.iter().any(|about| about.name == name);
        is(&sample.name) || stem.is_some_and(is)
    };
    let unknown: Vec<_> = scrape.samples.iter().filter(|sample| !known(sample)).collect();
    assert!(unknown.is_empty(), "not in the table: {unknown:?}");
}

/// Every query of the dashboard and of the alerts, and where it stands.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&repository("deploy/grafana/dashboard.json")).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{panel}");
            queries.push((panel["title"].as_str().unwrap().to_owned(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if variable["type"] == "query" {
            queries.push(("a variable".to_owned(), variable["query"]["query"].as_str().unwrap().to_owned()));
        }
    }
    let alerts: Value = serde_yaml_ng::from_str(&repository("deploy/prometheus/alerts.yml")).unwrap();
    for rule in alerts["groups"][0]["rules"].as_array().unwrap() {
        queries.push((rule["alert"].as_str().unwrap().to_owned(), rule["expr"].as_str().unwrap().to_owned()));
    }
    assert!(queries.len() > 40, "{}", queries.len());
    queries
}

/// Fails unless each selector of a query finds a series, and each label that it groups by is there.
fn every_series_is_found(scrape: &Scrape, place: &str, query: &str) {
    let selector = Regex::new(r"\b((?:phonepass|process)_[a-z_]+)(?:\{([^}]*)\})?").unwrap();
    let matcher = Regex::new(r#"([a-z_]+)(=~|!~|!=|=)"([^"]*)""#).unwrap();
    let (mut seen, mut searched) = (Vec::new(), false);
    for found in selector.captures_iter(query) {
        let matchers = found.get(2).map_or("", |matchers| matchers.as_str());
        let fits = |sample: &&Sample| {
            sample.name == found[1]
                && matcher.captures_iter(matchers).filter(|matcher| &matcher[1] != "instance").all(|matcher| {
                    let value = sample.labels.get(&matcher[1]).unwrap_or_else(|| panic!("{place}: {}", &matcher[1]));
                    let is = Regex::new(&format!("^(?:{})$", &matcher[3])).unwrap().is_match(value);
                    is != matcher[2].starts_with('!')
                })
        };
        let series: Vec<_> = scrape.samples.iter().filter(fits).collect();
        // Not every event has happened, but each is one of the code's.
        let mut events = matcher.captures_iter(matchers).filter(|matcher| &matcher[1] == "event").peekable();
        let is_of_events = events.peek().is_some();
        for event in events.flat_map(|matcher| matcher[3].split('|').map(str::to_owned).collect::<Vec<_>>()) {
            assert!(Event::ALL.iter().any(|known| known.as_str() == event), "{place}: no event {event}");
        }
        // Of failures of the service itself none has happened.
        let unseen = is_of_events || matchers.contains("unavailable|internal");
        assert!(unseen || !series.is_empty(), "{place}: nothing is found by {}", &found[0]);
        seen.extend(series);
        searched |= unseen;
    }
    assert!(!seen.is_empty() || searched, "{place}: no metric in {query}");
    let grouping = Regex::new(r"\bby \(([^)]*)\)").unwrap();
    for labels in grouping.captures_iter(query) {
        for label in labels[1].split(", ").filter(|label| *label != "instance") {
            assert!(
                seen.iter().any(|sample| sample.labels.contains_key(label)),
                "{place}: no label {label} in {query}"
            );
        }
    }
}

#[test]
fn the_list_in_the_documentation_is_that_of_the_code() {
    let text = repository("docs/operations.md");
    let row = Regex::new(r"(?m)^\| `((?:phonepass|process)_[a-z_]+)` \| (\w+) \| ([^|]+) \| ([^|]+) \|").unwrap();
    let documented: Vec<_> =
        row.captures_iter(&text).map(|row| [1, 2, 3, 4].map(|cell| row[cell].to_owned())).collect();
    let in_code = metrics::ALL.iter().map(|about| {
        let labels: Vec<_> = about.labels.iter().map(|label| format!("`{label}`")).collect();
        let or_dash = |text: String| if text.is_empty() { "–".to_owned() } else { text };
        let unit = if about.name.ends_with("_seconds") { "seconds" } else { "" };
        [
            about.name.to_owned(),
            format!("{:?}", about.kind).to_lowercase(),
            or_dash(labels.join(", ")),
            or_dash(unit.to_owned()),
        ]
    });
    assert_eq!(documented, in_code.collect::<Vec<_>>(), "docs/operations.md (left), src/telemetry/metrics.rs (right)");
}

#[tokio::test]
async fn metrics_have_an_address_of_their_own_and_nothing_else_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (process, metrics) = serve(folder.path(), &[], &[]).await;
    process.get("/metrics").await.expect_error(404, "not_found");
    Scrape::of(&metrics).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for (method, path, status) in
        [("GET", "/", 404), ("GET", "/healthz", 404), ("GET", "/metrics/", 404), ("POST", "/metrics", 405)]
    {
        let request = client.request(method.parse().unwrap(), format!("http://{metrics}{path}"));
        assert_eq!(Answer::to(request).await.status, status, "{method} {path}");
    }

    process.running.signal("TERM");
    let finished = process.finished().await;
    assert_eq!(finished.code, 0, "{finished:?}");
    assert!(tokio::net::TcpStream::connect(&metrics).await.is_err(), "somebody still listens");
}

#[tokio::test]
async fn an_address_that_is_taken_stops_a_start_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let finished = Process::run(folder.path(), &[("METRICS_ADDR", &address)], &[]).await;
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.stderr.contains(&format!("METRICS_ADDR={address}: ")), "{finished:?}");
    assert!(!finished.stdout.contains("listens"), "{finished:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_gone_shows_and_so_does_a_service_that_is_about_to_stop() {
    let mut redis = Server::redis().await;
    let folder = tempfile::tempdir().unwrap();
    let environment = [("REDIS_URL", redis.url.as_str()), ("SHUTDOWN_DELAY", "3")];
    let (process, metrics) = serve(folder.path(), &environment, &[]).await;
    let seen = async |ready: f64, redis_up: f64| {
        let scrape = Scrape::of(&metrics).await;
        assert_eq!(scrape.value("phonepass_store_up", &[("store", "sqlite")]), 1.0);
        scrape.value("phonepass_ready", &[]) == ready
            && scrape.value("phonepass_store_up", &[("store", "redis")]) == redis_up
    };
    assert!(seen(1.0, 1.0).await);
    redis.stop();
    until("a missing Redis", Duration::from_secs(10), async || seen(0.0, 0.0).await).await;
    redis.start().await;
    until("a Redis that is back", Duration::from_secs(10), async || seen(1.0, 1.0).await).await;
    process.running.signal("TERM");
    until("the end that is near", Duration::from_secs(10), async || seen(0.0, 1.0).await).await;
}

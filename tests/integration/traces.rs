//! Does a collector of OpenTelemetry see where the time of a request goes, and does nobody wait for one that is gone?

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value},
    trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus},
};
use phonepass::server;
use poem::{Endpoint, Request, Response, Result};
use prost::Message;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    sms_providers::StandIn,
    support::{
        MOBILE, PASSWORD, Tokens,
        backends::{Backends, Stores},
        process::{Finished, Process},
        servers::Server,
    },
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// Takes spans, as OTLP over HTTP.
#[derive(Clone, Default)]
pub struct Collector {
    exports: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Collector {
    pub async fn listen() -> (Self, String) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(server::serve(listener, collector.clone(), std::future::pending()));
        (collector, url)
    }

    pub fn spans(&self) -> Vec<Span> {
        let exports = self.exports.lock().unwrap();
        let resources = exports.iter().flat_map(|export| &export.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    fn attribute_of_resource(&self, key: &str) -> String {
        let exports = self.exports.lock().unwrap();
        attribute(&exports[0].resource_spans[0].resource.as_ref().unwrap().attributes, key).unwrap()
    }
}

impl Endpoint for Collector {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        assert_eq!(request.uri().path(), "/v1/traces");
        assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
        let body = request.take_body().into_bytes().await?;
        self.exports.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
        Ok(Response::default())
    }
}

pub fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => number.to_string(),
        other => panic!("{key}: {other:?}"),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The names of a span and of those that it is a part of, up to the caller's.
fn path(spans: &HashMap<String, &Span>, span: &Span) -> String {
    let parent = hex(&span.parent_span_id);
    match spans.get(&parent) {
        Some(parent) => format!("{} > {}", path(spans, parent), span.name),
        None if parent == CALLER => span.name.clone(),
        None => panic!("no parent in the same trace: {span:?}"),
    }
}

fn lines(finished: &Finished) -> Vec<Value> {
    finished.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn stopped(process: Process) -> Finished {
    process.running.signal("TERM");
    let finished = process.finished().await;
    assert_eq!(finished.code, 0, "{finished:?}");
    finished
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sign_in_is_one_trace_through_http_stores_batches_and_vendor() {
    let (collector, collector_url) = Collector::listen().await;
    let (vendor, vendor_url) = StandIn::start(0, &[(200, "")]).await;
    let stores = Stores::create(Backends::POSTGRESQL_AND_REDIS).await;
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector_url.as_str()),
        ("OTEL_SERVICE_NAME", "sign-in"),
        ("SMS_PROVIDER", "webhook"),
        ("SMS_TOTAL_PER_HOUR", "0"),
        ("SMS_WEBHOOK_URL", vendor_url.as_str()),
        ("LOG_FORMAT", "json"),
        ("SHUTDOWN_DELAY", "0"),
    ];
    let flags = stores.flags();
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let process = Process::serve(stores.folder.path(), &environment, &flags).await;

    let traced = |method, path: &str| {
        let request = process.request(method, path).header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
        request.header("x-request-id", "of-the-test")
    };
    process.send(traced(Method::GET, &format!("/app/v1_0/sms/codes/{MOBILE}"))).await.expect(200);
    let message: Value = serde_json::from_str(&vendor.received().pop().unwrap().body).unwrap();
    let code = message["code"].as_str().unwrap();
    let body = json!({ "mobile": MOBILE, "code": code });
    let sign_in = process.send(traced(Method::POST, "/app/v1_0/authorizations").json(&body)).await.expect(201);
    let tokens = Tokens::of(&sign_in);
    // A trace of its own, and an error of the client.
    process.sign_in_with(MOBILE, code).await.expect_error(400, "sms_code_expired");
    let finished = stopped(process).await;

    assert_eq!(collector.attribute_of_resource("service.name"), "sign-in");
    assert_eq!(collector.attribute_of_resource("service.version"), env!("CARGO_PKG_VERSION"));
    let all = collector.spans();
    let spans: HashMap<_, _> =
        all.iter().filter(|span| hex(&span.trace_id) == TRACE).map(|span| (hex(&span.span_id), span)).collect();
    let mut paths: Vec<_> = spans.values().map(|span| path(&spans, span)).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(
        paths,
        [
            "GET send_login_sms_code",
            "GET send_login_sms_code > redis",
            "GET send_login_sms_code > webhook",
            "POST sign_in_with_sms_code",
            "POST sign_in_with_sms_code > redemptions",
            "POST sign_in_with_sms_code > redemptions > batch redemptions",
            "POST sign_in_with_sms_code > redemptions > batch redemptions > redis",
            "POST sign_in_with_sms_code > sign_ins",
            "POST sign_in_with_sms_code > sign_ins > batch sign_ins",
            "POST sign_in_with_sms_code > sign_ins > batch sign_ins > postgresql",
        ]
    );
    let named = |name: &str| *spans.values().find(|span| span.name == name).unwrap();
    let request = named("POST sign_in_with_sms_code");
    assert_eq!(request.kind(), SpanKind::Server);
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.response.status_code", "201"),
        ("phonepass.operation", "sign_in_with_sms_code"),
        ("phonepass.code", "ok"),
    ] {
        assert_eq!(attribute(&request.attributes, key).as_deref(), Some(value));
    }
    assert_eq!(attribute(&named("batch sign_ins").attributes, "phonepass.batch.size").as_deref(), Some("1"));
    let statement = named("postgresql");
    assert_eq!(statement.kind(), SpanKind::Client);
    let place = attribute(&statement.attributes, "code.file.path").unwrap();
    assert_eq!(place, "src/store/users/postgres/batches.rs");
    for span in spans.values() {
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
    }

    let [refused] =
        all.iter().filter(|span| span.name.starts_with("POST") && hex(&span.trace_id) != TRACE).collect::<Vec<_>>()[..]
    else {
        panic!("{all:?}")
    };
    assert_eq!(attribute(&refused.attributes, "phonepass.code").as_deref(), Some("sms_code_expired"));
    assert_eq!(refused.status.clone().unwrap_or_default().code(), SpanStatus::Unset);

    // Lines of the log name the trace; the spans name nobody.
    let lines = lines(&finished);
    let of_the_test: Vec<_> = lines.iter().filter(|line| line["span"]["request_id"] == "of-the-test").collect();
    assert!(of_the_test.len() >= 4, "{lines:?}");
    assert!(of_the_test.iter().all(|line| line["span"]["trace_id"] == TRACE), "{of_the_test:?}");
    let told = format!("{all:?}");
    for secret in [MOBILE, code, "127.0.0.1", &tokens.session_id(), sign_in["data"]["user_id"].as_str().unwrap()] {
        assert!(!told.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashing_is_a_part_of_its_request_and_a_store_that_fails_shows() {
    let (collector, url) = Collector::listen().await;
    let mut redis = Server::redis().await;
    let folder = tempfile::tempdir().unwrap();
    let environment =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), ("REDIS_URL", &redis.url), ("SHUTDOWN_DELAY", "0")];
    let process = Process::serve(folder.path(), &environment, &[]).await;
    let sign_in = json!({ "mobile": MOBILE, "password": PASSWORD });
    process.post("/app/v1_0/authorizations/password", sign_in).await.expect(401);
    redis.stop();
    process.get(&format!("/app/v1_0/sms/codes/{MOBILE}")).await.expect(503);
    stopped(process).await;

    let spans = collector.spans();
    let of = |name: &str| spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name}: {spans:?}"));
    let hashing = of("password_hashing");
    assert_eq!(hashing.parent_span_id, of("POST sign_in_with_password").span_id);
    assert!(hashing.end_time_unix_nano > hashing.start_time_unix_nano);
    let failed = of("GET send_login_sms_code");
    assert_eq!(failed.status.clone().unwrap().code(), SpanStatus::Error);
    let parts = spans.iter().filter(|span| span.parent_span_id == failed.span_id);
    let parts: Vec<_> =
        parts.map(|span| (span.name.as_str(), span.status.clone().unwrap_or_default().code())).collect();
    assert!(parts.contains(&("redis", SpanStatus::Error)), "{parts:?}");
    // Polls of the background are in no trace.
    assert!(spans.iter().all(|span| !span.parent_span_id.is_empty() || span.kind() == SpanKind::Server), "{spans:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_collector_that_is_silent_or_gone() {
    // Takes connections, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let urls = [&silent, &gone].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    drop(gone);
    for url in urls {
        let folder = tempfile::tempdir().unwrap();
        let environment = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("IMAGE_CODE", "never"),
            // Full with the first request, and on its way at once.
            ("OTEL_BSP_MAX_QUEUE_SIZE", "1"),
            ("OTEL_BSP_SCHEDULE_DELAY", "1"),
            ("SHUTDOWN_DELAY", "0"),
        ];
        let process = Process::serve(folder.path(), &environment, &[]).await;
        let started = Instant::now();
        for last in 0..20 {
            process.sign_in(&format!("138001380{last:02}")).await;
        }
        let each = started.elapsed() / 20;
        assert!(each < Duration::from_secs(1), "{url}: {each:?} for each sign-in");
        let stopping = Instant::now();
        let finished = stopped(process).await;
        assert!(
            lines(&finished).iter().any(|line| line["target"] == "opentelemetry_sdk" && line["level"] == "ERROR"),
            "{finished:?}"
        );
        assert!(stopping.elapsed() < Duration::from_secs(8), "{url}: {:?} to stop", stopping.elapsed());
    }
}

#[tokio::test]
async fn without_a_collector_no_line_names_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::serve(folder.path(), &[("LOG_FORMAT", "json"), ("SHUTDOWN_DELAY", "0")], &[]).await;
    let request = process.request(Method::GET, "/app/v1_0/user");
    process.send(request.header("traceparent", format!("00-{TRACE}-{CALLER}-01"))).await.expect(401);
    let finished = stopped(process).await;
    assert!(finished.stderr.contains("request served") && !finished.stderr.contains("trace_id"), "{finished:?}");
}

/// The names of the requests that a collector has after these `traceparent`s, with a sampler of the operator's.
async fn recorded(sampler: &[(&str, &str)], callers: &[String]) -> usize {
    let (collector, url) = Collector::listen().await;
    let folder = tempfile::tempdir().unwrap();
    let mut environment = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), ("SHUTDOWN_DELAY", "0")];
    environment.extend(sampler);
    let process = Process::serve(folder.path(), &environment, &[]).await;
    for caller in callers {
        process.send(process.request(Method::GET, "/app/v1_0/user").header("traceparent", caller)).await.expect(401);
    }
    stopped(process).await;
    let spans = collector.spans();
    let requests = spans.iter().filter(|span| span.name == "GET get_current_user");
    let of_callers = requests.filter(|span| callers.iter().any(|caller| caller.contains(&hex(&span.trace_id))));
    of_callers.count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_caller_takes_a_request_out_of_the_traces() {
    let by = |flags: &str| {
        (0..40).map(|number| format!("00-{}{number:02x}-{CALLER}-{flags}", "f".repeat(30))).collect::<Vec<_>>()
    };
    let (unsampled, sampled) = (by("00"), by("01"));
    assert_eq!(recorded(&[], &unsampled).await, 40);
    assert_eq!(recorded(&[], &sampled).await, 40);
    let share = |of: &'static str| [("OTEL_TRACES_SAMPLER", of), ("OTEL_TRACES_SAMPLER_ARG", "0.5")];
    // By chance, whatever id the caller chose: a chance of 1 in 10^11 for none or all.
    for sampler in ["parentbased_traceidratio", "traceidratio"] {
        let count = recorded(&share(sampler), &unsampled).await;
        assert!((1..40).contains(&count), "{sampler}: {count} of 40");
    }
    // A caller who is recorded sees the whole of its trace.
    assert_eq!(recorded(&share("parentbased_traceidratio"), &sampled).await, 40);
    assert_eq!(recorded(&[("OTEL_TRACES_SAMPLER", "always_off")], &unsampled).await, 0);
}

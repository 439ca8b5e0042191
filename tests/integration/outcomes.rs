//! What each request leaves behind, answered or not: one line of the log, one count, one span.

use std::{collections::BTreeMap, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    metrics::{self, Scrape},
    sms_providers::StandIn,
    support::{
        MOBILE,
        process::{Process, until},
    },
    traces::{Collector, attribute},
};

const SIGN_IN: &str = "/app/v1_0/authorizations";

/// Sends the beginning of a request that may never be complete.
async fn begin(process: &Process, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(process.url.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The head of a request with a body of fifty bytes, of which the first ten are there.
fn half_a_body(path: &str, id: &str) -> String {
    let body = "Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{\"mobile\":";
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nX-Request-Id: {id}\r\n{body}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_leaves_one_line_one_count_and_one_span_answered_or_not() {
    // It takes messages and never answers.
    let (vendor, vendor_url) = StandIn::start(0, &[]).await;
    let (collector, collector_url) = Collector::listen().await;
    let folder = tempfile::tempdir().unwrap();
    let environment = [
        ("LOG_FORMAT", "json"),
        ("SMS_PROVIDER", "webhook"),
        ("SMS_TOTAL_PER_HOUR", "0"),
        ("SMS_WEBHOOK_URL", vendor_url.as_str()),
        ("CORS_ORIGINS", "https://a.example"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector_url.as_str()),
    ];
    let (process, address) = metrics::serve(folder.path(), &environment, &[]).await;

    // Ten seconds to wait, in which the rest happens.
    let mut late = begin(&process, &half_a_body(SIGN_IN, "late-body")).await;
    let mut late_classic = begin(&process, &half_a_body("/passport/login", "late-classic-body")).await;

    let send = async |method: Method, path: &str, id: &str, headers: &[(&str, &str)], body: String| {
        let request = process.request(method, path).header("x-request-id", id).body(body);
        process.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await.status
    };
    let json = ("content-type", "application/json");
    let origin = [("origin", "https://a.example"), ("access-control-request-method", "POST")];
    let none = String::new();
    assert_eq!(send(Method::GET, "/healthz", "answered", &[], none.clone()).await, 200);
    assert_eq!(send(Method::GET, "/", "page", &[], none.clone()).await, 200);
    assert_eq!(send(Method::OPTIONS, SIGN_IN, "preflight", &origin, none.clone()).await, 204);
    assert_eq!(send(Method::GET, "/nothing", "unknown-path", &[], none.clone()).await, 404);
    assert_eq!(send(Method::HEAD, "/passport/logout", "head", &[], none.clone()).await, 405);
    assert_eq!(send(Method::POST, SIGN_IN, "large-body", &[json], "x".repeat(17 * 1024)).await, 413);
    assert_eq!(send(Method::POST, SIGN_IN, "broken-body", &[json], "{".to_owned()).await, 400);
    assert_eq!(send(Method::POST, "/passport/login", "classic-refusal", &[json], "{}".to_owned()).await, 200);

    drop(begin(&process, &half_a_body(SIGN_IN, "hung-up-in-body")).await);
    let code =
        format!("GET /app/v1_0/sms/codes/{MOBILE} HTTP/1.1\r\nHost: x\r\nX-Request-Id: hung-up-in-handler\r\n\r\n");
    let waiting = begin(&process, &code).await;
    until("the vendor has the message", Duration::from_secs(10), async || !vendor.received().is_empty()).await;
    drop(waiting);

    for stream in [&mut late, &mut late_classic] {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(String::from_utf8_lossy(&answer), "");
    }
    until("nothing is in flight", Duration::from_secs(10), async || {
        Scrape::of(&address).await.value("phonepass_http_requests_in_flight", &[]) == 0.0
    })
    .await;
    let scrape = Scrape::of(&address).await;
    process.running.signal("TERM");
    let finished = process.finished().await;
    finished.expect_success();

    let lines = finished.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let served: Vec<_> = lines.filter(|line| line["message"] == "request served").collect();
    let mut counts = BTreeMap::new();
    for (id, method, operation, status, code) in [
        ("answered", "GET", "get_health", 200, "ok"),
        ("page", "GET", "-", 200, "ok"),
        ("preflight", "OPTIONS", "-", 204, "ok"),
        ("unknown-path", "GET", "-", 404, "not_found"),
        ("head", "HEAD", "-", 405, "method_not_allowed"),
        ("large-body", "POST", "sign_in_with_sms_code", 413, "body_too_large"),
        ("broken-body", "POST", "sign_in_with_sms_code", 400, "request_invalid"),
        ("classic-refusal", "POST", "passport_sign_in", 200, "request_invalid"),
        ("hung-up-in-body", "POST", "sign_in_with_sms_code", 499, "client_closed"),
        ("hung-up-in-handler", "GET", "send_login_sms_code", 499, "client_closed"),
        ("late-body", "POST", "sign_in_with_sms_code", 408, "body_timeout"),
        ("late-classic-body", "POST", "passport_sign_in", 408, "body_timeout"),
    ] {
        let of_request: Vec<_> = served.iter().filter(|line| line["span"]["request_id"] == id).collect();
        let [line] = of_request.as_slice() else { panic!("{id} has {} lines", of_request.len()) };
        let told = (&line["method"], &line["operation"], &line["status"], &line["code"]);
        assert_eq!(told, (&json!(method), &json!(operation), &json!(status), &json!(code)), "{id}");
        assert!(line["milliseconds"].as_f64().is_some_and(|it| if code == "body_timeout" {
            it > 9000.0
        } else {
            it < 60e3
        }));
        *counts.entry((operation, format!("{}xx", status / 100), code)).or_insert(0.0) += 1.0;
    }
    for ((operation, status, code), number) in counts {
        let labels = [("operation", operation), ("status", &status), ("code", code)];
        assert_eq!(scrape.value("phonepass_http_requests_total", &labels), number, "{labels:?}");
    }
    let requests = scrape.value("phonepass_http_requests_total", &[]);
    assert_eq!(requests, scrape.value("phonepass_http_request_duration_seconds_count", &[]));
    assert_eq!(requests, served.len() as f64);

    let spans = collector.spans();
    let ended = |name: &str, status: &str, code: &str| {
        let fits = |key, expected| move |span: &&_| matches(span, key, expected);
        let named = spans.iter().filter(|span| span.name == name);
        named.filter(fits("http.response.status_code", status)).filter(fits("phonepass.code", code)).count()
    };
    assert_eq!(ended("POST sign_in_with_sms_code", "499", "client_closed"), 1);
    assert_eq!(ended("GET send_login_sms_code", "499", "client_closed"), 1);
    assert_eq!(ended("POST sign_in_with_sms_code", "408", "body_timeout"), 1);
    assert_eq!(ended("POST passport_sign_in", "408", "body_timeout"), 1);
}

fn matches(span: &opentelemetry_proto::tonic::trace::v1::Span, key: &str, expected: &str) -> bool {
    attribute(&span.attributes, key).is_some_and(|value| value == expected)
}

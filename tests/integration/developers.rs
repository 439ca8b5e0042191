//! Is what developers see on their machine shut to everybody whom a forgotten proxy lets in?

use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Answer, TestApp, backends::Backends, on_every_backend};

/// A number of the document's examples, and its code.
const EXAMPLE: (&str, &str) = ("13800100500", "246810");

/// What a proxy that is not declared adds or leaves as it is, and a page of a stranger brings along.
const MARKS: [(&str, &str); 26] = [
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-for", ""),
    ("x-forwarded-host", "localhost"),
    ("x-forwarded-proto", "https"),
    ("forwarded", "for=127.0.0.1"),
    ("x-real-ip", "127.0.0.1"),
    ("via", "1.1 proxy"),
    ("cf-connecting-ip", "127.0.0.1"),
    ("x-original-forwarded-for", "127.0.0.1"),
    ("x-cluster-client-ip", "127.0.0.1"),
    ("fastly-client-ip", "127.0.0.1"),
    ("x-azure-clientip", "127.0.0.1"),
    ("cdn-loop", "cdn"),
    ("host", "id.example.com"),
    ("host", "id.example.com:8000"),
    ("host", "192.0.2.1"),
    ("host", "[2001:db8::1]:8000"),
    ("host", "localhost.example.com"),
    ("host", "notlocalhost"),
    ("host", "127.0.0.1.nip.io"),
    ("host", "localhost@example.com"),
    ("host", "example.com@localhost"),
    ("host", "example.com@x.localhost"),
    ("host", "[::1].example.com"),
    ("host", "[::1]example.com"),
    ("host", "localhost:99999"),
];

const LOCAL_HOSTS: [&str; 8] = [
    "localhost",
    "LOCALHOST:8000",
    "localhost.",
    "shop.localhost:8000",
    "127.0.0.1",
    "127.1.2.3:80",
    "[::1]:8000",
    "[::ffff:127.0.0.1]",
];

async fn sms_page(app: &TestApp, (name, value): (&str, &str)) -> Answer {
    app.send(app.request(Method::GET, "/dev/sms").header("accept", "application/json").header(name, value)).await
}

async fn sign_in(app: &TestApp, (name, value): (&str, &str), (mobile, code): (&str, &str)) -> Answer {
    let body = json!({ "mobile": mobile, "code": code });
    app.send(app.request(Method::POST, "/app/v1_0/authorizations").json(&body).header(name, value)).await
}

on_every_backend! {
    async fn behind_a_proxy_that_is_not_declared_there_is_nothing_for_developers(backends: Backends) {
        let app = TestApp::start_with(backends, &["--verify-per-mobile-per-hour=0"]).await;
        for mark in MARKS {
            sms_page(&app, mark).await.expect_error(404, "not_found");
            sign_in(&app, mark, EXAMPLE).await.expect_error(400, "sms_code_expired");
        }
        for host in LOCAL_HOSTS {
            sms_page(&app, ("host", host)).await.expect(200);
            sign_in(&app, ("host", host), EXAMPLE).await.expect(201);
        }
        // To strangers it is a number like any other: a message is sent, and its code is the right one.
        let request = app.request(Method::GET, &format!("/app/v1_0/sms/codes/{}", EXAMPLE.0));
        app.send(request.header("via", "1.1 proxy")).await.expect(200);
        let code = app.last_code(EXAMPLE.0);
        sign_in(&app, ("via", "1.1 proxy"), (EXAMPLE.0, &code)).await.expect(201);
    }
}

on_every_backend! {
    async fn numbers_that_an_operator_has_chosen_are_for_everybody(backends: Backends) {
        let app = TestApp::start_with(backends, &["--sms-test-codes=13600000000=246810"]).await;
        for mark in MARKS {
            sign_in(&app, mark, ("13600000000", "246810")).await.expect(201);
        }
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_client_decides() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &["--trusted-proxies=127.0.0.1"]).await;
    let ask = async |headers: &[(&str, &str)]| {
        let request = app.request(Method::GET, "/dev/sms").header("accept", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        app.send(request).await.status.as_u16()
    };
    assert_eq!(ask(&[("x-forwarded-for", "127.0.0.1"), ("host", "id.example.com"), ("via", "1.1 proxy")]).await, 200);
    assert_eq!(ask(&[("x-forwarded-for", "203.0.113.7"), ("host", "localhost")]).await, 404);
    assert_eq!(ask(&[("x-forwarded-for", "127.0.0.1, 203.0.113.7")]).await, 404);
    // One that does not say who the client is may as well not be declared.
    for unreadable in ["", "unknown", "unix:", "127.0.0.1, "] {
        assert_eq!(ask(&[("x-forwarded-for", unreadable), ("host", "id.example.com")]).await, 404, "{unreadable:?}");
    }
    assert_eq!(ask(&[("host", "id.example.com")]).await, 404);
    assert_eq!(ask(&[("x-real-ip", "127.0.0.1")]).await, 404);
    assert_eq!(ask(&[]).await, 200);
}

#[tokio::test]
async fn no_method_tells_others_that_the_page_of_developers_is_there() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let request = || app.request(method.parse().unwrap(), "/dev/sms");
        assert_eq!(app.send(request().header("via", "1.1 proxy")).await.status, 404, "{method}");
        let expected = if matches!(method, "GET" | "HEAD") { 200 } else { 405 };
        assert_eq!(app.send(request()).await.status, expected, "{method}");
    }
}

#[tokio::test]
async fn a_request_for_another_host_or_for_none_is_not_local() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    for (request, status) in [
        ("GET /dev/sms HTTP/1.1\r\nHost: localhost\r\n", "200"),
        ("GET http://localhost/dev/sms HTTP/1.1\r\nHost: localhost\r\n", "200"),
        ("GET http://id.example.com/dev/sms HTTP/1.1\r\nHost: localhost\r\n", "404"),
        ("GET /dev/sms HTTP/1.1\r\nHost: \r\n", "404"),
        ("GET /dev/sms HTTP/1.0\r\n", "404"),
        ("GET /dev/sms HTTP/1.0\r\nHost: localhost\r\n", "200"),
    ] {
        let mut stream = TcpStream::connect(app.url.strip_prefix("http://").unwrap()).await.unwrap();
        stream.write_all(format!("{request}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{request}: {answer}");
    }
}

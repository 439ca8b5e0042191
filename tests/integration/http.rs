//! Does the service behave as HTTP, whatever it is asked?

use phonepass::api::Language;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use crate::support::{Answer, MOBILE, TestApp, backends::Backends};

const SIGN_IN: &str = "/app/v1_0/authorizations";
const KIB: usize = 1024;

async fn start(flags: &[&str]) -> TestApp {
    TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, flags).await
}

async fn post_raw(app: &TestApp, path: &str, content_type: Option<&str>, body: impl Into<reqwest::Body>) -> Answer {
    let mut request = app.request(Method::POST, path).body(body);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    app.send(request).await
}

async fn connect(app: &TestApp) -> TcpStream {
    TcpStream::connect(app.url.strip_prefix("http://").unwrap()).await.unwrap()
}

/// Reads until the other side closes, or breaks, the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

/// Sends a body in chunks, without a `Content-Length`; returns the answer.
async fn send_chunked(app: &TestApp, path: &str, body: &str) -> String {
    let mut stream = connect(app).await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for chunk in body.as_bytes().chunks(1000) {
        stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await.unwrap();
        stream.write_all(chunk).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    rest(&mut stream).await
}

/// A JSON object of so many bytes.
fn object_of(length: usize) -> String {
    let empty = json!({ "padding": "" }).to_string();
    json!({ "padding": "x".repeat(length - empty.len()) }).to_string()
}

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    let app = start(&[]).await;
    let paths = ["/nothing", "/app", "/app/v1_0", "/app/v1_0/nothing", "/v1_0/nothing", "/api/v2/users", "/apiary"];
    for path in paths {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            app.send(app.request(method, path)).await.expect_error(404, "not_found");
        }
    }
    // A front end that retries on 401 for ever must not see one here.
    app.get_as("/app/v1_0/nothing", "rubbish").await.expect_error(404, "not_found");
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let app = start(&[]).await;
    for (method, path, allowed) in [
        (Method::GET, "/app/v1_0/sms/codes", "POST"),
        (Method::POST, "/app/v1_0/sms/codes/13800138000", "GET"),
        (Method::PATCH, "/v1_0/image_codes/x/", "GET"),
        (Method::DELETE, "/app/v1_0/authorizations/password", "POST"),
        (Method::POST, "/healthz", "GET, HEAD"),
        (Method::PUT, "/.well-known/jwks.json", "GET, HEAD"),
        (Method::POST, "/", "GET, HEAD"),
        (Method::POST, "/docs", "GET, HEAD"),
        (Method::DELETE, "/openapi.json", "GET, HEAD"),
        (Method::POST, "/dev/sms", "GET, HEAD"),
        (Method::OPTIONS, "/app/v1_0/sms/codes", "POST"),
    ] {
        let answer = app.send(app.request(method, path)).await;
        answer.expect_error(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allowed, "{path}");
    }
    let answer = app.send(app.request(Method::PATCH, SIGN_IN)).await;
    answer.expect_error(405, "method_not_allowed");
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE"] {
        assert!(answer.header("allow").split(", ").any(|allowed| allowed == method), "{}", answer.header("allow"));
    }
}

#[tokio::test]
async fn a_body_that_is_not_json_is_unsupported() {
    let app = start(&[]).await;
    let body = json!({ "mobile": MOBILE, "code": "123456" }).to_string();
    for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("json"), Some("")] {
        for path in [SIGN_IN, "/app/v1_0/authorizations/password", "/app/v1_0/sms/codes"] {
            let answer = post_raw(&app, path, content_type, body.clone()).await;
            answer.expect_error(415, "media_type_unsupported");
        }
    }
    for content_type in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        post_raw(&app, SIGN_IN, Some(content_type), body.clone()).await.expect_error(400, "sms_code_expired");
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_invalid() {
    let app = start(&[]).await;
    let deep = format!("{}{}", "[".repeat(4000), "]".repeat(4000));
    for path in [SIGN_IN, "/app/v1_0/authorizations/password", "/app/v1_0/sms/codes"] {
        for body in ["", "{", "{\"mobile\":}", "[]", "null", "1", "\"text\"", "{} {}", &deep] {
            let answer = post_raw(&app, path, Some("application/json"), body.to_owned()).await;
            answer.expect_error(400, "request_invalid");
        }
        let answer = post_raw(&app, path, Some("application/json"), b"{\"mobile\":\"\xFF\"}".to_vec()).await;
        answer.expect_error(400, "request_invalid");
    }
}

#[tokio::test]
async fn a_parameter_that_is_no_utf_8_is_no_fault_of_ours() {
    let app = start(&[]).await;
    for path in
        ["/app/v1_0/sms/codes/%FF", "/app/v1_0/image_codes/%FF", "/app/v1_0/sms/codes/13800138000?image_code=%FF"]
    {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 400, "{path}: {}", String::from_utf8_lossy(&answer.bytes));
        assert!(answer.json()["code"].is_string());
    }
}

#[tokio::test]
async fn a_body_may_have_sixteen_kibibytes() {
    let app = start(&[]).await;
    for (path, fits, too_large) in
        [(SIGN_IN, json!("request_invalid"), json!("body_too_large")), ("/passport/login", json!(4103), json!(4103))]
    {
        let name = if path == SIGN_IN { "code" } else { "errno" };
        let status = if path == SIGN_IN { 400 } else { 200 };
        let post = async |length: usize| post_raw(&app, path, Some("application/json"), object_of(length)).await;
        let answer = post(16 * KIB).await;
        assert_eq!(answer.expect(status)[name], fits);
        for length in [16 * KIB + 1, 17 * KIB, 200 * KIB] {
            let answer = post(length).await;
            assert_eq!(answer.expect(413)[name], too_large);
            assert!(!answer.header("x-request-id").is_empty());
        }
        let answer = send_chunked(&app, path, &object_of(16 * KIB)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let answer = send_chunked(&app, path, &object_of(17 * KIB)).await;
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains(&too_large.to_string()), "{answer}");
    }
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_a_sane_one_is_kept() {
    let app = start(&["--cors-origins=https://a.example"]).await;
    for path in ["/healthz", "/nothing", "/app/v1_0/user", "/api/v1.0/user", "/docs", "/dev/sms"] {
        for sane in ["abc", "0190f2a6-5b7e-7c3a-9d55-2f1c7a3e9b10", "A_b.c-1", &"x".repeat(64)] {
            let answer = app.send(app.request(Method::GET, path).header("x-request-id", sane)).await;
            assert_eq!(answer.header("x-request-id"), sane, "{path}");
        }
        for mad in ["", "a b", "a\tb", "<script>", "a;b", "\"", &"x".repeat(65), &"x".repeat(1000)] {
            let answer = app.send(app.request(Method::GET, path).header("x-request-id", mad)).await;
            assert_ne!(answer.header("x-request-id"), mad, "{path}");
            assert_eq!(answer.header("x-request-id").len(), 36, "{path}");
        }
        let (one, two) = (app.get(path).await, app.get(path).await);
        assert_ne!(one.header("x-request-id"), two.header("x-request-id"), "{path}");
    }
    let preflight = preflight(&app, "/nothing", "https://a.example").await;
    assert_eq!(preflight.header("x-request-id").len(), 36);
}

#[tokio::test]
async fn messages_are_chinese_unless_english_comes_first() {
    let app = start(&[]).await;
    let body = json!({ "mobile": "1", "code": "1" });
    for (languages, chinese) in [
        (None, true),
        (Some(""), true),
        (Some("zh-CN,zh;q=0.9,en;q=0.8"), true),
        (Some("de-DE,de;q=0.9"), true),
        (Some("*"), true),
        (Some("e"), true),
        (Some("en"), false),
        (Some("en-US"), false),
        (Some("EN-gb, zh;q=0.5"), false),
    ] {
        let mut request = app.request(Method::POST, SIGN_IN).json(&body);
        if let Some(languages) = languages {
            request = request.header("accept-language", languages);
        }
        let body = app.send(request).await.expect_error(400, "request_invalid");
        let field = &body["fields"][0];
        assert_eq!(field["field"], "mobile");
        for message in [&body["message"], &field["message"]] {
            assert_eq!(!message.as_str().unwrap().is_ascii(), chinese, "{languages:?}: {body}");
        }
    }
}

async fn preflight(app: &TestApp, path: &str, origin: &str) -> Answer {
    let request = app.request(Method::OPTIONS, path).header("origin", origin);
    let request = request.header("access-control-request-method", "PUT");
    app.send(request.header("access-control-request-headers", "authorization,content-type")).await
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read_every_answer() {
    let app = start(&["--cors-origins=https://a.example,https://b.example"]).await;
    let from = async |origin: &str, method: Method, path: &str, body: Option<String>| {
        let mut request = app.request(method, path).header("origin", origin);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        app.send(request).await
    };
    for origin in ["https://a.example", "https://b.example"] {
        for (method, path, body, status) in [
            (Method::GET, "/healthz", None, 200),
            (Method::GET, "/nothing", None, 404),
            (Method::GET, "/app/v1_0/user", None, 401),
            (Method::PATCH, SIGN_IN, None, 405),
            (Method::POST, SIGN_IN, None, 415),
            (Method::POST, SIGN_IN, Some("{".to_owned()), 400),
            (Method::POST, SIGN_IN, Some(object_of(17 * KIB)), 413),
            (Method::GET, "/api/v1.0/user", None, 200),
            (Method::GET, "/passport/nothing", None, 404),
        ] {
            let answer = from(origin, method, path, body).await;
            assert_eq!(answer.status, status, "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), origin, "{path}");
            assert_eq!(answer.header("access-control-expose-headers"), "x-request-id, retry-after", "{path}");
            assert_eq!(answer.header("vary").to_lowercase(), "origin", "{path}");
        }
        for path in [SIGN_IN, "/nothing/at/all", "/passport/login", "/"] {
            let answer = preflight(&app, path, origin).await;
            assert!(answer.status.is_success(), "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), origin, "{path}");
            let headers = "authorization, content-type, accept-language, idempotency-key, x-request-id, x-csrftoken, \
                           x-challenge-response";
            assert_eq!(answer.header("access-control-allow-headers"), headers, "{path}");
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
                let allowed = answer.header("access-control-allow-methods");
                assert!(allowed.split(", ").any(|allowed| allowed == method), "{path}: {allowed}");
            }
        }
    }
    for foreign in ["https://c.example", "http://a.example", "https://a.example.evil.example", "null"] {
        let answer = from(foreign, Method::GET, "/healthz", None).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), "", "{foreign}");
        assert_eq!(preflight(&app, SIGN_IN, foreign).await.header("access-control-allow-origin"), "", "{foreign}");
    }
}

#[tokio::test]
async fn without_allowed_origins_nothing_is_said_about_them() {
    let app = start(&[]).await;
    for path in ["/healthz", "/nothing"] {
        let answer = app.send(app.request(Method::GET, path).header("origin", "https://a.example")).await;
        assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "{path}");
    }
    let answer = preflight(&app, "/healthz", "https://a.example").await;
    answer.expect_error(405, "method_not_allowed");
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control-")));
}

#[tokio::test]
async fn what_is_personal_is_not_for_caches() {
    let app = start(&[]).await;
    for path in ["/app/v1_0/user", "/v1_0/nothing", "/api/v1.0/user", "/api/v1/session", "/passport/logout"] {
        assert_eq!(app.get(path).await.header("cache-control"), "no-store", "{path}");
    }
    let token = app.sign_in(MOBILE).await.access;
    let user = app.user(&token).await;
    user.expect(200);
    assert_eq!(user.header("cache-control"), "no-store");
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let app = start(&[]).await;
    for path in ["/healthz", "/readyz", "/docs", "/openapi.json", "/.well-known/jwks.json"] {
        let head = app.send(app.request(Method::HEAD, path)).await;
        assert_eq!((head.status.as_u16(), head.bytes.len()), (200, 0), "{path}");
        assert_eq!(head.header("content-type"), app.get(path).await.header("content-type"), "{path}");
    }
    for (path, status) in [("/nothing", 404), ("/app/v1_0/user", 401), (SIGN_IN, 401), ("/app/v1_0/sms/codes", 405)] {
        let head = app.send(app.request(Method::HEAD, path)).await;
        assert_eq!((head.status.as_u16(), head.bytes.len()), (status, 0), "{path}");
    }
}

#[tokio::test]
async fn health_and_readiness_are_told() {
    let app = start(&[]).await;
    assert_eq!(app.get("/healthz").await.expect(200)["status"], "ok");
    let ready = app.get("/readyz").await.expect(200);
    assert_eq!(ready["status"], "ok");
    assert_eq!(ready["checks"], json!([{ "name": "sqlite", "ok": true }, { "name": "in-process", "ok": true }]));
    app.app.stopping.store(true, std::sync::atomic::Ordering::Relaxed);
    let answer = app.get("/readyz").await;
    assert_eq!(answer.expect_error(503, "unavailable")["status"], "stopping");
    assert!(!answer.header("retry-after").is_empty());
    app.get("/healthz").await.expect(200);
}

#[tokio::test]
async fn the_document_is_there_in_json_and_in_yaml_in_english_and_in_chinese() {
    let app = start(&[]).await;
    let documents = &app.app.documents;
    for (query, language) in [("", Language::En), ("?lang=en", Language::En), ("?lang=zh", Language::Zh)] {
        let document = documents.in_language(language);
        let json = app.get(&format!("/openapi.json{query}")).await;
        assert_eq!(json.expect(200), *document);
        assert_eq!(json.header("content-type"), "application/json");
        let yaml = app.get(&format!("/openapi.yaml{query}")).await;
        assert_eq!(yaml.header("content-type"), "application/yaml");
        assert_eq!(serde_yaml_ng::from_slice::<Value>(&yaml.bytes).unwrap(), *document);
    }
    assert_ne!(documents.in_language(Language::Zh), documents.in_language(Language::En));
}

#[tokio::test]
async fn the_pages_lead_to_each_other_and_nowhere_else() {
    let app = start(&[]).await;
    for path in ["/", "/docs"] {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        let page = String::from_utf8(answer.bytes).unwrap();
        for elsewhere in ["src=\"http", "href=\"http", "@import"] {
            assert!(!page.contains(elsewhere), "{path} loads from elsewhere: {elsewhere}");
        }
        assert!(page.contains("href="), "{path} leads nowhere");
    }
}

#[tokio::test]
async fn the_way_in_names_the_sms_page_only_where_there_is_one() {
    let webhook =
        start(&["--sms-provider=webhook", "--sms-webhook-url=http://127.0.0.1:9/", "--sms-total-per-hour=0"]).await;
    for (app, named) in [(start(&[]).await, true), (webhook, false)] {
        let page = String::from_utf8(app.get("/").await.bytes).unwrap();
        assert_eq!(page.contains("/dev/sms"), named);
    }
}

#[tokio::test]
async fn keys_and_metadata_are_public_and_belong_to_each_other() {
    for (flags, base) in [(&["--public-url=https://id.example.com/"][..], Some("https://id.example.com")), (&[], None)]
    {
        let app = start(flags).await;
        let base = base.map_or_else(|| app.url.clone(), str::to_owned);
        let answer = app.get("/.well-known/jwks.json").await;
        let keys = answer.expect(200)["keys"].as_array().unwrap().clone();
        assert!(answer.header("cache-control").contains("max-age="));
        assert_eq!(keys.len(), 1);
        assert_eq!((&keys[0]["kty"], &keys[0]["alg"], &keys[0]["use"]), (&json!("EC"), &json!("ES256"), &json!("sig")));
        assert!(keys[0]["kid"].is_string() && keys[0].get("d").is_none());
        for name in ["openid-configuration", "oauth-authorization-server"] {
            let metadata = app.get(&format!("/.well-known/{name}")).await.expect(200);
            assert_eq!(metadata["issuer"], base);
            assert_eq!(metadata["jwks_uri"], format!("{base}/.well-known/jwks.json"));
        }
    }
}

async fn dev_sms(app: &TestApp, headers: &[(&str, &str)]) -> Answer {
    let request = app.request(Method::GET, "/dev/sms").header("accept", "application/json");
    app.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

#[tokio::test]
async fn a_developer_reads_codes_in_the_browser() {
    let app = start(&[]).await;
    assert_eq!(dev_sms(&app, &[]).await.expect(200), json!([]));
    let code = app.code(MOBILE).await;
    app.advance(61).await;
    app.post("/app/v1_0/sms/codes", json!({ "mobile": MOBILE, "purpose": "reset_password" })).await.expect(200);
    let second = app.code("13900139000").await;

    let messages = dev_sms(&app, &[]).await.expect(200);
    assert_eq!(messages.as_array().unwrap().len(), 2, "newest first: {messages}");
    for (message, mobile, code) in [(&messages[0], "13900139000", &second), (&messages[1], MOBILE, &code)] {
        assert_eq!((&message["mobile"], &message["purpose"]), (&json!(mobile), &json!("login")));
        assert_eq!(message["code"], **code);
        assert!(message["text"].as_str().unwrap().contains(&**code));
        let sent_at = message["sent_at"].as_str().unwrap();
        assert!(sent_at.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(sent_at).is_ok(), "{sent_at}");
        assert_eq!(message.as_object().unwrap().len(), 5);
    }
    for accept in ["text/html,application/xhtml+xml,*/*;q=0.8", "*/*"] {
        let page = app.send(app.request(Method::GET, "/dev/sms").header("accept", accept)).await;
        assert!(page.header("content-type").starts_with("text/html"));
        assert!(String::from_utf8(page.bytes).unwrap().contains(&*code));
    }
}

#[tokio::test]
async fn a_developer_sees_the_last_fifty_messages() {
    let app = start(&["--image-code=never"]).await;
    for number in 0..60 {
        app.app.outbox.as_ref().unwrap().record(phonepass::sms::SentMessage {
            mobile: MOBILE.to_owned(),
            purpose: "login".to_owned(),
            code: format!("{number:06}"),
            text: "<script>alert(1)</script>".to_owned(),
            sent_at: app.clock.now(),
        });
    }
    let messages = dev_sms(&app, &[]).await.expect(200);
    let messages = messages.as_array().unwrap();
    assert_eq!((messages.len(), &messages[0]["code"], &messages[49]["code"]), (50, &json!("000059"), &json!("000010")));
    let page = app.get("/dev/sms").await;
    assert!(!String::from_utf8(page.bytes).unwrap().contains("<script>"));
}

#[tokio::test]
async fn a_client_is_who_the_last_untrusted_hop_says() {
    let local = start(&["--trusted-proxies=127.0.0.0/8,10.0.0.0/8,::1/128"]).await;
    for (forwarded, loopback) in [
        ("127.0.0.1", true),
        ("::1", true),
        ("[::1]:4711", true),
        ("::ffff:127.0.0.1", true),
        ("203.0.113.9", false),
        ("203.0.113.9:4711", false),
        ("2001:db8::1", false),
        ("[2001:db8::1]", false),
        ("203.0.113.9, 127.0.0.1", false),
        ("203.0.113.9,10.1.2.3,127.0.0.1", false),
        // Whoever writes a header wants to be seen as somebody else.
        ("127.0.0.1, 203.0.113.9", false),
        ("127.0.0.1, 203.0.113.9, 10.1.2.3", false),
        ("10.1.2.3", false),
    ] {
        let answer = dev_sms(&local, &[("x-forwarded-for", forwarded)]).await;
        if loopback {
            assert_eq!(answer.status, 200, "{forwarded}");
        } else {
            answer.expect_error(404, "not_found");
        }
    }
    dev_sms(&local, &[]).await.expect(200);
    // Two headers are one list.
    let split = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "127.0.0.1")];
    dev_sms(&local, &split).await.expect_error(404, "not_found");
    let split = [("x-forwarded-for", "127.0.0.1"), ("x-forwarded-for", "203.0.113.9")];
    dev_sms(&local, &split).await.expect_error(404, "not_found");
}

#[tokio::test]
async fn an_untrusted_proxy_does_not_open_the_page_of_developers() {
    for flags in [&[][..], &["--trusted-proxies=10.0.0.0/8"]] {
        let app = start(flags).await;
        for client in ["203.0.113.9", "127.0.0.1"] {
            dev_sms(&app, &[("x-forwarded-for", client)]).await.expect_error(404, "not_found");
        }
    }
}

#[tokio::test]
async fn codes_are_shown_to_nobody_where_they_are_really_sent() {
    let app =
        start(&["--sms-provider=webhook", "--sms-webhook-url=http://127.0.0.1:1/", "--sms-total-per-hour=0"]).await;
    dev_sms(&app, &[]).await.expect_error(404, "not_found");
    assert!(app.app.documents.in_language(Language::En)["paths"].get("/dev/sms").is_none());
}

/// A service, and from now on a time that jumps to the next timer whenever nothing else is left to do.
async fn start_in_paused_time() -> TestApp {
    let app = start(&[]).await;
    tokio::time::pause();
    app
}

/// Waits until the connection is closed without a word; returns after how many seconds.
async fn seconds_until_closed(stream: &mut TcpStream) -> f64 {
    let started = Instant::now();
    let answer = rest(stream).await;
    assert_eq!(answer, "");
    started.elapsed().as_secs_f64()
}

/// Reads one answer with an empty or short body from a connection that stays open.
async fn answer(stream: &mut TcpStream) -> String {
    let mut buffer = vec![0; 4096];
    let length = stream.read(&mut buffer).await.unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn a_header_block_that_does_not_arrive_in_ten_seconds_closes_the_connection() {
    let app = start_in_paused_time().await;
    for begun in ["", "G", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        let mut stream = connect(&app).await;
        stream.write_all(begun.as_bytes()).await.unwrap();
        let seconds = seconds_until_closed(&mut stream).await;
        assert!((9.9..11.0).contains(&seconds), "{seconds} s after {begun:?}");
    }
}

#[tokio::test]
async fn a_byte_now_and_then_does_not_keep_a_connection_open() {
    let app = start_in_paused_time().await;
    for head in [
        "GET /healthz HTTP/1.1\r\n".to_owned(),
        format!("POST {SIGN_IN} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"),
    ] {
        let mut stream = connect(&app).await;
        let started = Instant::now();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut buffer = [0; 64];
        loop {
            match tokio::time::timeout(Duration::from_secs(3), stream.read(&mut buffer)).await {
                Err(_) => {
                    let _ = stream.write_all(b"x").await;
                }
                Ok(read) => break assert_eq!(read.unwrap_or(0), 0, "{head}"),
            }
            assert!(started.elapsed().as_secs() < 60, "still open: {head}");
        }
        assert!((9.9..11.0).contains(&started.elapsed().as_secs_f64()), "{:?} {head}", started.elapsed());
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_ten_seconds_closes_the_connection() {
    let app = start_in_paused_time().await;
    for path in [SIGN_IN, "/passport/login", "/nothing"] {
        for body in [
            "Content-Length: 50\r\n\r\n",
            "Content-Length: 50\r\n\r\n{\"mobile\":",
            "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"mob",
        ] {
            let mut stream = connect(&app).await;
            let request = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{body}");
            stream.write_all(request.as_bytes()).await.unwrap();
            let seconds = seconds_until_closed(&mut stream).await;
            assert!((9.9..11.0).contains(&seconds), "{seconds} s: {request}");
        }
    }
}

#[tokio::test]
async fn a_connection_may_rest_between_requests_but_not_within_one() {
    let app = start_in_paused_time().await;
    let mut stream = connect(&app).await;
    for pause in [0, 1, 12, 45, 5, 80] {
        tokio::time::sleep(Duration::from_secs(pause)).await;
        stream.write_all(HEALTH).await.unwrap();
        let answer = answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "after {pause} s: {answer:?}");
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    stream.write_all(&HEALTH[..10]).await.unwrap();
    let seconds = seconds_until_closed(&mut stream).await;
    assert!((9.9..11.0).contains(&seconds), "{seconds} s");
}

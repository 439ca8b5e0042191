//! Can a reverse proxy ask who is calling, and does nobody get past it?

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    sms_providers::StandIn,
    support::{
        Answer, MOBILE, TestApp, Tokens,
        backends::{Backends, Stores},
        nginx::Proxied,
        process::{Process, until},
        servers::Server,
    },
};

const PATH: &str = "/app/v1_0/authorizations";
const OTHER: &str = "13900139000";

/// A service behind a proxy on the same machine.
async fn start(flags: &[&str]) -> TestApp {
    let flags = [&["--trusted-proxies=127.0.0.1"], flags].concat();
    TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags).await
}

/// User and session of a token, as the service itself tells them.
async fn identity(app: &TestApp, tokens: &Tokens) -> (String, String) {
    let user = app.user(&tokens.access).await.expect(200);
    (user["data"]["id"].as_str().unwrap().to_owned(), tokens.session_id())
}

#[track_caller]
fn expect_valid(answer: &Answer, (user, session): &(String, String)) {
    answer.expect(204);
    assert_eq!((answer.header("x-user-id"), answer.header("x-session-id")), (&**user, &**session));
    assert_eq!(answer.header("cache-control"), "no-store");
    for name in ["content-type", "content-length", "transfer-encoding"] {
        assert_eq!(answer.header(name), "", "{name}");
    }
}

#[track_caller]
fn expect_refused(answer: &Answer, code: &str) {
    answer.expect_error(401, code);
    assert_eq!(answer.headers.get_all("www-authenticate").iter().collect::<Vec<_>>(), ["Bearer"]);
    assert_eq!((answer.header("x-user-id"), answer.header("x-session-id")), ("", ""));
}

/// Fails unless the application saw exactly this identity, and no token.
#[track_caller]
fn expect_passed_on(answer: &Answer, (user, session): &(String, String)) -> Value {
    let seen = answer.expect(200);
    let headers = seen["headers"].as_object().unwrap();
    assert_eq!((&headers["x-user-id"], &headers["x-session-id"]), (&json!([user]), &json!([session])), "{seen}");
    let identities = headers.keys().filter(|name| name.contains("user") && name.contains("id"));
    assert_eq!(identities.collect::<Vec<_>>(), ["x-user-id"], "{seen}");
    assert!(!headers.contains_key("authorization"), "{seen}");
    seen
}

#[tokio::test]
async fn a_valid_token_is_answered_with_user_and_session_and_nothing_else() {
    let app = start(&["--cors-origins=https://a.example"]).await;
    let tokens = app.sign_in(MOBILE).await;
    let identity = identity(&app, &tokens).await;
    for path in [PATH, "/app/v1_0/authorizations/", "/v1_0/authorizations"] {
        for method in [Method::GET, Method::HEAD] {
            let request = app.request(method, path).bearer_auth(&tokens.access).header("origin", "https://a.example");
            let answer = app.send(request).await;
            expect_valid(&answer, &identity);
            assert_eq!(answer.header("access-control-allow-origin"), "https://a.example");
        }
    }
    // Asking again costs nothing and changes nothing.
    app.refresh(&tokens.refresh).await.expect(201);
    expect_valid(&app.get_as(PATH, &tokens.access).await, &identity);
}

#[tokio::test]
async fn a_token_that_is_not_valid_is_refused_by_name() {
    let app = start(&[]).await;
    let (tokens, ended) = (app.sign_in(MOBILE).await, app.sign_in(OTHER).await);
    expect_refused(&app.get(PATH).await, "token_invalid");
    expect_refused(&app.get_as(PATH, "rubbish").await, "token_invalid");
    expect_refused(&app.get_as(PATH, &tokens.refresh).await, "token_invalid");
    let cookie = format!("phonepass_session={}", tokens.access);
    expect_refused(&app.send_with_cookie(Method::GET, PATH, &cookie).await, "token_invalid");
    app.sign_out(&ended.access).await.expect(204);
    expect_refused(&app.get_as(PATH, &ended.access).await, "session_revoked");
    let head = app.send(app.request(Method::HEAD, PATH).bearer_auth(&ended.access)).await;
    assert_eq!((head.status.as_u16(), head.bytes.len()), (401, 0));
    app.advance(3600).await;
    expect_refused(&app.get_as(PATH, &tokens.access).await, "token_expired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_checked_while_database_and_redis_are_gone() {
    let (mut postgresql, mut redis) = (Server::postgresql().await, Server::redis().await);
    let stores = Stores::create(Backends::SQLITE_AND_IN_PROCESS).await.patient();
    let flags = ["--trusted-proxies=127.0.0.1", &postgresql.flag(), &redis.flag()];
    let app = TestApp::start_on(stores, &flags).await;
    let (tokens, ended) = (app.sign_in(MOBILE).await, app.sign_in(OTHER).await);
    let identity = identity(&app, &tokens).await;
    app.sign_out(&ended.access).await.expect(204);
    postgresql.kill();
    redis.kill();
    // Whatever asked one of them would wait for minutes.
    for _ in 0..20 {
        expect_valid(&app.get_as(PATH, &tokens.access).await, &identity);
        expect_refused(&app.get_as(PATH, &ended.access).await, "session_revoked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_nobody_reaches_the_application_without_a_valid_token() {
    let app = start(&[]).await;
    let proxied = Proxied::by(&app.url).await;
    let (tokens, ended) = (app.sign_in(MOBILE).await, app.sign_in(OTHER).await);
    for path in ["/", "/orders?of=me", "/app/v1_0/user", "/public/..%2forders"] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let request = proxied.request(method, path).header("x-user-id", "forged").body("a body");
            expect_refused(&Answer::to(request).await, "token_invalid");
        }
    }
    expect_refused(&proxied.get_as("/", &tokens.refresh).await, "token_invalid");
    // Where nginx asks is closed to everybody else.
    for path in ["/_phonepass", "//_phonepass", "/public/..%2f_phonepass"] {
        assert_eq!(proxied.get_as(path, &tokens.access).await.status, 404, "{path}");
    }
    let head = Answer::to(proxied.request(Method::HEAD, "/")).await;
    assert_eq!((head.status.as_u16(), head.bytes.len()), (401, 0));
    let english = proxied.request(Method::GET, "/").header("accept-language", "en");
    assert_eq!(Answer::to(english).await.expect_error(401, "token_invalid")["message"], "Not signed in");

    app.sign_out(&ended.access).await.expect(204);
    expect_refused(&proxied.get_as("/", &ended.access).await, "session_revoked");
    app.advance(3600).await;
    expect_refused(&proxied.get_as("/", &tokens.access).await, "token_expired");
    assert_eq!(proxied.reached(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_the_application_sees_who_is_calling_and_the_whole_request() {
    let app = start(&[]).await;
    let proxied = Proxied::by(&app.url).await;
    let tokens = app.sign_in(MOBILE).await;
    let identity = identity(&app, &tokens).await;
    for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
        let sent = "一".repeat(10_000);
        let request = proxied.request(method.clone(), "/orders/1?of=me").bearer_auth(&tokens.access).body(sent.clone());
        let seen = expect_passed_on(&Answer::to(request).await, &identity);
        assert_eq!(
            (&seen["method"], &seen["path"], &seen["body"]),
            (&json!(method.as_str()), &json!("/orders/1"), &json!(sent))
        );
    }
    let mut stream = TcpStream::connect(proxied.url.strip_prefix("http://").unwrap()).await.unwrap();
    let head =
        format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n", tokens.access);
    let chunked = "Transfer-Encoding: chunked\r\n\r\n5\r\na bod\r\n10\r\ny in many pieces\r\n0\r\n\r\n";
    stream.write_all((head + chunked).as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"a body in many pieces\""), "{answer}");
    // A DELETE of the application is none of Phonepass's.
    app.user(&tokens.access).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_an_identity_that_the_client_made_up_is_replaced() {
    let app = start(&[]).await;
    let proxied = Proxied::by(&app.url).await;
    let tokens = app.sign_in(MOBILE).await;
    let identity = identity(&app, &tokens).await;
    // CGI, WSGI and PHP give all of them to the application as HTTP_X_USER_ID.
    let names = ["X-User-Id", "x-user-id", "X_User_Id", "X-User_Id", "X.User.Id", "X~User~Id", "X-Session-Id"];
    for name in names {
        let forge = |path: &str| proxied.request(Method::GET, path).header(name, "one").header(name, "two");
        expect_passed_on(&Answer::to(forge("/").bearer_auth(&tokens.access)).await, &identity);
        let seen = Answer::to(forge("/public/").bearer_auth(&tokens.access)).await.expect(200);
        let headers = seen["headers"].as_object().unwrap();
        assert!(headers.keys().all(|name| !name.contains("user") && !name.contains("session")), "{name}: {seen}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_requests_are_counted_for_the_client() {
    let app = start(&["--requests-per-ip-per-minute=6"]).await;
    let proxied = Proxied::by(&app.url).await;
    let tokens = app.sign_in(MOBILE).await;
    let from = async |address: &str| {
        let request = proxied.request(Method::GET, "/").bearer_auth(&tokens.access);
        Answer::to(request.header("x-forwarded-for", address)).await
    };
    for _ in 0..6 {
        from("203.0.113.7").await.expect(200);
    }
    let answer = from("203.0.113.7").await;
    assert_eq!(answer.expect(429)["code"], "too_many_requests");
    assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
    assert_eq!(proxied.reached(), 6);
    from("203.0.113.8").await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_nobody_gets_through_while_phonepass_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let mut phonepass = Process::serve(folder.path(), &[], &[]).await;
    let proxied = Proxied::by(&phonepass.url).await;
    let tokens = phonepass.sign_in(MOBILE).await;
    let expect_unavailable = async || {
        for request in
            [proxied.request(Method::POST, "/"), proxied.request(Method::GET, "/").bearer_auth(&tokens.access)]
        {
            let answer = Answer::to(request).await;
            assert_eq!(answer.expect(503)["code"], "unavailable");
            assert_eq!(answer.header("retry-after"), "1");
        }
    };
    proxied.get_as("/", &tokens.access).await.expect(200);
    phonepass.running.signal("STOP");
    // A request that was on its way may still have been answered.
    until("the process has stopped", Duration::from_secs(30), async || {
        proxied.get_as("/", &tokens.access).await.status == 503
    })
    .await;
    let reached = proxied.reached();
    expect_unavailable().await;
    phonepass.running.signal("CONT");
    phonepass.running.kill();
    expect_unavailable().await;
    assert_eq!(proxied.reached(), reached);
    // What needs no token goes on.
    Answer::to(proxied.request(Method::GET, "/public/")).await.expect(200);
}

/// Two instances may disagree for a moment, when one has a new key already: the one asked first has said no.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_a_refusal_stays_one_even_if_the_second_answer_is_another() {
    for second in [200, 204, 429, 503] {
        let (_phonepass, url) = StandIn::start(0, &[(401, ""), (second, "")]).await;
        let proxied = Proxied::by(&url).await;
        let answer = Answer::to(proxied.request(Method::POST, "/").body("a body")).await;
        assert_eq!((answer.status.as_u16(), proxied.reached()), (401, 0), "after {second}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_many_requests_at_once_are_not_mixed_up() {
    let app = start(&[]).await;
    let proxied = Proxied::by(&app.url).await;
    let tokens = [app.sign_in(MOBILE).await, app.sign_in(OTHER).await];
    let identities = [identity(&app, &tokens[0]).await, identity(&app, &tokens[1]).await];
    for _ in 0..5 {
        let requests = (0..90).map(|index| {
            let request = proxied.request(Method::POST, "/").body(index.to_string());
            Answer::to(if index % 3 < 2 { request.bearer_auth(&tokens[index % 3].access) } else { request })
        });
        for (index, answer) in join_all(requests).await.iter().enumerate() {
            if index % 3 < 2 {
                let seen = expect_passed_on(answer, &identities[index % 3]);
                assert_eq!(seen["body"], index.to_string());
            } else {
                expect_refused(answer, "token_invalid");
            }
        }
    }
    assert_eq!(proxied.reached(), 300);
}

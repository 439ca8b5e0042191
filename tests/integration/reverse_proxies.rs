//! Can a reverse proxy ask who is calling?

use std::time::{Duration, Instant};

use reqwest::Method;

use crate::support::{Answer, MOBILE, TestApp, Tokens, backends::Backends, servers::Server};

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
    let app = start(&[&postgresql.flag(), &redis.flag()]).await;
    let (tokens, ended) = (app.sign_in(MOBILE).await, app.sign_in(OTHER).await);
    let identity = identity(&app, &tokens).await;
    app.sign_out(&ended.access).await.expect(204);
    postgresql.kill();
    redis.kill();
    let started = Instant::now();
    for _ in 0..20 {
        expect_valid(&app.get_as(PATH, &tokens.access).await, &identity);
        expect_refused(&app.get_as(PATH, &ended.access).await, "session_revoked");
    }
    // A statement that finds no connection takes a second.
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

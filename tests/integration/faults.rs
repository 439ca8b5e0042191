//! What still works while a server is gone, and does everything work again once it is back?

use std::time::Duration;

use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{Answer, MOBILE, PASSWORD, TestApp, Tokens, backends::Backends, process::until, servers::Server};

const NEWCOMER: &str = "13900139000";

/// How long anybody waits for the news that a server is gone.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long the service may take to find a server that is back.
const RECOVERY: Duration = Duration::from_secs(10);

fn post(app: &TestApp, path: &str, body: &Value) -> RequestBuilder {
    app.request(Method::POST, path).json(body)
}

fn get_as(app: &TestApp, path: &str, token: &str) -> RequestBuilder {
    app.request(Method::GET, path).bearer_auth(token)
}

pub async fn in_time(answer: impl Future<Output = Answer>) -> Answer {
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("no answer within {PATIENCE:?}"))
}

#[track_caller]
pub fn expect_unavailable(answer: &Answer) {
    answer.expect_error(503, "unavailable");
    assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
}

/// Sends all requests at once; each is refused in time, in the envelope of its family.
async fn expect_all_unavailable(app: &TestApp, requests: Vec<RequestBuilder>) {
    let answers = requests.into_iter().map(|request| async {
        let path = request.try_clone().unwrap().build().unwrap().url().path().to_owned();
        (in_time(app.send(request)).await, path)
    });
    for (answer, path) in join_all(answers).await {
        let body = answer.json();
        if path.starts_with("/app/") {
            assert_eq!(body["code"], "unavailable", "{path}: {body}");
            expect_unavailable(&answer);
        } else {
            assert_eq!(body["errno"], 4001, "{path}: {body}");
            answer.expect_errno(4001);
        }
    }
}

async fn expect_not_ready(app: &TestApp, store: &str) {
    let body = in_time(app.get("/readyz")).await.expect(503);
    let failing = body["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == false);
    let failing: Vec<_> = failing.map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(failing, [store], "{body}");
}

/// What needs a code, or makes one.
fn requests_about_codes(app: &TestApp, code: &str) -> Vec<RequestBuilder> {
    let picture = json!({ "mobile": NEWCOMER, "image_code": "abcd", "image_code_id": "p" });
    let registration = json!({ "mobile": NEWCOMER, "sms_code": code, "password": PASSWORD });
    vec![
        app.request(Method::GET, "/app/v1_0/image_codes/p"),
        app.request(Method::GET, &format!("/app/v1_0/sms/codes/{NEWCOMER}")),
        post(app, "/app/v1_0/sms/codes", &json!({ "mobile": NEWCOMER })),
        post(app, "/app/v1_0/authorizations", &json!({ "mobile": NEWCOMER, "code": code })),
        app.request(Method::GET, "/api/v1.0/imagecode/p"),
        app.request(Method::GET, &format!("/api/v1.0/smscode/{NEWCOMER}?text=abcd&id=p")),
        app.request(Method::GET, &format!("/api/v1.0/sms_codes/{NEWCOMER}?image_code=abcd&image_code_id=p")),
        post(app, "/api/v1.0/users", &registration),
        app.request(Method::GET, "/passport/image_code?code_id=p"),
        post(app, "/passport/sms_code", &picture),
        post(app, "/passport/register", &registration),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_codes_are_refused_while_sessions_go_on() {
    let mut redis = Server::redis().await;
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[&redis.flag()]).await;
    let (tokens, leaving) = (app.sign_in(MOBILE).await, app.sign_in("13800138001").await);

    redis.stop();
    expect_all_unavailable(&app, requests_about_codes(&app, "123456")).await;
    expect_not_ready(&app, "redis").await;
    in_time(app.get("/healthz")).await.expect(200);
    in_time(app.user(&tokens.access)).await.expect(200);
    in_time(app.send(get_as(&app, "/api/v1.0/user", &tokens.access))).await.expect_errno(0);
    let tokens = Tokens::of(&in_time(app.refresh(&tokens.refresh)).await.expect(201));
    in_time(app.sign_out(&leaving.access)).await.expect(204);
    in_time(app.user(&leaving.access)).await.expect_error(401, "session_revoked");

    redis.start().await;
    until("the service is ready again", RECOVERY, async || app.get("/readyz").await.status == 200).await;
    app.sign_in(NEWCOMER).await;
    app.register("13700137000", PASSWORD).await.expect_errno(0);
    app.user(&tokens.access).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_nobody_signs_in_by_password() {
    let mut redis = Server::redis().await;
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[&redis.flag()]).await;
    app.register(MOBILE, PASSWORD).await.expect_errno(0);

    redis.stop();
    let credentials = json!({ "mobile": MOBILE, "password": PASSWORD });
    let paths = ["/app/v1_0/authorizations/password", "/api/v1.0/sessions", "/passport/login"];
    expect_all_unavailable(&app, paths.map(|path| post(&app, path, &credentials)).into()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_does_not_answer_is_not_waited_for() {
    let redis = Server::redis().await;
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[&redis.flag()]).await;
    let tokens = app.sign_in(MOBILE).await;

    redis.freeze();
    for _ in 0..3 {
        expect_all_unavailable(&app, requests_about_codes(&app, "123456")).await;
    }
    expect_not_ready(&app, "redis").await;
    in_time(app.refresh(&tokens.refresh)).await.expect(201);

    redis.thaw();
    until("the service is ready again", RECOVERY, async || app.get("/readyz").await.status == 200).await;
    // A message that nobody was told about may have gone out: the gap is over first.
    app.advance(61).await;
    app.sign_in("13700137000").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_accepted_without_postgresql_works_again_with_codes_in_redis() {
    a_code_accepted_without_postgresql_works_again(Backends::SQLITE_AND_REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_accepted_without_postgresql_works_again_with_codes_in_process() {
    a_code_accepted_without_postgresql_works_again(Backends::SQLITE_AND_IN_PROCESS).await;
}

async fn a_code_accepted_without_postgresql_works_again(codes: Backends) {
    let mut postgresql = Server::postgresql().await;
    let app = TestApp::start_with(codes, &[&postgresql.flag()]).await;
    let tokens = app.sign_in(MOBILE).await;
    let code = app.code(NEWCOMER).await;

    postgresql.stop();
    for _ in 0..3 {
        expect_unavailable(&in_time(app.sign_in_with(NEWCOMER, &code)).await);
    }
    let registration = json!({ "mobile": NEWCOMER, "sms_code": code, "password": PASSWORD });
    let credentials = json!({ "mobile": MOBILE, "password": PASSWORD });
    in_time(app.post("/api/v1.0/users", registration.clone())).await.expect_errno(4001);
    in_time(app.post("/passport/register", registration)).await.expect_errno(4001);
    let text = app.picture("p").await;
    let requests = vec![
        get_as(&app, "/app/v1_0/user", &tokens.access),
        get_as(&app, "/app/v1_0/user/sessions", &tokens.access),
        app.request(Method::DELETE, "/app/v1_0/user/sessions").bearer_auth(&tokens.access),
        app.request(Method::PATCH, "/app/v1_0/user").bearer_auth(&tokens.access).json(&json!({ "name": "x" })),
        app.request(Method::PUT, "/app/v1_0/authorizations").bearer_auth(&tokens.refresh),
        app.request(Method::DELETE, "/app/v1_0/authorizations").bearer_auth(&tokens.access),
        post(&app, "/app/v1_0/authorizations/password", &credentials),
        get_as(&app, "/api/v1.0/user", &tokens.access),
        get_as(&app, "/api/v1.0/session", &tokens.access),
        app.request(Method::GET, &format!("/api/v1.0/smscode/13700137000?text={text}&id=p")),
        app.request(Method::DELETE, "/api/v1.0/session").bearer_auth(&tokens.access),
        post(&app, "/api/v1.0/sessions", &credentials),
        post(&app, "/passport/login", &credentials),
        app.request(Method::GET, "/passport/logout").bearer_auth(&tokens.access),
    ];
    expect_all_unavailable(&app, requests).await;
    expect_not_ready(&app, "postgresql").await;

    postgresql.start().await;
    let body = app.sign_in_with(NEWCOMER, &code).await.expect(201);
    assert_eq!(body["data"]["is_new_user"], true);
    app.sign_in_with(NEWCOMER, &code).await.expect_error(400, "sms_code_expired");
    app.user(&tokens.access).await.expect(200);
    app.refresh(&tokens.refresh).await.expect(201);
    until("the service is ready again", RECOVERY, async || app.get("/readyz").await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_requests_are_not_counted_but_served() {
    let mut redis = Server::redis().await;
    let flags = [&*redis.flag(), "--requests-per-ip-per-minute=3"];
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags).await;
    let tokens = app.sign_in(MOBILE).await;
    app.user(&tokens.access).await.expect(200);
    app.user(&tokens.access).await.expect_error(429, "too_many_requests");
    redis.stop();
    for _ in 0..10 {
        in_time(app.user(&tokens.access)).await.expect(200);
    }
    in_time(app.refresh(&tokens.refresh)).await.expect(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_postgresql_costs_no_request_after_it() {
    let mut postgresql = Server::postgresql().await;
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[&postgresql.flag()]).await;
    let tokens = app.sign_in(MOBILE).await;
    for _ in 0..3 {
        // As many connections as the pool holds.
        for answer in join_all((0..40).map(|_| app.user(&tokens.access))).await {
            answer.expect(200);
        }
        postgresql.stop();
        postgresql.start().await;
        for _ in 0..20 {
            app.user(&tokens.access).await.expect(200);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_of_postgresql_loses_neither_a_session_nor_a_code() {
    let mut postgresql = Server::postgresql().await;
    let app = TestApp::start_with(
        Backends::SQLITE_AND_IN_PROCESS,
        &[&postgresql.flag(), "--image-code=never", "--sms-per-ip-per-hour=0", "--sms-asks-per-ip-per-hour=0"],
    )
    .await;
    let mut codes = Vec::new();
    for number in 0..100 {
        let mobile = format!("138001380{number:02}");
        let code = app.code(&mobile).await;
        codes.push((mobile, code));
    }

    let mut answers: FuturesUnordered<_> = codes
        .into_iter()
        .map(|(mobile, code)| async { (in_time(app.sign_in_with(&mobile, &code)).await, mobile, code) })
        .collect();
    let (first, mobile, code) = answers.next().await.unwrap();
    postgresql.kill();
    let mut answers: Vec<_> = answers.collect().await;
    answers.push((first, mobile, code));

    postgresql.start().await;
    for (answer, mobile, code) in &answers {
        if answer.status == 201 {
            let tokens = Tokens::of(&answer.json());
            app.refresh(&tokens.refresh).await.expect(201);
            assert_eq!(app.user(&tokens.access).await.expect(200)["data"]["mobile"], mobile.as_str());
        } else {
            expect_unavailable(answer);
            app.sign_in_with(mobile, code).await.expect(201);
        }
    }
}

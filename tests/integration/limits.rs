//! Does every limit hold, tell when it ends, and stay out of the way of ordinary use?

use futures_util::future::join_all;
use reqwest::Method;

use crate::support::{
    MOBILE, TestApp,
    backends::Backends,
    expect_retry_after, on_every_backend,
    senders::{HERE, HOUR, OTHER, PROXY, THERE, at, numbers, wrong},
    servers::Server,
};

on_every_backend! {
    async fn a_mobile_gets_so_many_messages_within_any_day(backends: Backends) {
        let flags = [PROXY, "--sms-resend-seconds=60", "--sms-per-mobile-per-day=3", "--image-code=never"];
        let app = TestApp::start_with(backends, &flags).await;
        for _ in 0..3 {
            at(HERE).ask(&app, MOBILE).await.expect(200);
            app.advance(2 * HOUR).await;
        }
        for ip in [HERE, THERE] {
            let answer = at(ip).ask(&app, MOBILE).await;
            answer.expect_error(429, "sms_quota_exceeded");
            expect_retry_after(&answer, 18 * HOUR);
        }
        let text = app.picture("p").await;
        app.get(&format!("/api/v1.0/smscode/{MOBILE}?text={text}&id=p")).await.expect_errno(4201);
        at(HERE).ask(&app, OTHER).await.expect(200);
        app.advance(18 * HOUR).await;
        at(HERE).ask(&app, MOBILE).await.expect(200);
        at(HERE).ask(&app, MOBILE).await.expect_error(429, "sms_quota_exceeded");
    }
}

on_every_backend! {
    async fn an_address_asks_for_so_many_messages_within_any_hour(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY, "--sms-per-ip-per-hour=5", "--image-code=never"]).await;
        for mobile in numbers(5) {
            at(HERE).ask(&app, &mobile).await.expect(200);
        }
        let answer = at(HERE).ask(&app, MOBILE).await;
        answer.expect_error(429, "too_many_requests");
        expect_retry_after(&answer, HOUR);
        at(THERE).ask(&app, MOBILE).await.expect(200);
        app.advance(HOUR).await;
        at(HERE).ask(&app, MOBILE).await.expect(200);
    }
}

#[tokio::test]
async fn in_ipv6_an_address_is_what_one_customer_has() {
    let app =
        TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[PROXY, "--sms-per-ip-per-hour=2", "--image-code=never"])
            .await;
    at("2001:db8:1:2::1").ask(&app, "13700000001").await.expect(200);
    at("2001:db8:1:2:ffff:ffff:ffff:ffff").ask(&app, "13700000002").await.expect(200);
    at("[2001:db8:1:2:3::4]:4711").ask(&app, "13700000003").await.expect_error(429, "too_many_requests");
    at("2001:db8:1:3::1").ask(&app, "13700000003").await.expect(200);
    // An IPv4 address in IPv6 clothes is itself.
    at("::ffff:192.0.2.1").ask(&app, "13700000004").await.expect(200);
    at(HERE).ask(&app, "13700000005").await.expect(200);
    at("::ffff:192.0.2.1").ask(&app, "13700000006").await.expect_error(429, "too_many_requests");
}

on_every_backend! {
    async fn requests_of_an_address_are_limited_where_that_is_wanted(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY, "--requests-per-ip-per-minute=5"]).await;
        let get = async |ip: &str, path: &str| {
            app.send(app.request(Method::GET, path).header("x-forwarded-for", ip).header("x-request-id", "the-same")).await
        };
        for _ in 0..5 {
            get(HERE, "/unknown").await.expect_error(404, "not_found");
        }
        let answer = get(HERE, "/app/v1_0/user").await;
        answer.expect_error(429, "too_many_requests");
        expect_retry_after(&answer, 60);
        assert_eq!(get(HERE, "/api/v1.0/session").await.expect(200)["errno"], 4201);
        get(HERE, "/healthz").await.expect(200);
        get(HERE, "/readyz").await.expect(200);
        get(THERE, "/app/v1_0/user").await.expect_error(401, "token_invalid");
        app.advance(60).await;
        get(HERE, "/app/v1_0/user").await.expect_error(401, "token_invalid");
    }
}

on_every_backend! {
    async fn a_right_code_clears_the_budget_of_its_network(backends: Backends) {
        let flags = [PROXY, "--sms-resend-seconds=0", "--sms-per-mobile-per-day=0", "--sms-per-ip-per-hour=0", "--fraud=record"];
        let app = TestApp::start_with(backends, &flags).await;
        // Seven rounds of sixteen are more than a hundred.
        for _ in 0..7 {
            for _ in 0..4 {
                at(THERE).ask(&app, MOBILE).await.expect(200);
                for _ in 0..4 {
                    at(HERE).try_wrong_code(&app, MOBILE).await.expect_error(400, "sms_code_invalid");
                }
            }
            at(HERE).try_code(&app, MOBILE, &app.last_code(MOBILE)).await.expect(201);
            app.advance(20 * 60).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_over_all_instances() {
    let flags = [PROXY, "--sms-resend-seconds=0", "--sms-per-mobile-per-day=0", "--verify-per-mobile-per-hour=4"];
    let app = TestApp::start_with(Backends::POSTGRESQL_AND_REDIS, &flags).await;
    let other = TestApp::start_on(app.stores.clone(), &flags).await;
    at(THERE).ask(&app, MOBILE).await.expect(200);
    for instance in [&app, &other, &app, &other] {
        at(HERE).try_code(instance, MOBILE, wrong(&app, MOBILE)).await.expect_error(400, "sms_code_invalid");
    }
    let code = app.last_code(MOBILE);
    at(HERE).try_code(&other, MOBILE, &code).await.expect_error(429, "too_many_requests");
    at(THERE).try_code(&other, MOBILE, &code).await.expect(201);

    // Passwords, guessed at on both at the same instant: one has the turn in each, and one count bounds both.
    let mut looked_at = 0;
    for _ in 0..10 {
        let guesses = [&app, &other].map(|instance| at(HERE).try_wrong_password(instance, MOBILE));
        let answers = join_all(guesses).await;
        looked_at += answers.iter().filter(|answer| answer.status == 401).count();
        assert!(answers.iter().all(|answer| [401, 429].contains(&answer.status.as_u16())), "{answers:?}");
    }
    assert_eq!(looked_at, 4);
}

/// How many scripts a Redis has run.
pub async fn scripts_run(redis: &Server) -> u64 {
    let info: String = redis.ask("INFO commandstats").await;
    let calls = info.lines().filter(|line| line.starts_with("cmdstat_eval"));
    let calls = calls.map(|line| line.split(['=', ',']).nth(1).unwrap().parse::<u64>().unwrap());
    calls.sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_request_is_one_step_in_redis() {
    let redis = Server::redis().await;
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[PROXY, &redis.flag()]).await;
    // The first of each kind loads its script.
    at(THERE).sign_in(&app, OTHER).await;
    let before = scripts_run(&redis).await;
    at(HERE).ask(&app, MOBILE).await.expect(200);
    let asked = scripts_run(&redis).await;
    at(HERE).try_wrong_code(&app, MOBILE).await.expect_error(400, "sms_code_invalid");
    let guessed = scripts_run(&redis).await;
    at(HERE).try_code(&app, MOBILE, &app.last_code(MOBILE)).await.expect(201);
    let signed_in = scripts_run(&redis).await;
    assert_eq!([asked - before, guessed - asked, signed_in - guessed], [1, 1, 1]);
}

//! Does every limit hold, tell when it ends, and stay out of the way of ordinary use?

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, MOBILE, PASSWORD, TestApp, Tokens, backends::Backends, expect_retry_after, on_every_backend,
};

/// Every client of these tests stands behind this proxy.
const PROXY: &str = "--trusted-proxies=127.0.0.1";

const HERE: &str = "192.0.2.1";
const THERE: &str = "198.51.100.7";
const OTHER: &str = "13900139000";
const HOUR: u64 = 3600;

async fn post_from(app: &TestApp, ip: &str, path: &str, body: Value) -> Answer {
    app.send(app.request(Method::POST, path).header("x-forwarded-for", ip).json(&body)).await
}

async fn ask_from(app: &TestApp, ip: &str, mobile: &str) -> Answer {
    post_from(app, ip, "/app/v1_0/sms/codes", json!({ "mobile": mobile })).await
}

async fn ask_with_picture(app: &TestApp, ip: &str, mobile: &str) -> Answer {
    let text = app.picture("p").await;
    let body = json!({ "mobile": mobile, "image_code_id": "p", "image_code": text });
    post_from(app, ip, "/app/v1_0/sms/codes", body).await
}

async fn guess_code(app: &TestApp, ip: &str, mobile: &str, code: &str) -> Answer {
    post_from(app, ip, "/app/v1_0/authorizations", json!({ "mobile": mobile, "code": code })).await
}

async fn guess_password(app: &TestApp, ip: &str, mobile: &str, password: &str) -> Answer {
    let body = json!({ "mobile": mobile, "password": password });
    post_from(app, ip, "/app/v1_0/authorizations/password", body).await
}

/// A code that is not the last one that was sent.
fn wrong(app: &TestApp, mobile: &str) -> &'static str {
    if app.last_code(mobile) == "000000" { "000001" } else { "000000" }
}

/// Guesses wrong so many times, over as many fresh codes as that takes.
async fn waste_codes(app: &TestApp, ip: &str, mobile: &str, guesses: usize) {
    for n in 0..guesses {
        if n % 4 == 0 {
            ask_from(app, ip, mobile).await.expect(200);
        }
        guess_code(app, ip, mobile, wrong(app, mobile)).await.expect_error(400, "sms_code_invalid");
    }
}

fn numbers(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("137{n:08}"))
}

/// No limit on messages, for tests of other limits.
const ANY_MESSAGES: [&str; 5] =
    [PROXY, "--sms-resend-seconds=0", "--sms-per-mobile-per-day=0", "--sms-per-ip-per-hour=0", "--image-code=never"];

on_every_backend! {
    async fn a_mobile_gets_so_many_messages_within_any_day(backends: Backends) {
        let flags = [PROXY, "--sms-resend-seconds=60", "--sms-per-mobile-per-day=3", "--image-code=never"];
        let app = TestApp::start_with(backends, &flags).await;
        for _ in 0..3 {
            ask_from(&app, HERE, MOBILE).await.expect(200);
            app.advance(2 * HOUR).await;
        }
        for ip in [HERE, THERE] {
            let answer = ask_from(&app, ip, MOBILE).await;
            answer.expect_error(429, "sms_quota_exceeded");
            expect_retry_after(&answer, 18 * HOUR);
        }
        let text = app.picture("p").await;
        app.get(&format!("/api/v1.0/smscode/{MOBILE}?text={text}&id=p")).await.expect_errno(4201);
        ask_from(&app, HERE, OTHER).await.expect(200);
        app.advance(18 * HOUR).await;
        ask_from(&app, HERE, MOBILE).await.expect(200);
        ask_from(&app, HERE, MOBILE).await.expect_error(429, "sms_quota_exceeded");
    }
}

on_every_backend! {
    async fn an_address_asks_for_so_many_messages_within_any_hour(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY, "--sms-per-ip-per-hour=5", "--image-code=never"]).await;
        for mobile in numbers(5) {
            ask_from(&app, HERE, &mobile).await.expect(200);
        }
        let answer = ask_from(&app, HERE, MOBILE).await;
        answer.expect_error(429, "too_many_requests");
        expect_retry_after(&answer, HOUR);
        ask_from(&app, THERE, MOBILE).await.expect(200);
        app.advance(HOUR).await;
        ask_from(&app, HERE, MOBILE).await.expect(200);
    }
}

#[tokio::test]
async fn in_ipv6_an_address_is_what_one_customer_has() {
    let app =
        TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[PROXY, "--sms-per-ip-per-hour=2", "--image-code=never"])
            .await;
    ask_from(&app, "2001:db8:1:2::1", "13700000001").await.expect(200);
    ask_from(&app, "2001:db8:1:2:ffff:ffff:ffff:ffff", "13700000002").await.expect(200);
    ask_from(&app, "[2001:db8:1:2:3::4]:4711", "13700000003").await.expect_error(429, "too_many_requests");
    ask_from(&app, "2001:db8:1:3::1", "13700000003").await.expect(200);
    // An IPv4 address in IPv6 clothes is itself.
    ask_from(&app, "::ffff:192.0.2.1", "13700000004").await.expect(200);
    ask_from(&app, HERE, "13700000005").await.expect(200);
    ask_from(&app, "::ffff:192.0.2.1", "13700000006").await.expect_error(429, "too_many_requests");
}

on_every_backend! {
    async fn so_many_messages_are_sent_in_all_and_near_the_end_a_picture_is_asked_for(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY, "--sms-total-per-hour=5"]).await;
        let mobiles: Vec<_> = numbers(6).collect();
        for (n, mobile) in mobiles[..4].iter().enumerate() {
            ask_from(&app, &format!("192.0.2.{n}"), mobile).await.expect(200);
        }
        ask_from(&app, HERE, &mobiles[4]).await.expect_error(403, "image_code_required");
        ask_with_picture(&app, HERE, &mobiles[4]).await.expect(200);
        let answer = ask_with_picture(&app, HERE, &mobiles[5]).await;
        answer.expect_error(429, "sms_quota_exceeded");
        expect_retry_after(&answer, HOUR);
        app.advance(HOUR).await;
        ask_from(&app, HERE, &mobiles[5]).await.expect(200);
    }
}

on_every_backend! {
    async fn the_eleventh_number_of_an_address_needs_a_picture(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY, "--sms-resend-seconds=1"]).await;
        let mobiles: Vec<_> = numbers(12).collect();
        for mobile in &mobiles[..10] {
            ask_from(&app, HERE, mobile).await.expect(200);
        }
        app.advance(2).await;
        ask_from(&app, HERE, &mobiles[0]).await.expect(200);
        ask_from(&app, HERE, &mobiles[10]).await.expect_error(403, "image_code_required");
        // Within the gap, a picture is no help, and is not asked for.
        ask_from(&app, HERE, &mobiles[0]).await.expect_error(429, "sms_too_frequent");
        ask_from(&app, THERE, &mobiles[11]).await.expect(200);
        ask_with_picture(&app, HERE, &mobiles[10]).await.expect(200);
        app.advance(2).await;
        // Who has shown a picture for a number is known to ask for it.
        ask_from(&app, HERE, &mobiles[10]).await.expect(200);
        ask_from(&app, HERE, &mobiles[11]).await.expect_error(403, "image_code_required");
        app.advance(HOUR - 1).await;
        ask_from(&app, HERE, &mobiles[11]).await.expect(200);
    }
}

on_every_backend! {
    async fn the_fourth_code_that_nobody_redeems_needs_a_picture(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY]).await;
        for _ in 0..3 {
            ask_from(&app, HERE, MOBILE).await.expect(200);
            app.advance(61).await;
        }
        for ip in [HERE, THERE] {
            ask_from(&app, ip, MOBILE).await.expect_error(403, "image_code_required");
        }
        ask_with_picture(&app, HERE, MOBILE).await.expect(200);
        let code = app.last_code(MOBILE);
        guess_code(&app, HERE, MOBILE, &code).await.expect(201);
        for _ in 0..3 {
            app.advance(61).await;
            ask_from(&app, HERE, MOBILE).await.expect(200);
        }
        app.advance(61).await;
        ask_from(&app, HERE, MOBILE).await.expect_error(403, "image_code_required");
        app.advance(HOUR).await;
        ask_from(&app, HERE, MOBILE).await.expect(200);
    }
}

on_every_backend! {
    async fn an_unknown_number_that_gets_nothing_is_counted_like_a_known_one(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY]).await;
        let reset = json!({ "mobile": MOBILE, "purpose": "reset_password" });
        for _ in 0..3 {
            post_from(&app, HERE, "/app/v1_0/sms/codes", reset.clone()).await.expect(200);
            app.advance(61).await;
        }
        let answer = post_from(&app, HERE, "/app/v1_0/sms/codes", reset).await;
        answer.expect_error(403, "image_code_required");
        assert!(app.app.outbox.as_ref().unwrap().recent().is_empty());
    }
}

on_every_backend! {
    async fn messages_that_were_not_sent_do_not_count(backends: Backends) {
        let flags = [
            PROXY,
            "--sms-provider=webhook",
            "--sms-webhook-url=http://127.0.0.1:1/",
            "--sms-per-mobile-per-day=1",
            "--sms-per-ip-per-hour=1",
            "--sms-total-per-hour=1",
        ];
        let app = TestApp::start_with(backends, &flags).await;
        for mobile in numbers(12) {
            for _ in 0..2 {
                ask_from(&app, HERE, &mobile).await.expect_error(502, "sms_send_failed");
            }
        }
        for _ in 0..5 {
            ask_from(&app, HERE, MOBILE).await.expect_error(502, "sms_send_failed");
        }
    }
}

on_every_backend! {
    async fn wrong_codes_use_up_a_budget_that_fresh_codes_do_not_refill(backends: Backends) {
        let app = TestApp::start_with(backends, &ANY_MESSAGES).await;
        waste_codes(&app, HERE, MOBILE, 20).await;
        ask_from(&app, HERE, MOBILE).await.expect(200);
        let code = app.last_code(MOBILE);
        for code in [wrong(&app, MOBILE), &code] {
            let answer = guess_code(&app, HERE, MOBILE, code).await;
            answer.expect_error(429, "too_many_requests");
            expect_retry_after(&answer, HOUR);
        }
        let registration = json!({ "mobile": MOBILE, "sms_code": code, "password": PASSWORD });
        post_from(&app, HERE, "/api/v1.0/users", registration).await.expect_errno(4201);
        // Nobody looked at the code: it has all its tries.
        let body = guess_code(&app, THERE, MOBILE, wrong(&app, MOBILE)).await.expect_error(400, "sms_code_invalid");
        assert_eq!(body["attempts_left"], 4);
        guess_code(&app, THERE, MOBILE, &code).await.expect(201);

        app.advance(HOUR).await;
        ask_from(&app, HERE, MOBILE).await.expect(200);
        guess_code(&app, HERE, MOBILE, &app.last_code(MOBILE)).await.expect(201);
    }
}

on_every_backend! {
    async fn a_right_code_clears_the_budget_of_its_address(backends: Backends) {
        let app = TestApp::start_with(backends, &ANY_MESSAGES).await;
        // Seven rounds of nineteen are more than the five budgets of all addresses together.
        for _ in 0..7 {
            waste_codes(&app, HERE, MOBILE, 19).await;
            ask_from(&app, HERE, MOBILE).await.expect(200);
            guess_code(&app, HERE, MOBILE, &app.last_code(MOBILE)).await.expect(201);
        }
    }
}

on_every_backend! {
    async fn five_times_the_budget_is_the_end_for_all_addresses_together(backends: Backends) {
        let app = TestApp::start_with(backends, &ANY_MESSAGES).await;
        for ip in 1..=5 {
            waste_codes(&app, &format!("203.0.113.{ip}"), MOBILE, 20).await;
        }
        ask_from(&app, HERE, MOBILE).await.expect(200);
        let answer = guess_code(&app, HERE, MOBILE, &app.last_code(MOBILE)).await;
        answer.expect_error(429, "too_many_requests");
        // Another number is none of their business.
        ask_from(&app, HERE, OTHER).await.expect(200);
        guess_code(&app, HERE, OTHER, &app.last_code(OTHER)).await.expect(201);
    }
}

on_every_backend! {
    async fn wrong_passwords_have_a_budget_of_their_own(backends: Backends) {
        let app = TestApp::start_with(backends, &[&ANY_MESSAGES[..], &["--verify-per-mobile-per-hour=4"]].concat()).await;
        app.register(MOBILE, PASSWORD).await.expect_errno(0);
        for mobile in [MOBILE, OTHER] {
            for _ in 0..4 {
                guess_password(&app, HERE, mobile, "a wrong secret").await.expect_error(401, "credentials_invalid");
            }
            let answer = guess_password(&app, HERE, mobile, PASSWORD).await;
            answer.expect_error(429, "too_many_requests");
            expect_retry_after(&answer, HOUR);
            for path in ["/api/v1.0/sessions", "/passport/login"] {
                let body = json!({ "mobile": mobile, "password": PASSWORD });
                let answer = post_from(&app, HERE, path, body).await;
                answer.expect_errno(4201);
            }
        }
        // The owner is at another address, or takes the other way in.
        guess_password(&app, THERE, MOBILE, PASSWORD).await.expect(201);
        ask_from(&app, HERE, MOBILE).await.expect(200);
        guess_code(&app, HERE, MOBILE, &app.last_code(MOBILE)).await.expect(201);
        app.advance(HOUR).await;
        guess_password(&app, HERE, MOBILE, PASSWORD).await.expect(201);
    }
}

on_every_backend! {
    async fn the_old_password_is_guessed_at_on_the_same_budget(backends: Backends) {
        let app = TestApp::start_with(backends, &[&ANY_MESSAGES[..], &["--verify-per-mobile-per-hour=4"]].concat()).await;
        let tokens = Tokens::of(&app.register(MOBILE, PASSWORD).await.expect_errno(0));
        let change = async |old: &str| {
            let body = json!({ "old_password": old, "password": "another long secret" });
            let request = app.request(Method::PUT, "/app/v1_0/user/password").header("x-forwarded-for", HERE);
            app.send(request.bearer_auth(&tokens.access).json(&body)).await
        };
        for _ in 0..2 {
            guess_password(&app, HERE, MOBILE, "a wrong secret").await.expect_error(401, "credentials_invalid");
            change("a wrong secret").await.expect_error(400, "old_password_wrong");
        }
        change(PASSWORD).await.expect_error(429, "too_many_requests");
        guess_password(&app, HERE, MOBILE, PASSWORD).await.expect_error(429, "too_many_requests");
        app.advance(HOUR).await;
        let tokens = Tokens::of(&guess_password(&app, HERE, MOBILE, PASSWORD).await.expect(201));
        let body = json!({ "old_password": PASSWORD, "password": "another long secret" });
        let request = app.request(Method::PUT, "/app/v1_0/user/password").bearer_auth(&tokens.access);
        app.send(request.json(&body)).await.expect(204);
    }
}

on_every_backend! {
    async fn wrong_passwords_at_the_same_instant_get_no_more_than_the_budget(backends: Backends) {
        let app = TestApp::start_with(backends, &[&ANY_MESSAGES[..], &["--verify-per-mobile-per-hour=3"]].concat()).await;
        app.register(MOBILE, PASSWORD).await.expect_errno(0);
        let guesses = (0..30).map(|_| guess_password(&app, HERE, MOBILE, "a wrong secret"));
        let answers = futures_util::future::join_all(guesses).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 401).count(), 3);
        assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 27);
    }
}

on_every_backend! {
    async fn right_passwords_at_the_same_instant_do_not_use_up_the_budget_for_wrong_ones(backends: Backends) {
        let app = TestApp::start_with(backends, &[&ANY_MESSAGES[..], &["--verify-per-mobile-per-hour=3"]].concat()).await;
        app.register(MOBILE, PASSWORD).await.expect_errno(0);
        let sign_ins = (0..30).map(|_| guess_password(&app, HERE, MOBILE, PASSWORD));
        for answer in futures_util::future::join_all(sign_ins).await {
            answer.expect(201);
        }
    }
}

on_every_backend! {
    async fn a_test_number_is_guessed_at_on_the_hourly_budget_alone(backends: Backends) {
        let flags = [PROXY, "--sms-test-codes=13600000000=246810", "--verify-per-mobile-per-hour=7"];
        let app = TestApp::start_with(backends, &flags).await;
        for _ in 0..40 {
            ask_from(&app, HERE, "13600000000").await.expect(200);
        }
        for _ in 0..7 {
            let body = guess_code(&app, HERE, "13600000000", "000000").await.expect_error(400, "sms_code_invalid");
            assert!(body.get("attempts_left").is_none(), "{body}");
        }
        guess_code(&app, HERE, "13600000000", "246810").await.expect_error(429, "too_many_requests");
        guess_code(&app, THERE, "13600000000", "246810").await.expect(201);
    }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_over_all_instances() {
    let app = TestApp::start_with(Backends::POSTGRESQL_AND_REDIS, &ANY_MESSAGES).await;
    let other = TestApp::start_on(app.stores.clone(), &ANY_MESSAGES).await;
    waste_codes(&app, HERE, MOBILE, 20).await;
    ask_from(&app, HERE, MOBILE).await.expect(200);
    let code = app.last_code(MOBILE);
    guess_code(&other, HERE, MOBILE, &code).await.expect_error(429, "too_many_requests");
    guess_code(&other, THERE, MOBILE, &code).await.expect(201);
}

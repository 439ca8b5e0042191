//! Does whoever did not hear the answer to a sign-in get it again by `Idempotency-Key`, and nobody anything more?

use futures_util::future::join_all;
use phonepass::clock::Clock;
use reqwest::{Method, header::HeaderValue};
use serde_json::{Value, json};

use crate::support::{
    Answer, MOBILE, TestApp, Tokens, backends::Backends, expect_goes_on, on_every_backend, other_than, servers::Server,
};

const PATH: &str = "/app/v1_0/authorizations";
const SESSIONS: &str = "/app/v1_0/user/sessions";
const HEADER: &str = "Idempotency-Key";
const KEY: &str = "7a1f9c52-3e0b-4d8a-9c61-2b5e8f0d4a73";
const OTHER_KEY: &str = "c4d2e6b8-91f7-4a35-8e0c-6d3b7a9f1e25";
const OTHER: &str = "13900139000";
const NO_GAP: &str = "--sms-resend-seconds=0";

async fn sign_in(app: &TestApp, mobile: &str, code: &str, key: &str) -> Answer {
    let request = app.request(Method::POST, PATH).header(HEADER, key);
    app.send(request.json(&json!({ "mobile": mobile, "code": code }))).await
}

/// Fails unless two answers are about one session, and tell the same of it.
#[track_caller]
fn expect_same(again: &Value, first: &Value) {
    assert_eq!(Tokens::of(again).session_id(), Tokens::of(first).session_id());
    for name in ["user_id", "is_new_user", "token_type", "expires_in"] {
        assert_eq!(again["data"][name], first["data"][name], "{name}");
    }
}

on_every_backend! {
    async fn a_repetition_brings_the_same_session_for_a_minute(backends: Backends) {
        let app = TestApp::start(backends).await;
        for is_new_user in [true, false] {
            let code = app.code(MOBILE).await;
            let answer = sign_in(&app, MOBILE, &code, KEY).await;
            let first = answer.expect(201);
            assert_eq!(first["data"]["is_new_user"], is_new_user);
            for _ in 0..3 {
                let answer = sign_in(&app, MOBILE, &code, KEY).await;
                let again = answer.expect(201);
                assert_eq!(answer.header("cache-control"), "no-store");
                expect_same(&again, &first);
                app.user(&Tokens::of(&again).access).await.expect(200);
                app.advance(15).await;
            }
            let last = sign_in(&app, " +86 138-0013-8000", &code, KEY).await.expect(201);
            expect_same(&last, &first);
            let rest = 1_209_600 - last["data"]["refresh_expires_in"].as_u64().unwrap();
            assert!((44..60).contains(&rest), "{last}");
            expect_goes_on(&app, &Tokens::of(&last)).await;
            expect_goes_on(&app, &Tokens::of(&first)).await;

            app.advance(16).await;
            sign_in(&app, MOBILE, &code, KEY).await.expect_error(400, "sms_code_expired");
            expect_goes_on(&app, &Tokens::of(&first)).await;
        }
        assert_eq!(app.stores.count("sessions").await, 2);
        assert_eq!(app.stores.count("users").await, 1);
    }
}

on_every_backend! {
    async fn repetitions_at_the_same_instant_bring_one_session(backends: Backends) {
        let app = TestApp::start(backends).await;
        let code = app.code(MOBILE).await;
        let answers = join_all((0..21).map(|_| sign_in(&app, MOBILE, &code, KEY))).await;
        let bodies: Vec<_> = answers.iter().map(|answer| answer.expect(201)).collect();
        for body in &bodies {
            expect_same(body, &bodies[0]);
            assert_eq!(body["data"]["is_new_user"], true);
        }
        for body in &bodies {
            expect_goes_on(&app, &Tokens::of(body)).await;
        }
        assert_eq!(app.stores.count("sessions").await, 1);
        assert_eq!(app.stores.count("users").await, 1);
    }
}

on_every_backend! {
    async fn without_the_key_a_used_code_is_used(backends: Backends) {
        let app = TestApp::start(backends).await;
        let code = app.code(MOBILE).await;
        let first = sign_in(&app, MOBILE, &code, KEY).await.expect(201);
        sign_in(&app, MOBILE, &code, OTHER_KEY).await.expect_error(400, "sms_code_expired");
        app.sign_in_with(MOBILE, &code).await.expect_error(400, "sms_code_expired");
        sign_in(&app, OTHER, &code, KEY).await.expect_error(400, "sms_code_expired");
        sign_in(&app, MOBILE, other_than(&code), KEY).await.expect_error(400, "sms_code_expired");
        expect_same(&sign_in(&app, MOBILE, &code, KEY).await.expect(201), &first);

        // A sign-in without a key has nothing to repeat.
        let code = app.code(OTHER).await;
        app.sign_in_with(OTHER, &code).await.expect(201);
        sign_in(&app, OTHER, &code, KEY).await.expect_error(400, "sms_code_expired");
        assert_eq!(app.stores.count("sessions").await, 2);
    }
}

on_every_backend! {
    async fn one_key_serves_every_mobile_and_code_by_itself(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let mut signed_in = Vec::new();
        for (mobile, code) in [(MOBILE, "111111"), (OTHER, "222222"), (MOBILE, "333333")] {
            app.random.prepare(code);
            let code = app.code(mobile).await;
            let body = sign_in(&app, mobile, &code, KEY).await.expect(201);
            signed_in.push((mobile, code, body));
        }
        for (mobile, code, first) in &signed_in {
            expect_same(&sign_in(&app, mobile, code, KEY).await.expect(201), first);
        }
        assert_eq!(app.stores.count("sessions").await, 3);
    }
}

on_every_backend! {
    async fn a_wrong_code_is_corrected_under_the_same_key(backends: Backends) {
        let app = TestApp::start(backends).await;
        sign_in(&app, MOBILE, "123456", KEY).await.expect_error(400, "sms_code_expired");
        let code = app.code(MOBILE).await;
        for left in [4, 3] {
            let body = sign_in(&app, MOBILE, other_than(&code), KEY).await.expect_error(400, "sms_code_invalid");
            assert_eq!(body["attempts_left"], left);
        }
        let first = sign_in(&app, MOBILE, &code, KEY).await.expect(201);
        expect_same(&sign_in(&app, MOBILE, &code, KEY).await.expect(201), &first);
    }
}

on_every_backend! {
    async fn once_the_session_has_ended_there_is_nothing_to_repeat(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let code = app.code(MOBILE).await;
        let first = Tokens::of(&sign_in(&app, MOBILE, &code, KEY).await.expect(201));
        app.sign_out(&first.access).await.expect(204);
        for _ in 0..2 {
            sign_in(&app, MOBILE, &code, KEY).await.expect_error(400, "sms_code_expired");
        }
        assert_eq!(app.stores.count("sessions").await, 1);

        // Ended from elsewhere, it is no less over.
        let code = app.code(MOBILE).await;
        sign_in(&app, MOBILE, &code, KEY).await.expect(201);
        let elsewhere = app.sign_in(MOBILE).await;
        let others = app.request(Method::DELETE, "/app/v1_0/user/sessions").bearer_auth(&elsewhere.access);
        app.send(others).await.expect(204);
        sign_in(&app, MOBILE, &code, KEY).await.expect_error(400, "sms_code_expired");
        app.user(&elsewhere.access).await.expect(200);
    }
}

on_every_backend! {
    async fn after_a_refresh_a_repetition_signs_nobody_out(backends: Backends) {
        let app = TestApp::start(backends).await;
        let code = app.code(MOBILE).await;
        let first = sign_in(&app, MOBILE, &code, KEY).await.expect(201);
        let mut newest = Tokens::of(&first);
        for _ in 0..3 {
            newest = Tokens::of(&app.refresh(&newest.refresh).await.expect(201));
        }
        let again = sign_in(&app, MOBILE, &code, KEY).await.expect(201);
        expect_same(&again, &first);
        expect_goes_on(&app, &Tokens::of(&again)).await;
        expect_goes_on(&app, &newest).await;
    }
}

/// A service on the same stores whose clock is minutes ahead. It has just ended the user's sessions, so that those that the
/// other one opens begin in its future.
async fn ended_by_an_instance_ahead(app: &TestApp) -> TestApp {
    let clock = Clock::movable();
    clock.advance(chrono::Duration::minutes(7));
    let ahead = TestApp::start_at(clock, app.stores.clone(), &[NO_GAP]).await;
    let own = ahead.sign_in(MOBILE).await;
    end_others(&ahead, &own).await;
    ahead
}

async fn end_others(app: &TestApp, tokens: &Tokens) {
    app.send(app.request(Method::DELETE, SESSIONS).bearer_auth(&tokens.access)).await.expect(204);
}

on_every_backend! {
    async fn a_repetition_finds_a_session_that_began_by_the_clock_of_another_instance(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let _ahead = ended_by_an_instance_ahead(&app).await;
        let code = app.code(MOBILE).await;
        let first = sign_in(&app, MOBILE, &code, KEY).await.expect(201);
        let tokens = Tokens::of(&first);
        for _ in 0..2 {
            end_others(&app, &tokens).await;
            let again = sign_in(&app, MOBILE, &code, KEY).await.expect(201);
            expect_same(&again, &first);
            expect_goes_on(&app, &Tokens::of(&again)).await;
        }
        let list = app.get_as(SESSIONS, &tokens.access).await.expect(200);
        let ids: Vec<_> = list["data"]["sessions"].as_array().unwrap().iter().map(|session| &session["id"]).collect();
        assert_eq!(ids, [tokens.session_id().as_str()], "{list}");
    }
}

on_every_backend! {
    async fn a_session_that_began_by_the_clock_of_another_instance_ends_and_is_not_repeated(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let ahead = ended_by_an_instance_ahead(&app).await;
        let code = app.code(MOBILE).await;
        sign_in(&app, MOBILE, &code, KEY).await.expect(201);
        let elsewhere = ahead.sign_in(MOBILE).await;
        end_others(&ahead, &elsewhere).await;
        let sessions = app.stores.count("sessions").await;
        sign_in(&app, MOBILE, &code, KEY).await.expect_error(400, "sms_code_expired");
        assert_eq!(app.stores.count("sessions").await, sessions);

        let code = app.code(MOBILE).await;
        let own = Tokens::of(&sign_in(&app, MOBILE, &code, KEY).await.expect(201));
        let body = json!({ "code": app.code_for("delete_account", MOBILE, &own.access).await });
        app.send_as(Method::POST, "/app/v1_0/account_deletions", &own.access, body).await.expect(204);
        sign_in(&app, MOBILE, &code, KEY).await.expect_error(400, "sms_code_expired");
        assert_eq!(app.stores.count("users WHERE mobile IS NOT NULL").await, 0);
    }
}

on_every_backend! {
    async fn a_deleted_account_is_not_brought_back_by_a_repetition(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let code = app.code(MOBILE).await;
        let own = Tokens::of(&sign_in(&app, MOBILE, &code, KEY).await.expect(201));
        let deletion = app.code_for("delete_account", MOBILE, &own.access).await;
        let body = json!({ "code": deletion });
        app.send_as(Method::POST, "/app/v1_0/account_deletions", &own.access, body).await.expect(204);
        sign_in(&app, MOBILE, &code, KEY).await.expect_error(400, "sms_code_expired");
        assert_eq!(app.stores.count("users WHERE mobile IS NOT NULL").await, 0);

        // Nor is whoever registers the number next meant by it.
        app.sign_in(MOBILE).await;
        sign_in(&app, MOBILE, &code, KEY).await.expect_error(400, "sms_code_expired");
    }
}

on_every_backend! {
    async fn a_disabled_user_gets_nothing_by_a_repetition(backends: Backends) {
        let app = TestApp::start(backends).await;
        let code = app.code(MOBILE).await;
        sign_in(&app, MOBILE, &code, KEY).await.expect(201);
        app.advance(61).await;
        let code = app.code(MOBILE).await;
        app.stores.execute("UPDATE users SET status = 'disabled'").await;
        for _ in 0..2 {
            sign_in(&app, MOBILE, &code, KEY).await.expect_error(403, "account_disabled");
        }
        assert_eq!(app.stores.count("sessions").await, 1);
    }
}

on_every_backend! {
    async fn a_test_number_repeats_a_sign_in_like_any_other(backends: Backends) {
        let app = TestApp::start_with(backends, &["--sms-test-codes=13800138000=246810"]).await;
        let first = sign_in(&app, MOBILE, "246810", KEY).await.expect(201);
        expect_same(&sign_in(&app, MOBILE, "246810", KEY).await.expect(201), &first);
        let other = sign_in(&app, MOBILE, "246810", OTHER_KEY).await.expect(201);
        assert_ne!(Tokens::of(&other).session_id(), Tokens::of(&first).session_id());
        assert_eq!((&first["data"]["is_new_user"], &other["data"]["is_new_user"]), (&json!(true), &json!(false)));
        sign_in(&app, MOBILE, "246811", KEY).await.expect_error(400, "sms_code_invalid");
        expect_same(&sign_in(&app, MOBILE, "246810", KEY).await.expect(201), &first);

        // The code never burns: later, it is another sign-in.
        app.advance(61).await;
        let later = sign_in(&app, MOBILE, "246810", KEY).await.expect(201);
        assert_ne!(Tokens::of(&later).session_id(), Tokens::of(&first).session_id());
        app.user(&Tokens::of(&first).access).await.expect(200);
    }
}

#[tokio::test]
async fn a_malformed_key_is_refused_and_costs_no_try() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let code = app.code(MOBILE).await;
    let (cut, long) = (&KEY[1..], format!("{KEY}0"));
    for key in ["", " ", "1", "not-a-uuid", cut, &long, "zzzzzzzz-3e0b-4d8a-9c61-2b5e8f0d4a73"] {
        sign_in(&app, MOBILE, &code, key).await.expect_fields(&[HEADER]);
        sign_in(&app, MOBILE, other_than(&code), key).await.expect_fields(&[HEADER]);
    }
    let not_text = HeaderValue::from_bytes(b"\xe5\xaf\x86").unwrap();
    let request = app.request(Method::POST, PATH).header(HEADER, not_text);
    app.send(request.json(&json!({ "mobile": MOBILE, "code": code }))).await.expect_fields(&[HEADER]);
    sign_in(&app, "1", "1", "1").await.expect_fields(&[HEADER, "mobile", "code"]);
    sign_in(&app, "1", &code, "1").await.expect_fields(&[HEADER, "mobile"]);
    sign_in(&app, "12800138000", &code, KEY).await.expect_error(400, "mobile_invalid");

    let body = sign_in(&app, MOBILE, other_than(&code), KEY).await.expect_error(400, "sms_code_invalid");
    assert_eq!(body["attempts_left"], 4);
    let first = sign_in(&app, MOBILE, &code, KEY).await.expect(201);
    expect_same(&sign_in(&app, MOBILE, &code, &KEY.to_uppercase()).await.expect(201), &first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgresql_a_key_costs_no_code_with_codes_in_redis() {
    without_postgresql_a_key_costs_no_code(Backends::SQLITE_AND_REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgresql_a_key_costs_no_code_with_codes_in_process() {
    without_postgresql_a_key_costs_no_code(Backends::SQLITE_AND_IN_PROCESS).await;
}

async fn without_postgresql_a_key_costs_no_code(codes: Backends) {
    let mut postgresql = Server::postgresql().await;
    let app = TestApp::start_with(codes, &[&postgresql.flag()]).await;
    let (same, other, none) = (MOBILE, OTHER, "13700137000");
    let [of_same, of_other, of_none] = [app.code(same).await, app.code(other).await, app.code(none).await];
    let mobiles = [(same, &of_same), (other, &of_other), (none, &of_none)];

    postgresql.stop();
    for (mobile, code) in mobiles {
        for _ in 0..2 {
            sign_in(&app, mobile, code, KEY).await.expect_error(503, "unavailable");
        }
        let answers = join_all((0..5).map(|_| sign_in(&app, mobile, code, KEY))).await;
        for answer in answers {
            answer.expect_error(503, "unavailable");
        }
    }

    postgresql.start().await;
    let first = sign_in(&app, same, &of_same, KEY).await.expect(201);
    assert_eq!(first["data"]["is_new_user"], true);
    expect_same(&sign_in(&app, same, &of_same, KEY).await.expect(201), &first);
    sign_in(&app, same, &of_same, OTHER_KEY).await.expect_error(400, "sms_code_expired");

    let first = sign_in(&app, other, &of_other, OTHER_KEY).await.expect(201);
    assert_eq!(first["data"]["is_new_user"], true);
    sign_in(&app, other, &of_other, KEY).await.expect_error(400, "sms_code_expired");
    expect_same(&sign_in(&app, other, &of_other, OTHER_KEY).await.expect(201), &first);

    app.sign_in_with(none, &of_none).await.expect(201);
    sign_in(&app, none, &of_none, KEY).await.expect_error(400, "sms_code_expired");
}

on_every_backend! {
    async fn an_instance_that_dies_after_it_accepted_a_code_leaves_the_sign_in_to_the_repetition(backends: Backends) {
        let app = TestApp::start(backends).await;
        let code = app.code(MOBILE).await;
        let first = sign_in(&app, MOBILE, &code, KEY).await.expect(201);
        // As if it had come no further than the code.
        app.stores.execute("DELETE FROM sessions").await;
        app.stores.execute("DELETE FROM users").await;
        let again = sign_in(&app, MOBILE, &code, KEY).await.expect(201);
        assert_eq!(Tokens::of(&again).session_id(), Tokens::of(&first).session_id());
        assert_eq!(again["data"]["is_new_user"], true);
        expect_goes_on(&app, &Tokens::of(&again)).await;
    }
}

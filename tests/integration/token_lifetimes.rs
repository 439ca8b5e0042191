//! Does an access token live no longer than its session?

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, MOBILE, PASSWORD, TestApp, Tokens, command::run, on_every_backend, process::until};

const OTHER: &str = "13900139000";
const NO_GAP: &str = "--sms-resend-seconds=0";
const ISSUER: &str = "--jwt-issuer=https://id.example";
const KEY: &str = "7a1f9c52-3e0b-4d8a-9c61-2b5e8f0d4a73";

/// Where a token is believed without any look at a store.
const VERIFY: &str = "/app/v1_0/authorizations";

/// Fails unless the token that an answer hands out lives for this long, less what the test has taken, and the answer and its
/// cookie say so.
#[track_caller]
fn expect_lifetime(app: &TestApp, answer: &Answer, seconds: i64) {
    let body = answer.json();
    let claims = Tokens::of(&body).claims();
    let (issued_at, expires_at) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    let lifetime = expires_at - issued_at;
    assert!(lifetime <= seconds && lifetime + 30 > seconds, "{lifetime} instead of {seconds}");
    assert!(expires_at <= app.clock.now().timestamp() + seconds);
    assert_eq!(body["data"]["expires_in"], lifetime);
    if !answer.header("set-cookie").is_empty() {
        let cookie = answer.header("set-cookie");
        assert!(cookie.contains(&format!("; Max-Age={lifetime}")), "{cookie}");
    }
}

async fn expect_expired(app: &TestApp, tokens: &Tokens) {
    for method in [Method::GET, Method::DELETE] {
        let request = app.request(method, VERIFY).bearer_auth(&tokens.access);
        app.send(request).await.expect_error(401, "token_expired");
    }
}

on_every_backend! {
    async fn a_session_shorter_than_a_token_bounds_it_however_it_began(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP, "--refresh-token-ttl=600"]).await;
        let registered = app.register(MOBILE, PASSWORD).await;
        registered.expect_errno(0);
        let credentials = json!({ "mobile": MOBILE, "password": PASSWORD });
        let classic = app.post("/api/v1.0/sessions", credentials.clone()).await;
        let code = app.code(MOBILE).await;
        let with_code = async || {
            let request = app.request(Method::POST, VERIFY).header("Idempotency-Key", KEY);
            app.send(request.json(&json!({ "mobile": MOBILE, "code": code }))).await
        };
        let by_code = with_code().await;
        let by_password = app.post("/app/v1_0/authorizations/password", credentials).await;
        let refreshed = app.refresh(&Tokens::of(&by_password.expect(201)).refresh).await;
        let all = [registered, classic, by_code, by_password, refreshed];
        for answer in &all {
            expect_lifetime(&app, answer, 600);
        }

        app.advance(40).await;
        let repeated = with_code().await;
        repeated.expect(201);
        expect_lifetime(&app, &repeated, 560);

        app.advance(560).await;
        for answer in all.iter().chain([&repeated]) {
            expect_expired(&app, &Tokens::of(&answer.json())).await;
        }
    }
}

on_every_backend! {
    async fn the_last_refresh_before_the_greatest_age_bounds_the_token(backends: Backends) {
        let app = TestApp::start_with(backends, &["--session-max-age=7000"]).await;
        let first = app.sign_in(MOBILE).await;
        app.advance(3000).await;
        let answer = app.refresh(&first.refresh).await;
        expect_lifetime(&app, &answer, 3600);
        app.advance(3000).await;
        let answer = app.refresh(&Tokens::of(&answer.expect(201)).refresh).await;
        let last = Tokens::of(&answer.expect(201));
        expect_lifetime(&app, &answer, 1000);
        app.user(&last.access).await.expect(200);
        app.advance(1000).await;
        expect_expired(&app, &last).await;
    }
}

/// Signs in. The token outlives the session, as one of a former version does.
async fn sign_in_for_longer(app: &TestApp) -> Tokens {
    let tokens = app.sign_in(MOBILE).await;
    app.stores.execute("UPDATE sessions SET expires_at = created_at WHERE revoked_at IS NULL").await;
    app.get_as(VERIFY, &tokens.access).await.expect(204);
    tokens
}

async fn expect_revoked(app: &TestApp, tokens: &Tokens) {
    app.get_as(VERIFY, &tokens.access).await.expect_error(401, "session_revoked");
}

on_every_backend! {
    async fn whatever_ends_sessions_ends_a_token_that_outlives_its_session(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP, "--sms-per-mobile-per-day=0"]).await;
        let own = sign_in_for_longer(&app).await;
        app.sign_out(&own.access).await.expect(204);
        expect_revoked(&app, &own).await;

        // Users see no session that has expired, so there is none to end; its token is refused all the same.
        let (victim, keeper) = (sign_in_for_longer(&app).await, app.sign_in(MOBILE).await);
        let path = format!("/app/v1_0/user/sessions/{}", victim.session_id());
        for _ in 0..2 {
            app.send(app.request(Method::DELETE, &path).bearer_auth(&keeper.access)).await.expect_error(404, "not_found");
            expect_revoked(&app, &victim).await;
        }

        let victim = sign_in_for_longer(&app).await;
        let others = app.request(Method::DELETE, "/app/v1_0/user/sessions").bearer_auth(&keeper.access);
        app.send(others).await.expect(204);
        expect_revoked(&app, &victim).await;

        let victim = sign_in_for_longer(&app).await;
        let body = json!({ "password": PASSWORD, "code": app.code_for("reset_password", MOBILE, "").await });
        app.send_as(Method::PUT, "/app/v1_0/user/password", &keeper.access, body).await.expect(204);
        expect_revoked(&app, &victim).await;

        let victim = sign_in_for_longer(&app).await;
        let code = app.code_for("change_mobile", OTHER, &keeper.access).await;
        let current_code = app.code_for("change_mobile", MOBILE, &keeper.access).await;
        let body = json!({ "mobile": OTHER, "code": code, "current_code": current_code });
        app.send_as(Method::PUT, "/app/v1_0/user/mobile", &keeper.access, body).await.expect(200);
        expect_revoked(&app, &victim).await;
        app.get_as(VERIFY, &keeper.access).await.expect(204);

        let victim = sign_in_for_longer(&app).await;
        let code = app.code_for("reset_password", MOBILE, "").await;
        let body = json!({ "mobile": MOBILE, "code": code, "password": PASSWORD });
        app.post("/app/v1_0/password_resets", body).await.expect(204);
        expect_revoked(&app, &victim).await;

        let (victim, leaving) = (sign_in_for_longer(&app).await, app.sign_in(MOBILE).await);
        let body = json!({ "code": app.code_for("delete_account", MOBILE, &leaving.access).await });
        app.send_as(Method::POST, "/app/v1_0/account_deletions", &leaving.access, body).await.expect(204);
        expect_revoked(&app, &victim).await;
        expect_revoked(&app, &leaving).await;
    }
}

on_every_backend! {
    async fn no_operator_leaves_a_token_behind(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        for command in ["sign-out", "disable", "delete"] {
            let tokens = sign_in_for_longer(&app).await;
            let finished = run(&app.stores, &["users", command, "--yes", MOBILE], "").await;
            // One that has expired does not live.
            assert!(finished.expect_success().ends_with("Sessions ended: 0.\n"), "{finished:?}");
            let refused = async || app.get_as(VERIFY, &tokens.access).await.status == 401;
            until("the token is refused", std::time::Duration::from_secs(10), refused).await;
            expect_revoked(&app, &tokens).await;
            if command == "disable" {
                run(&app.stores, &["users", "enable", "--yes", MOBILE], "").await.expect_success();
            }
        }
    }
}

on_every_backend! {
    async fn tokens_that_live_for_less_time_after_a_restart_wake_no_ended_session(backends: Backends) {
        let app = TestApp::start_with(backends, &[ISSUER, NO_GAP]).await;
        let (ended, living) = (app.sign_in(MOBILE).await, app.sign_in(MOBILE).await);
        app.sign_out(&ended.access).await.expect(204);
        // What ended is remembered for as long as a token lives, which is less now.
        app.advance(300).await;
        let flags = [ISSUER, "--access-token-ttl=60"];
        let restarted = TestApp::start_at(app.clock.clone(), app.stores.clone(), &flags).await;
        for tokens in [&ended, &living] {
            expect_expired(&restarted, tokens).await;
        }
        let Value::Object(data) = restarted.refresh(&living.refresh).await.expect(201)["data"].take() else { panic!() };
        assert_eq!(data["expires_in"], 60);
        restarted.user(data["token"].as_str().unwrap()).await.expect(200);
        restarted.refresh(&ended.refresh).await.expect_error(401, "session_revoked");
    }
}

//! Does a password change hands only on proof, and does whoever knew the old one have to go?

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, MOBILE, PASSWORD, TestApp, Tokens, backends::Backends, expect_ended, expect_goes_on, on_every_backend,
    other_than,
};

const OTHER: &str = "13900139000";
const NEW_PASSWORD: &str = "another long secret";
const NO_GAP: &str = "--sms-resend-seconds=0";

/// What no rule lets through: too short, too common, the number itself.
const WEAK: [&str; 4] = ["short", "password123", MOBILE, "+86 138-0013-8000"];

async fn change(app: &TestApp, token: &str, body: Value) -> Answer {
    app.send_as(Method::PUT, "/app/v1_0/user/password", token, body).await
}

async fn reset(app: &TestApp, mobile: &str, code: &str, password: &str) -> Answer {
    app.post("/app/v1_0/password_resets", json!({ "mobile": mobile, "code": code, "password": password })).await
}

async fn sign_in_by_password(app: &TestApp, mobile: &str, password: &str) -> Answer {
    app.post("/app/v1_0/authorizations/password", json!({ "mobile": mobile, "password": password })).await
}

/// Registers with [`PASSWORD`] as [`MOBILE`].
async fn register(app: &TestApp) -> Tokens {
    Tokens::of(&app.register(MOBILE, PASSWORD).await.expect_errno(0))
}

#[track_caller]
fn expect_done(answer: &Answer) {
    answer.expect(204);
    assert!(answer.bytes.is_empty());
}

async fn expect_password_is(app: &TestApp, password: &str, not: &str) {
    sign_in_by_password(app, MOBILE, password).await.expect(201);
    sign_in_by_password(app, MOBILE, not).await.expect_error(401, "credentials_invalid");
}

on_every_backend! {
    async fn whoever_knows_the_old_password_sets_a_new_one_and_signs_out_everybody_else(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let registered = register(&app).await;
        let by_code = app.sign_in(MOBILE).await;
        let own = Tokens::of(&sign_in_by_password(&app, MOBILE, PASSWORD).await.expect(201));
        let stranger = app.sign_in(OTHER).await;

        let body = json!({ "password": NEW_PASSWORD, "old_password": PASSWORD });
        expect_done(&change(&app, &own.access, body).await);
        expect_goes_on(&app, &own).await;
        expect_ended(&app, &registered).await;
        expect_ended(&app, &by_code).await;
        expect_goes_on(&app, &stranger).await;
        expect_password_is(&app, NEW_PASSWORD, PASSWORD).await;
        let classic = async |password: &str| {
            app.post("/api/v1.0/sessions", json!({ "mobile": MOBILE, "password": password })).await
        };
        classic(NEW_PASSWORD).await.expect_errno(0);
        classic(PASSWORD).await.expect_errno(4106);
    }
}

on_every_backend! {
    async fn a_wrong_old_password_changes_nothing(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let (other, own) = (register(&app).await, app.sign_in(MOBILE).await);
        for old in [NEW_PASSWORD, " a long enough secret", "A long enough secret"] {
            let body = json!({ "password": NEW_PASSWORD, "old_password": old });
            change(&app, &own.access, body).await.expect_error(400, "old_password_wrong");
        }
        expect_goes_on(&app, &other).await;
        expect_password_is(&app, PASSWORD, NEW_PASSWORD).await;
    }
}

on_every_backend! {
    async fn the_first_password_is_set_by_code_alone(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let (other, own) = (app.sign_in(MOBILE).await, app.sign_in(MOBILE).await);
        let has_password = async || app.user(&own.access).await.expect(200)["data"]["has_password"].clone();
        assert_eq!(has_password().await, false);
        for old in [PASSWORD, MOBILE, "x"] {
            let body = json!({ "password": PASSWORD, "old_password": old });
            change(&app, &own.access, body).await.expect_error(400, "old_password_wrong");
        }
        let by_code = async |code: &str| change(&app, &own.access, json!({ "password": PASSWORD, "code": code })).await;
        by_code("123456").await.expect_error(400, "sms_code_expired");
        let code = app.code_for("reset_password", MOBILE, &own.access).await;
        let body = by_code(other_than(&code)).await.expect_error(400, "sms_code_invalid");
        assert_eq!(body["attempts_left"], 4);
        assert_eq!(has_password().await, false);
        expect_goes_on(&app, &other).await;

        expect_done(&by_code(&code).await);
        assert_eq!(has_password().await, true);
        expect_goes_on(&app, &own).await;
        expect_ended(&app, &other).await;
        expect_password_is(&app, PASSWORD, NEW_PASSWORD).await;
        by_code(&code).await.expect_error(400, "sms_code_expired");
    }
}

on_every_backend! {
    async fn a_forgotten_password_is_replaced_by_code_while_signed_in(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let (other, own) = (register(&app).await, app.sign_in(MOBILE).await);
        let code = app.code_for("reset_password", MOBILE, "").await;
        expect_done(&change(&app, &own.access, json!({ "password": NEW_PASSWORD, "code": code })).await);
        expect_goes_on(&app, &own).await;
        expect_ended(&app, &other).await;
        expect_password_is(&app, NEW_PASSWORD, PASSWORD).await;
    }
}

on_every_backend! {
    async fn a_weak_password_is_refused_before_the_proof_is_looked_at(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let own = register(&app).await;
        let code = app.code_for("reset_password", MOBILE, &own.access).await;
        for weak in WEAK {
            for code in [&code, other_than(&code)] {
                let body = json!({ "password": weak, "code": code });
                change(&app, &own.access, body).await.expect_error(400, "password_weak");
                reset(&app, MOBILE, code, weak).await.expect_error(400, "password_weak");
            }
            let body = json!({ "password": weak, "old_password": PASSWORD });
            change(&app, &own.access, body).await.expect_error(400, "password_weak");
        }
        expect_password_is(&app, PASSWORD, "short").await;
        // Neither the code nor one of its five tries is gone.
        let body = reset(&app, MOBILE, other_than(&code), NEW_PASSWORD).await.expect_error(400, "sms_code_invalid");
        assert_eq!(body["attempts_left"], 4);
        expect_done(&change(&app, &own.access, json!({ "password": NEW_PASSWORD, "code": code })).await);
        let code = app.code_for("reset_password", MOBILE, "").await;
        reset(&app, MOBILE, &code, "short").await.expect_error(400, "password_weak");
        expect_done(&reset(&app, MOBILE, &code, PASSWORD).await);
        expect_password_is(&app, PASSWORD, NEW_PASSWORD).await;
    }
}

on_every_backend! {
    async fn a_code_of_another_purpose_proves_nothing_and_is_not_spent(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let own = register(&app).await;
        let login = app.code(MOBILE).await;
        let moving = app.code_for("change_mobile", MOBILE, &own.access).await;
        let deleting = app.code_for("delete_account", MOBILE, &own.access).await;
        for code in [&login, &moving, &deleting] {
            let body = json!({ "password": NEW_PASSWORD, "code": code });
            change(&app, &own.access, body).await.expect_error(400, "sms_code_expired");
            reset(&app, MOBILE, code, NEW_PASSWORD).await.expect_error(400, "sms_code_expired");
        }
        expect_goes_on(&app, &own).await;
        app.sign_in_with(MOBILE, &login).await.expect(201);
        expect_password_is(&app, PASSWORD, NEW_PASSWORD).await;
    }
}

on_every_backend! {
    async fn a_reset_ends_every_session(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let (first, second) = (register(&app).await, app.sign_in(MOBILE).await);
        let stranger = app.sign_in(OTHER).await;
        let code = app.code_for("reset_password", MOBILE, "").await;
        let body = reset(&app, MOBILE, other_than(&code), NEW_PASSWORD).await.expect_error(400, "sms_code_invalid");
        assert_eq!(body["attempts_left"], 4);
        reset(&app, OTHER, &code, NEW_PASSWORD).await.expect_error(400, "sms_code_expired");
        expect_goes_on(&app, &first).await;

        expect_done(&reset(&app, "+86 138 0013 8000", &code, NEW_PASSWORD).await);
        expect_ended(&app, &first).await;
        expect_ended(&app, &second).await;
        expect_goes_on(&app, &stranger).await;
        expect_password_is(&app, NEW_PASSWORD, PASSWORD).await;
        reset(&app, MOBILE, &code, PASSWORD).await.expect_error(400, "sms_code_expired");
        expect_password_is(&app, NEW_PASSWORD, PASSWORD).await;
    }
}

on_every_backend! {
    async fn resets_at_the_same_instant_spend_a_code_once(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        app.sign_in(MOBILE).await;
        let code = app.code_for("reset_password", MOBILE, "").await;
        let answers = join_all((0..10).map(|_| reset(&app, MOBILE, &code, NEW_PASSWORD))).await;
        let (done, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 204);
        assert_eq!(done.len(), 1);
        for answer in refused {
            answer.expect_error(400, "sms_code_expired");
        }
    }
}

on_every_backend! {
    async fn resetting_for_an_unknown_mobile_neither_registers_nor_tells(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let body = json!({ "mobile": MOBILE, "purpose": "reset_password" });
        app.post("/app/v1_0/sms/codes", body).await.expect(200);
        reset(&app, MOBILE, "123456", "short").await.expect_error(400, "password_weak");
        // As at a code that is there, but that no digits match.
        for left in (0..5).rev() {
            let answer = reset(&app, MOBILE, "123456", NEW_PASSWORD).await;
            assert_eq!(answer.expect_error(400, "sms_code_invalid")["attempts_left"], left);
        }
        reset(&app, MOBILE, "123456", NEW_PASSWORD).await.expect_error(400, "sms_code_expired");
        reset(&app, OTHER, "123456", NEW_PASSWORD).await.expect_error(400, "sms_code_expired");
        assert!(app.app.outbox.as_ref().unwrap().recent().is_empty());
        assert_eq!(app.stores.count("users").await, 0);
    }
}

on_every_backend! {
    async fn a_disabled_user_resets_nothing(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let own = register(&app).await;
        let code = app.code_for("reset_password", MOBILE, "").await;
        app.stores.execute("UPDATE users SET status = 'disabled'").await;
        // Who has not proved the number is not told.
        reset(&app, MOBILE, other_than(&code), NEW_PASSWORD).await.expect_error(400, "sms_code_invalid");
        let by_code = json!({ "password": NEW_PASSWORD, "code": code });
        change(&app, &own.access, by_code).await.expect_error(401, "session_revoked");
        let by_password = json!({ "password": NEW_PASSWORD, "old_password": PASSWORD });
        change(&app, &own.access, by_password).await.expect_error(401, "session_revoked");
        reset(&app, MOBILE, &code, NEW_PASSWORD).await.expect_error(403, "account_disabled");
        app.stores.execute("UPDATE users SET status = 'active'").await;
        expect_password_is(&app, PASSWORD, NEW_PASSWORD).await;
    }
}

on_every_backend! {
    async fn a_test_number_resets_by_its_fixed_code_once_it_is_registered(backends: Backends) {
        let app = TestApp::start_with(backends, &["--sms-test-codes=13800138000=246810"]).await;
        reset(&app, MOBILE, "246810", PASSWORD).await.expect_error(400, "sms_code_expired");
        assert_eq!(app.stores.count("users").await, 0);
        let own = Tokens::of(&app.sign_in_with(MOBILE, "246810").await.expect(201));
        expect_done(&change(&app, &own.access, json!({ "password": NEW_PASSWORD, "code": "246810" })).await);
        for password in [PASSWORD, NEW_PASSWORD] {
            let body = reset(&app, MOBILE, "246811", password).await.expect_error(400, "sms_code_invalid");
            assert!(body.get("attempts_left").is_none(), "{body}");
            expect_done(&reset(&app, MOBILE, "246810", password).await);
        }
        expect_ended(&app, &own).await;
        expect_password_is(&app, NEW_PASSWORD, PASSWORD).await;
    }
}

on_every_backend! {
    async fn a_vendor_that_fails_does_not_tell_whether_a_number_is_known(backends: Backends) {
        let app = TestApp::start(backends).await;
        app.sign_in(MOBILE).await;
        let broken = ["--sms-provider=webhook", "--sms-webhook-url=http://127.0.0.1:1/", "--sms-total-per-hour=0"];
        let broken = TestApp::start_on(app.stores.clone(), &broken).await;
        app.advance(61).await;
        broken.advance(61).await;
        let ask = async |mobile: &str| {
            let body = json!({ "mobile": mobile, "purpose": "reset_password" });
            broken.post("/app/v1_0/sms/codes", body).await
        };
        assert_eq!(ask(MOBILE).await.expect(200), ask(OTHER).await.expect(200));
        for mobile in [OTHER, MOBILE] {
            ask(mobile).await.expect_error(429, "sms_too_frequent");
        }
    }
}

#[tokio::test]
async fn the_proof_is_the_old_password_or_a_code() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[NO_GAP]).await;
    let own = register(&app).await;
    let code = app.code_for("reset_password", MOBILE, "").await;
    let both_or_neither = ["old_password", "code"];
    for (body, fields) in [
        (json!({ "password": NEW_PASSWORD, "old_password": PASSWORD, "code": code }), &both_or_neither[..]),
        (json!({ "password": NEW_PASSWORD }), &both_or_neither),
        (json!({ "password": NEW_PASSWORD, "old_password": null, "code": null }), &both_or_neither),
        (json!({}), &["password", "old_password", "code"]),
        (json!({ "password": "", "code": "12" }), &["password", "code"]),
        (json!({ "password": 12_345_678, "code": 123_456 }), &["password", "code"]),
        (json!({ "password": NEW_PASSWORD, "old_password": 12_345_678 }), &["old_password"]),
        (json!({ "password": NEW_PASSWORD, "old_password": "" }), &["old_password"]),
        (json!({ "old_password": PASSWORD }), &["password"]),
        (json!({ "code": code }), &["password"]),
    ] {
        change(&app, &own.access, body).await.expect_fields(fields);
    }
    change(&app, "rubbish", json!({})).await.expect_error(401, "token_invalid");
    expect_password_is(&app, PASSWORD, NEW_PASSWORD).await;
    let body = json!({ "password": NEW_PASSWORD, "old_password": null, "code": code, "unknown": 1 });
    expect_done(&change(&app, &own.access, body).await);
}

#[tokio::test]
async fn every_wrong_field_of_a_reset_is_told_and_costs_no_try() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[NO_GAP]).await;
    register(&app).await;
    let code = app.code_for("reset_password", MOBILE, "").await;
    let path = "/app/v1_0/password_resets";
    for (body, fields) in [
        (json!({}), &["mobile", "code", "password"][..]),
        (json!({ "mobile": "1", "code": "1", "password": "" }), &["mobile", "code", "password"]),
        (json!({ "mobile": 13_800_138_000_u64, "code": 123_456, "password": 1 }), &["mobile", "code", "password"]),
        (json!({ "mobile": MOBILE, "code": code }), &["password"]),
        (json!({ "mobile": MOBILE, "password": NEW_PASSWORD }), &["code"]),
    ] {
        app.post(path, body).await.expect_fields(fields);
    }
    reset(&app, "12800138000", &code, NEW_PASSWORD).await.expect_error(400, "mobile_invalid");
    for shapeless in ["12345", "1234567", "12345a"] {
        reset(&app, MOBILE, shapeless, NEW_PASSWORD).await.expect_fields(&["code"]);
    }
    let body = reset(&app, MOBILE, other_than(&code), NEW_PASSWORD).await.expect_error(400, "sms_code_invalid");
    assert_eq!(body["attempts_left"], 4);
    expect_done(&reset(&app, MOBILE, &code, NEW_PASSWORD).await);
}

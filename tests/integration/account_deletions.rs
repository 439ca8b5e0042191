//! Does a deleted account leave nothing behind but a free number?

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, MOBILE, PASSWORD, TestApp, Tokens, backends::Backends, expect_ended, on_every_backend, other_than,
};

const OTHER: &str = "13900139000";
const NO_GAP: &str = "--sms-resend-seconds=0";

async fn send(app: &TestApp, token: &str, body: Value) -> Answer {
    app.send_as(Method::POST, "/app/v1_0/account_deletions", token, body).await
}

async fn delete(app: &TestApp, token: &str, code: &str) -> Answer {
    send(app, token, json!({ "code": code })).await
}

on_every_backend! {
    async fn a_deleted_user_is_signed_out_and_forgotten_and_the_number_is_free(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let first = Tokens::of(&app.register(MOBILE, PASSWORD).await.expect_errno(0));
        let profile = json!({ "name": "小明", "avatar_url": "https://cdn.example.com/a.png" });
        app.send_as(Method::PATCH, "/app/v1_0/user", &first.access, profile).await.expect(200);
        let left = app.sign_in(MOBILE).await;
        app.sign_out(&left.access).await.expect(204);
        let own = app.sign_in(MOBILE).await;
        let stranger = app.sign_in(OTHER).await;
        let id = app.user(&own.access).await.expect(200)["data"]["id"].clone();

        let code = app.code_for("delete_account", MOBILE, &own.access).await;
        let answer = delete(&app, &own.access, &code).await;
        answer.expect(204);
        assert!(answer.bytes.is_empty());
        expect_ended(&app, &first).await;
        expect_ended(&app, &own).await;
        app.user(&stranger.access).await.expect(200);
        app.get_as("/api/v1.0/user", &own.access).await.expect_errno(4101);
        delete(&app, &own.access, &code).await.expect_error(401, "session_revoked");
        let body = json!({ "mobile": MOBILE, "purpose": "delete_account" });
        app.send_as(Method::POST, "/app/v1_0/sms/codes", &own.access, body).await.expect_error(401, "session_revoked");

        assert_eq!(app.stores.count("users").await, 2);
        let nobody = "users WHERE mobile IS NULL AND avatar_url IS NULL AND password_hash IS NULL AND name = ''";
        assert_eq!(app.stores.count(nobody).await, 1);
        assert_eq!(app.stores.count("users WHERE mobile = '13800138000' OR name = '13800138000'").await, 0);
        assert_eq!(app.stores.count("sessions").await, 4);
        // The stranger's.
        assert_eq!(app.stores.count("sessions WHERE ip IS NOT NULL OR user_agent IS NOT NULL").await, 1);

        let credentials = json!({ "mobile": MOBILE, "password": PASSWORD });
        app.post("/app/v1_0/authorizations/password", credentials).await.expect_error(401, "credentials_invalid");
        let anew = app.sign_in_with(MOBILE, &app.code(MOBILE).await).await.expect(201);
        assert_eq!(anew["data"]["is_new_user"], true);
        assert_ne!(anew["data"]["user_id"], id);
        let user = app.user(&Tokens::of(&anew).access).await.expect(200);
        assert_eq!((&user["data"]["name"], &user["data"]["has_password"]), (&json!(MOBILE), &json!(false)));
        assert!(user["data"].get("avatar_url").is_none(), "{user}");
        expect_ended(&app, &own).await;
    }
}

on_every_backend! {
    async fn a_number_can_come_and_go_again_and_again(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        for round in 1..=3 {
            let own = app.sign_in(MOBILE).await;
            let code = app.code_for("delete_account", MOBILE, &own.access).await;
            delete(&app, &own.access, &code).await.expect(204);
            assert_eq!(app.stores.count("users WHERE mobile IS NULL").await, round);
        }
        app.register(MOBILE, PASSWORD).await.expect_errno(0);
    }
}

on_every_backend! {
    async fn only_a_code_for_deletion_deletes(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let (own, stranger) = (app.sign_in(MOBILE).await, app.sign_in(OTHER).await);
        let login = app.code(MOBILE).await;
        let reset = app.code_for("reset_password", MOBILE, "").await;
        let moving = app.code_for("change_mobile", MOBILE, &own.access).await;
        let of_stranger = app.code_for("delete_account", OTHER, &stranger.access).await;
        for code in [&login, &reset, &moving, &of_stranger] {
            delete(&app, &own.access, code).await.expect_error(400, "sms_code_expired");
        }
        app.sign_in_with(MOBILE, &login).await.expect(201);

        let code = app.code_for("delete_account", MOBILE, &own.access).await;
        let body = delete(&app, &own.access, other_than(&code)).await.expect_error(400, "sms_code_invalid");
        assert_eq!(body["attempts_left"], 4);
        delete(&app, &stranger.access, other_than(&code)).await.expect(400);
        app.user(&own.access).await.expect(200);
        app.refresh(&own.refresh).await.expect(201);
        app.advance(301).await;
        delete(&app, &own.access, &code).await.expect_error(400, "sms_code_expired");
        let code = app.code_for("delete_account", MOBILE, &own.access).await;
        delete(&app, &own.access, &code).await.expect(204);
        app.user(&stranger.access).await.expect(200);
    }
}

on_every_backend! {
    async fn a_test_number_is_deleted_by_its_fixed_code(backends: Backends) {
        let app = TestApp::start_with(backends, &["--sms-test-codes=13800138000=246810"]).await;
        for _ in 0..2 {
            let body = app.sign_in_with(MOBILE, "246810").await.expect(201);
            assert_eq!(body["data"]["is_new_user"], true);
            let own = Tokens::of(&body);
            delete(&app, &own.access, "246811").await.expect_error(400, "sms_code_invalid");
            delete(&app, &own.access, "246810").await.expect(204);
            expect_ended(&app, &own).await;
        }
    }
}

on_every_backend! {
    async fn deletions_at_the_same_instant_delete_once(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let own = app.sign_in(MOBILE).await;
        let code = app.code_for("delete_account", MOBILE, &own.access).await;
        let answers = join_all((0..10).map(|_| delete(&app, &own.access, &code))).await;
        let (done, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 204);
        assert_eq!(done.len(), 1);
        for answer in refused {
            let body = answer.json();
            assert!(["sms_code_expired", "session_revoked"].contains(&body["code"].as_str().unwrap()), "{body}");
        }
        expect_ended(&app, &own).await;
    }
}

on_every_backend! {
    async fn a_disabled_account_does_not_vanish(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let own = app.sign_in(MOBILE).await;
        let code = app.code_for("delete_account", MOBILE, &own.access).await;
        app.stores.execute("UPDATE users SET status = 'disabled'").await;
        // Otherwise whoever is kept out would come back as somebody new.
        delete(&app, &own.access, &code).await.expect_error(401, "session_revoked");
        assert_eq!(app.stores.count("users WHERE mobile IS NULL").await, 0);
    }
}

#[tokio::test]
async fn a_code_has_to_be_there_and_costs_no_try_when_it_has_the_wrong_shape() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[NO_GAP]).await;
    let own = app.sign_in(MOBILE).await;
    let code = app.code_for("delete_account", MOBILE, &own.access).await;
    for body in [json!({}), json!({ "code": null }), json!({ "code": "12345" }), json!({ "code": 123_456 })] {
        send(&app, &own.access, body).await.expect_fields(&["code"]);
    }
    send(&app, "rubbish", json!({ "code": code })).await.expect_error(401, "token_invalid");
    let body = delete(&app, &own.access, other_than(&code)).await.expect_error(400, "sms_code_invalid");
    assert_eq!(body["attempts_left"], 4);
    send(&app, &own.access, json!({ "code": code, "mobile": OTHER })).await.expect(204);
}

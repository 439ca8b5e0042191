//! Blocked segments: their numbers get no code, in no family and for no purpose.

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, MOBILE, PASSWORD, TestApp, Tokens, on_every_backend};

const PATH: &str = "/app/v1_0/sms/codes";
const BLOCKED: &str = "17012345678";
const BLOCK: &str = "--mobile-block=170,13800138001";

async fn ask(app: &TestApp, mobile: &str, purpose: &str) -> Answer {
    app.post(PATH, json!({ "mobile": mobile, "purpose": purpose })).await
}

async fn ask_as(app: &TestApp, access_token: &str, mobile: &str, purpose: &str) -> Answer {
    app.send_as(Method::POST, PATH, access_token, json!({ "mobile": mobile, "purpose": purpose })).await
}

fn sent(app: &TestApp) -> usize {
    app.app.outbox.as_ref().unwrap().recent().len()
}

on_every_backend! {
    async fn a_blocked_number_gets_no_code_in_either_family_and_costs_neither_count_nor_picture(backends: Backends) {
        let app = TestApp::start_with(backends, &[BLOCK, "--sms-per-ip-per-hour=1"]).await;
        for mobile in [BLOCKED, "+86 170-1234-5678", "13800138001"] {
            app.get(&format!("{PATH}/{mobile}")).await.expect_error(400, "mobile_blocked");
            for purpose in ["login", "reset_password"] {
                ask(&app, mobile, purpose).await.expect_error(400, "mobile_blocked");
            }
        }
        let text = app.picture("a-picture").await;
        for path in ["/api/v1.0/smscode", "/api/v1.0/sms_codes"] {
            let body = app.get(&format!("{path}/{BLOCKED}?text={text}&id=a-picture")).await.expect_errno(4103);
            assert_eq!(body["errmsg"], "该号段不支持接收验证码");
        }
        let body = json!({ "mobile": BLOCKED, "image_code_id": "a-picture", "image_code": text });
        app.post("/passport/sms_code", body).await.expect_errno(4103);
        app.get(&format!("/api/v1.0/smscode/{BLOCKED}?text=WRONG&id=a-picture")).await.expect_errno(4103);
        assert_eq!(sent(&app), 0);

        // The picture and the one message of the address are still there for another number, one digit off.
        app.get(&format!("/api/v1.0/smscode/13800138002?text={text}&id=a-picture")).await.expect_errno(0);
        assert_eq!(sent(&app), 1);
    }
}

on_every_backend! {
    async fn a_user_whose_number_is_blocked_later_gets_no_code_either_but_signs_in_by_password(backends: Backends) {
        // The tokens of one instance are good at the other.
        let issuer = "--jwt-issuer=https://id.example.com";
        let app = TestApp::start_with(backends, &[issuer]).await;
        app.register(BLOCKED, PASSWORD).await.expect_errno(0);
        let body = json!({ "mobile": BLOCKED, "password": PASSWORD });
        let own = Tokens::of(&app.post("/app/v1_0/authorizations/password", body.clone()).await.expect(201));
        app.advance(61).await;

        let app = TestApp::start_at(app.clock.clone(), app.stores.clone(), &[BLOCK, issuer]).await;
        for purpose in ["login", "reset_password", "change_mobile", "delete_account"] {
            ask_as(&app, &own.access, BLOCKED, purpose).await.expect_error(400, "mobile_blocked");
        }
        assert_eq!(sent(&app), 0);
        // Another's number is blocked before it is told whose it is.
        ask_as(&app, &own.access, "17000000000", "delete_account").await.expect_error(400, "mobile_blocked");
        // Without a token, that is missing first.
        ask(&app, BLOCKED, "change_mobile").await.expect_error(401, "token_invalid");
        app.post("/app/v1_0/authorizations/password", body).await.expect(201);
        app.user(&own.access).await.expect(200);
    }
}

on_every_backend! {
    async fn no_number_is_blocked_unless_prefixes_are_set_and_a_bad_number_is_told_as_such(backends: Backends) {
        let app = TestApp::start(backends).await;
        ask(&app, BLOCKED, "login").await.expect(200);
        let app = TestApp::start_with(backends, &[BLOCK]).await;
        ask(&app, "1701234567", "login").await.expect_error(400, "mobile_invalid");
        ask(&app, BLOCKED, "nothing").await.expect_fields(&["purpose"]);
        ask(&app, MOBILE, "login").await.expect(200);
    }
}

on_every_backend! {
    async fn a_test_number_is_blocked_like_any_other(backends: Backends) {
        let codes = format!("--sms-test-codes={BLOCKED}=246810");
        let app = TestApp::start_with(backends, &[BLOCK, &codes]).await;
        ask(&app, BLOCKED, "login").await.expect_error(400, "mobile_blocked");
    }
}

//! Who gets an SMS code, how often, and at what price?

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, MOBILE, TestApp, backends::Backends, on_every_backend, process::until};

const OTHER: &str = "13900139000";
const PATH: &str = "/app/v1_0/sms/codes";

/// A provider that nobody answers for.
const BROKEN: [&str; 3] = ["--sms-provider=webhook", "--sms-webhook-url=http://127.0.0.1:1/", "--sms-total-per-hour=0"];

async fn send(app: &TestApp, mobile: &str, purpose: &str) -> Answer {
    app.post(PATH, json!({ "mobile": mobile, "purpose": purpose })).await
}

async fn send_as(app: &TestApp, token: &str, mobile: &str, purpose: &str) -> Answer {
    let body = json!({ "mobile": mobile, "purpose": purpose });
    app.send(app.request(Method::POST, PATH).bearer_auth(token).json(&body)).await
}

async fn send_with_picture(app: &TestApp, mobile: &str, id: &str, text: &str) -> Answer {
    app.post(PATH, json!({ "mobile": mobile, "image_code_id": id, "image_code": text })).await
}

fn messages(app: &TestApp) -> usize {
    app.app.outbox.as_ref().unwrap().recent().len()
}

/// Fails unless an answer says that it is too early; returns the seconds to wait.
#[track_caller]
fn expect_too_frequent(answer: &Answer) -> u64 {
    let body = answer.expect_error(429, "sms_too_frequent");
    let seconds = body["retry_after"].as_u64().unwrap();
    assert!((1..=60).contains(&seconds), "{body}");
    assert_eq!(answer.header("retry-after"), seconds.to_string());
    seconds
}

#[track_caller]
fn expect_fields(answer: &Answer, names: &[&str]) {
    let body = answer.expect_error(400, "request_invalid");
    let fields: Vec<_> = body["fields"].as_array().into_iter().flatten().map(|field| &field["field"]).collect();
    assert_eq!(fields, names, "{body}");
}

on_every_backend! {
    async fn a_code_is_sent_by_get_and_by_post(backends: Backends) {
        let app = TestApp::start(backends).await;
        let expected = json!({ "message": "ok", "data": { "expires_in": 300, "resend_after": 60 } });
        assert_eq!(app.get(&format!("{PATH}/{MOBILE}")).await.expect(200), expected);
        assert_eq!(app.post(PATH, json!({ "mobile": OTHER, "anything": [1] })).await.expect(200), expected);
        let messages = app.app.outbox.as_ref().unwrap().recent();
        assert_eq!(messages.len(), 2);
        for message in messages {
            assert_eq!(message.purpose, "login");
            assert!(message.code.len() == 6 && message.code.bytes().all(|byte| byte.is_ascii_digit()));
            assert!(message.text.contains(&message.code) && message.text.contains("5 分钟"), "{}", message.text);
        }
        for mobile in [MOBILE, OTHER] {
            app.sign_in_with(mobile, &app.last_code(mobile)).await.expect(201);
        }
    }
}

on_every_backend! {
    async fn the_next_code_has_to_wait_a_minute_whatever_it_is_for(backends: Backends) {
        let app = TestApp::start(backends).await;
        let token = app.sign_in(MOBILE).await.access;
        let mut last = 60;
        for _ in 0..3 {
            last = expect_too_frequent(&app.get(&format!("{PATH}/{MOBILE}")).await).min(last);
            expect_too_frequent(&send(&app, MOBILE, "login").await);
            expect_too_frequent(&send(&app, MOBILE, "reset_password").await);
            expect_too_frequent(&send_as(&app, &token, MOBILE, "delete_account").await);
            expect_too_frequent(&send_as(&app, &token, MOBILE, "change_mobile").await);
            app.advance(15).await;
        }
        assert!(last <= 31, "{last}");
        assert_eq!(messages(&app), 1);
        send(&app, OTHER, "login").await.expect(200);
        app.advance(16).await;
        send(&app, MOBILE, "reset_password").await.expect(200);
        expect_too_frequent(&send(&app, MOBILE, "login").await);
        until("the message", Duration::from_secs(10), async || messages(&app) == 3).await;
    }
}

on_every_backend! {
    async fn without_a_gap_codes_follow_each_other(backends: Backends) {
        let app = TestApp::start_with(backends, &["--sms-resend-seconds=0"]).await;
        for _ in 0..2 {
            let body = send(&app, MOBILE, "login").await.expect(200);
            assert_eq!(body["data"]["resend_after"], 0);
        }
        app.sign_in_with(MOBILE, &app.last_code(MOBILE)).await.expect(201);
    }
}

on_every_backend! {
    async fn parallel_requests_for_one_mobile_send_one_message(backends: Backends) {
        let app = TestApp::start(backends).await;
        let answers = join_all((0..10).map(|_| send(&app, MOBILE, "login"))).await;
        let (sent, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
        assert_eq!(sent.len(), 1);
        for answer in refused {
            expect_too_frequent(answer);
        }
        assert_eq!(messages(&app), 1);
    }
}

on_every_backend! {
    async fn a_picture_is_asked_for_where_it_is_needed_but_not_within_the_gap(backends: Backends) {
        let app = TestApp::start_with(backends, &["--image-code=always"]).await;
        app.get(&format!("{PATH}/{MOBILE}")).await.expect_error(403, "image_code_required");
        send(&app, MOBILE, "login").await.expect_error(403, "image_code_required");
        send_with_picture(&app, MOBILE, "unknown", "abcd").await.expect_error(400, "image_code_expired");
        app.picture("x").await;
        send_with_picture(&app, MOBILE, "x", "0000").await.expect_error(400, "image_code_invalid");
        assert_eq!(messages(&app), 0);

        let text = app.picture("x").await;
        send_with_picture(&app, MOBILE, "x", &text).await.expect(200);
        let text = app.picture("y").await;
        expect_too_frequent(&send(&app, MOBILE, "login").await);
        expect_too_frequent(&app.get(&format!("{PATH}/{MOBILE}")).await);
        expect_too_frequent(&send_with_picture(&app, MOBILE, "y", &text).await);
        // The picture was not looked at.
        let by_query = format!("{PATH}/{OTHER}?image_code_id=y&image_code={text}");
        app.get(&by_query).await.expect(200);
        app.advance(61).await;
        send(&app, MOBILE, "login").await.expect_error(403, "image_code_required");
        assert_eq!(messages(&app), 2);
    }
}

#[tokio::test]
async fn half_a_picture_code_is_none() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &["--image-code=always"]).await;
    expect_fields(&app.post(PATH, json!({ "mobile": MOBILE, "image_code_id": "x" })).await, &["image_code"]);
    expect_fields(&app.post(PATH, json!({ "mobile": MOBILE, "image_code": "abcd" })).await, &["image_code_id"]);
    expect_fields(&app.get(&format!("{PATH}/{MOBILE}?image_code_id=x")).await, &["image_code"]);
    expect_fields(&app.get(&format!("{PATH}/{MOBILE}?image_code=abcd")).await, &["image_code_id"]);
}

on_every_backend! {
    async fn where_no_picture_is_ever_asked_for_a_wrong_one_is_ignored(backends: Backends) {
        let app = TestApp::start_with(backends, &["--image-code=never"]).await;
        let text = app.picture("x").await;
        send_with_picture(&app, MOBILE, "x", "0000").await.expect(200);
        send_with_picture(&app, OTHER, "unknown", "0000").await.expect(200);
        // The picture was not looked at, and the classic families ask for one all the same.
        app.get("/api/v1.0/smscode/13700137000").await.expect_errno(4103);
        app.get(&format!("/api/v1.0/smscode/13700137000?text={text}&id=x")).await.expect_errno(0);
    }
}

#[tokio::test]
async fn where_no_picture_is_ever_asked_for_not_even_a_malformed_one_matters() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &["--image-code=never"]).await;
    for (number, picture) in [
        (13_800_138_000_u64, json!({ "image_code_id": "x" })),
        (13_800_138_001, json!({ "image_code_id": "", "image_code": "" })),
        (13_800_138_002, json!({ "image_code_id": "not an id", "image_code": "abcd" })),
    ] {
        let mut body = picture;
        body["mobile"] = json!(number.to_string());
        app.post(PATH, body).await.expect(200);
    }
}

#[tokio::test]
async fn every_wrong_field_is_told() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    expect_fields(&app.post(PATH, json!({})).await, &["mobile"]);
    for purpose in [json!("unknown"), json!("Login"), json!(" "), json!(1), json!(["login"])] {
        expect_fields(&app.post(PATH, json!({ "mobile": MOBILE, "purpose": purpose })).await, &["purpose"]);
    }
    let body = json!({ "mobile": "1", "purpose": "?", "image_code_id": "?" });
    expect_fields(&app.post(PATH, body).await, &["mobile", "purpose", "image_code_id", "image_code"]);
    for mobile in [json!(13_800_138_000_u64), json!(null), json!("")] {
        expect_fields(&app.post(PATH, json!({ "mobile": mobile })).await, &["mobile"]);
    }
    for mobile in ["12800138000", "1380013800", "138001380000", "١٣٨٠٠١٣٨٠٠٠", "+1 202 555 0100"] {
        send(&app, mobile, "login").await.expect_error(400, "mobile_invalid");
        app.get(&format!("{PATH}/{mobile}")).await.expect_error(400, "mobile_invalid");
    }
    assert_eq!(messages(&app), 0);
}

on_every_backend! {
    async fn resetting_the_password_of_an_unknown_mobile_looks_like_that_of_a_known_one(backends: Backends) {
        let app = TestApp::start(backends).await;
        app.sign_in(OTHER).await;
        app.advance(61).await;
        let known = send(&app, OTHER, "reset_password").await.expect(200);
        // It goes out in the background: how long a vendor takes tells nothing.
        until("the message", Duration::from_secs(10), async || messages(&app) == 2).await;
        assert_eq!(send(&app, MOBILE, "reset_password").await.expect(200), known);
        expect_too_frequent(&send(&app, MOBILE, "reset_password").await);
        expect_too_frequent(&send(&app, MOBILE, "login").await);
        assert_eq!(messages(&app), 2);
        app.advance(61).await;
        send(&app, MOBILE, "login").await.expect(200);
        app.sign_in_with(MOBILE, &app.last_code(MOBILE)).await.expect(201);
    }
}

on_every_backend! {
    async fn codes_that_change_an_account_are_for_whoever_is_signed_in_to_it(backends: Backends) {
        let app = TestApp::start(backends).await;
        let token = app.sign_in(MOBILE).await.access;
        app.advance(61).await;
        for purpose in ["change_mobile", "delete_account"] {
            let answer = send(&app, MOBILE, purpose).await;
            answer.expect_error(401, "token_invalid");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            send_as(&app, "rubbish", MOBILE, purpose).await.expect_error(401, "token_invalid");
        }
        expect_fields(&send_as(&app, &token, OTHER, "delete_account").await, &["mobile"]);
        assert_eq!(messages(&app), 1);

        // None of these took the gap.
        send_as(&app, &token, OTHER, "change_mobile").await.expect(200);
        send_as(&app, &token, MOBILE, "change_mobile").await.expect(200);
        app.advance(61).await;
        send_as(&app, &token, MOBILE, "delete_account").await.expect(200);
        let sent: Vec<_> = app.app.outbox.as_ref().unwrap().recent().into_iter().map(|message| message.purpose).collect();
        assert_eq!(sent, ["delete_account", "change_mobile", "change_mobile", "login"]);

        app.sign_out(&token).await.expect(204);
        send_as(&app, &token, MOBILE, "change_mobile").await.expect_error(401, "session_revoked");
    }
}

#[tokio::test]
async fn a_stale_token_does_not_disturb_signing_in() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let token = app.sign_in(MOBILE).await.access;
    app.sign_out(&token).await.expect(204);
    for (stale, mobile) in [(&*token, "13800138001"), ("rubbish", "13800138002"), ("", "13800138003")] {
        send_as(&app, stale, mobile, "login").await.expect(200);
        app.advance(61).await;
        app.get_as(&format!("{PATH}/{mobile}"), stale).await.expect(200);
        app.advance(61).await;
        send_as(&app, stale, mobile, "reset_password").await.expect(200);
        let body: Value = json!({ "mobile": mobile, "code": app.last_code(mobile) });
        let sign_in = app.request(Method::POST, "/app/v1_0/authorizations").bearer_auth(stale).json(&body);
        app.send(sign_in).await.expect(201);
    }
}

on_every_backend! {
    async fn a_message_that_was_not_sent_leaves_neither_gap_nor_code(backends: Backends) {
        let app = TestApp::start_with(backends, &BROKEN).await;
        send(&app, MOBILE, "login").await.expect_error(502, "sms_send_failed");
        app.get(&format!("{PATH}/{MOBILE}")).await.expect_error(502, "sms_send_failed");
        let text = app.picture("x").await;
        app.get(&format!("/api/v1.0/smscode/{MOBILE}?text={text}&id=x")).await.expect_errno(4301);
        // A code that is there would be `sms_code_invalid`.
        app.sign_in_with(MOBILE, "000000").await.expect_error(400, "sms_code_expired");
    }
}

on_every_backend! {
    async fn a_test_number_needs_neither_picture_nor_patience_and_gets_no_message(backends: Backends) {
        let flags = ["--sms-test-codes=13800138000=246810", "--image-code=always"];
        let app = TestApp::start_with(backends, &flags).await;
        for _ in 0..3 {
            send(&app, MOBILE, "login").await.expect(200);
            send(&app, MOBILE, "reset_password").await.expect(200);
            app.get(&format!("{PATH}/{MOBILE}")).await.expect(200);
        }
        let token = crate::support::Tokens::of(&app.sign_in_with(MOBILE, "246810").await.expect(201)).access;
        send_as(&app, &token, MOBILE, "delete_account").await.expect(200);
        send(&app, MOBILE, "delete_account").await.expect_error(401, "token_invalid");
        assert_eq!(messages(&app), 0);
    }
}

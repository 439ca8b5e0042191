//! What a message that is not sent leaves of the code that arrived before.

use std::time::Duration;

use serde_json::json;

use crate::{
    sms_providers::StandIn,
    support::{Answer, MOBILE, PASSWORD, TestApp, Tokens, backends::Backends, on_every_backend, other_than, process},
};

const OTHER: &str = "13900139000";
const PATH: &str = "/app/v1_0/sms/codes";
const TAKEN: (u16, &str) = (200, "");
const REFUSED: (u16, &str) = (403, "");

/// A service whose vendor gives these answers.
async fn start(backends: Backends, answers: &[(u16, &'static str)]) -> (TestApp, StandIn) {
    let (vendor, url) = StandIn::start(0, answers).await;
    let webhook = format!("--sms-webhook-url={url}");
    let app = TestApp::start_with(backends, &["--sms-provider=webhook", "--sms-total-per-hour=0", &webhook]).await;
    (app, vendor)
}

async fn ask_for(app: &TestApp, purpose: &str, mobile: &str) -> Answer {
    app.post(PATH, json!({ "mobile": mobile, "purpose": purpose })).await
}

/// The code that the vendor has got last.
fn code(vendor: &StandIn) -> String {
    vendor.received().last().expect("a message").json()["code"].as_str().unwrap().to_owned()
}

async fn reset(app: &TestApp, mobile: &str, code: &str) -> Answer {
    app.post("/app/v1_0/password_resets", json!({ "mobile": mobile, "code": code, "password": PASSWORD })).await
}

/// Fails unless a code was wrong and so many tries are left.
#[track_caller]
fn expect_tries_left(answer: &Answer, left: u32) {
    assert_eq!(answer.expect_error(400, "sms_code_invalid")["attempts_left"], left);
}

on_every_backend! {
    async fn a_code_that_arrived_signs_in_after_the_next_one_was_not_sent(backends: Backends) {
        let (app, vendor) = start(backends, &[TAKEN, REFUSED, REFUSED, TAKEN]).await;
        ask_for(&app, "login", MOBILE).await.expect(200);
        let first = code(&vendor);
        expect_tries_left(&app.sign_in_with(MOBILE, other_than(&first)).await, 4);
        app.advance(61).await;
        for left in [3, 2] {
            ask_for(&app, "login", MOBILE).await.expect_error(502, "sms_send_failed");
            // Tries that are used stay used.
            expect_tries_left(&app.sign_in_with(MOBILE, other_than(&first)).await, left);
        }
        app.sign_in_with(MOBILE, &first).await.expect(201);
        app.sign_in_with(MOBILE, &first).await.expect_error(400, "sms_code_expired");

        ask_for(&app, "login", MOBILE).await.expect(200);
        app.sign_in_with(MOBILE, &code(&vendor)).await.expect(201);
    }
}

on_every_backend! {
    async fn a_code_that_arrived_lives_no_longer_because_the_next_one_was_not_sent(backends: Backends) {
        let (app, vendor) = start(backends, &[TAKEN, REFUSED, TAKEN]).await;
        ask_for(&app, "login", MOBILE).await.expect(200);
        let first = code(&vendor);
        app.advance(200).await;
        ask_for(&app, "login", MOBILE).await.expect_error(502, "sms_send_failed");
        app.advance(101).await;
        app.sign_in_with(MOBILE, &first).await.expect_error(400, "sms_code_expired");
    }
}

on_every_backend! {
    async fn a_reset_code_that_arrived_works_after_the_next_one_was_not_sent_and_nothing_shows_it(backends: Backends) {
        let (app, vendor) = start(backends, &[TAKEN, TAKEN, REFUSED, REFUSED]).await;
        ask_for(&app, "login", MOBILE).await.expect(200);
        app.sign_in_with(MOBILE, &code(&vendor)).await.expect(201);
        app.advance(61).await;

        let mut first = None;
        for round in 0..3 {
            for mobile in [MOBILE, OTHER] {
                ask_for(&app, "reset_password", mobile).await.expect(200);
                ask_for(&app, "reset_password", mobile).await.expect_error(429, "sms_too_frequent");
            }
            // It is handed over after the answer.
            process::until("no more work", Duration::from_secs(10), async || app.app.detached.count() == 0).await;
            let sent = code(&vendor);
            let first = first.get_or_insert(sent);
            for mobile in [MOBILE, OTHER] {
                expect_tries_left(&reset(&app, mobile, other_than(first)).await, 4);
            }
            if round < 2 {
                app.advance(61).await;
            }
        }
        reset(&app, OTHER, &first.clone().unwrap()).await.expect_error(400, "sms_code_invalid");
        reset(&app, MOBILE, &first.clone().unwrap()).await.expect(204);
        reset(&app, MOBILE, &first.unwrap()).await.expect_error(400, "sms_code_expired");
        let credentials = json!({ "mobile": MOBILE, "password": PASSWORD });
        Tokens::of(&app.post("/app/v1_0/authorizations/password", credentials).await.expect(201));
    }
}

on_every_backend! {
    async fn a_reset_code_that_arrived_lives_no_longer_because_the_next_one_was_not_sent(backends: Backends) {
        let (app, vendor) = start(backends, &[TAKEN, TAKEN, REFUSED]).await;
        ask_for(&app, "login", MOBILE).await.expect(200);
        app.sign_in_with(MOBILE, &code(&vendor)).await.expect(201);
        app.advance(61).await;
        let mut codes = Vec::new();
        for _ in 0..2 {
            ask_for(&app, "reset_password", MOBILE).await.expect(200);
            process::until("no more work", Duration::from_secs(10), async || app.app.detached.count() == 0).await;
            codes.push(code(&vendor));
            app.advance(200).await;
        }
        expect_tries_left(&reset(&app, MOBILE, &codes[0]).await, 4);
    }
}

//! Does an account move to another number only when both numbers are proved, and leave the old one free?

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, MOBILE, PASSWORD, TestApp, Tokens, backends::Backends, on_every_backend, other_than};

const NEW: &str = "13900139000";
const THIRD: &str = "13700137000";
const NO_GAP: &str = "--sms-resend-seconds=0";
const FIXED: &str = "246810";

async fn put(app: &TestApp, token: &str, body: Value) -> Answer {
    app.send_as(Method::PUT, "/app/v1_0/user/mobile", token, body).await
}

async fn change(app: &TestApp, token: &str, mobile: &str, code: &str, current_code: &str) -> Answer {
    put(app, token, json!({ "mobile": mobile, "code": code, "current_code": current_code })).await
}

/// Fails unless this code of the two was refused for this reason; returns the tries that it has left.
#[track_caller]
fn expect_refused(answer: &Answer, field: &str, reason: &str) -> Value {
    let body = answer.expect_error(400, reason);
    let fields: Vec<_> = body["fields"].as_array().into_iter().flatten().map(|field| &field["field"]).collect();
    assert_eq!(fields, [field], "{body}");
    body["attempts_left"].clone()
}

on_every_backend! {
    async fn both_codes_move_the_account_and_sign_out_everybody_else(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let other = Tokens::of(&app.register(MOBILE, PASSWORD).await.expect_errno(0));
        let own = app.sign_in(MOBILE).await;
        let before = app.user(&own.access).await.expect(200);
        let code = app.code_for("change_mobile", NEW, &own.access).await;
        let current = app.code_for("change_mobile", MOBILE, &own.access).await;

        let mut expected = before.clone();
        expected["data"]["mobile"] = json!(NEW);
        // Nobody chose the name: it is the number.
        expected["data"]["name"] = json!(NEW);
        let answer = change(&app, &own.access, "+86 139-0013-9000", &code, &current).await;
        assert_eq!(answer.expect(200), expected);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(app.user(&own.access).await.expect(200), expected);
        app.refresh(&own.refresh).await.expect(201);
        app.user(&other.access).await.expect_error(401, "session_revoked");
        app.refresh(&other.refresh).await.expect_error(401, "session_revoked");

        let by_password = async |mobile: &str| {
            app.post("/app/v1_0/authorizations/password", json!({ "mobile": mobile, "password": PASSWORD })).await
        };
        by_password(MOBILE).await.expect_error(401, "credentials_invalid");
        let moved = by_password(NEW).await.expect(201);
        assert_eq!(moved["data"]["user_id"], before["data"]["id"]);
        let moved = app.sign_in_with(NEW, &app.code(NEW).await).await.expect(201);
        assert_eq!((&moved["data"]["user_id"], &moved["data"]["is_new_user"]), (&before["data"]["id"], &json!(false)));
        let anew = app.sign_in_with(MOBILE, &app.code(MOBILE).await).await.expect(201);
        assert_eq!(anew["data"]["is_new_user"], true);
        assert_ne!(anew["data"]["user_id"], before["data"]["id"]);

        change(&app, &own.access, THIRD, &code, &current).await.expect_error(400, "sms_code_expired");
        change(&app, &own.access, MOBILE, &code, &current).await.expect_error(400, "sms_code_expired");
    }
}

on_every_backend! {
    async fn a_name_that_somebody_chose_stays(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let own = app.sign_in(MOBILE).await;
        app.send_as(Method::PATCH, "/app/v1_0/user", &own.access, json!({ "name": "小明" })).await.expect(200);
        let code = app.code_for("change_mobile", NEW, &own.access).await;
        let current = app.code_for("change_mobile", MOBILE, &own.access).await;
        let body = change(&app, &own.access, NEW, &code, &current).await.expect(200);
        assert_eq!((&body["data"]["name"], &body["data"]["mobile"]), (&json!("小明"), &json!(NEW)));
    }
}

on_every_backend! {
    async fn neither_code_is_spent_unless_both_are_right(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let (other, own) = (app.sign_in(MOBILE).await, app.sign_in(MOBILE).await);
        let current = app.code_for("change_mobile", MOBILE, &own.access).await;
        expect_refused(&change(&app, &own.access, NEW, "123456", &current).await, "code", "sms_code_expired");
        let code = app.code_for("change_mobile", NEW, &own.access).await;
        let (wrong, wrong_current) = (other_than(&code), other_than(&current));

        // Four tries of each: the other one does not suffer.
        for left in (1..5).rev() {
            let answer = change(&app, &own.access, NEW, wrong, &current).await;
            assert_eq!(expect_refused(&answer, "code", "sms_code_invalid"), left);
            let answer = change(&app, &own.access, NEW, &code, wrong_current).await;
            assert_eq!(expect_refused(&answer, "current_code", "sms_code_invalid"), left);
        }
        let answer = change(&app, &own.access, NEW, &code, wrong_current).await;
        assert_eq!(expect_refused(&answer, "current_code", "sms_code_invalid"), 0);
        let answer = change(&app, &own.access, NEW, &code, &current).await;
        expect_refused(&answer, "current_code", "sms_code_expired");
        assert_eq!(app.user(&own.access).await.expect(200)["data"]["mobile"], MOBILE);
        app.user(&other.access).await.expect(200);

        let current = app.code_for("change_mobile", MOBILE, &own.access).await;
        change(&app, &own.access, NEW, &code, &current).await.expect(200);
    }
}

on_every_backend! {
    async fn a_code_proves_the_number_that_it_went_to_and_nothing_else(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let own = app.sign_in(MOBILE).await;
        let current = app.code_for("change_mobile", MOBILE, &own.access).await;
        let (login, reset) = (app.code(NEW).await, app.code_for("reset_password", MOBILE, "").await);
        // One proof is not two, and those of other purposes are none.
        for code in [&current, &login] {
            expect_refused(&change(&app, &own.access, NEW, code, &current).await, "code", "sms_code_expired");
        }
        let code = app.code_for("change_mobile", NEW, &own.access).await;
        for wrong in [&code, &reset] {
            if *wrong != current {
                let answer = change(&app, &own.access, NEW, &code, wrong).await;
                expect_refused(&answer, "current_code", "sms_code_invalid");
            }
        }
        expect_refused(&change(&app, &own.access, THIRD, &code, &current).await, "code", "sms_code_expired");
        change(&app, &own.access, NEW, &code, &current).await.expect(200);
    }
}

on_every_backend! {
    async fn that_a_number_is_taken_is_told_to_its_owner_alone_and_costs_no_code(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let (owner, own) = (app.sign_in(NEW).await, app.sign_in(MOBILE).await);
        let other_session = app.sign_in(MOBILE).await;
        expect_refused(&change(&app, &own.access, NEW, "123456", "123456").await, "code", "sms_code_expired");
        let code = app.code_for("change_mobile", NEW, &own.access).await;
        let current = app.code_for("change_mobile", MOBILE, &own.access).await;
        let answer = change(&app, &own.access, NEW, other_than(&code), &current).await;
        expect_refused(&answer, "code", "sms_code_invalid");
        let answer = change(&app, &own.access, NEW, &code, other_than(&current)).await;
        expect_refused(&answer, "current_code", "sms_code_invalid");
        for _ in 0..3 {
            change(&app, &own.access, NEW, &code, &current).await.expect_error(409, "mobile_taken");
        }
        app.user(&other_session.access).await.expect(200);
        assert_eq!(app.user(&owner.access).await.expect(200)["data"]["mobile"], NEW);

        let deletion = app.code_for("delete_account", NEW, &owner.access).await;
        let gone = app.send_as(Method::POST, "/app/v1_0/account_deletions", &owner.access, json!({ "code": deletion }));
        gone.await.expect(204);
        let body = change(&app, &own.access, NEW, &code, &current).await.expect(200);
        assert_eq!(body["data"]["mobile"], NEW);
        app.user(&other_session.access).await.expect_error(401, "session_revoked");
    }
}

on_every_backend! {
    async fn of_two_accounts_that_want_one_number_one_gets_it(backends: Backends) {
        // A test number: its code is right for both.
        let app = TestApp::start_with(backends, &[NO_GAP, &format!("--sms-test-codes={NEW}={FIXED}")]).await;
        let mut movers = Vec::new();
        for mobile in [MOBILE, THIRD] {
            let own = app.sign_in(mobile).await;
            let current = app.code_for("change_mobile", mobile, &own.access).await;
            movers.push((mobile, own, current));
        }
        let [first, second] = &movers[..] else { unreachable!() };
        let try_it = |(_, own, current): &(&str, Tokens, String)| {
            let (token, current) = (own.access.clone(), current.clone());
            let app = &app;
            async move { change(app, &token, NEW, FIXED, &current).await }
        };
        let (of_first, of_second) = tokio::join!(try_it(first), try_it(second));
        let (winner, loser) = if of_first.status == 200 { (&of_first, second) } else { (&of_second, first) };
        let refused = if of_first.status == 200 { &of_second } else { &of_first };
        assert_eq!(winner.expect(200)["data"]["mobile"], NEW);
        refused.expect_error(409, "mobile_taken");
        assert_eq!(app.user(&loser.1.access).await.expect(200)["data"]["mobile"], loser.0);

        // The loser's code is as good as before.
        let code = app.code_for("change_mobile", "13600136000", &loser.1.access).await;
        change(&app, &loser.1.access, "13600136000", &code, &loser.2).await.expect(200);
    }
}

on_every_backend! {
    async fn one_move_asked_for_twice_at_once_happens_once_and_signs_nobody_out(backends: Backends) {
        let codes = format!("--sms-test-codes={MOBILE}={FIXED},{NEW}={FIXED}");
        let app = TestApp::start_with(backends, &[&codes]).await;
        let own = Tokens::of(&app.sign_in_with(MOBILE, FIXED).await.expect(201));
        let twice = tokio::join!(
            change(&app, &own.access, NEW, FIXED, FIXED),
            change(&app, &own.access, NEW, FIXED, FIXED),
        );
        let answers = [&twice.0, &twice.1];
        assert!(answers.iter().any(|answer| answer.status == 200), "{answers:?}");
        // What came second proved a number that is not the account's any more; its session lives.
        assert!(answers.iter().all(|answer| answer.status == 200 || answer.status == 400), "{answers:?}");
        assert_eq!(app.user(&own.access).await.expect(200)["data"]["mobile"], NEW);
        app.refresh(&own.refresh).await.expect(201);
    }
}

on_every_backend! {
    async fn a_code_that_resets_the_password_does_not_outlive_the_move(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let own = app.sign_in(MOBILE).await;
        let reset = app.code_for("reset_password", MOBILE, "").await;
        let code = app.code_for("change_mobile", NEW, &own.access).await;
        let current = app.code_for("change_mobile", MOBILE, &own.access).await;
        change(&app, &own.access, NEW, &code, &current).await.expect(200);
        let body = json!({ "mobile": MOBILE, "code": reset, "password": PASSWORD });
        app.post("/app/v1_0/password_resets", body).await.expect_error(400, "sms_code_expired");
        assert_eq!(app.user(&own.access).await.expect(200)["data"]["has_password"], false);
    }
}

on_every_backend! {
    async fn the_number_of_now_is_no_new_one(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let own = app.sign_in(MOBILE).await;
        let current = app.code_for("change_mobile", MOBILE, &own.access).await;
        for own_number in [MOBILE, "+86 138 0013 8000"] {
            change(&app, &own.access, own_number, &current, &current).await.expect_fields(&["mobile"]);
            change(&app, &own.access, own_number, "123456", "123456").await.expect_fields(&["mobile"]);
        }
        let code = app.code_for("change_mobile", NEW, &own.access).await;
        change(&app, &own.access, NEW, &code, &current).await.expect(200);
    }
}

on_every_backend! {
    async fn a_disabled_account_does_not_move(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        let own = app.sign_in(MOBILE).await;
        let code = app.code_for("change_mobile", NEW, &own.access).await;
        let current = app.code_for("change_mobile", MOBILE, &own.access).await;
        app.stores.execute("UPDATE users SET status = 'disabled'").await;
        change(&app, &own.access, NEW, &code, &current).await.expect_error(401, "session_revoked");
        app.stores.execute("UPDATE users SET status = 'active'").await;
        change(&app, &own.access, NEW, &code, &current).await.expect(200);
    }
}

#[tokio::test]
async fn every_wrong_field_is_told_and_costs_no_try() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[NO_GAP]).await;
    let own = app.sign_in(MOBILE).await;
    let code = app.code_for("change_mobile", NEW, &own.access).await;
    let current = app.code_for("change_mobile", MOBILE, &own.access).await;
    let all = ["mobile", "code", "current_code"];
    for (body, fields) in [
        (json!({}), &all[..]),
        (json!({ "mobile": null, "code": null, "current_code": null }), &all),
        (json!({ "mobile": "1", "code": "1", "current_code": "1" }), &all),
        (json!({ "mobile": 13_900_139_000_u64, "code": 123_456, "current_code": 123_456 }), &all),
        (json!({ "mobile": NEW, "code": code }), &["current_code"]),
        (json!({ "mobile": NEW, "current_code": current }), &["code"]),
        (json!({ "code": code, "current_code": current }), &["mobile"]),
    ] {
        put(&app, &own.access, body).await.expect_fields(fields);
    }
    change(&app, &own.access, "12900139000", &code, &current).await.expect_error(400, "mobile_invalid");
    change(&app, "rubbish", NEW, &code, &current).await.expect_error(401, "token_invalid");
    let answer = change(&app, &own.access, NEW, &code, other_than(&current)).await;
    assert_eq!(expect_refused(&answer, "current_code", "sms_code_invalid"), 4);
    let body = json!({ "mobile": NEW, "code": code, "current_code": current, "unknown": [1] });
    put(&app, &own.access, body).await.expect(200);
}

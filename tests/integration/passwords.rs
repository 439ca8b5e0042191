//! Does an app sign in by password, and learn nothing when it may not?

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, MOBILE, PASSWORD, TestApp, Tokens, backends::Backends, on_every_backend};

const PATH: &str = "/app/v1_0/authorizations/password";

async fn sign_in(app: &TestApp, mobile: &str, password: &str) -> Answer {
    app.post(PATH, json!({ "mobile": mobile, "password": password })).await
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

on_every_backend! {
    async fn a_user_with_a_password_signs_in_by_it(backends: Backends) {
        let app = TestApp::start(backends).await;
        let registered = app.register(MOBILE, PASSWORD).await.expect_errno(0);
        assert_eq!(claims(registered["data"]["token"].as_str().unwrap())["amr"], json!(["sms"]));

        let answer = sign_in(&app, "+86 138 0013 8000", PASSWORD).await;
        let body = answer.expect(201);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(body["message"], "ok");
        assert_eq!(body["data"]["is_new_user"], false);
        assert_eq!(body["data"]["user_id"], registered["data"]["user_id"]);
        let tokens = Tokens::of(&body);
        let claims = claims(&tokens.access);
        assert_eq!(claims["amr"], json!(["pwd"]));
        assert_eq!((&claims["user_id"], &claims["sub"]), (&body["data"]["user_id"], &body["data"]["user_id"]));

        assert_eq!(app.user(&tokens.access).await.expect(200)["data"]["has_password"], true);
        app.refresh(&tokens.refresh).await.expect(201);
        app.sign_out(&tokens.access).await.expect(204);
        // The session of the registration is another one.
        app.user(registered["data"]["token"].as_str().unwrap()).await.expect(200);
    }
}

on_every_backend! {
    async fn unknown_mobile_no_password_and_wrong_password_are_one_answer(backends: Backends) {
        let app = TestApp::start(backends).await;
        app.register(MOBILE, PASSWORD).await.expect_errno(0);
        let without = app.sign_in("13900139000").await;
        assert_eq!(app.user(&without.access).await.expect(200)["data"]["has_password"], false);

        let mut messages = Vec::new();
        for (mobile, password) in
            [("13700137000", PASSWORD), ("13900139000", PASSWORD), ("13900139000", "x"), (MOBILE, "a wrong secret")]
        {
            let answer = sign_in(&app, mobile, password).await;
            messages.push(answer.expect_error(401, "credentials_invalid")["message"].clone());
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
        assert!(messages.iter().all(|message| *message == messages[0]), "{messages:?}");
        sign_in(&app, MOBILE, PASSWORD).await.expect(201);
    }
}

#[tokio::test]
async fn a_password_is_taken_exactly_as_typed() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let exact = "  Grüße, 世界 🙂 ";
    app.register(MOBILE, exact).await.expect_errno(0);
    for other in [exact.trim(), &exact.to_lowercase(), &exact[1..]] {
        sign_in(&app, MOBILE, other).await.expect_error(401, "credentials_invalid");
    }
    sign_in(&app, MOBILE, exact).await.expect(201);
}

#[tokio::test]
async fn a_password_may_have_from_eight_to_a_hundred_and_twenty_eight_characters() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    for (mobile, password, errno) in [
        ("13800138000", "密".repeat(7), 4103),
        ("13800138001", "密".repeat(8), 0),
        ("13800138002", "密".repeat(128), 0),
        ("13800138003", "密".repeat(129), 4103),
    ] {
        app.register(mobile, &password).await.expect_errno(errno);
    }
}

#[tokio::test]
async fn a_password_is_more_than_the_name_of_this_service() {
    let flags = ["--public-url=https://id.acme-bank.example", "--jwt-audience=shop"];
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags).await;
    for (number, password) in
        ["phonepass", "PhonePass2026!", "phonepassphonepass", "1shop2shop3", "my-acme-2026", "example.bank"]
            .iter()
            .enumerate()
    {
        let expected = if *password == "example.bank" { 0 } else { 4103 };
        app.register(&format!("1380013800{number}"), password).await.expect_errno(expected);
    }
    app.register("13800138009", "phonepass for ever").await.expect_errno(0);
}

#[tokio::test]
async fn every_missing_field_is_told() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    for (body, expected) in [
        (json!({}), vec!["mobile", "password"]),
        (json!({ "mobile": "1", "password": "" }), vec!["mobile", "password"]),
        (json!({ "mobile": MOBILE }), vec!["password"]),
        (json!({ "mobile": MOBILE, "password": null }), vec!["password"]),
        (json!({ "mobile": MOBILE, "password": 12_345_678 }), vec!["password"]),
        (json!({ "password": PASSWORD }), vec!["mobile"]),
        (json!({ "mobile": 13_800_138_000_u64, "password": PASSWORD }), vec!["mobile"]),
        // The classic families' other name counts for nothing here.
        (json!({ "mobile": MOBILE, "passwd": PASSWORD }), vec!["password"]),
    ] {
        let answer = app.post(PATH, body).await;
        let body = answer.json();
        let fields: Vec<_> = body["fields"].as_array().into_iter().flatten().map(|field| &field["field"]).collect();
        assert_eq!(fields, expected, "{body}");
        answer.expect_error(400, "request_invalid");
    }
    sign_in(&app, "12345678901", PASSWORD).await.expect_error(400, "mobile_invalid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_logins_keeps_nobody_else_waiting() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &["--limit-exempt=127.0.0.1"]).await;
    app.register(MOBILE, PASSWORD).await.expect_errno(0);
    let mobiles: Vec<_> = (0..30).map(|number| format!("1380014{number:04}")).collect();
    for mobile in &mobiles {
        app.sign_in(mobile).await;
    }
    let sql = format!("UPDATE users SET password_hash = (SELECT password_hash FROM users WHERE mobile = '{MOBILE}')");
    app.stores.execute(&sql).await;
    let mut codes = Vec::new();
    for number in 0..20 {
        let mobile = format!("1390013{number:04}");
        codes.push((app.code(&mobile).await, mobile));
    }
    let done = AtomicUsize::new(0);
    let storm = join_all(mobiles.iter().map(async |mobile| {
        sign_in(&app, mobile, PASSWORD).await.expect(201);
        done.fetch_add(1, Ordering::Relaxed)
    }));
    let others = async {
        while done.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        for (code, mobile) in &codes {
            app.sign_in_with(mobile, code).await.expect(201);
        }
        done.load(Ordering::Relaxed)
    };
    let (_, before) = tokio::join!(storm, others);
    assert!(before < 24, "twenty sign-ins waited for {before} of 30 logins");
}

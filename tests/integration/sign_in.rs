//! Does signing in by code register, recognise and refuse whom it should?

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{MOBILE, TestApp, Tokens, backends::Backends, on_every_backend};

on_every_backend! {
    async fn a_new_mobile_is_registered_and_a_known_one_recognised(backends: Backends) {
        let app = TestApp::start(backends).await;
        let code = app.code(MOBILE).await;
        let answer = app.sign_in_with(MOBILE, &code).await;
        let first = answer.expect(201);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(first["message"], "ok");
        assert_eq!(first["data"]["is_new_user"], true);
        assert_eq!(first["data"]["token_type"], "Bearer");
        assert_eq!(first["data"]["expires_in"], 3600);
        assert_eq!(first["data"]["refresh_expires_in"], 1_209_600);
        assert!(first["data"]["refresh_token"].as_str().unwrap().starts_with("rt_"));

        let user = app.user(&Tokens::of(&first).access).await.expect(200);
        assert_eq!(user["data"]["id"], first["data"]["user_id"]);
        assert_eq!(user["data"]["mobile"], MOBILE);
        assert_eq!(user["data"]["name"], MOBILE);
        assert_eq!(user["data"]["has_password"], false);
        assert!(user["data"].get("avatar_url").is_none(), "{user}");
        assert!(user["data"].get("password_hash").is_none(), "{user}");

        app.advance(90).await;
        let code = app.code(MOBILE).await;
        let second = app.sign_in_with(MOBILE, &code).await.expect(201);
        assert_eq!(second["data"]["is_new_user"], false);
        assert_eq!(second["data"]["user_id"], first["data"]["user_id"]);
        let again = app.user(&Tokens::of(&second).access).await.expect(200);
        assert_eq!(again["data"]["created_at"], user["data"]["created_at"]);
        assert_ne!(again["data"]["last_login"], user["data"]["last_login"]);
    }
}

on_every_backend! {
    async fn two_hundred_parallel_sign_ins_with_one_code_open_one_session(backends: Backends) {
        // Each but one is a guess where no code is any more.
        let flags = ["--verify-per-mobile-per-hour=0", "--guesses-per-ip-per-hour=0"];
        let app = TestApp::start_with(backends, &flags).await;
        let code = app.code(MOBILE).await;
        let answers = join_all((0..200).map(|_| app.sign_in_with(MOBILE, &code))).await;
        let (created, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
        assert_eq!(created.len(), 1);
        for answer in refused {
            answer.expect_error(400, "sms_code_expired");
        }
    }
}

on_every_backend! {
    async fn the_fifth_wrong_try_burns_a_code(backends: Backends) {
        let app = TestApp::start(backends).await;
        let code = app.code(MOBILE).await;
        let wrong = if code == "000000" { "000001" } else { "000000" };
        for left in (0..5).rev() {
            let body = app.sign_in_with(MOBILE, wrong).await.expect_error(400, "sms_code_invalid");
            assert_eq!(body["attempts_left"], left);
        }
        app.sign_in_with(MOBILE, wrong).await.expect_error(400, "sms_code_expired");
        app.sign_in_with(MOBILE, &code).await.expect_error(400, "sms_code_expired");
    }
}

on_every_backend! {
    async fn parallel_wrong_tries_never_get_more_than_five(backends: Backends) {
        let app = TestApp::start(backends).await;
        let code = app.code(MOBILE).await;
        let wrong = if code == "000000" { "000001" } else { "000000" };
        let answers = join_all((0..50).map(|_| app.sign_in_with(MOBILE, wrong))).await;
        let tried = answers.iter().filter(|answer| answer.json()["code"] == "sms_code_invalid").count();
        assert_eq!(tried, 5);
    }
}

on_every_backend! {
    async fn a_code_works_until_it_expires_and_only_the_newest_does(backends: Backends) {
        let app = TestApp::start(backends).await;
        let code = app.code(MOBILE).await;
        app.advance(299).await;
        app.sign_in_with(MOBILE, &code).await.expect(201);
        app.sign_in_with(MOBILE, &code).await.expect_error(400, "sms_code_expired");

        let first = app.code(MOBILE).await;
        app.advance(61).await;
        let second = app.code(MOBILE).await;
        if first != second {
            let body = app.sign_in_with(MOBILE, &first).await.expect_error(400, "sms_code_invalid");
            assert_eq!(body["attempts_left"], 4);
        }
        app.advance(301).await;
        app.sign_in_with(MOBILE, &second).await.expect_error(400, "sms_code_expired");
    }
}

on_every_backend! {
    async fn a_code_is_worthless_for_another_mobile_and_another_purpose(backends: Backends) {
        let app = TestApp::start(backends).await;
        app.sign_in(MOBILE).await;
        app.advance(61).await;
        let reset = app.code_for("reset_password", MOBILE, "").await;
        app.sign_in_with(MOBILE, &reset).await.expect_error(400, "sms_code_expired");
        app.sign_in_with("13800138001", &reset).await.expect_error(400, "sms_code_expired");
    }
}

on_every_backend! {
    async fn a_test_number_signs_in_by_its_fixed_code_as_often_as_it_likes(backends: Backends) {
        let app = TestApp::start_with(backends, &["--sms-test-codes=13600000000=246810", "--image-code=always"]).await;
        for _ in 0..3 {
            app.get("/app/v1_0/sms/codes/13600000000").await.expect(200);
            app.sign_in_with("13600000000", "246810").await.expect(201);
        }
        for _ in 0..7 {
            let body = app.sign_in_with("13600000000", "246811").await.expect_error(400, "sms_code_invalid");
            assert!(body.get("attempts_left").is_none(), "{body}");
        }
        app.sign_in_with("13600000000", "246810").await.expect(201);
        assert!(app.app.outbox.as_ref().unwrap().recent().is_empty());
    }
}

#[tokio::test]
async fn a_mobile_is_taken_as_people_write_it() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let code = app.code(MOBILE).await;
    app.sign_in_with(" +86 138-0013-8000", &code).await.expect(201);
    app.advance(61).await;
    app.get("/app/v1_0/sms/codes/008613800138000").await.expect(200);
    let code = app.last_code(MOBILE);
    let body = app.sign_in_with("8613800138000", &code).await.expect(201);
    assert_eq!(body["data"]["is_new_user"], false);
}

#[tokio::test]
async fn every_wrong_field_is_told_at_once_and_costs_no_try() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let code = app.code(MOBILE).await;
    let path = "/app/v1_0/authorizations";
    let fields = |body: &serde_json::Value| -> Vec<String> {
        let fields = body["fields"].as_array().unwrap();
        fields.iter().map(|field| field["field"].as_str().unwrap().to_owned()).collect()
    };

    let body = app.post(path, json!({})).await.expect_error(400, "request_invalid");
    assert_eq!(fields(&body), ["mobile", "code"]);
    let body = app.post(path, json!({ "mobile": "123", "code": "12" })).await.expect_error(400, "request_invalid");
    assert_eq!(fields(&body), ["mobile", "code"]);
    let numbers = json!({ "mobile": 13_800_138_000_u64, "code": 123_456 });
    let body = app.post(path, numbers).await.expect_error(400, "request_invalid");
    assert_eq!(fields(&body), ["mobile", "code"]);
    app.post(path, json!({ "mobile": "12345678901", "code": "123456" })).await.expect_error(400, "mobile_invalid");
    for shapeless in ["12345", "1234567", "12345a", "١٢٣٤٥٦", ""] {
        app.sign_in_with(MOBILE, shapeless).await.expect_error(400, "request_invalid");
    }
    for not_an_object in [json!([]), json!("text"), json!(null), json!(1)] {
        app.post(path, not_an_object).await.expect_error(400, "request_invalid");
    }
    app.post(path, json!({ "mobile": MOBILE, "code": code, "unknown": [1, 2] })).await.expect(201);
}

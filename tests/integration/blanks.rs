//! Optional fields that are `null` or, as forms send what was not filled in, empty.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{MOBILE, PASSWORD, TestApp, Tokens, backends::Backends, on_every_backend};

const USER: &str = "/app/v1_0/user";
const CODES: &str = "/app/v1_0/sms/codes";
const PICTURE: &str = "https://cdn.example.com/a.png";
const NO_GAP: &str = "--sms-resend-seconds=0";

on_every_backend! {
    async fn a_picture_is_removed_by_null_and_by_nothing_between_the_quotes(backends: Backends) {
        let app = TestApp::start(backends).await;
        let token = app.sign_in(MOBILE).await.access;
        let without = app.user(&token).await.expect(200);
        assert!(without["data"].get("avatar_url").is_none(), "{without}");
        for (body, name) in [
            (json!({ "avatar_url": null }), MOBILE),
            (json!({ "avatar_url": "" }), MOBILE),
            (json!({ "avatar_url": null, "name": null }), MOBILE),
            (json!({ "avatar_url": "", "name": "小明" }), "小明"),
        ] {
            // Also where there is none to remove.
            for picture in [Some(PICTURE), None] {
                if let Some(picture) = picture {
                    let change = json!({ "avatar_url": picture });
                    let user = app.send_as(Method::PATCH, USER, &token, change).await.expect(200);
                    assert_eq!(user["data"]["avatar_url"], picture);
                }
                let user = app.send_as(Method::PATCH, USER, &token, body.clone()).await.expect(200);
                assert!(user["data"].get("avatar_url").is_none(), "{body}: {user}");
                assert_eq!(user["data"]["name"], name, "{body}");
                assert_eq!(app.user(&token).await.expect(200), user);
                assert_eq!(app.get_as("/api/v1.0/user", &token).await.expect_errno(0)["data"]["avatar"], "");
            }
        }
        // A wrong name keeps the picture where it is.
        app.send_as(Method::PATCH, USER, &token, json!({ "avatar_url": PICTURE })).await.expect(200);
        let wrong = json!({ "avatar_url": null, "name": "" });
        app.send_as(Method::PATCH, USER, &token, wrong).await.expect_fields(&["name"]);
        for body in [json!({}), json!({ "name": null }), json!({ "name": "小红" })] {
            let user = app.send_as(Method::PATCH, USER, &token, body).await.expect(200);
            assert_eq!(user["data"]["avatar_url"], PICTURE);
        }
    }
}

on_every_backend! {
    async fn a_blank_purpose_is_signing_in_and_a_blank_picture_is_none(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        for blank in [Value::Null, json!("")] {
            let body = json!({ "mobile": MOBILE, "purpose": blank, "image_code_id": blank, "image_code": blank });
            app.post(CODES, body).await.expect(200);
            app.sign_in_with(MOBILE, &app.last_code(MOBILE)).await.expect(201);
        }
        let queries = ["?image_code_id=&image_code=", "?image_code_id&image_code", "?image_code=", "?purpose="];
        for (number, query) in queries.into_iter().enumerate() {
            app.get(&format!("{CODES}/1390013900{number}{query}")).await.expect(200);
        }
        for purpose in [json!(" "), json!("Login"), json!(0), json!(false), json!([])] {
            app.post(CODES, json!({ "mobile": MOBILE, "purpose": purpose })).await.expect_fields(&["purpose"]);
        }
    }
}

#[tokio::test]
async fn half_a_picture_is_not_left_out() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[NO_GAP, "--image-code=always"]).await;
    for blank in [Value::Null, json!("")] {
        let body = |id: &Value, text: &Value| json!({ "mobile": MOBILE, "image_code_id": id, "image_code": text });
        app.post(CODES, body(&blank, &blank)).await.expect_error(403, "image_code_required");
        app.post(CODES, body(&json!("x"), &blank)).await.expect_fields(&["image_code"]);
        app.post(CODES, body(&blank, &json!("abcd"))).await.expect_fields(&["image_code_id"]);
    }
    let get = async |query: &str| app.get(&format!("{CODES}/{MOBILE}?{query}")).await;
    get("image_code_id=&image_code=").await.expect_error(403, "image_code_required");
    get("image_code_id=x&image_code=").await.expect_fields(&["image_code"]);
    get("image_code_id=&image_code=abcd").await.expect_fields(&["image_code_id"]);
    let text = app.picture("x").await;
    get(&format!("image_code_id=x&image_code={text}")).await.expect(200);
}

on_every_backend! {
    async fn a_blank_second_password_is_left_out_and_a_null_proof_is_none(backends: Backends) {
        let app = TestApp::start_with(backends, &[NO_GAP]).await;
        for (number, blank) in [Value::Null, json!("")].into_iter().enumerate() {
            let mobile = format!("1380013800{number}");
            let code = app.classic_code(&mobile).await;
            let body = |password2: Value| {
                json!({ "mobile": mobile, "sms_code": code, "password": PASSWORD, "password2": password2 })
            };
            app.post("/api/v1.0/users", body(json!("another long secret"))).await.expect_errno(4103);
            app.post("/api/v1.0/users", body(json!(" "))).await.expect_errno(4103);
            app.post("/api/v1.0/users", body(blank)).await.expect_errno(0);
        }
        let token = app.sign_in(MOBILE).await.access;
        let change = async |body: Value| app.send_as(Method::PUT, "/app/v1_0/user/password", &token, body).await;
        let old = json!({ "password": "a second long secret", "old_password": PASSWORD, "code": null });
        change(old).await.expect(204);
        let code = app.code_for("reset_password", MOBILE, "").await;
        change(json!({ "password": PASSWORD, "old_password": null, "code": code })).await.expect(204);
        let none = json!({ "password": PASSWORD, "old_password": null, "code": null });
        change(none).await.expect_fields(&["old_password", "code"]);
    }
}

on_every_backend! {
    async fn a_field_that_is_needed_is_not_there_if_it_is_blank(backends: Backends) {
        let app = TestApp::start(backends).await;
        let token = app.sign_in(MOBILE).await.access;
        for blank in [Value::Null, json!("")] {
            let both = json!({ "mobile": blank, "code": blank, "password": blank });
            app.post("/app/v1_0/authorizations", both.clone()).await.expect_fields(&["mobile", "code"]);
            app.post("/app/v1_0/authorizations/password", both.clone()).await.expect_fields(&["mobile", "password"]);
            app.post("/app/v1_0/password_resets", both.clone()).await.expect_fields(&["mobile", "code", "password"]);
            app.post(CODES, both.clone()).await.expect_fields(&["mobile"]);
            app.send_as(Method::POST, "/app/v1_0/account_deletions", &token, both.clone()).await.expect_fields(&["code"]);
            for path in ["/api/v1.0/users", "/api/v1.0/sessions", "/passport/register", "/passport/login"] {
                app.post(path, both.clone()).await.expect_errno(4103);
            }
            let picture = json!({ "mobile": "13900139000", "image_code": blank, "image_code_id": blank });
            app.post("/passport/sms_code", picture).await.expect_errno(4103);
        }
        let tokens = Tokens { access: token, refresh: String::new() };
        assert_eq!(app.user(&tokens.access).await.expect(200)["data"]["mobile"], MOBILE);
    }
}

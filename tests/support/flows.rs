//! Every flow that reads or writes a row or a code.

use reqwest::Method;
use serde_json::json;

use super::{PASSWORD, TestApp, Tokens, expect_ended, expect_goes_on, other_than};

/// What [`all_work`] needs: it asks for many codes.
pub const FLAGS: [&str; 5] = [
    "--image-code=never",
    "--sms-resend-seconds=0",
    "--sms-per-ip-per-hour=0",
    "--sms-asks-per-ip-per-hour=0",
    "--sms-per-mobile-per-day=0",
];

/// Walks through all flows, with mobiles that start with these 8 digits: each call needs others.
pub async fn all_work(app: &TestApp, series: &str) {
    let [anna, bert, other] = ["101", "102", "103"].map(|rest| format!("{series}{rest}"));

    // By code: a picture, a wrong code, the right one, the same once more by its key.
    app.picture(&anna).await;
    let code = app.code(&anna).await;
    app.sign_in_with(&anna, other_than(&code)).await.expect_error(400, "sms_code_invalid");
    let key = uuid::Uuid::now_v7().to_string();
    let sign_in = || {
        let request = app.request(Method::POST, "/app/v1_0/authorizations").header("idempotency-key", &key);
        app.send(request.json(&json!({ "mobile": anna, "code": code })))
    };
    let first = Tokens::of(&sign_in().await.expect(201));
    assert_eq!(Tokens::of(&sign_in().await.expect(201)).session_id(), first.session_id());
    let second = app.sign_in(&anna).await;
    let refreshed = Tokens::of(&app.refresh(&first.refresh).await.expect(201));
    let next = Tokens::of(&app.refresh(&refreshed.refresh).await.expect(201));
    app.refresh(&first.refresh).await.expect_error(401, "refresh_token_reused");
    expect_ended(app, &next).await;

    // The user and their sessions.
    let answer = app.send_as(Method::PATCH, "/app/v1_0/user", &second.access, json!({ "name": "Anna" })).await;
    assert_eq!(answer.expect(200)["data"]["name"], "Anna");
    assert_eq!(app.user(&second.access).await.expect(200)["data"]["mobile"], anna.as_str());
    let third = app.sign_in(&anna).await;
    let listed = app.get_as("/app/v1_0/user/sessions", &second.access).await.expect(200);
    assert_eq!(listed["data"]["sessions"].as_array().unwrap().len(), 2, "{listed}");
    app.send_as(Method::DELETE, "/app/v1_0/user/sessions", &second.access, json!({})).await.expect(204);
    expect_ended(app, &third).await;

    // By password, in the families that have one.
    let bert_registered = Tokens::of(&app.register(&bert, PASSWORD).await.expect_errno(0));
    let login = async |password: &str| {
        app.post("/app/v1_0/authorizations/password", json!({ "mobile": bert, "password": password })).await
    };
    login("not the right one").await.expect_error(401, "credentials_invalid");
    let own = Tokens::of(&login(PASSWORD).await.expect(201));
    app.post("/api/v1.0/sessions", json!({ "mobile": bert, "password": PASSWORD })).await.expect_errno(0);
    let body = json!({ "password": "another long secret", "old_password": PASSWORD });
    app.send_as(Method::PUT, "/app/v1_0/user/password", &own.access, body).await.expect(204);
    expect_ended(app, &bert_registered).await;
    let code = app.code_for("reset_password", &bert, "").await;
    let body = json!({ "mobile": bert, "code": code, "password": "a third long secret" });
    app.post("/app/v1_0/password_resets", body).await.expect(204);
    let own = Tokens::of(&login("a third long secret").await.expect(201));

    // To another number, and away.
    let code = app.code_for("change_mobile", &other, &own.access).await;
    let current_code = app.code_for("change_mobile", &bert, &own.access).await;
    let body = json!({ "mobile": other, "code": code, "current_code": current_code });
    let moved = app.send_as(Method::PUT, "/app/v1_0/user/mobile", &own.access, body).await;
    assert_eq!(moved.expect(200)["data"]["mobile"], other.as_str());
    let code = app.code_for("delete_account", &other, &own.access).await;
    app.send_as(Method::POST, "/app/v1_0/account_deletions", &own.access, json!({ "code": code })).await.expect(204);
    expect_ended(app, &own).await;

    expect_goes_on(app, &second).await;
    app.sign_out(&second.access).await.expect(204);
    expect_ended(app, &second).await;
    app.get("/readyz").await.expect(200);
}

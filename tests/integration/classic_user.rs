//! What classic pages show of a user, and the name that they let users choose.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, MOBILE, PASSWORD, TestApp, backends::Backends, on_every_backend};

const NAME: &str = "/api/v1.0/user/name";
const USER: &str = "/api/v1.0/user";

/// Both methods on both paths.
const CALLS: [(Method, &str); 5] = [
    (Method::PUT, NAME),
    (Method::POST, NAME),
    (Method::PUT, "/api/v1.0/users/name"),
    (Method::POST, "/api/v1.0/users/name"),
    (Method::PUT, "/api/v1_0//users/name/"),
];

async fn change(app: &TestApp, (method, path): (Method, &str), cookie: &str, body: Value) -> Answer {
    app.send(app.request(method, path).header("cookie", cookie).json(&body)).await
}

on_every_backend! {
    async fn users_choose_a_name_and_see_it_wherever_they_are_named(backends: Backends) {
        let app = TestApp::start(backends).await;
        let registered = app.register(MOBILE, PASSWORD).await;
        let token = registered.json()["data"]["token"].as_str().unwrap().to_owned();
        for (number, call) in CALLS.into_iter().enumerate() {
            let name = format!("小明 {number}");
            let field = ["name", "username", "userName"][number % 3];
            let body = json!({ field: format!(" {name}\u{3000}") });
            let answer = if number == 1 {
                app.send_as(call.0, call.1, &token, body).await
            } else {
                change(&app, call, registered.cookie(), body).await
            };
            assert_eq!(answer.expect_errno(0), json!({ "errno": 0, "errmsg": "OK", "data": { "name": name } }));
            assert_eq!(answer.header("set-cookie"), "");
            assert_eq!(app.user(&token).await.expect(200)["data"]["name"], name);
        }
        let signed_in = app.post("/passport/login", json!({ "mobile": MOBILE, "password": PASSWORD })).await;
        let signed_in = signed_in.expect_errno(0)["data"].clone();
        for path in [USER, "/api/v1.0/session", "/api/v1.0/sessions"] {
            let user = app.get_as(path, &token).await.expect_errno(0)["data"].clone();
            assert_eq!(user.as_object().unwrap().len(), 6, "{user}");
            assert_eq!((&user["name"], &user["username"]), (&json!("小明 4"), &json!("小明 4")));
            for (field, value) in user.as_object().unwrap() {
                assert_eq!(signed_in[field], *value, "{path} {field}");
            }
        }
    }
}

on_every_backend! {
    async fn a_picture_goes_by_both_of_its_names(backends: Backends) {
        let app = TestApp::start(backends).await;
        let registered = app.register(MOBILE, PASSWORD).await.expect_errno(0)["data"].clone();
        assert_eq!((&registered["avatar"], &registered["avatar_url"]), (&json!(""), &json!("")));
        let token = registered["token"].as_str().unwrap();
        let picture = json!("https://cdn.example.com/a.png");
        app.send_as(Method::PATCH, "/v1_0/user/profile", token, json!({ "avatar_url": picture })).await.expect(200);
        let user = app.get_as(USER, token).await.expect_errno(0)["data"].clone();
        assert_eq!((&user["avatar"], &user["avatar_url"]), (&picture, &picture));
        // A name alone is changed.
        app.send_as(Method::PUT, NAME, token, json!({ "name": "小明" })).await.expect_errno(0);
        let user = app.get_as(USER, token).await.expect_errno(0)["data"].clone();
        assert_eq!((&user["name"], &user["avatar"]), (&json!("小明"), &picture));
    }
}

on_every_backend! {
    async fn who_is_not_signed_in_changes_no_name(backends: Backends) {
        let app = TestApp::start(backends).await;
        let registered = app.register(MOBILE, PASSWORD).await;
        for call in CALLS {
            // The token is looked at before the body.
            for body in [json!({ "name": "x" }), json!({}), json!([])] {
                change(&app, call.clone(), "phonepass_session=a.b.c", body).await.expect_errno(4101);
            }
        }
        app.stores.execute("UPDATE users SET status = 'disabled'").await;
        change(&app, CALLS[0].clone(), registered.cookie(), json!({ "name": "x" })).await.expect_errno(4101);
        app.stores.execute("UPDATE users SET status = 'active'").await;
        let user = app.send_with_cookie(Method::GET, USER, registered.cookie()).await.expect_errno(0);
        assert_eq!(user["data"]["name"], MOBILE);
        app.send_with_cookie(Method::DELETE, "/api/v1.0/session", registered.cookie()).await.expect_errno(0);
        change(&app, CALLS[0].clone(), registered.cookie(), json!({ "name": "x" })).await.expect_errno(4101);
    }
}

#[tokio::test]
async fn a_name_that_is_missing_or_malformed_is_refused_by_its_rule() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let registered = app.register(MOBILE, PASSWORD).await;
    for (body, rule) in [
        (json!({}), "name 必填"),
        (json!({ "name": null }), "name 必填"),
        (json!({ "name": "" }), "name 必填"),
        (json!({ "name": "  " }), "name 必须是 1 到 32 个字符"),
        (json!({ "username": "密".repeat(33) }), "name 必须是 1 到 32 个字符"),
        (json!({ "name": "a\nb" }), "name 必须是 1 到 32 个字符"),
        (json!({ "name": 1 }), "name 必须是字符串"),
        (json!([]), "JSON"),
    ] {
        for call in CALLS {
            let answer = change(&app, call, registered.cookie(), body.clone()).await.expect_errno(4103);
            assert!(answer["errmsg"].as_str().unwrap().contains(rule), "{answer}");
        }
    }
    let user = app.send_with_cookie(Method::GET, USER, registered.cookie()).await.expect_errno(0);
    assert_eq!(user["data"]["name"], MOBILE);
}

#[tokio::test]
async fn without_the_cookie_setting_a_name_is_changed_by_a_bearer_alone() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &["--classic-cookie=off"]).await;
    let token = app.register(MOBILE, PASSWORD).await.json()["data"]["token"].as_str().unwrap().to_owned();
    let cookie = format!("phonepass_session={token}");
    change(&app, CALLS[0].clone(), &cookie, json!({ "name": "x" })).await.expect_errno(4101);
    app.send_as(Method::PUT, NAME, &token, json!({ "name": "x" })).await.expect_errno(0);
}

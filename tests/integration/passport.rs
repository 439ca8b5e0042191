//! Do web front ends that were written for the passport API work unmodified?

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, MOBILE, PASSWORD, TestApp, backends::Backends, on_every_backend};

const SMS_CODE: &str = "/passport/sms_code";
const REGISTER: &str = "/passport/register";
const LOGIN: &str = "/passport/login";
const LOGOUT: &str = "/passport/logout";

/// A picture, drawn and read the way of this family.
async fn picture(app: &TestApp, id_name: &str, id: &str) -> String {
    let picture = app.get(&format!("/passport/image_code?{id_name}={id}")).await;
    assert_eq!((picture.status.as_u16(), picture.header("content-type")), (200, "image/jpeg"), "{id_name}");
    app.picture_text(id).await
}

/// Asks for a code and reads it.
async fn code(app: &TestApp) -> String {
    let text = picture(app, "code_id", "x").await;
    let body = json!({ "mobile": MOBILE, "image_code": text, "image_code_id": "x" });
    app.post(SMS_CODE, body).await.expect_errno(0);
    app.last_code(MOBILE)
}

#[track_caller]
fn expect_refusal(answer: &Answer, errno: i64, named: &str) {
    let body = answer.expect_errno(errno);
    assert!(body["errmsg"].as_str().unwrap().contains(named), "{body} does not name {named}");
    assert!(body.get("data").is_none(), "{body}");
}

on_every_backend! {
    async fn a_front_end_with_nothing_but_a_cookie_registers_signs_out_and_in_again(backends: Backends) {
        let app = TestApp::start(backends).await;
        let text = picture(&app, "code_id", "5f0c").await;
        let body = json!({ "mobile": MOBILE, "image_code": text, "image_code_id": "5f0c" });
        let sent = app.post(SMS_CODE, body).await.expect_errno(0);
        assert_eq!(sent, json!({ "errno": 0, "errmsg": "发送成功" }));

        let body = json!({ "mobile": MOBILE, "smscode": app.last_code(MOBILE), "password": PASSWORD });
        let registered = app.post(REGISTER, body).await;
        let body = registered.expect_errno(0);
        assert_eq!(body["errmsg"], "注册成功");
        let token = body["data"]["token"].as_str().unwrap();
        let cookie = format!("phonepass_session={token}; HttpOnly; SameSite=Lax; Path=/; Max-Age=3600");
        assert_eq!(registered.header("set-cookie"), cookie);
        let data = &body["data"];
        assert_eq!((&data["name"], &data["mobile"], &data["avatar"]), (&json!(MOBILE), &json!(MOBILE), &json!("")));

        for method in [Method::GET, Method::POST] {
            let answer = app.post(LOGIN, json!({ "mobile": MOBILE, "password": PASSWORD })).await;
            let again = answer.expect_errno(0);
            assert_eq!(again["errmsg"], "登录成功");
            assert_eq!(again["data"]["user_id"], data["user_id"]);
            let user = app.send_with_cookie(Method::GET, "/api/v1.0/user", answer.cookie()).await.expect_errno(0);
            assert_eq!(user["data"]["user_id"], data["user_id"]);

            let out = app.send_with_cookie(method.clone(), LOGOUT, answer.cookie()).await;
            assert_eq!(out.expect_errno(0), json!({ "errno": 0, "errmsg": "OK" }));
            assert_eq!(out.header("set-cookie"), "phonepass_session=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0");
            app.send_with_cookie(Method::GET, "/api/v1.0/user", answer.cookie()).await.expect_errno(4101);
            app.send_with_cookie(method, LOGOUT, answer.cookie()).await.expect_errno(4101);
        }
        // Other sessions go on.
        app.get_as("/api/v1.0/user", token).await.expect_errno(0);
        app.get_as(LOGOUT, token).await.expect_errno(0);
        app.get_as("/api/v1.0/user", token).await.expect_errno(4101);
    }
}

#[tokio::test]
async fn numbers_stand_for_mobile_codes_and_ids() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    app.put_picture("1700000000000", "2345").await;
    let body = json!({ "mobile": 13_800_138_000_u64, "image_code": 2345, "image_code_id": 1_700_000_000_000_u64 });
    app.random.prepare("012345");
    app.post(SMS_CODE, body).await.expect_errno(0);
    let body = json!({ "mobile": 13_800_138_000_u64, "smscode": 12_345, "password": PASSWORD });
    app.post(REGISTER, body).await.expect_errno(0);
}

#[tokio::test]
async fn a_repeated_password_must_be_the_same_under_each_of_its_names() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let code = code(&app).await;
    for name in ["password2", "passwd2", "repassword"] {
        let mut body = json!({ "mobile": MOBILE, "smscode": code, "password": PASSWORD });
        body[name] = json!("another password");
        expect_refusal(&app.post(REGISTER, body).await, 4103, "两次密码不一致");
    }
    let body = json!({ "mobile": MOBILE, "smscode": code, "password": PASSWORD, "password2": PASSWORD });
    app.post(REGISTER, body).await.expect_errno(0);
}

on_every_backend! {
    async fn every_refusal_has_its_errno(backends: Backends) {
        let app = TestApp::start(backends).await;
        let send = |text: &str| app.post(SMS_CODE, json!({ "mobile": MOBILE, "image_code": text, "image_code_id": "x" }));
        let text = picture(&app, "code_id", "x").await;
        expect_refusal(&send("0000").await, 4004, "图形验证码");
        expect_refusal(&send(&text).await, 4002, "图形验证码");

        let code = code(&app).await;
        let text = picture(&app, "code_id", "x").await;
        expect_refusal(&send(&text).await, 4201, "");

        let register = |code: &str, password: &str| {
            app.post(REGISTER, json!({ "mobile": MOBILE, "smscode": code, "password": password }))
        };
        expect_refusal(&register(&code, "1234567").await, 4103, "密码");
        let wrong = if code == "000000" { "000001" } else { "000000" };
        expect_refusal(&register(wrong, PASSWORD).await, 4004, "短信验证码");
        register(&code, PASSWORD).await.expect_errno(0);
        expect_refusal(&register(&code, PASSWORD).await, 4002, "短信验证码");

        let text = picture(&app, "code_id", "x").await;
        expect_refusal(&send(&text).await, 4003, "");
        app.advance(61).await;
        let code = app.code(MOBILE).await;
        expect_refusal(&register(&code, PASSWORD).await, 4003, "");
        expect_refusal(&app.post(LOGIN, json!({ "mobile": MOBILE, "password": "a wrong secret" })).await, 4106, "");
    }
}

#[tokio::test]
async fn a_missing_parameter_is_named() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let calls: [(&str, Value); 3] = [
        (SMS_CODE, json!({ "mobile": MOBILE, "image_code": "abcd", "image_code_id": "x" })),
        (REGISTER, json!({ "mobile": MOBILE, "smscode": "123456", "password": PASSWORD })),
        (LOGIN, json!({ "mobile": MOBILE, "password": PASSWORD })),
    ];
    for (path, whole) in calls {
        for name in whole.as_object().unwrap().keys() {
            let mut body = whole.clone();
            body.as_object_mut().unwrap().remove(name);
            expect_refusal(&app.post(path, body).await, 4103, name);
        }
    }
    for method in [Method::GET, Method::POST] {
        expect_refusal(&app.send(app.request(method, LOGOUT)).await, 4101, "");
    }
}

on_every_backend! {
    async fn a_part_of_a_page_signs_nobody_out(backends: Backends) {
        let app = TestApp::start(backends).await;
        let registered = app.register(MOBILE, PASSWORD).await;
        let cookie = registered.cookie().to_owned();
        let follow = async |cookie: &str, wanted: &[&str]| {
            let request = app.request(Method::GET, LOGOUT).header("cookie", cookie);
            app.send(wanted.iter().fold(request, |request, wanted| request.header("sec-fetch-dest", *wanted))).await
        };
        for part in [
            "image", "script", "style", "iframe", "frame", "embed", "object", "audio", "video", "track", "font", "manifest",
            "worker", "sharedworker", "serviceworker", "xslt", "fencedframe", "report", "",
        ] {
            // Without a session as well: nothing tells whether there is one.
            for cookie in [&*cookie, "x=y"] {
                let refused = follow(cookie, &[part]).await;
                expect_refusal(&refused, 4201, "");
                assert_eq!(refused.header("set-cookie"), "", "{part}");
            }
            app.send_with_cookie(Method::GET, "/api/v1.0/user", &cookie).await.expect_errno(0);
        }
        expect_refusal(&follow(&cookie, &["document", "image"]).await, 4201, "");
        for wanted in [&["document"][..], &["empty"], &[]] {
            let signed_in = app.post(LOGIN, json!({ "mobile": MOBILE, "password": PASSWORD })).await;
            let answer = follow(signed_in.cookie(), wanted).await;
            answer.expect_errno(0);
            assert!(answer.header("set-cookie").contains("Max-Age=0"), "{wanted:?}");
        }
        app.send_with_cookie(Method::GET, "/api/v1.0/user", &cookie).await.expect_errno(0);
    }
}

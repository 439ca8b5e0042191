//! Do web front ends that were written for the ihome API work unmodified?

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, MOBILE, PASSWORD, TestApp, backends::Backends, on_every_backend};

const OTHER: &str = "13900139000";
const SESSION: &str = "/api/v1.0/session";
const SESSIONS: &str = "/api/v1.0/sessions";
const USER: &str = "/api/v1.0/user";
const USERS: &str = "/api/v1.0/users";

fn registration(code: &str) -> Value {
    json!({ "mobile": MOBILE, "sms_code": code, "password": PASSWORD, "password2": PASSWORD })
}

fn login(mobile: &str, password: &str) -> Value {
    json!({ "mobile": mobile, "password": password })
}

/// Another code than this one.
fn wrong(code: &str) -> &'static str {
    if code == "000000" { "000001" } else { "000000" }
}

/// Fails unless an answer refuses with this `errno`, names this, and holds no data.
#[track_caller]
fn expect_refusal(answer: &Answer, errno: i64, named: &str) {
    let body = answer.expect_errno(errno);
    assert!(body["errmsg"].as_str().unwrap().contains(named), "{body} does not name {named}");
    assert!(body.get("data").is_none(), "{body}");
    assert_eq!(answer.header("set-cookie"), "");
}

async fn send_raw(app: &TestApp, path: &str, content_type: Option<&str>, body: impl Into<reqwest::Body>) -> Answer {
    let mut request = app.request(Method::POST, path).body(body);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    app.send(request).await
}

on_every_backend! {
    async fn a_front_end_with_nothing_but_a_cookie_registers_signs_out_and_in_again(backends: Backends) {
        let app = TestApp::start(backends).await;
        let picture = app.get("/api/v1.0/imagecode/1700000000000").await;
        assert_eq!((picture.status.as_u16(), picture.header("content-type")), (200, "image/jpeg"));
        let text = app.picture_text("1700000000000").await;
        let sent = app.get(&format!("/api/v1.0/smscode/{MOBILE}?text={text}&id=1700000000000")).await.expect_errno(0);
        assert_eq!(sent, json!({ "errno": 0, "errmsg": "发送成功" }));

        let answer = app.post(USERS, registration(&app.last_code(MOBILE))).await;
        let body = answer.expect_errno(0);
        assert_eq!(body["errmsg"], "注册成功");
        let data = &body["data"];
        let user = json!({
            "user_id": data["user_id"], "name": MOBILE, "mobile": MOBILE, "avatar": "", "username": MOBILE, "avatar_url": ""
        });
        for (name, value) in user.as_object().unwrap() {
            assert_eq!(data[name], *value, "{name}");
        }
        assert_eq!(data["is_new_user"], true);
        assert_eq!((&data["token_type"], &data["expires_in"]), (&json!("Bearer"), &json!(3600)));
        assert!(data["refresh_token"].as_str().unwrap().starts_with("rt_"));
        assert_eq!(answer.header("cache-control"), "no-store");
        let token = data["token"].as_str().unwrap();
        let attributes = "HttpOnly; SameSite=Lax; Path=/; Max-Age=3600";
        assert_eq!(answer.header("set-cookie"), format!("phonepass_session={token}; {attributes}"));

        // A browser sends other cookies along.
        let cookie = format!("csrftoken=abc; {}; theme=dark", answer.cookie());
        for path in [SESSION, SESSIONS, USER] {
            let body = app.send_with_cookie(Method::GET, path, &cookie).await.expect_errno(0);
            assert_eq!(body, json!({ "errno": 0, "errmsg": "OK", "data": user }));
        }

        let out = app.send_with_cookie(Method::DELETE, SESSION, &cookie).await;
        assert_eq!(out.expect_errno(0), json!({ "errno": 0, "errmsg": "OK" }));
        assert_eq!(out.header("set-cookie"), "phonepass_session=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0");
        for path in [SESSION, USER] {
            app.send_with_cookie(Method::GET, path, &cookie).await.expect_errno(4101);
        }

        let answer = app.post(SESSIONS, login(MOBILE, PASSWORD)).await;
        let again = answer.expect_errno(0);
        assert_eq!(again["errmsg"], "登录成功");
        assert_eq!(again["data"]["user_id"], user["user_id"]);
        assert_eq!(again["data"]["is_new_user"], false);
        app.send_with_cookie(Method::GET, USER, answer.cookie()).await.expect_errno(0);
        app.send_with_cookie(Method::DELETE, SESSIONS, answer.cookie()).await.expect_errno(0);
        app.send_with_cookie(Method::GET, USER, answer.cookie()).await.expect_errno(4101);
    }
}

on_every_backend! {
    async fn a_front_end_that_keeps_the_token_sends_it_as_a_bearer_and_that_wins_over_the_cookie(backends: Backends) {
        let app = TestApp::start(backends).await;
        let other = app.register(OTHER, PASSWORD).await;
        app.get("/api/v1.0/image_codes/web_1-a").await;
        let text = app.picture_text("web_1-a").await.to_uppercase();
        let path = format!("/api/v1.0/sms_codes/{MOBILE}?image_code={text}&image_code_id=web_1-a");
        app.get(&path).await.expect_errno(0);
        let body = app.post(USERS, registration(&app.last_code(MOBILE))).await.expect_errno(0);
        let token = body["data"]["token"].as_str().unwrap();

        let both = |method, path| app.request(method, path).header("cookie", other.cookie());
        for path in [SESSION, SESSIONS, USER] {
            assert_eq!(app.get_as(path, token).await.expect_errno(0)["data"]["mobile"], MOBILE);
            let body = app.send(both(Method::GET, path).bearer_auth(token)).await.expect_errno(0);
            assert_eq!(body["data"]["mobile"], MOBILE);
            app.send(both(Method::GET, path).bearer_auth("rubbish")).await.expect_errno(4101);
        }
        app.send(both(Method::DELETE, SESSION).bearer_auth(token)).await.expect_errno(0);
        app.get_as(USER, token).await.expect_errno(4101);
        let body = app.send_with_cookie(Method::GET, USER, other.cookie()).await.expect_errno(0);
        assert_eq!(body["data"]["mobile"], OTHER);
        // The same user, whatever family asks.
        let token = body_token(&other);
        assert_eq!(app.user(&token).await.expect(200)["data"]["id"], body["data"]["user_id"]);
    }
}

fn body_token(answer: &Answer) -> String {
    answer.json()["data"]["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_cookie_is_secure_where_clients_use_https() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &["--public-url=https://id.example.com"]).await;
    let answer = app.register(MOBILE, PASSWORD).await;
    assert!(answer.header("set-cookie").ends_with("; HttpOnly; SameSite=Lax; Path=/; Max-Age=3600; Secure"));
    let out = app.send_with_cookie(Method::DELETE, SESSION, answer.cookie()).await;
    assert_eq!(out.header("set-cookie"), "phonepass_session=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0; Secure");
}

#[tokio::test]
async fn the_cookie_lives_as_long_as_the_access_token() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &["--access-token-ttl=600"]).await;
    let answer = app.register(MOBILE, PASSWORD).await;
    assert!(answer.header("set-cookie").contains("; Max-Age=600"));
    app.advance(601).await;
    app.send_with_cookie(Method::GET, USER, answer.cookie()).await.expect_errno(4101);
}

#[tokio::test]
async fn without_the_cookie_setting_none_is_set_read_or_cleared() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &["--classic-cookie=off"]).await;
    let answer = app.register(MOBILE, PASSWORD).await;
    let token = body_token(&answer);
    assert_eq!(answer.header("set-cookie"), "");
    app.send_with_cookie(Method::GET, USER, &format!("phonepass_session={token}")).await.expect_errno(4101);
    let out = app.send(app.request(Method::DELETE, SESSION).bearer_auth(token)).await;
    out.expect_errno(0);
    assert_eq!(out.header("set-cookie"), "");
}

#[tokio::test]
async fn the_cookie_is_worth_nothing_to_the_app_family() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let answer = app.register(MOBILE, PASSWORD).await;
    let user = app.send_with_cookie(Method::GET, "/app/v1_0/user", answer.cookie()).await;
    user.expect_error(401, "token_invalid");
    let out = app.send_with_cookie(Method::DELETE, "/app/v1_0/authorizations", answer.cookie()).await;
    out.expect_error(401, "token_invalid");
    let delete = json!({ "mobile": MOBILE, "purpose": "delete_account" });
    let send = app.request(Method::POST, "/app/v1_0/sms/codes").header("cookie", answer.cookie()).json(&delete);
    app.send(send).await.expect_error(401, "token_invalid");
    let signed_in = app.sign_in_with(MOBILE, "000000").await;
    assert_eq!(signed_in.header("set-cookie"), "");
}

#[tokio::test]
async fn nobody_is_signed_in_without_a_valid_token() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    for (method, path) in [
        (Method::GET, SESSION),
        (Method::GET, SESSIONS),
        (Method::GET, USER),
        (Method::DELETE, SESSION),
        (Method::DELETE, SESSIONS),
    ] {
        expect_refusal(&app.send(app.request(method.clone(), path)).await, 4101, "");
        for cookie in ["phonepass_session=", "phonepass_session=a.b.c", "phonepass_session", ";;=;"] {
            expect_refusal(&app.send_with_cookie(method.clone(), path, cookie).await, 4101, "");
        }
    }
}

#[tokio::test]
async fn a_call_without_parameters_takes_any_body() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let token = body_token(&app.register(MOBILE, PASSWORD).await);
    for body in ["{", "null", "anything"] {
        app.send(app.request(Method::GET, USER).bearer_auth(&token).body(body)).await.expect_errno(0);
    }
    app.send(app.request(Method::DELETE, SESSION).bearer_auth(&token).body("{")).await.expect_errno(0);
}

#[tokio::test]
async fn a_missing_parameter_is_named() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    for (query, missing) in [("text=abcd", "id"), ("id=x", "text"), ("", "id"), ("text=&id=x", "text"), ("", "text")] {
        expect_refusal(&app.get(&format!("/api/v1.0/smscode/{MOBILE}?{query}")).await, 4103, missing);
    }
    for (query, missing) in
        [("image_code=abcd", "image_code_id"), ("image_code_id=x", "image_code"), ("", "image_code")]
    {
        expect_refusal(&app.get(&format!("/api/v1.0/sms_codes/{MOBILE}?{query}")).await, 4103, missing);
    }
    for (path, whole) in [(USERS, registration("123456")), (SESSIONS, login(MOBILE, PASSWORD))] {
        for name in whole.as_object().unwrap().keys().filter(|name| *name != "password2") {
            let mut body = whole.clone();
            body.as_object_mut().unwrap().remove(name);
            expect_refusal(&app.post(path, body.clone()).await, 4103, name);
            for nothing in [json!(""), json!(null)] {
                body[name] = nothing;
                expect_refusal(&app.post(path, body.clone()).await, 4103, name);
            }
        }
        expect_refusal(&app.post(path, json!({})).await, 4103, "mobile");
        expect_refusal(&app.post(path, json!({})).await, 4103, "password");
    }
}

#[tokio::test]
async fn a_malformed_parameter_is_refused_and_costs_no_picture() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let text = app.picture("x").await;
    for mobile in ["1380013800", "12345678901", "138001380000", "mobile", "+1-202-555-0100", "%FF"] {
        expect_refusal(&app.get(&format!("/api/v1.0/smscode/{mobile}?text={text}&id=x")).await, 4103, "");
    }
    for mobile in [json!("12345678901"), json!(12_345_678_901_u64), json!(-1), json!(1.5), json!(true), json!([])] {
        expect_refusal(&app.post(SESSIONS, json!({ "mobile": mobile, "password": PASSWORD })).await, 4103, "");
    }
    for password in [json!(12_345_678), json!({}), json!(false)] {
        expect_refusal(&app.post(SESSIONS, json!({ "mobile": MOBILE, "password": password })).await, 4103, "password");
    }
    for code in [json!("12345"), json!("1234567"), json!("12345a"), json!(1_234_567), json!({})] {
        let mut body = registration("");
        body["sms_code"] = code;
        expect_refusal(&app.post(USERS, body).await, 4103, "sms_code");
    }
    expect_refusal(&app.get("/api/v1.0/imagecode/bad%21id").await, 4103, "id");
    expect_refusal(&app.get(&format!("/api/v1.0/image_codes/{}", "x".repeat(65))).await, 4103, "id");
    app.get(&format!("/api/v1.0/smscode/{MOBILE}?text={text}&id=x")).await.expect_errno(0);
}

on_every_backend! {
    async fn a_picture_is_used_up_by_the_first_try_and_gone_after_five_minutes(backends: Backends) {
        let app = TestApp::start(backends).await;
        let text = app.picture("x").await;
        let send = |text: &str| format!("/api/v1.0/smscode/{MOBILE}?text={text}&id=x");
        expect_refusal(&app.get(&send("0000")).await, 4004, "图形验证码");
        expect_refusal(&app.get(&send(&text)).await, 4002, "图形验证码");
        let text = app.picture("x").await;
        app.advance(301).await;
        expect_refusal(&app.get(&send(&text)).await, 4002, "图形验证码");
        let text = app.picture("x").await;
        app.get(&send(&text)).await.expect_errno(0);
        app.advance(61).await;
        expect_refusal(&app.get(&send(&text)).await, 4002, "图形验证码");
    }
}

on_every_backend! {
    async fn a_second_message_within_a_minute_is_too_much(backends: Backends) {
        let app = TestApp::start(backends).await;
        app.classic_code(MOBILE).await;
        let text = app.picture("x").await;
        let again = app.get(&format!("/api/v1.0/sms_codes/{MOBILE}?image_code={text}&image_code_id=x")).await;
        expect_refusal(&again, 4201, "");
        app.advance(61).await;
        app.classic_code(MOBILE).await;
    }
}

on_every_backend! {
    async fn a_registered_mobile_is_told_on_sending_and_on_registering_and_leaves_the_code_usable(backends: Backends) {
        let app = TestApp::start(backends).await;
        app.register(MOBILE, PASSWORD).await.expect_errno(0);
        let text = app.picture("x").await;
        let send = format!("/api/v1.0/smscode/{MOBILE}?text={text}&id=x");
        expect_refusal(&app.get(&send).await, 4003, "");
        expect_refusal(&app.get(&send).await, 4002, "");

        app.advance(61).await;
        let code = app.code(MOBILE).await;
        let mut body = registration(&code);
        (body["password"], body["password2"]) = (json!("another fine secret"), json!("another fine secret"));
        expect_refusal(&app.post(USERS, body).await, 4003, "");
        app.sign_in_with(MOBILE, &code).await.expect(201);
        app.post(SESSIONS, login(MOBILE, "another fine secret")).await.expect_errno(4106);
        app.post(SESSIONS, login(MOBILE, PASSWORD)).await.expect_errno(0);
    }
}

on_every_backend! {
    async fn refused_passwords_leave_the_sms_code_usable(backends: Backends) {
        let app = TestApp::start(backends).await;
        let code = app.classic_code(MOBILE).await;
        let register = |password: &str, name: &str, repeated: &str| {
            app.post(USERS, json!({ "mobile": MOBILE, "sms_code": code, "password": password, name: repeated }))
        };
        for name in ["password2", "passwd2"] {
            expect_refusal(&register(PASSWORD, name, "another fine secret").await, 4103, "两次密码不一致");
        }
        for (weak, rule) in [
            ("7 chars", "8"),
            ("password", "常见"),
            ("PassWord1", "常见"),
            (MOBILE, "手机号"),
            ("+8613800138000", "手机号"),
            (&"x".repeat(129), "128"),
        ] {
            expect_refusal(&register(weak, "password2", weak).await, 4103, rule);
        }
        register(PASSWORD, "password2", PASSWORD).await.expect_errno(0);
    }
}

on_every_backend! {
    async fn an_sms_code_is_good_for_five_tries_five_minutes_and_one_user(backends: Backends) {
        let app = TestApp::start(backends).await;
        let code = app.classic_code(MOBILE).await;
        for _ in 0..5 {
            expect_refusal(&app.post(USERS, registration(wrong(&code))).await, 4004, "短信验证码");
        }
        expect_refusal(&app.post(USERS, registration(wrong(&code))).await, 4002, "短信验证码");
        expect_refusal(&app.post(USERS, registration(&code)).await, 4002, "短信验证码");

        app.advance(61).await;
        let code = app.classic_code(MOBILE).await;
        app.advance(301).await;
        expect_refusal(&app.post(USERS, registration(&code)).await, 4002, "短信验证码");

        let code = app.classic_code(MOBILE).await;
        expect_refusal(&app.post(USERS, registration(wrong(&code))).await, 4004, "短信验证码");
        app.post(USERS, registration(&code)).await.expect_errno(0);
        expect_refusal(&app.post(USERS, registration(&code)).await, 4002, "短信验证码");
    }
}

on_every_backend! {
    async fn a_wrong_mobile_and_a_wrong_password_are_one_answer(backends: Backends) {
        let app = TestApp::start(backends).await;
        app.register(MOBILE, PASSWORD).await.expect_errno(0);
        app.sign_in(OTHER).await;
        let mut answers = Vec::new();
        for (mobile, password) in [("13700137000", PASSWORD), (OTHER, PASSWORD), (MOBILE, "a wrong secret")] {
            let answer = app.post(SESSIONS, login(mobile, password)).await;
            expect_refusal(&answer, 4106, "");
            answers.push(answer.bytes);
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]));
        app.post(SESSIONS, login("+86 138-0013-8000", PASSWORD)).await.expect_errno(0);
    }
}

#[tokio::test]
async fn numbers_stand_for_mobile_and_code_with_their_zeros() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    app.random.prepare("001234");
    assert_eq!(app.classic_code("13700000000").await, "001234");
    let body = json!({ "mobile": 13_700_000_000_u64, "sms_code": 1234, "password": PASSWORD });
    let body = app.post(USERS, body).await.expect_errno(0);
    assert_eq!(body["data"]["mobile"], "13700000000");
    app.post(SESSIONS, json!({ "mobile": 13_700_000_000_u64, "password": PASSWORD })).await.expect_errno(0);
}

#[tokio::test]
async fn a_body_is_json_whatever_its_content_type_says() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    app.register(MOBILE, PASSWORD).await.expect_errno(0);
    for content_type in [
        None,
        Some("text/plain;charset=UTF-8"),
        Some("application/x-www-form-urlencoded"),
        Some("application/json; charset=utf-8"),
        Some("multipart/form-data"),
        Some("not a type at all"),
    ] {
        send_raw(&app, SESSIONS, content_type, login(MOBILE, PASSWORD).to_string()).await.expect_errno(0);
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_a_parameter_error() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    for path in [USERS, SESSIONS, "/passport/sms_code", "/passport/register", "/passport/login"] {
        for body in ["", "{", "mobile=13800138000&password=secret", "[]", "null", "1", "\"text\"", "{\"mobile\":}"] {
            for content_type in [None, Some("application/json")] {
                expect_refusal(&send_raw(&app, path, content_type, body).await, 4103, "");
            }
        }
        expect_refusal(
            &send_raw(&app, path, Some("application/json"), b"{\"mobile\":\"\xFF\"}".to_vec()).await,
            4103,
            "",
        );
        let deep = format!("{}{}", "[".repeat(4000), "]".repeat(4000));
        expect_refusal(&send_raw(&app, path, Some("application/json"), deep).await, 4103, "");
    }
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let mut body = registration(&app.classic_code(MOBILE).await);
    body["agree"] = json!(true);
    body["nested"] = json!({ "mobile": [1, 2] });
    app.post(USERS, body).await.expect_errno(0);
}

#[tokio::test]
async fn a_second_password_need_not_be_sent() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let code = app.classic_code(MOBILE).await;
    app.post(USERS, json!({ "mobile": MOBILE, "sms_code": code, "password": PASSWORD })).await.expect_errno(0);
}

#[tokio::test]
async fn messages_are_english_for_those_who_ask_and_errno_is_the_same() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let english = |method, path: &str| app.request(method, path).header("accept-language", "en-US,en;q=0.9");
    let post = |path: &str, body: Value| english(Method::POST, path).json(&body);
    let text = app.picture("x").await;
    let send = format!("/api/v1.0/smscode/{MOBILE}?text={text}&id=x");
    let mut answers = vec![app.send(english(Method::GET, &send)).await.expect_errno(0)];
    answers.push(app.send(post(USERS, registration(&app.last_code(MOBILE)))).await.expect_errno(0));
    answers.push(app.send(post(SESSIONS, login(MOBILE, PASSWORD))).await.expect_errno(0));
    answers.push(app.send(english(Method::GET, &send)).await.expect_errno(4002));
    answers.push(app.send(english(Method::GET, USER)).await.expect_errno(4101));
    answers.push(app.send(post(SESSIONS, login(MOBILE, "a wrong secret"))).await.expect_errno(4106));
    answers.push(app.send(post(SESSIONS, json!({}))).await.expect_errno(4103));
    for body in answers {
        assert!(body["errmsg"].as_str().unwrap().is_ascii(), "{body}");
    }
    let chinese = app.request(Method::GET, USER).header("accept-language", "zh-CN,zh;q=0.9,en;q=0.8");
    assert!(!app.send(chinese).await.expect_errno(4101)["errmsg"].as_str().unwrap().is_ascii());
}

on_every_backend! {
    async fn a_hundred_parallel_registrations_with_one_code_make_one_user(backends: Backends) {
        let app = TestApp::start(backends).await;
        let code = app.classic_code(MOBILE).await;
        let answers = join_all((0..100).map(|_| app.post(USERS, registration(&code)))).await;
        let (registered, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.json()["errno"] == 0);
        assert_eq!(registered.len(), 1);
        for answer in refused {
            expect_refusal(answer, 4002, "");
        }
        assert_eq!((app.stores.count("users").await, app.stores.count("sessions").await), (1, 1));
        app.send_with_cookie(Method::GET, USER, registered[0].cookie()).await.expect_errno(0);
    }
}

on_every_backend! {
    async fn a_hundred_parallel_registrations_with_a_code_that_never_burns_make_one_user(backends: Backends) {
        let app = TestApp::start_with(backends, &["--sms-test-codes=13800138000=246810"]).await;
        let answers = join_all((0..100).map(|_| app.post(USERS, registration("246810")))).await;
        let (registered, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.json()["errno"] == 0);
        for answer in refused {
            expect_refusal(answer, 4003, "");
        }
        assert_eq!(registered.len(), 1);
        assert_eq!((app.stores.count("users").await, app.stores.count("sessions").await), (1, 1));
    }
}

#[tokio::test]
async fn what_no_handler_serves_has_a_status_and_an_errno() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    for path in
        ["/api/v1.0", "/api/v1.0/houses", "/api/v1/areas", "/passport", "/passport/nothing/here", "/api/v1.0/users/1"]
    {
        let body = app.get(path).await.expect(404);
        assert_eq!(body["errno"], 4201, "{path}: {body}");
    }
    for (method, path, allowed) in [
        (Method::PUT, "/api/v1.0/session", "DELETE, GET, HEAD, POST"),
        (Method::PATCH, "/api/v1/user", "GET, HEAD"),
        (Method::POST, "/passport/image_code", "GET"),
        (Method::GET, "/passport/smscode", "POST"),
        (Method::DELETE, "/passport/logout/", "GET, POST"),
    ] {
        let answer = app.send(app.request(method, path)).await;
        assert_eq!(answer.expect(405)["errno"], 4201, "{path}");
        let mut methods: Vec<_> = answer.header("allow").split(", ").collect();
        methods.sort_unstable();
        assert_eq!(methods.join(", "), allowed, "{path}");
    }
    for path in [USERS, "/api/v1/session", "/passport/login"] {
        let answer = send_raw(&app, path, Some("application/json"), vec![b' '; 17 * 1024]).await;
        assert_eq!(answer.expect(413)["errno"], 4103, "{path}");
    }
}

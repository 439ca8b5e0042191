//! `HEAD` and unusual methods, which change nothing and cost nothing.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, MOBILE, PASSWORD, TestApp, Tokens, backends::Backends, on_every_backend};

/// What stands behind `GET` and is no mere look: an operation, and paths that lead there.
const ACTIONS: [(&str, &[&str]); 8] = [
    (
        "send_login_sms_code",
        &["/app/v1_0/sms/codes/13800138000", "/v1_0/sms/codes/13800138000", "/app/v1_0/sms/codes/1380013800%30/"],
    ),
    (
        "ihome_send_sms_code_at_smscode",
        &[
            "/api/v1.0/smscode/13800138000?text={text}&id=x",
            "/api/v1_0/smscode/13800138000?text={text}&id=x",
            "/api/v1/smscode/13800138000/?text={text}&id=x",
        ],
    ),
    (
        "ihome_send_sms_code",
        &[
            "/api/v1.0/sms_codes/13800138000?image_code={text}&image_code_id=x",
            "/api/v1.0/sms_code/13800138000?image_code={text}&image_code_id=x",
        ],
    ),
    ("get_image_code", &["/app/v1_0/image_codes/x", "/v1_0/image_codes/x/", "/app/v1_0/image_codes/%78"]),
    ("ihome_get_image_code_at_imagecode", &["/api/v1.0/imagecode/x", "/api/v1.0/image_code/x", "/api/v1/imagecode/x"]),
    ("ihome_get_image_code", &["/api/v1.0/image_codes/x", "/api/v1_0/image_codes/x"]),
    ("get_pow_challenge", &["/app/v1_0/challenges/pow?mobile=13800138000"]),
    ("passport_get_image_code", &["/passport/image_code?code_id=x", "/passport/image_code/?cur_id=x"]),
];

/// Signing out is one, too; it needs a user who is signed in.
const SIGN_OUT: (&str, &str) = ("passport_follow_sign_out", "/passport/logout");

/// The pages of the service, which are no operations.
const PAGES: [&str; 5] = ["/", "/docs", "/openapi.json", "/openapi.yaml", "/dev/sms"];

/// Every operation behind `GET`, with its path.
fn reads(app: &TestApp) -> Vec<(String, String)> {
    let document = app.app.documents.in_language(phonepass::api::Language::En);
    let paths = document["paths"].as_object().unwrap().iter();
    let reads = paths.filter_map(|(path, operations)| {
        Some((operations.get("get")?["operationId"].as_str()?.to_owned(), path.replace("{id}", "x")))
    });
    reads.collect()
}

#[track_caller]
fn expect_not_allowed(answer: &Answer, path: &str) {
    assert_eq!((answer.status.as_u16(), answer.bytes.len()), (405, 0), "{path}");
    assert_eq!(answer.header("content-type"), "application/json", "{path}");
    assert!(!answer.header("x-request-id").is_empty(), "{path}");
    let methods: Vec<_> = answer.header("allow").split(", ").collect();
    assert!(methods.contains(&"GET") && !methods.contains(&"HEAD"), "{path}: {methods:?}");
}

on_every_backend! {
    async fn head_sends_no_message_draws_no_picture_and_ends_no_session(backends: Backends) {
        let app = TestApp::start_with(backends, &["--sms-resend-seconds=0", "--challenges=picture,pow"]).await;
        let text = app.picture("x").await;
        let signed_in = app.register("13900139000", PASSWORD).await;
        let token = Tokens::of(&signed_in.expect_errno(0)).access;
        for (_, paths) in ACTIONS {
            for path in paths {
                let path = path.replace("{text}", &text);
                expect_not_allowed(&app.send(app.request(Method::HEAD, &path)).await, &path);
                let got = app.get(&path.replace(&text, "0000")).await;
                assert!(got.status == 200 || got.status == 400, "{path} leads nowhere: {}", got.status);
                app.put_picture("x", &text).await;
            }
        }
        let before = app.app.outbox.as_ref().unwrap().recent().len();
        for (_, paths) in ACTIONS {
            for path in paths {
                app.send(app.request(Method::HEAD, &path.replace("{text}", &text))).await;
            }
        }
        assert_eq!(app.app.outbox.as_ref().unwrap().recent().len(), before);
        assert_eq!(app.picture_text("x").await, text);
        for path in ["/passport/logout", "/passport/logout/"] {
            expect_not_allowed(&app.send(app.request(Method::HEAD, path).bearer_auth(&token)).await, path);
            let head = app.send_with_cookie(Method::HEAD, path, signed_in.cookie()).await;
            expect_not_allowed(&head, path);
            assert_eq!(head.header("set-cookie"), "");
        }
        app.get_as("/api/v1.0/user", &token).await.expect_errno(0);
    }
}

#[tokio::test]
async fn every_operation_behind_get_either_answers_head_as_get_or_refuses_it() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let token = app.sign_in(MOBILE).await.access;
    let all = reads(&app);
    assert_eq!(all.len(), 20);
    let actions: Vec<_> = ACTIONS.iter().map(|(id, _)| *id).chain([SIGN_OUT.0]).collect();
    for action in &actions {
        assert!(all.iter().any(|(id, _)| id == action), "no {action}");
    }
    for (id, path) in all {
        let path = path.replace("{mobile}", MOBILE);
        let head = app.send(app.request(Method::HEAD, &path).bearer_auth(&token)).await;
        if actions.contains(&id.as_str()) {
            expect_not_allowed(&head, &id);
            continue;
        }
        let get = app.get_as(&path, &token).await;
        assert_eq!((head.status, head.bytes.len()), (get.status, 0), "{id}");
        assert!(get.status.is_success(), "{id}");
        for name in ["content-type", "cache-control", "x-user-id"] {
            assert_eq!(head.header(name), get.header(name), "{id}");
        }
    }
    for path in PAGES {
        let (head, get) = (app.send(app.request(Method::HEAD, path)).await, app.get(path).await);
        assert_eq!((head.status.as_u16(), head.bytes.len()), (200, 0), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
}

#[tokio::test]
async fn no_other_method_reaches_what_stands_behind_one() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &["--cors-origins=https://a.example"]).await;
    let token = app.sign_in("13900139000").await.access;
    let sent = || app.app.outbox.as_ref().unwrap().recent().len();
    let before = sent();
    for method in ["OPTIONS", "TRACE", "PROPFIND", "get", "Get", "POST", "QUERY"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = app.send(app.request(method.clone(), "/app/v1_0/sms/codes/13800138000")).await;
        answer.expect_error(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), "GET");
        if method != Method::POST {
            let answer = app.send(app.request(method.clone(), "/passport/logout").bearer_auth(&token)).await;
            assert_eq!(answer.expect(405)["errno"], 4201, "{method}");
            assert_eq!(answer.header("allow"), "GET, POST");
        }
    }
    // A preflight is answered, and nothing else happens.
    let preflight =
        app.request(Method::OPTIONS, "/app/v1_0/sms/codes/13800138000").header("origin", "https://a.example");
    app.send(preflight.header("access-control-request-method", "GET")).await.expect(204);
    // The method of the request counts, whatever a header says.
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        let request = app.request(Method::GET, "/app/v1_0/authorizations").bearer_auth(&token).header(name, "DELETE");
        app.send(request).await.expect(204);
        let request = app.request(Method::HEAD, "/app/v1_0/sms/codes/13800138000").header(name, "GET");
        assert_eq!(app.send(request).await.status, 405);
    }
    // A path is what it is, not what it would be decoded.
    for path in ["/passport/%6Cogout", "/passport%2Flogout", "/app/v1_0/sms/codes%2F13800138000"] {
        assert_eq!(app.get_as(path, &token).await.status, 404, "{path}");
    }
    app.get_as("/app/v1_0/user", &token).await.expect(200);
    assert_eq!(sent(), before);
}

#[tokio::test]
async fn a_body_means_nothing_to_a_request_that_takes_none() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let token = app.sign_in(MOBILE).await.access;
    for body in [json!({ "mobile": "13900139000", "name": "x" }), Value::Null, json!([])] {
        let user = app.send(app.request(Method::GET, "/app/v1_0/user").bearer_auth(&token).json(&body)).await;
        assert_eq!(user.expect(200)["data"]["mobile"], MOBILE);
        let head = app.send(app.request(Method::HEAD, "/app/v1_0/user").bearer_auth(&token).json(&body)).await;
        assert_eq!(head.status, 200);
    }
}

#[tokio::test]
async fn a_path_that_is_not_utf_8_is_refused_by_the_rule_of_its_value() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let tokens = app.sign_in(MOBILE).await;
    for bytes in ["%FF", "13800138001%FF", "%C3%28", "%ED%A0%80"] {
        app.get(&format!("/app/v1_0/sms/codes/{bytes}")).await.expect_error(400, "mobile_invalid");
        app.get(&format!("/app/v1_0/image_codes/{bytes}")).await.expect_fields(&["id"]);
        let told = app.get(&format!("/api/v1.0/imagecode/{bytes}")).await.expect_errno(4103);
        assert!(told["errmsg"].as_str().unwrap().contains("id"), "{told}");
        let one = app.request(Method::DELETE, &format!("/app/v1_0/user/sessions/{bytes}")).bearer_auth(&tokens.access);
        app.send(one).await.expect_error(404, "not_found");
    }
}

//! The paths of old front ends that stand for others.

use phonepass::api::Language;
use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, MOBILE, PASSWORD, TestApp, backends::Backends, on_every_backend};

/// The same path as clumsy front ends put it together, its query kept.
fn clumsy(path: &str) -> Vec<String> {
    let (stem, query) = path.split_once('?').map_or((path, String::new()), |(stem, query)| (stem, format!("?{query}")));
    let doubled = stem.replace('/', "//");
    let mixed = format!("/{}//", stem.replacen('/', "///", 2));
    [stem.to_owned(), format!("{stem}/"), doubled, mixed].map(|stem| format!("{stem}{query}")).into()
}

/// Every beginning of an ihome path.
const IHOME: [&str; 4] = ["/api/v1.0", "/api/v1_0", "/api/v1", "/api/1.0"];

fn methods_of(answer: &Answer) -> Vec<&str> {
    // Whether reading a path by HEAD is allowed depends on what it does.
    let mut methods: Vec<_> = answer.header("allow").split(", ").filter(|method| *method != "HEAD").collect();
    methods.sort_unstable();
    methods
}

#[tokio::test]
async fn each_alias_answers_as_the_call_that_it_stands_for_however_its_slashes_stand() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let token = app.sign_in(MOBILE).await.access;
    let mut calls: Vec<(&str, String, u16, &str)> = Vec::new();
    // Each answer could have come from no other call.
    for (method, path, status, expected) in [
        ("GET", "/v1_0/user", 200, "has_password"),
        ("GET", "/v1_0/user/profile", 200, "has_password"),
        ("GET", "/app/v1_0/user/profile", 200, "has_password"),
        ("PATCH", "/app/v1_0/user/profile", 200, "has_password"),
        ("PATCH", "/v1_0/user/profile", 200, "has_password"),
        ("PUT", "/v1_0/user/password", 400, "二选一"),
        ("POST", "/v1_0/authorizations", 400, "request_invalid"),
        ("PUT", "/v1_0/authorizations", 401, "refresh_token_invalid"),
        ("GET", "/v1_0/sms/codes/1", 400, "mobile_invalid"),
        ("GET", "/v1_0/image_codes/x", 200, "JFIF"),
        ("POST", "/passport/smscode", 200, "image_code_id"),
        ("POST", "/passport/send_sms", 200, "image_code_id"),
        ("GET", "/passport/image_code?cur=x", 200, "JFIF"),
        ("GET", "/healthz", 200, "ok"),
        ("GET", "/docs", 200, "<html"),
        ("GET", "/openapi.json", 200, "openapi"),
        ("GET", "/.well-known/jwks.json", 200, "keys"),
    ] {
        calls.push((method, path.to_owned(), status, expected));
    }
    for (method, path, expected) in [
        ("GET", "/image_code/x", "JFIF"),
        ("GET", "/imagecode/x", "JFIF"),
        ("GET", "/image_codes/x", "JFIF"),
        ("GET", "/image_code?id=x", "JFIF"),
        ("GET", "/imagecode?cur=x&pre=y", "JFIF"),
        ("GET", "/image_codes?imageCodeId=x", "JFIF"),
        ("GET", "/imagecode", "code_id"),
        ("GET", "/sms_code/13800138000?image_code=abcd&image_code_id=never-drawn", "4002"),
        ("GET", "/sms_codes/13800138000?text=abcd&id=never-drawn", "4002"),
        ("POST", "/sms_code", "image_code_id"),
        ("POST", "/sms_codes", "image_code_id"),
        ("POST", "/smscode", "image_code_id"),
        ("POST", "/sms", "image_code_id"),
        ("POST", "/users", "sms_code"),
        ("POST", "/session", "password"),
        ("POST", "/sessions", "password"),
        ("GET", "/session", "avatar_url"),
        ("GET", "/sessions", "avatar_url"),
        ("GET", "/user", "avatar_url"),
        ("GET", "/users", "avatar_url"),
        ("GET", "/users/profile", "avatar_url"),
        ("GET", "/user/info", "avatar_url"),
        ("GET", "/user/profile", "avatar_url"),
        ("PUT", "/user/name", "name 必填"),
        ("POST", "/user/name", "name 必填"),
        ("PUT", "/users/name", "name 必填"),
        ("POST", "/users/name", "name 必填"),
    ] {
        calls.extend(IHOME.map(|prefix| (method, format!("{prefix}{path}"), 200, expected)));
    }
    for (method, path, status, expected) in calls {
        for path in clumsy(&path) {
            let mut request = app.request(method.parse().unwrap(), &path).bearer_auth(&token);
            if method != "GET" {
                request = request.json(&json!({}));
            }
            let answer = app.send(request).await;
            let text = String::from_utf8_lossy(&answer.bytes);
            assert_eq!(answer.status, status, "{method} {path}: {text}");
            assert!(text.contains(expected), "{method} {path}: {text}");
        }
    }
}

on_every_backend! {
    async fn a_front_end_of_old_paths_and_names_does_all_that_it_can(backends: Backends) {
        let app = TestApp::start(backends).await;
        let pages = [
            ("/api/v1", "/imagecode?cur=p1&pre=", "/sms_code", "/user/profile"),
            ("//api/1.0/", "/image_code/p2", "/sms/", "/users//profile"),
            ("/api/v1_0", "/image_code?imageCodeKey=p3", "/sms_codes", "/user/info/"),
            ("/api//v1.0", "/imagecode//p4/", "/smscode", "/users"),
        ];
        for (number, (prefix, picture, send, profile)) in (1..).zip(pages) {
            let (mobile, id) = (format!("1380013800{number}"), format!("p{number}"));
            let at = |path: &str| format!("{prefix}{path}");
            assert_eq!(app.get(&at(picture)).await.header("content-type"), "image/jpeg");
            let text = app.picture_text(&id).await;
            let body = json!({ "mobile": format!("+86 {mobile}"), "imageCode": text, "imageCodeId": id });
            let sent = app.post(&at(send), body).await.expect_errno(0);
            assert_eq!(sent, json!({ "errno": 0, "errmsg": "发送成功" }));

            let body = json!({ "mobile": mobile, "phonecode": app.last_code(&mobile), "password": PASSWORD });
            app.post(&at("/users"), body).await.expect_errno(0);
            let signed_in = app.post(&at("/session/"), json!({ "mobile": mobile, "passwd": PASSWORD })).await;
            signed_in.expect_errno(0);
            let user = app.send_with_cookie(Method::GET, &at(profile), signed_in.cookie()).await.expect_errno(0);
            assert_eq!((&user["data"]["name"], &user["data"]["username"]), (&json!(mobile), &json!(mobile)));
            app.send_with_cookie(Method::DELETE, &at("/session"), signed_in.cookie()).await.expect_errno(0);
            app.send_with_cookie(Method::GET, &at(profile), signed_in.cookie()).await.expect_errno(4101);
        }
    }
}

#[tokio::test]
async fn what_is_percent_encoded_in_a_path_arrives_as_it_was_meant() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    app.put_picture("a-1", "k7xw").await;
    let path = "/api//v1/sms_code/%2B86%20138-0013-8000/?image_code=%6B7xw&image%5Fcode%5Fid=a%2D1";
    app.get(path).await.expect_errno(0);
    app.last_code(MOBILE);
    assert_eq!(app.get("/api/v1_0/image_code/%61-2").await.header("content-type"), "image/jpeg");
    app.picture_text("a-2").await;
    // An encoded slash belongs to the value.
    for path in ["/api/v1.0/imagecode/a%2Fb", "/api/v1/image_code/%2F", "/api/1.0/imagecode?id=%2F"] {
        app.get(path).await.expect_errno(4103);
    }
}

#[tokio::test]
async fn a_wrong_method_on_an_alias_is_told_the_methods_that_it_takes() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &["--cors-origins=https://a.example"]).await;
    for (method, path, allowed) in [
        ("PUT", "/session", &["DELETE", "GET", "POST"][..]),
        ("PUT", "/sessions", &["DELETE", "GET", "POST"]),
        ("DELETE", "/users", &["GET", "POST"]),
        ("PUT", "/users/profile", &["GET"]),
        ("POST", "/user/info", &["GET"]),
        ("PATCH", "/user/profile", &["GET"]),
        ("GET", "/users/name", &["POST", "PUT"]),
        ("GET", "/user/name", &["POST", "PUT"]),
        ("POST", "/image_code", &["GET"]),
        ("POST", "/imagecode/x", &["GET"]),
        ("PUT", "/image_code/x", &["GET"]),
        ("GET", "/sms", &["POST"]),
        ("GET", "/sms_code", &["POST"]),
        ("POST", "/sms_code/13800138000", &["GET"]),
    ] {
        for prefix in IHOME {
            for path in clumsy(&format!("{prefix}{path}")) {
                let request = app.request(method.parse().unwrap(), &path).header("origin", "https://a.example");
                let answer = app.send(request).await;
                assert_eq!(answer.expect(405)["errno"], 4201, "{method} {path}");
                assert_eq!(methods_of(&answer), allowed, "{method} {path}");
                assert_eq!(answer.header("access-control-allow-origin"), "https://a.example");
            }
        }
    }
    for (path, allowed) in
        [("/v1_0/user/profile", &["GET", "PATCH"][..]), ("/v1_0/authorizations", &["DELETE", "GET", "POST", "PUT"])]
    {
        let answer = app.send(app.request(Method::from_bytes(b"PURGE").unwrap(), path)).await;
        answer.expect_error(405, "method_not_allowed");
        assert_eq!(methods_of(&answer), allowed, "{path}");
    }
}

#[tokio::test]
async fn head_and_preflight_of_an_alias_are_those_of_the_call_that_it_stands_for() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &["--cors-origins=https://a.example"]).await;
    let token = app.sign_in(MOBILE).await.access;
    for (alias, path) in [
        ("/v1_0/user/profile", "/app/v1_0/user"),
        ("/api/v1/users", "/api/v1.0/user"),
        ("/api/v1.0/user/info", "/api/v1.0/user"),
        ("/api/1.0//session/", "/api/v1.0/session"),
        ("/api/v1.0/sms", "/passport/sms_code"),
        ("/api/v1.0/users/name", "/api/v1.0/user/name"),
        ("/api/v1/image_code/x", "/api/v1.0/imagecode/x"),
        ("//healthz/", "/healthz"),
    ] {
        let head = async |path| app.send(app.request(Method::HEAD, path).bearer_auth(&token)).await;
        let (answer, expected) = (head(alias).await, head(path).await);
        assert_eq!((answer.status, answer.header("allow")), (expected.status, expected.header("allow")), "{alias}");
        assert_eq!(answer.header("content-type"), expected.header("content-type"), "{alias}");

        let preflight = app
            .request(Method::OPTIONS, alias)
            .header("origin", "https://a.example")
            .header("access-control-request-method", "PUT");
        let answer = app.send(preflight).await;
        answer.expect(204);
        assert_eq!(answer.header("access-control-allow-origin"), "https://a.example", "{alias}");
    }
}

#[tokio::test]
async fn what_only_resembles_an_alias_is_not_found() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    for path in [
        "/api/v1.0/users/1",
        "/api/v1.0/user/name/x",
        "/api/v1.0/users/profile/x",
        "/api/v2.0/session",
        "/api/v1.1/session",
        "/api/v10/session",
        "/api/1/session",
        "/api/v1.0/imagecode/a/b",
        "/api/v1.0/houses",
        "/passport/user",
        "/passport/sms",
    ] {
        app.get(path).await.expect(404);
    }
    app.get("/app/v1_0/user/profile/x").await.expect_error(404, "not_found");
    app.get("/v1_0/users/profile").await.expect_error(404, "not_found");
}

#[tokio::test]
async fn no_alias_is_in_the_document() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let paths = app.app.documents.in_language(Language::En)["paths"].as_object().unwrap();
    let ihome: Vec<_> = paths.keys().filter_map(|path| path.strip_prefix("/api/v1.0")).collect();
    let listed = [
        "/image_codes/{id}",
        "/imagecode/{id}",
        "/session",
        "/sessions",
        "/sms_codes/{mobile}",
        "/smscode/{mobile}",
        "/user",
        "/user/name",
        "/users",
    ];
    assert_eq!(ihome, listed);
    let other = paths.keys().filter(|path| path.starts_with("/v1_0") || path.starts_with("/api/"));
    assert_eq!(other.count(), listed.len());
    assert!(paths.get("/app/v1_0/user/profile").is_none());
    assert_eq!(paths.keys().filter(|path| path.starts_with("/passport/")).count(), 5);
    assert!(paths["/api/v1.0/session"].get("post").is_none() && paths["/api/v1.0/users"].get("get").is_none());
}

#[tokio::test]
async fn the_root_of_a_prefix_is_unknown_in_the_envelope_of_its_family() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    for root in ["/api/v1.0", "/api/v1", "/api/v1_0/", "/api/1.0", "//api//v1//"] {
        assert_eq!(app.get(root).await.expect(404)["errno"], 4201, "{root}");
    }
    for root in ["/app/v1_0", "/v1_0/", "/v1_0"] {
        app.get(root).await.expect_error(404, "not_found");
    }
}

//! Do users choose their name and picture, within what others can be shown?

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, MOBILE, TestApp, backends::Backends, on_every_backend};

const PATH: &str = "/app/v1_0/user";
const OTHER: &str = "13900139000";
const PICTURE: &str = "https://cdn.example.com/avatars/1.png?size=128#face";

async fn update(app: &TestApp, token: &str, body: Value) -> Answer {
    app.send_as(Method::PATCH, PATH, token, body).await
}

on_every_backend! {
    async fn name_and_picture_are_shown_wherever_the_user_is(backends: Backends) {
        let app = TestApp::start(backends).await;
        let token = app.sign_in(MOBILE).await.access;
        let before = app.user(&token).await.expect(200);
        let mut expected = before.clone();
        expected["data"]["name"] = json!("小明 🙂");
        expected["data"]["avatar_url"] = json!(PICTURE);

        let answer = update(&app, &token, json!({ "name": " \u{3000}小明 🙂 ", "avatar_url": PICTURE })).await;
        assert_eq!(answer.expect(200), expected);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(app.user(&token).await.expect(200), expected);
        let id = &before["data"]["id"];
        let classic = app.get_as("/api/v1.0/user", &token).await.expect_errno(0);
        let fields = json!({
            "user_id": id, "name": "小明 🙂", "mobile": MOBILE, "avatar": PICTURE,
            "username": "小明 🙂", "avatar_url": PICTURE
        });
        assert_eq!(classic["data"], fields);
        let classic = app.get_as("/api/v1.0/session", &token).await.expect_errno(0);
        assert_eq!(classic["data"], fields);

        app.advance(61).await;
        let token = app.sign_in(MOBILE).await.access;
        let again = app.user(&token).await.expect(200);
        assert_eq!((&again["data"]["name"], &again["data"]["avatar_url"]), (&json!("小明 🙂"), &json!(PICTURE)));
        let other = app.sign_in(OTHER).await.access;
        assert_eq!(app.user(&other).await.expect(200)["data"]["name"], OTHER);
    }
}

on_every_backend! {
    async fn what_is_left_out_stays(backends: Backends) {
        let app = TestApp::start(backends).await;
        let token = app.sign_in(MOBILE).await.access;
        let name_and_picture = |body: &Value| (body["data"]["name"].clone(), body["data"].get("avatar_url").cloned());
        let expect = async |change: Value, name: &str, picture: Option<&str>| {
            let body = update(&app, &token, change).await.expect(200);
            assert_eq!(name_and_picture(&body), (json!(name), picture.map(|url| json!(url))));
            assert_eq!(app.user(&token).await.expect(200), body);
        };
        expect(json!({}), MOBILE, None).await;
        expect(json!({ "name": "小明" }), "小明", None).await;
        expect(json!({ "avatar_url": PICTURE }), "小明", Some(PICTURE)).await;
        expect(json!({}), "小明", Some(PICTURE)).await;
        expect(json!({ "name": null }), "小明", Some(PICTURE)).await;
        expect(json!({ "mobile": OTHER, "id": "1", "unknown": [1, 2] }), "小明", Some(PICTURE)).await;
        expect(json!({ "name": MOBILE }), MOBILE, Some(PICTURE)).await;
        assert_eq!(app.user(&token).await.expect(200)["data"]["mobile"], MOBILE);
    }
}

on_every_backend! {
    async fn only_who_is_signed_in_to_an_account_in_use_changes_it(backends: Backends) {
        let app = TestApp::start(backends).await;
        let token = app.sign_in(MOBILE).await.access;
        // The token is looked at before the body.
        for body in [json!({ "name": "x" }), json!({ "name": "" }), json!([])] {
            app.send(app.request(Method::PATCH, PATH).json(&body)).await.expect_error(401, "token_invalid");
        }
        app.stores.execute("UPDATE users SET status = 'disabled'").await;
        update(&app, &token, json!({ "name": "x" })).await.expect_error(401, "session_revoked");
        app.stores.execute("UPDATE users SET status = 'active'").await;
        assert_eq!(app.user(&token).await.expect(200)["data"]["name"], MOBILE);
        app.sign_out(&token).await.expect(204);
        update(&app, &token, json!({ "name": "x" })).await.expect_error(401, "session_revoked");
    }
}

#[tokio::test]
async fn a_name_has_from_one_to_thirty_two_characters() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let token = app.sign_in(MOBILE).await.access;
    let padded = format!("  {}  ", "a".repeat(32));
    for name in ["a", "王", "🙂", &"密".repeat(32), &"🙂".repeat(32), &padded, "a  b", "<O'Brien> \"&\" \\"] {
        let body = update(&app, &token, json!({ "name": name })).await.expect(200);
        assert_eq!(body["data"]["name"], name.trim());
    }
    update(&app, &token, json!({ "name": "last" })).await.expect(200);
    let (long, long_wide, blanks) = ("a".repeat(33), "密".repeat(33), " ".repeat(5));
    let controls = ["a\u{0}b", "a\nb", "a\r\nb", "a\tb", "a\u{1b}[31mb", "a\u{7f}b", "a\u{85}b"];
    for name in ["", &blanks, "\u{3000}", &long, &long_wide].into_iter().chain(controls) {
        update(&app, &token, json!({ "name": name })).await.expect_fields(&["name"]);
    }
    for name in [json!(12_345), json!(true), json!(["a"]), json!({ "a": "b" })] {
        update(&app, &token, json!({ "name": name })).await.expect_fields(&["name"]);
    }
    assert_eq!(app.user(&token).await.expect(200)["data"]["name"], "last");
}

#[tokio::test]
async fn a_picture_has_an_https_url_of_at_most_512_characters() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let token = app.sign_in(MOBILE).await.access;
    let of_length = |length: usize| format!("{:a<length$}", "https://cdn.example.com/");
    let in_chinese = |characters: usize| format!("https://cdn.example.com/{}", "图".repeat(characters));
    // Kept as every browser reads it.
    for (url, kept) in [
        (&*of_length(512), &*of_length(512)),
        ("https://a.b", "https://a.b/"),
        ("https://例子.example/头像.png", "https://xn--fsqu00a.example/%E5%A4%B4%E5%83%8F.png"),
        ("https://CDN.Example.com:8443/?a=b&c", "https://cdn.example.com:8443/?a=b&c"),
        ("https://cdn.example.com:443/a/../b.png", "https://cdn.example.com/b.png"),
        ("https://cdn.example.com\\a.png", "https://cdn.example.com/a.png"),
        ("https://0x7f.1/\"><script>", "https://127.0.0.1/%22%3E%3Cscript%3E"),
        (&in_chinese(54), &format!("https://cdn.example.com/{}", "%E5%9B%BE".repeat(54))),
    ] {
        let body = update(&app, &token, json!({ "avatar_url": url })).await.expect(200);
        assert_eq!(body["data"]["avatar_url"], kept);
    }
    update(&app, &token, json!({ "avatar_url": PICTURE })).await.expect(200);
    for url in [
        &of_length(513),
        // 24 and 55 × 9 characters once it is parsed.
        &in_chinese(55),
        "https://user@cdn.example.com/a.png",
        "https://user:secret@cdn.example.com/a.png",
        "https://:secret@cdn.example.com/a.png",
        "https://trusted.example.com%2F@evil.example/a.png",
        " ",
        "http://cdn.example.com/a.png",
        "ftp://cdn.example.com/a.png",
        "javascript:alert(1)",
        "data:image/png;base64,AAAA",
        "//cdn.example.com/a.png",
        "cdn.example.com/a.png",
        "/a.png",
        "https://",
        "https://:443/a.png",
        " https://cdn.example.com/a.png",
        "https://cdn.example.com/a.png\n",
        "https://cdn.exam\nple.com/a.png",
        "https://cdn.example.com/a\tb.png",
        "https://cdn.example.com/a\u{0}b.png",
    ] {
        let answer = update(&app, &token, json!({ "avatar_url": url })).await;
        assert_eq!(answer.status, 400, "{url:?}");
        answer.expect_fields(&["avatar_url"]);
    }
    for url in [json!(1), json!(false), json!([PICTURE])] {
        update(&app, &token, json!({ "avatar_url": url })).await.expect_fields(&["avatar_url"]);
    }
    assert_eq!(app.user(&token).await.expect(200)["data"]["avatar_url"], PICTURE);
}

#[tokio::test]
async fn every_wrong_field_is_told_at_once_and_nothing_is_changed() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let token = app.sign_in(MOBILE).await.access;
    let before = app.user(&token).await.expect(200);
    update(&app, &token, json!({ "name": "", "avatar_url": "x" })).await.expect_fields(&["name", "avatar_url"]);
    update(&app, &token, json!({ "name": 1, "avatar_url": 1 })).await.expect_fields(&["name", "avatar_url"]);
    update(&app, &token, json!({ "name": "right", "avatar_url": "x" })).await.expect_fields(&["avatar_url"]);
    for not_an_object in [json!([]), json!("text"), json!(null), json!(1)] {
        update(&app, &token, not_an_object).await.expect_fields(&[]);
    }
    let request = || app.request(Method::PATCH, PATH).bearer_auth(&token);
    let broken = request().header("content-type", "application/json").body("{\"name\": ");
    app.send(broken).await.expect_fields(&[]);
    app.send(request().body("name=x")).await.expect_error(415, "media_type_unsupported");
    assert_eq!(app.user(&token).await.expect(200), before);
}

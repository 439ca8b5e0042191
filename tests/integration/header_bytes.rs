//! Headers that are not ASCII: cookies, device names, languages.

use reqwest::{Method, RequestBuilder, header::HeaderValue};
use serde_json::json;

use crate::support::{Answer, MOBILE, PASSWORD, TestApp, Tokens, backends::Backends, on_every_backend};

const SESSION: &str = "/api/v1.0/session";
const LOGOUT: &str = "/passport/logout";

fn with(request: RequestBuilder, name: &str, value: &[u8]) -> RequestBuilder {
    request.header(name, HeaderValue::from_bytes(value).unwrap())
}

/// Sends `Cookie` headers to the classic families.
async fn with_cookies(app: &TestApp, method: Method, path: &str, cookies: &[&[u8]]) -> Answer {
    app.send(cookies.iter().fold(app.request(method, path), |request, cookie| with(request, "cookie", cookie))).await
}

/// Text around a token.
fn around(before: &[u8], token: &str, after: &[u8]) -> Vec<u8> {
    [before, b"phonepass_session=", token.as_bytes(), after].concat()
}

on_every_backend! {
    async fn a_cookie_in_any_encoding_does_not_sign_its_user_out(backends: Backends) {
        let app = TestApp::start(backends).await;
        let signed_in = app.register(MOBILE, PASSWORD).await;
        let token = Tokens::of(&signed_in.expect_errno(0)).access;
        let gbk = b"username=\xD5\xC5\xC8\xFD";
        for (before, after) in [
            ("username=张三; ".as_bytes(), "".as_bytes()),
            (b"", "; username=张三".as_bytes()),
            ("用户=张三;".as_bytes(), "; 主题=深色".as_bytes()),
            (&[gbk, &b"; "[..]].concat(), &[&b"; "[..], gbk].concat()),
            (b"a=\xFF\xFE; ", b"; b=\x80"),
            (b"a; ;;=; ", b"  ;"),
            (b"phonepass_session_old=x; x-phonepass_session=y; ", b""),
            (b"\t", b"\t; a=\"b; c\""),
        ] {
            let cookie = around(before, &token, after);
            let answer = with_cookies(&app, Method::GET, SESSION, &[&cookie]).await;
            assert_eq!(answer.expect_errno(0)["data"]["mobile"], MOBILE, "{}", String::from_utf8_lossy(&cookie));
        }
        // Several headers are one list.
        let own = around(b"", &token, b"");
        for cookies in [[&own[..], "username=张三".as_bytes()], ["username=张三".as_bytes(), &own]] {
            with_cookies(&app, Method::GET, SESSION, &cookies).await.expect_errno(0);
        }
        with_cookies(&app, Method::GET, SESSION, &["username=张三".as_bytes()]).await.expect_errno(4101);
        let out = with_cookies(&app, Method::POST, LOGOUT, &[&around("username=张三; ".as_bytes(), &token, b"")]).await;
        out.expect_errno(0);
        with_cookies(&app, Method::GET, SESSION, &[&own]).await.expect_errno(4101);
    }
}

#[tokio::test]
async fn no_byte_of_another_cookie_hides_the_session() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    let token = app.sign_in(MOBILE).await.access;
    let bytes = (0x20..=0xFF).chain([b'\t']).filter(|byte| !matches!(byte, b';' | 0x7F));
    for byte in bytes {
        for cookie in [
            around(&[b'a', b'=', byte, b';', b' '], &token, b""),
            around(&[byte, b';'], &token, &[b';', byte]),
            around(&[byte, b'=', byte, byte, b'='].map(|it| if it == b';' { b' ' } else { it }), "x", b"")
                .into_iter()
                .chain(around(b"; ", &token, b""))
                .collect(),
        ] {
            let answer = with_cookies(&app, Method::GET, SESSION, &[&cookie]).await;
            assert_eq!(answer.json()["errno"], 0, "{}", cookie.escape_ascii());
        }
    }
}

on_every_backend! {
    async fn of_several_session_cookies_the_first_that_is_valid_counts(backends: Backends) {
        let app = TestApp::start_with(backends, &["--sms-resend-seconds=0"]).await;
        let [first, second, ended] = [
            app.sign_in(MOBILE).await.access,
            app.sign_in("13900139000").await.access,
            app.sign_in("13700137000").await.access,
        ];
        app.sign_out(&ended).await.expect(204);
        let named = |token: &str| around(b"", token, b"");
        let list = |tokens: &[&str]| tokens.iter().map(|token| named(token)).collect::<Vec<_>>().join(&b"; "[..]);
        let mobile = async |cookies: &[&[u8]]| {
            let body = with_cookies(&app, Method::GET, SESSION, cookies).await.json();
            body["data"]["mobile"].as_str().map(str::to_owned)
        };
        for stale in [ended.as_str(), "", "rubbish", "\u{5f20}\u{4e09}", &format!("{second}x")] {
            let (cookie, headers) = (list(&[stale, &first, &second]), [named(stale), named(&first), named(&second)]);
            assert_eq!(mobile(&[&cookie]).await.as_deref(), Some(MOBILE), "{stale}");
            assert_eq!(mobile(&[&headers[0], &headers[1], &headers[2]]).await.as_deref(), Some(MOBILE), "{stale}");
            assert_eq!(mobile(&[&list(&[&second, stale, &first])]).await.as_deref(), Some("13900139000"), "{stale}");
            assert_eq!(mobile(&[&list(&[stale])]).await, None, "{stale}");
        }
        // A bearer header wins, also one that is of no use.
        for (bearer, errno) in [(second.as_bytes(), 0), (b"rubbish", 4101), (b"\xFF", 4101), ("张三".as_bytes(), 4101)] {
            let request = with(app.request(Method::GET, SESSION), "cookie", &named(&first));
            let answer = app.send(with(request, "authorization", &[b"Bearer ", bearer].concat())).await;
            answer.expect_errno(errno);
        }
        let out = with_cookies(&app, Method::GET, LOGOUT, &[&list(&[&ended, &first, &second])]).await;
        out.expect_errno(0);
        app.get_as(SESSION, &first).await.expect_errno(4101);
        app.get_as(SESSION, &second).await.expect_errno(0);
        let out = with_cookies(&app, Method::POST, LOGOUT, &[&named(&first), &named(&second)]).await;
        out.expect_errno(0);
        app.get_as(SESSION, &second).await.expect_errno(4101);
    }
}

on_every_backend! {
    async fn a_session_names_its_device_also_if_the_name_is_not_ascii(backends: Backends) {
        let app = TestApp::start_with(backends, &["--sms-resend-seconds=0", "--sms-per-mobile-per-day=0"]).await;
        let long = "张".repeat(300);
        let mixed = [&b"x".repeat(255)[..], "张三".as_bytes()].concat();
        let every: Vec<_> = (0x80..=0xFF).collect();
        for (sent, kept) in [
            ("小米/14 (Android)".as_bytes(), "小米/14 (Android)".to_owned()),
            (b"caf\xE9/1.0", "caf\u{FFFD}/1.0".to_owned()),
            (long.as_bytes(), "张".repeat(256)),
            (&mixed, format!("{}张", "x".repeat(255))),
            (&every, String::from_utf8_lossy(&every).into_owned()),
            (b"\xFF", "\u{FFFD}".to_owned()),
            ("🙂\ttab".as_bytes(), "🙂\ttab".to_owned()),
        ] {
            let body = json!({ "mobile": MOBILE, "code": app.code(MOBILE).await });
            let request = with(app.request(Method::POST, "/app/v1_0/authorizations"), "user-agent", sent);
            let token = Tokens::of(&app.send(request.json(&body)).await.expect(201)).access;
            let sessions = app.get_as("/app/v1_0/user/sessions", &token).await.expect(200);
            assert_eq!(sessions["data"]["sessions"][0]["user_agent"], kept);
        }
    }
}

#[tokio::test]
async fn headers_that_are_no_text_are_read_as_far_as_they_make_sense() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &["--cors-origins=https://a.example"]).await;
    for (languages, chinese) in [
        ("en-US,中文;q=0.8".as_bytes(), false),
        (b"EN\xFF", false),
        ("中文".as_bytes(), true),
        (b"\xFFen", true),
        (b"e\xFF", true),
    ] {
        let answer = app.send(with(app.request(Method::GET, "/nothing"), "accept-language", languages)).await;
        let message = answer.expect_error(404, "not_found")["message"].as_str().unwrap().to_owned();
        assert_eq!(!message.is_ascii(), chinese, "{}", languages.escape_ascii());
    }
    for accept in ["application/json, 文/本".as_bytes(), b"text/x;q=\xFF, application/json"] {
        let messages = app.send(with(app.request(Method::GET, "/dev/sms"), "accept", accept)).await;
        assert_eq!(messages.header("content-type"), "application/json");
    }
    let token = app.sign_in(MOBILE).await.access;
    for junk in [&b"\xFF"[..], "张三".as_bytes(), b"\x80\x81", b"caf\xE9"] {
        // What has to be ASCII is what it would be with any other rubbish in it.
        let id = app.send(with(app.request(Method::GET, "/healthz"), "x-request-id", junk)).await;
        assert_eq!((id.status.as_u16(), id.header("x-request-id").len()), (200, 36));
        let origin = app.send(with(app.request(Method::GET, "/healthz"), "origin", junk)).await;
        assert_eq!((origin.status.as_u16(), origin.header("access-control-allow-origin")), (200, ""));
        let bearer = [b"Bearer ", junk].concat();
        let user = app.send(with(app.request(Method::GET, "/app/v1_0/user"), "authorization", &bearer)).await;
        user.expect_error(401, "token_invalid");
        let refresh =
            app.send(with(app.request(Method::PUT, "/app/v1_0/authorizations"), "authorization", &bearer)).await;
        refresh.expect_error(401, "refresh_token_invalid");
        let body = json!({ "mobile": MOBILE, "code": "000000" });
        let sign_in = with(app.request(Method::POST, "/app/v1_0/authorizations"), "idempotency-key", junk);
        app.send(sign_in.json(&body)).await.expect_fields(&["Idempotency-Key"]);
        // And none of what is not asked for matters.
        let names =
            ["user-agent", "accept", "accept-language", "x-forwarded-for", "traceparent", "tracestate", "referer"];
        let request = names.iter().fold(app.request(Method::GET, "/app/v1_0/user"), |it, name| with(it, name, junk));
        app.send(request.bearer_auth(&token)).await.expect(200);
    }
}

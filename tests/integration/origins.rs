//! Which origins may call: those of apps, one label of a domain, and none that only looks like it?

use phonepass::config::Cli;
use reqwest::Method;

use crate::support::{TestApp, backends::Backends};

async fn allowed(app: &TestApp, origin: &str) -> bool {
    let simple = app.send(app.request(Method::GET, "/healthz").header("origin", origin)).await;
    let preflight = app.request(Method::OPTIONS, "/app/v1_0/user").header("origin", origin);
    let preflight = app.send(preflight.header("access-control-request-method", "PATCH")).await;
    let allowed = [&simple, &preflight].map(|answer| answer.header("access-control-allow-origin") == origin);
    assert_eq!(allowed[0], allowed[1], "{origin}");
    for answer in [simple, preflight] {
        let credentials = answer.header("access-control-allow-credentials");
        assert_eq!((credentials == "true", answer.header("vary")), (allowed[0], "Origin"), "{origin}");
        assert!(allowed[0] || answer.header("access-control-allow-origin").is_empty(), "{origin}");
    }
    allowed[0]
}

async fn start(origins: &str) -> TestApp {
    TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[&format!("--cors-origins={origins}")]).await
}

#[tokio::test]
async fn apps_in_web_views_may_call() {
    let origins = [
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
        "http://tauri.localhost",
        "https://localhost",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "moz-extension://6b7d1f0a-3c4e-4b8e-9c55-1c2f3d4e5f60",
        "app://obsidian.md",
        "app://x:8080",
        "http://192.0.2.1:3000",
        "http://[2001:db8::1]:3000",
    ];
    let app = start(&origins.join(",")).await;
    for origin in origins {
        assert!(allowed(&app, origin).await, "{origin}");
    }
    for origin in ["capacitor://localhost:1", "http://localhost", "ionic://other", "null", "app://x", "file://"] {
        assert!(!allowed(&app, origin).await, "{origin}");
    }
}

#[tokio::test]
async fn origins_are_compared_as_browsers_write_them() {
    let app = start("HTTPS://App.Example.com:443, http://b.example:80,Capacitor://LocalHost,https://例子.中国").await;
    for origin in
        ["https://app.example.com", "http://b.example", "capacitor://localhost", "https://xn--fsqu00a.xn--fiqs8s"]
    {
        assert!(allowed(&app, origin).await, "{origin}");
    }
}

#[tokio::test]
async fn an_asterisk_stands_for_one_label() {
    let app = start("https://*.example.com,http://*.localhost:3000").await;
    for origin in ["https://a.example.com", "https://a-1.example.com", "http://shop.localhost:3000"] {
        assert!(allowed(&app, origin).await, "{origin}");
    }
    for origin in [
        "https://example.com",
        "https://.example.com",
        "https://evil-example.com",
        "https://evilexample.com",
        "https://a.b.example.com",
        "http://a.example.com",
        "https://a.example.com:8443",
        "https://a.example.com.evil.org",
        "https://evil.org/.example.com",
        "https://evil.org?.example.com",
        "https://evil.org#.example.com",
        "https://evil.org:1@.example.com",
        "https://*.example.com",
        "http://shop.localhost",
        "null",
    ] {
        assert!(!allowed(&app, origin).await, "{origin}");
    }
}

#[test]
fn an_origin_that_no_browser_sends_is_refused() {
    for origin in [
        "null",
        "file://",
        "file://localhost",
        "https://",
        "https://a.example.com/",
        "https://a.example.com/path",
        "https://a.example.com?query",
        "https://a.example.com#part",
        "https://user:hunter2@a.example.com",
        "a.example.com",
        "//a.example.com",
        "https:a.example.com",
        "https://a.example.com:port",
        "https://a.example.com:0",
        "https://*",
        "https://*.com",
        "https://*:443",
        "https://a.*.example.com",
        "https://*a.example.com",
        "https://*.*.example.com",
        "https://**.example.com",
        "https://*.192.0.2.1",
        "*://a.example.com",
        "*.example.com",
        "capacitor://local host",
        "capacitor://localhost/",
        "https://a.example.com,,https://b.example.com",
    ] {
        let refused = Cli::from_flags(["phonepass", &format!("--cors-origins={origin}")]).is_err();
        assert!(refused, "{origin}");
    }
}

//! Pages and documents: compressed, kept by caches as long as they are the same, and open to no other page.

use std::io::Read;

use flate2::read::GzDecoder;
use reqwest::Method;

use crate::support::{Answer, TestApp, backends::Backends};

const DOCUMENTS: [&str; 6] =
    ["/docs", "/docs/", "/openapi.json", "/openapi.yaml", "/openapi.json?lang=zh", "/openapi.yaml?lang=zh"];

async fn start(flags: &[&str]) -> TestApp {
    TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, flags).await
}

async fn ask(app: &TestApp, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = app.request(method, path);
    app.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

async fn get(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask(app, Method::GET, path, headers).await
}

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut text).unwrap();
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_are_compressed_for_whoever_takes_that() {
    let app = start(&[]).await;
    for path in DOCUMENTS {
        let plain = get(&app, path, &[]).await;
        assert_eq!((plain.status.as_u16(), plain.header("content-encoding")), (200, ""), "{path}");
        assert_eq!(plain.header("vary"), "Accept-Encoding");
        for takes in
            ["gzip", "gzip, deflate, br, zstd", "br;q=1.0, GZIP;q=0.8, *;q=0.1", "*", "identity;q=0.5, gzip;q=1.0"]
        {
            let packed = get(&app, path, &[("accept-encoding", takes)]).await;
            assert_eq!(packed.status, 200, "{path} {takes}");
            assert_eq!((packed.header("content-encoding"), packed.header("vary")), ("gzip", "Accept-Encoding"));
            assert_eq!(packed.header("content-type"), plain.header("content-type"));
            assert!(packed.bytes.len() * 3 < plain.bytes.len(), "{path}: {} bytes", packed.bytes.len());
            assert!(unpacked(&packed.bytes) == plain.bytes, "{path}: another text");
        }
        for refuses in ["", "identity", "br", "gzip;q=0", "*;q=0", "gzip;q=0, *", "gzip;q=0.2, identity", "gzip;q=x"] {
            let answer = get(&app, path, &[("accept-encoding", refuses)]).await;
            assert_eq!(answer.header("content-encoding"), "", "{path} {refuses}");
            assert!(answer.bytes == plain.bytes, "{path} {refuses}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_a_document_is_told_so() {
    let app = start(&[]).await;
    let mut tags = Vec::new();
    for path in DOCUMENTS {
        for takes in ["gzip", "identity"] {
            let first = get(&app, path, &[("accept-encoding", takes)]).await;
            let tag = first.header("etag").to_owned();
            assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 10, "no strong one: {tag}");
            assert_eq!(first.header("cache-control"), "no-cache");
            let known = [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()];
            for known in &known {
                for method in [Method::GET, Method::HEAD] {
                    let again = ask(&app, method, path, &[("accept-encoding", takes), ("if-none-match", known)]).await;
                    assert_eq!((again.status.as_u16(), again.bytes.len()), (304, 0), "{path} {known}");
                    assert_eq!((again.header("etag"), again.header("vary")), (&*tag, "Accept-Encoding"));
                    assert!(!again.header("x-request-id").is_empty());
                }
            }
            for other in ["\"other\"", "", tag.trim_matches('"')] {
                let again = get(&app, path, &[("accept-encoding", takes), ("if-none-match", other)]).await;
                assert!(again.status == 200 && again.bytes == first.bytes, "{path} {other}");
            }
            let head = ask(&app, Method::HEAD, path, &[("accept-encoding", takes)]).await;
            assert_eq!((head.status.as_u16(), head.bytes.len()), (200, 0), "{path}");
            assert_eq!(head.header("content-length"), first.bytes.len().to_string());
            for name in ["etag", "content-type", "content-encoding", "vary"] {
                assert_eq!(head.header(name), first.header(name), "{path} {name}");
            }
            tags.push(tag);
        }
    }
    let all = tags.len();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), all, "two representations have the same tag");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_ask_for_a_document_first_and_together_get_the_same() {
    let app = start(&[]).await;
    let asked = (0..20).map(|_| get(&app, "/docs", &[("accept-encoding", "gzip")]));
    let answers = futures_util::future::join_all(asked).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.header("etag") == answers[0].header("etag")));
}

#[tokio::test]
async fn pages_stand_in_no_frame_and_run_nothing_but_what_they_bring() {
    let app = start(&["--public-url=https://id.example.com/auth"]).await;
    for path in ["/", "/docs", "/docs/", "/docs?lang=zh", "/dev/sms"] {
        let answer = get(&app, path, &[("accept", "text/html")]).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-frame-options")), (200, "DENY"), "{path}");
        let policy = answer.header("content-security-policy");
        let directives: Vec<_> = policy.split(';').map(str::trim).collect();
        for needed in ["default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"] {
            assert!(directives.contains(&needed), "{path}: {policy}");
        }
        for loose in ["unsafe", "script-src *", "http:", "'self' *"] {
            assert!(!policy.contains(loose), "{path}: {policy}");
        }
        let page = String::from_utf8(answer.bytes.clone()).unwrap();
        for (element, directive) in [("<script", "script-src"), ("<style", "style-src")] {
            let allowed = directives.iter().find(|allowed| allowed.starts_with(directive)).unwrap_or(&"");
            assert_eq!(page.contains(element), allowed.contains("'sha256-"), "{path}: {policy}");
        }
        assert_eq!(
            policy.contains("connect-src 'self' https://id.example.com;"),
            path.starts_with("/docs"),
            "{policy}"
        );
    }
}

#[tokio::test]
async fn no_cache_keeps_the_codes_of_developers() {
    let app = start(&[]).await;
    for path in ["/dev/sms", "/dev/sms/"] {
        for accept in ["text/html", "application/json"] {
            for method in [Method::GET, Method::HEAD] {
                let answer = ask(&app, method, path, &[("accept", accept)]).await;
                assert_eq!(
                    (answer.status.as_u16(), answer.header("cache-control")),
                    (200, "no-store"),
                    "{path} {accept}"
                );
            }
        }
    }
}

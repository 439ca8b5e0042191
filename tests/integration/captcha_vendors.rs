//! The captchas of aliyun, tencent and turnstile: they get what their documents ask for, and nothing passes that they did
//! not pass.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::NaiveDateTime;
use phonepass::{
    captcha::{AliyunCaptcha, AliyunScene, Captcha, TencentApp, TencentCaptcha, Turnstile, Verdict, http_client},
    clock::Clock,
};
use reqwest::Url;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    sms_providers::{Received, StandIn},
    sms_vendors::{acs3, pairs, tc3},
    support::{Answer, MOBILE, TestApp, backends::Backends, process::Process},
};

const ID: &str = "an-id";
const SECRET: &str = "a-secret-of-the-vendor";
const APP_SECRET: &str = "a-secret-of-the-app";

/// With all that an encoder may stumble over.
const RESPONSE: &str = r#"{"sceneId":"1ww7426c","data":"U+2*/=~ 验证"}"#;
const TENCENT_RESPONSE: &str = r#"{"ticket":"t03*~ +&=/%","randstr":"@Fq"}"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vendor {
    Aliyun,
    Tencent,
    Cloudflare,
}

use Vendor::{Aliyun, Cloudflare, Tencent};

impl Vendor {
    const ALL: [Self; 3] = [Aliyun, Tencent, Cloudflare];

    fn captcha(self, base_url: &str, client: reqwest::Client, clock: Clock) -> Arc<dyn Captcha> {
        let base_url = Url::parse(base_url).unwrap();
        match self {
            Aliyun => {
                let scene = AliyunScene {
                    base_url,
                    access_key_id: ID.to_owned(),
                    access_key_secret: SecretString::from(SECRET),
                    scene_id: "1ww7426c".to_owned(),
                };
                Arc::new(AliyunCaptcha::new(client, scene, clock))
            }
            Tencent => {
                let app = TencentApp {
                    base_url,
                    secret_id: ID.to_owned(),
                    secret_key: SecretString::from(SECRET),
                    app_id: 190_000_001,
                    app_secret_key: SecretString::from(APP_SECRET),
                };
                Arc::new(TencentCaptcha::new(client, app, clock))
            }
            Cloudflare => Arc::new(Turnstile::new(client, &base_url, SecretString::from(SECRET))),
        }
    }

    /// The settings, by flag.
    fn flags(self, base_url: &str) -> Vec<String> {
        let settings: &[(&str, &str)] = match self {
            Aliyun => &[
                ("captcha-base-url-aliyun", base_url),
                ("captcha-aliyun-access-key-id", ID),
                ("captcha-aliyun-access-key-secret", SECRET),
                ("captcha-aliyun-scene-id", "1ww7426c"),
            ],
            Tencent => &[
                ("captcha-base-url-tencent", base_url),
                ("captcha-tencent-secret-id", ID),
                ("captcha-tencent-secret-key", SECRET),
                ("captcha-tencent-app-id", "190000001"),
                ("captcha-tencent-app-secret-key", APP_SECRET),
            ],
            Cloudflare => &[
                ("captcha-base-url-turnstile", base_url),
                ("turnstile-site-key", "0x4AAA"),
                ("turnstile-secret", SECRET),
            ],
        };
        settings.iter().map(|(name, value)| format!("--{name}={value}")).collect()
    }

    fn name(self) -> &'static str {
        match self {
            Aliyun => "aliyun",
            Tencent => "tencent",
            Cloudflare => "turnstile",
        }
    }

    fn offer(self) -> Value {
        match self {
            Aliyun => json!({ "kind": "aliyun", "scene_id": "1ww7426c" }),
            Tencent => json!({ "kind": "tencent", "app_id": "190000001" }),
            Cloudflare => json!({ "kind": "turnstile", "site_key": "0x4AAA" }),
        }
    }

    fn response(self) -> &'static str {
        match self {
            Aliyun | Cloudflare => RESPONSE,
            Tencent => TENCENT_RESPONSE,
        }
    }

    fn passed(self) -> (u16, &'static str) {
        match self {
            Aliyun => (
                200,
                r#"{"RequestId":"1","Message":"success","Code":"Success","Success":true,
                "Result":{"VerifyResult":true,"VerifyCode":"T001"}}"#,
            ),
            Tencent => (
                200,
                r#"{"Response":{"CaptchaCode":1,"CaptchaMsg":"OK","EvilLevel":0,"GetCaptchaTime":1583749870,
                "RequestId":"1"}}"#,
            ),
            Cloudflare => {
                (200, r#"{"success":true,"challenge_ts":"2026-11-30T00:00:00Z","hostname":"x.cn","error-codes":[]}"#)
            }
        }
    }

    /// Answers that refuse a response, with the vendor's code.
    fn refused(self) -> Vec<(u16, &'static str, &'static str)> {
        match self {
            Aliyun => vec![
                (200, r#"{"Code":"Success","Result":{"VerifyResult":false,"VerifyCode":"F001"}}"#, "F001"),
                (200, r#"{"Code":"Success","Result":{"VerifyResult":true,"VerifyCode":"F008"}}"#, "F008"),
                // The test mode of the vendor's console.
                (200, r#"{"Code":"Success","Result":{"VerifyResult":true,"VerifyCode":"T005"}}"#, "T005"),
                (200, r#"{"Code":"Success","Result":{"VerifyResult":false,"VerifyCode":"T001"}}"#, "T001"),
                (200, r#"{"Code":"Success","Result":{"VerifyResult":false}}"#, ""),
            ],
            Tencent => vec![
                (200, r#"{"Response":{"CaptchaCode":9,"CaptchaMsg":"ticket reused","RequestId":"1"}}"#, "9"),
                (200, r#"{"Response":{"CaptchaCode":0,"RequestId":"1"}}"#, "0"),
            ],
            Cloudflare => vec![
                (200, r#"{"success":false,"error-codes":["timeout-or-duplicate"]}"#, "timeout-or-duplicate"),
                (200, r#"{"success":false,"error-codes":["invalid-input-response"]}"#, "invalid-input-response"),
                (200, r#"{"success":false}"#, ""),
            ],
        }
    }

    /// Answers of a vendor whose account or settings are wrong, with the vendor's code.
    fn broken(self) -> Vec<(u16, &'static str, &'static str)> {
        match self {
            Aliyun => vec![
                (
                    404,
                    r#"{"Code":"InvalidAccessKeyId.NotFound","Message":"Specified access key is not found."}"#,
                    "InvalidAccessKeyId.NotFound",
                ),
                (403, self.passed().1, "Success"),
            ],
            Tencent => vec![
                (
                    200,
                    r#"{"Response":{"Error":{"Code":"AuthFailure.SignatureFailure","Message":"x"},"RequestId":"1"}}"#,
                    "AuthFailure.SignatureFailure",
                ),
                (403, self.passed().1, "HTTP 403"),
            ],
            Cloudflare => vec![
                (200, r#"{"success":false,"error-codes":["invalid-input-secret"]}"#, "invalid-input-secret"),
                (200, r#"{"success":false,"error-codes":["internal-error"]}"#, "internal-error"),
                (403, self.passed().1, "HTTP 403"),
            ],
        }
    }

    /// Fails unless the vendor would believe who sent this.
    #[track_caller]
    fn expect_authentic(self, request: &Received) {
        match self {
            Aliyun => assert_eq!(request.header("authorization"), acs3(request, ID, SECRET)),
            Tencent => assert_eq!(request.header("authorization"), tc3(request, ID, SECRET, "captcha")),
            Cloudflare => assert!(pairs(&request.body).contains(&("secret".to_owned(), SECRET.to_owned()))),
        }
    }
}

fn address() -> Option<IpAddr> {
    Some("203.0.113.7".parse().unwrap())
}

/// The one request that a vendor receives about a response.
async fn asked(vendor: Vendor, clock: Clock, base_path: &str) -> Received {
    let (stand_in, url) = StandIn::start(0, &[vendor.passed()]).await;
    let captcha = vendor.captcha(&format!("{url}{base_path}"), http_client(), clock);
    let verdict = captcha.verify(&SecretString::from(vendor.response()), address()).await.unwrap();
    assert_eq!(verdict, Verdict::Passed);
    let mut received = stand_in.received();
    assert_eq!(received.len(), 1);
    let request = received.remove(0);
    vendor.expect_authentic(&request);
    request
}

#[tokio::test]
async fn aliyun_gets_the_response_unchanged_in_a_signed_form() {
    let clock = Clock::movable();
    clock.advance(chrono::Duration::days(400));
    let before = clock.now().timestamp();
    let request = asked(Aliyun, clock.clone(), "").await;

    assert_eq!((request.path.as_str(), request.query.as_str()), ("/", ""));
    let expected = [("CaptchaVerifyParam", RESPONSE), ("SceneId", "1ww7426c")];
    assert_eq!(pairs(&request.body), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded");
    let action = (request.header("x-acs-action"), request.header("x-acs-version"));
    assert_eq!(action, ("VerifyIntelligentCaptcha", "2023-03-05"));
    let date = NaiveDateTime::parse_from_str(request.header("x-acs-date"), "%Y-%m-%dT%H:%M:%SZ").unwrap();
    assert!((before..=clock.now().timestamp()).contains(&date.and_utc().timestamp()), "{date}");
    let other = asked(Aliyun, clock, "").await;
    assert_ne!(request.header("x-acs-signature-nonce"), other.header("x-acs-signature-nonce"));
}

#[tokio::test]
async fn tencent_gets_ticket_and_address_in_signed_json() {
    let clock = Clock::movable();
    clock.advance(chrono::Duration::days(400));
    let before = clock.now().timestamp();
    let request = asked(Tencent, clock.clone(), "").await;

    let action = (request.header("x-tc-action"), request.header("x-tc-version"));
    assert_eq!(action, ("DescribeCaptchaResult", "2019-07-22"));
    let timestamp = request.header("x-tc-timestamp").parse().unwrap();
    assert!((before..=clock.now().timestamp()).contains(&timestamp));
    let expected = json!({
        "CaptchaType": 9,
        "Ticket": "t03*~ +&=/%",
        "UserIp": "203.0.113.7",
        "Randstr": "@Fq",
        "CaptchaAppId": 190_000_001,
        "AppSecretKey": APP_SECRET,
    });
    assert_eq!(request.json(), expected);
}

#[tokio::test]
async fn turnstile_gets_secret_response_and_address_in_a_form() {
    let request = asked(Cloudflare, Clock::system(), "").await;
    assert_eq!((request.path.as_str(), request.query.as_str()), ("/turnstile/v0/siteverify", ""));
    let expected = [("secret", SECRET), ("response", RESPONSE), ("remoteip", "203.0.113.7")];
    assert_eq!(pairs(&request.body), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[tokio::test]
async fn what_is_signed_is_what_is_sent_under_any_base_url() {
    for vendor in Vendor::ALL {
        let request = asked(vendor, Clock::system(), "/vendors/").await;
        assert!(request.path.starts_with("/vendors/"), "{}", request.path);
    }
}

/// What is made of an answer, in words.
async fn told(vendor: Vendor, answer: (u16, &'static str)) -> String {
    let (stand_in, url) = StandIn::start(0, &[answer, vendor.passed()]).await;
    let captcha = vendor.captcha(&url, http_client(), Clock::system());
    let verdict = captcha.verify(&SecretString::from(vendor.response()), address()).await;
    assert_eq!(stand_in.received().len(), 1, "no vendor is asked twice");
    match verdict {
        Ok(Verdict::Passed) => "passed".to_owned(),
        Ok(Verdict::Refused { code }) => format!("refused: {code}"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn every_vendor_passes_refuses_or_is_out_of_order() {
    for vendor in Vendor::ALL {
        let name = vendor.name();
        assert_eq!(told(vendor, vendor.passed()).await, "passed");
        for (status, body, code) in vendor.refused() {
            assert_eq!(told(vendor, (status, body)).await, format!("refused: {code}"), "{name} {body}");
        }
        for (status, body, reason) in vendor.broken() {
            assert_eq!(told(vendor, (status, body)).await, format!("{name} gave no verdict: {reason}"), "{body}");
        }
        for status in [500, 503] {
            for body in ["", vendor.passed().1] {
                assert_eq!(told(vendor, (status, body)).await, format!("{name} gave no verdict: HTTP {status}"));
            }
        }
        for (status, body) in [(200, "<html>"), (200, ""), (200, "null"), (200, "[]"), (302, "")] {
            let expected = format!("{name} gave no verdict: HTTP {status}, and nothing that makes sense");
            assert_eq!(told(vendor, (status, body)).await, expected, "{body}");
        }
        let blanks = format!("{}{}", " ".repeat(65536), vendor.passed().1).leak();
        let expected = format!("{name} gave no verdict: an answer of more than 65536 bytes");
        assert_eq!(told(vendor, (200, blanks)).await, expected);
    }
}

#[tokio::test]
async fn a_tencent_ticket_that_the_widget_made_up_is_refused_without_asking() {
    let (stand_in, url) = StandIn::start(0, &[Tencent.passed()]).await;
    let captcha = Tencent.captcha(&url, http_client(), Clock::system());
    for (response, code) in [
        (r#"{"ticket":"trerror_1001_190000001_1700000000","randstr":"@"}"#, "trerror"),
        (r#"{"ticket":"terror_1001_190000001_1700000000","randstr":"@"}"#, "trerror"),
        (r#"{"ticket":"t03"}"#, "malformed"),
        ("t03", "malformed"),
    ] {
        let verdict = captcha.verify(&SecretString::from(response), address()).await.unwrap();
        assert_eq!(verdict, Verdict::Refused { code: code.to_owned() });
    }
    assert!(stand_in.received().is_empty());
}

#[tokio::test]
async fn a_vendor_that_is_silent_has_two_seconds_and_its_error_tells_nothing() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for vendor in Vendor::ALL {
        let (_silent, silent) = StandIn::start(0, &[]).await;
        let (_hanging_up, hanging_up) = StandIn::start(1, &[]).await;
        for (url, waits) in [(silent, true), (hanging_up, false), (format!("http://{closed}"), false)] {
            let captcha = vendor.captcha(&url, http_client(), Clock::system());
            let began = Instant::now();
            let error = captcha.verify(&SecretString::from(vendor.response()), address()).await.unwrap_err();
            let words = format!("{error} {error:?}");
            assert!(words.starts_with(&format!("{} gave no verdict: ", vendor.name())), "{words}");
            for private in [SECRET, APP_SECRET, ID, "203.0.113.7", "ticket", "t03", "data"] {
                assert!(!words.contains(private), "{words}");
            }
            if waits {
                assert!(began.elapsed() >= Duration::from_millis(1900), "{:?}", began.elapsed());
            }
        }
    }
}

/// A service that asks for a challenge before each message, of a vendor or of another kind.
fn flags(challenges: &str, vendors: &[(Vendor, &str)]) -> Vec<String> {
    let mut flags = vec![
        format!("--challenges={challenges}"),
        "--image-code=always".to_owned(),
        "--sms-resend-seconds=0".to_owned(),
    ];
    flags.extend(vendors.iter().flat_map(|(vendor, url)| vendor.flags(url)));
    flags
}

async fn service(challenges: &str, vendors: &[(Vendor, &str)]) -> TestApp {
    let flags = flags(challenges, vendors);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags).await
}

async fn ask(app: &TestApp, vendor: Vendor) -> Answer {
    let challenge = json!({ "kind": vendor.name(), "response": vendor.response() });
    app.post("/app/v1_0/sms/codes", json!({ "mobile": MOBILE, "challenge": challenge })).await
}

#[tokio::test]
async fn a_code_is_sent_after_a_captcha_that_the_vendor_passed() {
    for vendor in Vendor::ALL {
        let (refused, body, _) = vendor.refused()[0];
        let (stand_in, url) = StandIn::start(0, &[vendor.passed(), (refused, body)]).await;
        let app = service(vendor.name(), &[(vendor, &url)]).await;
        let refusal = app.get(&format!("/app/v1_0/sms/codes/{MOBILE}")).await.expect_error(403, "image_code_required");
        assert_eq!(refusal["challenges"], json!([vendor.offer()]));
        ask(&app, vendor).await.expect(200);
        ask(&app, vendor).await.expect_error(400, "image_code_invalid");
        assert_eq!(app.app.outbox.as_ref().unwrap().recent().len(), 1);
        let received = stand_in.received();
        assert_eq!(received.len(), 2);
        received.iter().for_each(|request| vendor.expect_authentic(request));
    }
}

#[tokio::test]
async fn where_a_vendor_is_down_the_other_kinds_are_offered_and_nothing_passes() {
    for vendor in Vendor::ALL {
        let (_stand_in, url) = StandIn::start(0, &[(503, ""), (200, "<html>"), (503, "")]).await;
        let app = service(&format!("{},pow,picture", vendor.name()), &[(vendor, &url)]).await;
        for _ in 0..2 {
            let refusal = ask(&app, vendor).await.expect_error(403, "image_code_required");
            let others = json!([{ "kind": "pow", "url": "/app/v1_0/challenges/pow" }, { "kind": "picture" }]);
            assert_eq!(refusal["challenges"], others);
        }
        let text = app.picture("x").await;
        let challenge = json!({ "kind": "picture", "response": format!("x:{text}") });
        app.post("/app/v1_0/sms/codes", json!({ "mobile": MOBILE, "challenge": challenge })).await.expect(200);

        let alone = service(vendor.name(), &[(vendor, &url)]).await;
        let unavailable = ask(&alone, vendor).await;
        unavailable.expect_error(503, "unavailable");
        assert_eq!(unavailable.header("retry-after"), "1");
        assert!(alone.app.outbox.as_ref().unwrap().recent().is_empty());
    }
}

#[tokio::test]
async fn a_vendor_that_fails_is_an_event_and_the_log_has_no_secret() {
    let (_aliyun, aliyun) = StandIn::start(0, &[(503, ""), (200, Aliyun.refused()[0].1)]).await;
    let (_tencent, tencent) = StandIn::start(0, &[]).await;
    let flags = flags("aliyun,tencent", &[(Aliyun, &aliyun), (Tencent, &tencent)]);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let folder = tempfile::tempdir().unwrap();
    let environment = [("LOG_FORMAT", "json"), ("LOG_LEVEL", "trace"), ("SHUTDOWN_DELAY", "0")];
    let process = Process::serve(folder.path(), &environment, &flags).await;
    for (vendor, status) in [(Aliyun, 403), (Aliyun, 400), (Tencent, 403)] {
        let challenge = json!({ "kind": vendor.name(), "response": vendor.response() });
        let body = json!({ "mobile": MOBILE, "challenge": challenge });
        process.post("/app/v1_0/sms/codes", body).await.expect(status);
    }
    process.running.signal("TERM");
    let finished = process.finished().await;

    let lines: Vec<Value> = finished.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let failed = lines.iter().filter(|line| line["event"] == "challenge_vendor_failed");
    let reasons: Vec<_> = failed.map(|line| line["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["aliyun", "tencent"]);
    assert!(lines.iter().any(|line| line["code"] == "F001"), "{}", finished.stderr);
    let output = finished.stdout + &finished.stderr;
    for private in [SECRET, APP_SECRET, "U+2*", "t03*", MOBILE] {
        assert!(!output.contains(private), "{private} in {output}");
    }
}

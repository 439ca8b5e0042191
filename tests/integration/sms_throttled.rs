//! Is what a vendor says of a number respected, and what it says of the account got around?

use poem::http::{Method, StatusCode};
use serde_json::json;

use crate::{
    sms_providers::{StandIn, two_vendors},
    sms_vendors::Vendor,
    support::{Answer, MOBILE, TestApp, backends::Backends, expect_retry_after, process::Process},
};

const PATH: &str = "/app/v1_0/sms/codes";

/// Gateways answer for any vendor, in their own words.
const GATEWAY: [(u16, &str); 3] = [(429, "<html>429 Too Many Requests</html>"), (429, ""), (429, r#"{"error":429}"#)];

/// What a vendor says of a number that got too much, of a number that it sends nothing to, and of an account.
struct Limits {
    vendor: &'static str,
    of_the_number: Vec<(u16, String)>,
    against_the_number: Vec<(u16, String)>,
    of_the_account: Vec<(u16, String)>,
}

fn limits() -> Vec<Limits> {
    let yuntongxun = |code: &str| (200, json!({ "statusCode": code, "statusMsg": "13800138000" }).to_string());
    let aliyun = |code: &str| (200, json!({ "Code": code, "Message": "13800138000" }).to_string());
    let tencent = |code: &str| {
        let statuses = json!([{ "Code": code, "PhoneNumber": "+8613800138000" }]);
        (200, json!({ "Response": { "SendStatusSet": statuses, "RequestId": "1" } }).to_string())
    };
    let twilio = |status: u16, code: u32| (status, json!({ "code": code, "status": status }).to_string());
    vec![
        Limits {
            vendor: "yuntongxun",
            of_the_number: ["160015", "160021", "160022", "160038", "160039", "160040", "160041", "160056"]
                .map(yuntongxun)
                .into(),
            against_the_number: ["160034", "160042"].map(yuntongxun).into(),
            of_the_account: ["160014", "160016", "160017", "160050", "000001"].map(yuntongxun).into(),
        },
        Limits {
            vendor: "aliyun",
            of_the_number: ["isv.BUSINESS_LIMIT_CONTROL"].map(aliyun).into(),
            against_the_number: ["isv.MOBILE_NUMBER_ILLEGAL", "isv.BLACK_KEY_CONTROL_LIMIT"].map(aliyun).into(),
            of_the_account: ["isv.DAY_LIMIT_CONTROL", "isv.MONTH_LIMIT_CONTROL", "Throttling.User"].map(aliyun).into(),
        },
        Limits {
            vendor: "tencent",
            of_the_number: [
                "LimitExceeded.PhoneNumberThirtySecondLimit",
                "LimitExceeded.PhoneNumberOneHourLimit",
                "LimitExceeded.PhoneNumberDailyLimit",
                "LimitExceeded.PhoneNumberSameContentDailyLimit",
                "LimitExceeded.DeliveryFrequencyLimit",
            ]
            .map(tencent)
            .into(),
            against_the_number: [
                "FailedOperation.PhoneNumberInBlacklist",
                "InvalidParameterValue.IncorrectPhoneNumber",
            ]
            .map(tencent)
            .into(),
            of_the_account: ["RequestLimitExceeded", "InvalidParameterValue.SdkAppIdNotExist"].map(tencent).into(),
        },
        Limits {
            vendor: "twilio",
            of_the_number: vec![twilio(429, 20429), twilio(429, 21611), twilio(400, 20429)],
            against_the_number: [21211, 21265, 21610, 21614, 21635].map(|code| twilio(400, code)).into(),
            of_the_account: vec![twilio(400, 21611), twilio(401, 20003), twilio(400, 21608), twilio(400, 21612)],
        },
        Limits {
            vendor: "webhook",
            of_the_number: vec![],
            against_the_number: vec![(422, String::new()), (422, "<html>".to_owned())],
            of_the_account: vec![(403, "429".to_owned()), (400, "422".to_owned())],
        },
    ]
}

/// Every setting that a vendor needs.
fn settings(vendor: &str, url: &str) -> Vec<String> {
    match vendor {
        "aliyun" => Vendor::Aliyun.flags(url),
        "tencent" => Vendor::Tencent.flags(url),
        "twilio" => Vendor::Twilio.flags(url),
        // The first two name the vendors and the total.
        _ => two_vendors(url, url)[2..].to_vec(),
    }
}

/// A vendor that answers so, then one that takes whatever it gets.
async fn two(vendor: &str, answers: &[(u16, String)]) -> (Vec<String>, [StandIn; 2]) {
    // A stand-in lives as long as the tests.
    let answers: Vec<_> = answers.iter().map(|(status, body)| (*status, &*body.clone().leak())).collect();
    let (first, first_url) = StandIn::start(0, &answers).await;
    let second = if vendor == "twilio" { "aliyun" } else { "twilio" };
    let taken = if vendor == "twilio" { (200, r#"{"Code":"OK"}"#) } else { (201, r#"{"sid":"SM1"}"#) };
    let (next, next_url) = StandIn::start(0, &vec![taken; answers.len()]).await;
    let mut flags = vec![format!("--sms-provider={vendor},{second}"), "--sms-total-per-hour=0".to_owned()];
    flags.extend(settings(vendor, &first_url));
    flags.extend(settings(second, &next_url));
    (flags, [first, next])
}

async fn app(flags: &[String]) -> TestApp {
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags).await
}

async fn ask(app: &TestApp, mobile: &str) -> Answer {
    app.post(PATH, json!({ "mobile": mobile })).await
}

#[tokio::test]
async fn a_number_that_a_vendor_limits_has_to_wait_and_no_other_vendor_is_asked() {
    for Limits { vendor, of_the_number, .. } in limits() {
        let gateway = GATEWAY.map(|(status, body)| (status, body.to_owned()));
        // The status counts, whatever the body says.
        let answers = [of_the_number, gateway.into()].concat();
        let (mut flags, [first, next]) = two(vendor, &answers).await;
        flags.push("--trusted-proxies=127.0.0.1".to_owned());
        let app = app(&flags).await;
        for (number, answer) in (0..).zip(&answers) {
            let throttled = ask_from_elsewhere(&app, number).await;
            assert_eq!(throttled.status, StatusCode::TOO_MANY_REQUESTS, "{vendor}: {answer:?}");
            throttled.expect_error(429, "sms_too_frequent");
            expect_retry_after(&throttled, 60);
            assert_eq!((first.received().len(), next.received().len()), (1, 0), "{vendor}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_number_that_a_vendor_keeps_limiting_is_asked_for_no_more() {
    for Limits { vendor, .. } in limits() {
        let (status, body) = GATEWAY[0];
        let (flags, [first, _next]) = two(vendor, &vec![(status, body.to_owned()); 5]).await;
        let app = app(&flags).await;
        for _ in 0..5 {
            ask(&app, MOBILE).await.expect_error(429, "sms_too_frequent");
            assert_eq!(first.received().len(), 1);
        }
        ask(&app, MOBILE).await.expect_error(429, "sms_quota_exceeded");
        assert_eq!(first.received().len(), 0);
    }
}

/// Asks for a number of its own from an address of its own, in a block of its own.
async fn ask_from_elsewhere(app: &TestApp, number: u32) -> Answer {
    let mobile = format!("138{number:04}8000");
    let request = app.request(Method::POST, PATH).header("x-forwarded-for", format!("203.0.{number}.7"));
    app.send(request.json(&json!({ "mobile": mobile }))).await
}

#[tokio::test]
async fn a_hundred_numbers_that_a_vendor_refuses_switch_no_vendor_off_and_cost_one_call_each() {
    for Limits { vendor, against_the_number, .. } in limits() {
        let answers: Vec<_> = against_the_number.iter().cycle().take(100).cloned().collect();
        let (mut flags, [first, next]) = two(vendor, &answers).await;
        flags.push("--trusted-proxies=127.0.0.1".to_owned());
        let app = app(&flags).await;
        for (number, answer) in (0..).zip(&answers) {
            let refused = ask_from_elsewhere(&app, number).await;
            assert_eq!(refused.status, StatusCode::BAD_GATEWAY, "{vendor}: {answer:?}");
            refused.expect_error(502, "sms_send_failed");
            assert_eq!((first.received().len(), next.received().len()), (1, 0), "{vendor}: {number}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_number_that_a_vendor_refuses_leaves_no_gap_and_a_classic_page_gets_its_errno() {
    for Limits { vendor, against_the_number, .. } in limits() {
        let (flags, [first, next]) = two(vendor, &[&against_the_number[..1]; 3].concat()).await;
        let app = app(&flags).await;
        ask(&app, MOBILE).await.expect_error(502, "sms_send_failed");
        let text = app.picture("a-picture").await;
        app.get(&format!("/api/v1.0/smscode/{MOBILE}?text={text}&id=a-picture")).await.expect_errno(4301);
        ask(&app, MOBILE).await.expect_error(502, "sms_send_failed");
        assert_eq!((first.received().len(), next.received().len()), (3, 0), "{vendor}");
    }
}

#[tokio::test]
async fn a_limit_of_the_account_is_left_to_the_next_vendor() {
    for Limits { vendor, of_the_account, .. } in limits() {
        let (flags, [first, next]) = two(vendor, &of_the_account).await;
        let app = app(&flags).await;
        for (number, answer) in of_the_account.iter().enumerate() {
            let taken = ask(&app, &format!("1380013800{number}")).await;
            assert_eq!(taken.status, StatusCode::OK, "{vendor}: {answer:?}");
            assert_eq!((first.received().len(), next.received().len()), (1, 1), "{vendor}: {answer:?}");
            // After three failures, the vendor is skipped for half a minute.
            app.advance(31).await;
        }
    }
}

#[tokio::test]
async fn a_classic_page_gets_the_errno_of_limits_and_may_ask_again_at_once() {
    let limit = r#"{"statusCode":"160040"}"#;
    let (stand_in, url) =
        StandIn::start(0, &[(200, limit), (429, "<html>"), (200, r#"{"statusCode":"000000"}"#)]).await;
    let common = ["--sms-provider=yuntongxun", "--sms-total-per-hour=0"].map(str::to_owned);
    let flags = [common.to_vec(), settings("yuntongxun", &url)].concat();
    let app = app(&flags).await;
    for errno in [4201, 4201, 0] {
        let text = app.picture("a-picture").await;
        app.get(&format!("/api/v1.0/smscode/{MOBILE}?text={text}&id=a-picture")).await.expect_errno(errno);
    }
    let code = stand_in.received()[2].json()["datas"][0].as_str().unwrap().to_owned();
    app.sign_in_with(MOBILE, &code).await.expect(201);
}

#[tokio::test]
async fn a_limit_and_a_refused_number_are_counted_and_logged_as_what_they_are() {
    let (_vendor, url) = StandIn::start(0, &[(429, "<html>13800138000</html>"), (422, "13800138000")]).await;
    let metrics = crate::support::process::free_port();
    let flags = [
        "--sms-provider=webhook".to_owned(),
        "--sms-total-per-hour=0".to_owned(),
        format!("--sms-webhook-url={url}"),
        format!("--metrics-addr=127.0.0.1:{metrics}"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let environment = [("LOG_FORMAT", "json"), ("SHUTDOWN_DELAY", "0")];
    let process = Process::serve(folder.path(), &environment, &flags.each_ref().map(String::as_str)).await;
    process.get(&format!("{PATH}/{MOBILE}")).await.expect_error(429, "sms_too_frequent");
    process.get(&format!("{PATH}/{MOBILE}")).await.expect_error(502, "sms_send_failed");
    let scrape = reqwest::get(format!("http://127.0.0.1:{metrics}/metrics")).await.unwrap().text().await.unwrap();
    for (outcome, number) in [("throttled", 1), ("number_refused", 1), ("refused", 0)] {
        let counted = scrape.lines().find(|line| {
            let outcome = format!("outcome=\"{outcome}\"");
            line.starts_with("phonepass_sms_messages_total") && line.contains("webhook") && line.contains(&outcome)
        });
        assert!(counted.is_some_and(|line| line.ends_with(&format!(" {number}"))), "{outcome}: {counted:?}");
    }
    process.running.signal("TERM");
    let finished = process.finished().await;
    for told in ["webhook limits this number: 429", "webhook does not send to this number: 422"] {
        assert!(finished.stderr.contains(told), "{}", finished.stderr);
    }
    assert!(!finished.stderr.contains(MOBILE), "{}", finished.stderr);
}

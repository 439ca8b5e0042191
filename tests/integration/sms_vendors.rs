//! Do aliyun, tencent and twilio get what their documents ask for, and does the service make the right thing of their
//! answers?

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use aws_lc_rs::{digest, hmac};
use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::{DateTime, NaiveDateTime};
use phonepass::{
    clock::Clock,
    sms::{self, AliyunAccount, SmsProvider, TencentAccount, TwilioAccount, http_client},
};
use poem::http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    sms_providers::{Received, StandIn, message},
    support::{Answer, MOBILE, TestApp, backends::Backends, expect_retry_after, process::Process},
};

const ID: &str = "an-id";
const SECRET: &str = "a-secret-of-the-vendor";

/// With all that an encoder may stumble over.
const SIGN_NAME: &str = "阿里云 短信*~+&=/%_-.";

#[derive(Clone, Copy, Debug)]
pub enum Vendor {
    Aliyun,
    Tencent,
    Twilio,
}

use Vendor::{Aliyun, Tencent, Twilio};

impl Vendor {
    const ALL: [Self; 3] = [Aliyun, Tencent, Twilio];

    fn provider(self, base_url: &str, client: reqwest::Client, clock: Clock) -> Arc<dyn SmsProvider> {
        let base_url = Url::parse(base_url).unwrap();
        match self {
            Aliyun => {
                let account = AliyunAccount {
                    base_url,
                    access_key_id: ID.to_owned(),
                    access_key_secret: SecretString::from(SECRET),
                    sign_name: SIGN_NAME.to_owned(),
                    template_code: "SMS_1".to_owned(),
                };
                Arc::new(sms::Aliyun::new(client, account, clock))
            }
            Tencent => {
                let account = TencentAccount {
                    base_url,
                    secret_id: ID.to_owned(),
                    secret_key: SecretString::from(SECRET),
                    app_id: "1400006666".to_owned(),
                    sign_name: SIGN_NAME.to_owned(),
                    template_id: "1110".to_owned(),
                    region: "ap-beijing".to_owned(),
                };
                Arc::new(sms::Tencent::new(client, account, clock))
            }
            Twilio => Arc::new(twilio(base_url, client, "+15017122661")),
        }
    }

    /// The settings, by flag.
    pub fn flags(self, base_url: &str) -> Vec<String> {
        let settings: &[(&str, &str)] = match self {
            Aliyun => &[
                ("sms-base-url-aliyun", base_url),
                ("aliyun-access-key-id", ID),
                ("aliyun-access-key-secret", SECRET),
                ("aliyun-sms-sign-name", SIGN_NAME),
                ("aliyun-sms-template-code", "SMS_1"),
            ],
            Tencent => &[
                ("sms-base-url-tencent", base_url),
                ("tencent-secret-id", ID),
                ("tencent-secret-key", SECRET),
                ("tencent-sms-app-id", "1400006666"),
                ("tencent-sms-sign-name", SIGN_NAME),
                ("tencent-sms-template-id", "1110"),
                ("tencent-region", "ap-beijing"),
            ],
            Twilio => &[
                ("sms-base-url-twilio", base_url),
                ("twilio-account-sid", ID),
                ("twilio-auth-token", SECRET),
                ("twilio-from", "+15017122661"),
            ],
        };
        settings.iter().map(|(name, value)| format!("--{name}={value}")).collect()
    }

    fn name(self) -> &'static str {
        match self {
            Aliyun => "aliyun",
            Tencent => "tencent",
            Twilio => "twilio",
        }
    }

    fn taken(self) -> (u16, &'static str) {
        match self {
            Aliyun => (200, r#"{"Code":"OK","Message":"OK","BizId":"900619746936498440^0","RequestId":"F655A8D5"}"#),
            Tencent => (
                200,
                r#"{"Response":{"SendStatusSet":[{"SerialNo":"5000:1045710669157053657849499619",
                "PhoneNumber":"+8613800138000","Fee":1,"SessionContext":"","Code":"Ok","Message":"send success",
                "IsoCode":"CN"}],"RequestId":"a0aabda6"}}"#,
            ),
            Twilio => (201, r#"{"sid":"SM87105da9","status":"queued","error_code":null,"to":"+8613800138000"}"#),
        }
    }

    fn refused(self) -> (u16, &'static str) {
        match self {
            Aliyun => {
                (200, r#"{"Code":"isv.AMOUNT_NOT_ENOUGH","Message":"13800138000: 账户余额不足","RequestId":"1"}"#)
            }
            Tencent => (
                200,
                r#"{"Response":{"SendStatusSet":[{"PhoneNumber":"+8613800138000",
                "Code":"FailedOperation.InsufficientBalanceInSmsPackage","Message":"+8613800138000"}],"RequestId":"1"}}"#,
            ),
            Twilio => (400, r#"{"code":21606,"message":"+8613800138000: no such sender","more_info":"","status":400}"#),
        }
    }

    fn refusal(self) -> &'static str {
        match self {
            Aliyun => "aliyun refused the message: isv.AMOUNT_NOT_ENOUGH",
            Tencent => "tencent refused the message: FailedOperation.InsufficientBalanceInSmsPackage",
            Twilio => "twilio refused the message: 21606",
        }
    }

    fn throttled(self) -> (u16, &'static str) {
        match self {
            Aliyun => (200, r#"{"Code":"isv.BUSINESS_LIMIT_CONTROL","Message":"13800138000 触发分钟级流控Permits:1"}"#),
            Tencent => (
                200,
                r#"{"Response":{"SendStatusSet":[{"PhoneNumber":"+8613800138000",
                "Code":"LimitExceeded.PhoneNumberThirtySecondLimit","Message":"+8613800138000"}],"RequestId":"1"}}"#,
            ),
            Twilio => (429, r#"{"code":20429,"message":"Too Many Requests","more_info":"","status":429}"#),
        }
    }

    fn limit(self) -> &'static str {
        match self {
            Aliyun => "aliyun limits this number: isv.BUSINESS_LIMIT_CONTROL",
            Tencent => "tencent limits this number: LimitExceeded.PhoneNumberThirtySecondLimit",
            Twilio => "twilio limits this number: 20429",
        }
    }

    /// Fails unless the vendor would believe who sent this.
    #[track_caller]
    fn expect_authentic(self, request: &Received) {
        let expected = match self {
            Aliyun => acs3(request, ID, SECRET),
            Tencent => tc3(request, ID, SECRET, "sms"),
            Twilio => format!("Basic {}", BASE64_STANDARD.encode(format!("{ID}:{SECRET}"))),
        };
        assert_eq!(request.header("authorization"), expected);
    }

    fn code_in(self, request: &Received) -> String {
        match self {
            Aliyun => {
                let parameter = value_of(&request.query, "TemplateParam");
                serde_json::from_str::<Value>(&parameter).unwrap()["code"].as_str().unwrap().to_owned()
            }
            Tencent => request.json()["TemplateParamSet"][0].as_str().unwrap().to_owned(),
            Twilio => value_of(&request.body, "Body").chars().filter(char::is_ascii_digit).take(6).collect(),
        }
    }
}

fn twilio(base_url: Url, client: reqwest::Client, from: &str) -> sms::Twilio {
    let account = TwilioAccount {
        base_url,
        account_sid: ID.to_owned(),
        auth_token: SecretString::from(SECRET),
        from: from.to_owned(),
    };
    sms::Twilio::new(client, account)
}

/// The pairs of a query or form, decoded.
pub fn pairs(query: &str) -> Vec<(String, String)> {
    let url = Url::parse(&format!("http://127.0.0.1/?{query}")).unwrap();
    url.query_pairs().into_owned().collect()
}

fn value_of(query: &str, name: &str) -> String {
    let pair = pairs(query).into_iter().find(|(known, _)| known == name);
    pair.unwrap_or_else(|| panic!("no {name} in {query}")).1
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(text: &str) -> String {
    hexadecimal(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// What a vendor hashes, from what it received.
fn canonical_request(request: &Received, signed: &str) -> String {
    let encode = |text: &str| -> String {
        let byte = |byte: u8| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        };
        text.bytes().map(byte).collect()
    };
    let mut query: Vec<_> =
        pairs(&request.query).iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    query.sort();
    let mut lines = vec!["POST".to_owned(), request.path.clone(), query.join("&")];
    lines.extend(signed.split(';').map(|name| format!("{name}:{}", request.header(name).trim())));
    lines.extend([String::new(), signed.to_owned(), sha256(&request.body)]);
    lines.join("\n")
}

/// The header `Authorization` that aliyun expects with a request.
pub fn acs3(request: &Received, id: &str, secret: &str) -> String {
    let content_type = if request.header("content-type").is_empty() { "" } else { "content-type;" };
    let signed = "host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version";
    let signed = &format!("{content_type}{signed}");
    assert_eq!(request.header("x-acs-content-sha256"), sha256(&request.body));
    let to_sign = format!("ACS3-HMAC-SHA256\n{}", sha256(&canonical_request(request, signed)));
    let signature = hexadecimal(&mac(secret.as_bytes(), &to_sign));
    format!("ACS3-HMAC-SHA256 Credential={id},SignedHeaders={signed},Signature={signature}")
}

/// The header `Authorization` that tencent expects with a request.
pub fn tc3(request: &Received, id: &str, secret: &str, service: &str) -> String {
    let timestamp = request.header("x-tc-timestamp");
    let date = DateTime::from_timestamp(timestamp.parse().unwrap(), 0).unwrap().date_naive();
    let hash = sha256(&canonical_request(request, "content-type;host"));
    let key = mac(format!("TC3{secret}").as_bytes(), &date.to_string());
    let key = mac(&mac(&key, service), "tc3_request");
    let to_sign = format!("TC3-HMAC-SHA256\n{timestamp}\n{date}/{service}/tc3_request\n{hash}");
    let signature = hexadecimal(&mac(&key, &to_sign));
    format!(
        "TC3-HMAC-SHA256 Credential={id}/{date}/{service}/tc3_request, SignedHeaders=content-type;host, \
         Signature={signature}"
    )
}

/// A request as in an example of a vendor.
fn example(query: &str, headers: &[(&'static str, &'static str)], body: &str) -> Received {
    let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    Received {
        path: "/".to_owned(),
        query: query.to_owned(),
        headers: HeaderMap::from_iter(headers),
        body: body.to_owned(),
        connection: String::new(),
    }
}

#[test]
fn the_stand_in_signs_like_the_published_example_of_aliyun() {
    let headers = [
        ("host", "ecs.cn-shanghai.aliyuncs.com"),
        ("x-acs-action", "RunInstances"),
        ("x-acs-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("x-acs-date", "2023-10-26T10:22:32Z"),
        ("x-acs-signature-nonce", "3156853299f313e23d1673dc12e1703d"),
        ("x-acs-version", "2014-05-26"),
    ];
    let query = "RegionId=cn-shanghai&ImageId=win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd";
    let authorization = acs3(&example(query, &headers, ""), "YourAccessKeyId", "YourAccessKeySecret");
    let signature = "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0";
    assert!(authorization.ends_with(&format!(",Signature={signature}")), "{authorization}");
}

#[test]
fn the_stand_in_signs_like_the_published_example_of_tencent() {
    let headers = [
        ("content-type", "application/json; charset=utf-8"),
        ("host", "cvm.tencentcloudapi.com"),
        ("x-tc-timestamp", "1551113065"),
    ];
    let body = r#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#;
    let authorization = tc3(&example("", &headers, body), "an-id", "Gu5t9xGARNpq86cd98joQYCN3*******", "cvm");
    let signature = "2230eefd229f582d8b1b891af7107b91597240707d778ab3738f756258d7652c";
    assert!(authorization.ends_with(&format!(", Signature={signature}")), "{authorization}");
}

#[tokio::test]
async fn an_aliyun_message_is_a_signed_query() {
    let (stand_in, url) = StandIn::start(0, &[Aliyun.taken(); 2]).await;
    let clock = Clock::movable();
    clock.advance(chrono::Duration::days(400));
    let provider = Aliyun.provider(&url, http_client(), clock.clone());

    let before = clock.now().timestamp();
    provider.send(&message()).await.unwrap();
    provider.send(&message()).await.unwrap();
    let after = clock.now().timestamp();

    let received = stand_in.received();
    let [request, other] = received.as_slice() else { panic!("{} requests", received.len()) };
    Aliyun.expect_authentic(request);
    Aliyun.expect_authentic(other);
    assert_eq!((request.path.as_str(), request.body.as_str()), ("/", ""));
    let expected = [
        ("PhoneNumbers", "13800138000"),
        ("SignName", SIGN_NAME),
        ("TemplateCode", "SMS_1"),
        ("TemplateParam", r#"{"code":"493027"}"#),
    ];
    assert_eq!(pairs(&request.query), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert!(request.query.contains("%20") && !request.query.contains('+'), "{}", request.query);
    assert_eq!((request.header("x-acs-action"), request.header("x-acs-version")), ("SendSms", "2017-05-25"));
    assert_eq!((request.header("accept"), request.header("content-length")), ("application/json", "0"));
    let date = NaiveDateTime::parse_from_str(request.header("x-acs-date"), "%Y-%m-%dT%H:%M:%SZ").unwrap();
    assert!((before..=after).contains(&date.and_utc().timestamp()), "{date}");
    let nonces = [request, other].map(|request| request.header("x-acs-signature-nonce"));
    assert!(nonces[0] != nonces[1] && !nonces.contains(&""), "{nonces:?}");
}

#[tokio::test]
async fn a_tencent_message_is_signed_json() {
    let (stand_in, url) = StandIn::start(0, &[Tencent.taken()]).await;
    let clock = Clock::movable();
    clock.advance(chrono::Duration::days(400));

    let before = clock.now().timestamp();
    Tencent.provider(&url, http_client(), clock.clone()).send(&message()).await.unwrap();
    let after = clock.now().timestamp();

    let received = stand_in.received();
    let [request] = received.as_slice() else { panic!("{} requests", received.len()) };
    Tencent.expect_authentic(request);
    assert_eq!((request.path.as_str(), request.query.as_str()), ("/", ""));
    assert_eq!((request.header("x-tc-action"), request.header("x-tc-version")), ("SendSms", "2021-01-11"));
    assert_eq!(request.header("x-tc-region"), "ap-beijing");
    assert_eq!(request.header("content-type"), "application/json; charset=utf-8");
    assert!((before..=after).contains(&request.header("x-tc-timestamp").parse().unwrap()));
    let expected = json!({
        "PhoneNumberSet": ["+8613800138000"],
        "SmsSdkAppId": "1400006666",
        "SignName": SIGN_NAME,
        "TemplateId": "1110",
        "TemplateParamSet": ["493027", "5"],
    });
    assert_eq!(request.json(), expected);
}

#[tokio::test]
async fn a_tencent_message_is_dated_in_utc_at_every_hour() {
    let (stand_in, url) = StandIn::start(0, &[Tencent.taken(); 24]).await;
    let clock = Clock::movable();
    let provider = Tencent.provider(&url, http_client(), clock.clone());
    for _ in 0..24 {
        clock.advance(chrono::Duration::hours(1));
        provider.send(&message()).await.unwrap();
    }
    for request in stand_in.received() {
        Tencent.expect_authentic(&request);
    }
}

#[tokio::test]
async fn a_twilio_message_comes_from_a_number_or_a_messaging_service() {
    for (from, sender) in [("+15017122661", "From"), ("MG9752274e9e519418a7406176694466fa", "MessagingServiceSid")] {
        let (stand_in, url) = StandIn::start(0, &[Twilio.taken()]).await;

        twilio(Url::parse(&url).unwrap(), http_client(), from).send(&message()).await.unwrap();

        let received = stand_in.received();
        let [request] = received.as_slice() else { panic!("{} requests", received.len()) };
        Twilio.expect_authentic(request);
        assert_eq!(request.path, format!("/2010-04-01/Accounts/{ID}/Messages.json"));
        assert_eq!(request.query, "");
        assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded");
        let expected = [("To", "+8613800138000"), (sender, from), ("Body", &message().text)];
        assert_eq!(pairs(&request.body), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}

#[tokio::test]
async fn what_is_signed_is_what_is_sent_under_any_base_url() {
    for vendor in Vendor::ALL {
        let (stand_in, url) = StandIn::start(0, &[vendor.taken()]).await;
        let url = format!("{}/vendors/", url.replace("127.0.0.1", "LocalHost"));

        vendor.provider(&url, http_client(), Clock::system()).send(&message()).await.unwrap();

        let request = stand_in.received().remove(0);
        vendor.expect_authentic(&request);
        assert!(request.path.starts_with("/vendors/"), "{}", request.path);
        assert!(request.header("host").starts_with("localhost:"), "{}", request.header("host"));
    }
}

/// What a provider makes of an answer, in words.
async fn told(vendor: Vendor, answer: (u16, &'static str)) -> String {
    let (stand_in, url) = StandIn::start(0, &[answer, vendor.taken()]).await;
    let result = vendor.provider(&url, http_client(), Clock::system()).send(&message()).await;
    assert_eq!(stand_in.received().len(), 1, "nothing is sent twice");
    result.map_or_else(|error| error.to_string(), |()| "taken".to_owned())
}

#[tokio::test]
async fn every_vendor_takes_refuses_throttles_or_is_out_of_order() {
    for vendor in Vendor::ALL {
        let name = vendor.name();
        assert_eq!(told(vendor, vendor.taken()).await, "taken");
        assert_eq!(told(vendor, vendor.refused()).await, vendor.refusal());
        assert_eq!(told(vendor, vendor.throttled()).await, vendor.limit());
        for status in [500, 503] {
            for body in ["", "13800138000", vendor.taken().1, vendor.refused().1] {
                assert_eq!(told(vendor, (status, body)).await, format!("{name} cannot be reached: HTTP {status}"));
            }
        }
        for (status, body) in [(200, "<html>13800138000</html>"), (201, ""), (200, "{}"), (200, "null"), (302, "")] {
            let expected = format!("{name} cannot be reached: HTTP {status}, and nothing that makes sense");
            assert_eq!(told(vendor, (status, body)).await, expected, "{body}");
        }
    }
}

#[tokio::test]
async fn an_aliyun_answer_is_taken_for_what_it_is() {
    let of_the_account = r#"{"Code":"isv.DAY_LIMIT_CONTROL","Message":"触发日发送限额"}"#;
    assert_eq!(told(Aliyun, (200, of_the_account)).await, "aliyun refused the message: isv.DAY_LIMIT_CONTROL");
    let unsigned = r#"{"Code":"SignatureDoesNotMatch","Message":"13800138000","HostId":"dysmsapi.aliyuncs.com"}"#;
    assert_eq!(told(Aliyun, (400, unsigned)).await, "aliyun refused the message: SignatureDoesNotMatch");
    assert_eq!(told(Aliyun, (403, Aliyun.taken().1)).await, "aliyun refused the message: OK");
}

#[tokio::test]
async fn a_tencent_answer_is_taken_for_what_it_is() {
    let refused = "tencent refused the message";
    for (code, expected) in [
        ("AuthFailure.SignatureFailure", refused),
        // That of the account's calls, not of its messages.
        ("RequestLimitExceeded", refused),
        ("LimitExceeded.PhoneNumberDailyLimit", "tencent limits this number"),
    ] {
        let answer = format!(r#"{{"Response":{{"Error":{{"Code":"{code}","Message":"+8613800138000"}}}}}}"#);
        assert_eq!(told(Tencent, (200, answer.leak())).await, format!("{expected}: {code}"));
    }
    assert_eq!(told(Tencent, (403, Tencent.taken().1)).await, format!("{refused}: Ok"));
    let nobody = r#"{"Response":{"SendStatusSet":[],"RequestId":"1"}}"#;
    let expected = "tencent cannot be reached: HTTP 200, and nothing that makes sense";
    assert_eq!(told(Tencent, (200, nobody)).await, expected);
}

#[tokio::test]
async fn a_twilio_answer_is_taken_for_what_it_is() {
    let refused = "twilio refused the message";
    let stranger = r#"{"code":20003,"message":"Authenticate","status":401}"#;
    assert_eq!(told(Twilio, (401, stranger)).await, format!("{refused}: 20003"));
    let no_number = r#"{"code":21211,"message":"Invalid 'To' Phone Number: +8613800138000","status":400}"#;
    assert_eq!(told(Twilio, (400, no_number)).await, "twilio does not send to this number: 21211");
    let full = r#"{"code":21611,"message":"","status":429}"#;
    assert_eq!(told(Twilio, (429, full)).await, "twilio limits this number: 21611");
    assert_eq!(told(Twilio, (200, Twilio.taken().1)).await, format!("{refused}: 200"));
    let expected = "twilio cannot be reached: HTTP 201, and nothing that makes sense";
    assert_eq!(told(Twilio, (201, r#"{"status":"queued"}"#)).await, expected);
}

#[tokio::test]
async fn a_vendor_that_is_silent_is_not_waited_for_nor_asked_again() {
    for vendor in Vendor::ALL {
        let (stand_in, url) = StandIn::start(0, &[]).await;
        let impatient = reqwest::Client::builder().timeout(Duration::from_millis(500)).build().unwrap();

        let error = vendor.provider(&url, impatient, Clock::system()).send(&message()).await.unwrap_err();

        assert!(error.to_string().starts_with(&format!("{} cannot be reached: ", vendor.name())), "{error}");
        assert!(error.to_string().contains("timed out"), "{error}");
        assert_eq!(stand_in.received().len(), 1);
    }
}

#[tokio::test]
async fn a_vendor_that_hangs_up_or_is_not_there_is_out_of_reach_and_its_error_tells_nothing() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for vendor in Vendor::ALL {
        let (_stand_in, url) = StandIn::start(1, &[]).await;
        for url in [url, format!("http://{closed}")] {
            let error = vendor.provider(&url, http_client(), Clock::system()).send(&message()).await.unwrap_err();
            let words = format!("{error} {error:?}");
            assert!(words.starts_with(&format!("{} cannot be reached: ", vendor.name())), "{words}");
            for private in ["13800138000", "493027", "验证码", ID, SECRET, "Phone", "Template", "Accounts"] {
                assert!(!words.contains(private), "{words}");
            }
        }
    }
}

/// Over how many connections requests came.
fn connections(requests: &[Received]) -> usize {
    requests.iter().map(|request| &request.connection).collect::<BTreeSet<_>>().len()
}

#[tokio::test]
async fn a_vendors_connection_is_used_again_whatever_the_answers() {
    for vendor in Vendor::ALL {
        let answers = [vendor.taken(), vendor.refused(), vendor.throttled(), (200, "<html>"), vendor.taken()];
        let (stand_in, url) = StandIn::start(0, &answers).await;
        let provider = vendor.provider(&url, http_client(), Clock::system());
        for _ in answers {
            let _ = provider.send(&message()).await;
        }
        let received = stand_in.received();
        assert_eq!((received.len(), connections(&received)), (5, 1), "{vendor:?}");
    }
}

/// A service that sends through these vendors, in this order.
async fn service(vendors: &[(Vendor, &str)]) -> TestApp {
    let flags = flags(vendors);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags).await
}

fn flags(vendors: &[(Vendor, &str)]) -> Vec<String> {
    let names: Vec<_> = vendors.iter().map(|(vendor, _)| vendor.name()).collect();
    let mut flags = vec![format!("--sms-provider={}", names.join(",")), "--sms-total-per-hour=0".to_owned()];
    flags.extend(vendors.iter().flat_map(|(vendor, url)| vendor.flags(url)));
    flags
}

async fn ask(app: &TestApp, mobile: &str) -> Answer {
    app.post("/app/v1_0/sms/codes", json!({ "mobile": mobile })).await
}

#[tokio::test]
async fn whoever_asks_for_a_code_gets_it_or_learns_why_not_and_may_ask_again_at_once() {
    for vendor in Vendor::ALL {
        let answers = [vendor.refused(), vendor.throttled(), (503, ""), (200, "<html>"), vendor.taken()];
        let (stand_in, url) = StandIn::start(0, &answers).await;
        let app = service(&[(vendor, &url)]).await;

        ask(&app, MOBILE).await.expect_error(502, "sms_send_failed");
        let throttled = ask(&app, MOBILE).await;
        throttled.expect_error(429, "sms_too_frequent");
        expect_retry_after(&throttled, 60);
        ask(&app, MOBILE).await.expect_error(502, "sms_send_failed");
        ask(&app, MOBILE).await.expect_error(502, "sms_send_failed");
        let received = stand_in.received();
        let code = vendor.code_in(received.last().unwrap());
        app.sign_in_with(MOBILE, &code).await.expect_error(400, "sms_code_expired");
        ask(&app, MOBILE).await.expect(200);

        let arrived = stand_in.received();
        for request in received.iter().chain(&arrived) {
            vendor.expect_authentic(request);
        }
        app.sign_in_with(MOBILE, &vendor.code_in(&arrived[0])).await.expect(201);
    }
}

#[tokio::test]
async fn a_classic_front_end_gets_a_code_or_an_errno() {
    for vendor in Vendor::ALL {
        let (stand_in, url) = StandIn::start(0, &[vendor.refused(), vendor.throttled(), vendor.taken()]).await;
        let app = service(&[(vendor, &url)]).await;
        for errno in [4301, 4201, 0] {
            let text = app.picture("a-picture").await;
            let path = format!("/api/v1.0/smscode/{MOBILE}?text={text}&id=a-picture");
            app.get(&path).await.expect_errno(errno);
        }
        let code = vendor.code_in(stand_in.received().last().unwrap());
        app.sign_in_with(MOBILE, &code).await.expect(201);
    }
}

#[tokio::test]
async fn a_code_arrives_through_the_next_vendor_of_a_list_but_not_past_a_limit() {
    let (aliyun, aliyun_url) = StandIn::start(0, &[(503, ""), Aliyun.refused(), Aliyun.throttled()]).await;
    let (tencent, tencent_url) = StandIn::start(0, &[Tencent.taken(), Tencent.refused()]).await;
    let (twilio, twilio_url) = StandIn::start(0, &[Twilio.taken()]).await;
    let app = service(&[(Aliyun, &aliyun_url), (Tencent, &tencent_url), (Twilio, &twilio_url)]).await;

    for (mobile, asked) in [(MOBILE, [1, 1, 0]), ("13700137000", [1, 1, 1])] {
        ask(&app, mobile).await.expect(200);
        let received = [aliyun.received(), tencent.received(), twilio.received()];
        assert_eq!(received.each_ref().map(Vec::len), asked);
        let codes = [Aliyun, Tencent, Twilio].iter().zip(received.iter().flat_map(|requests| requests.first()));
        let codes: BTreeSet<_> = codes.map(|(vendor, request)| vendor.code_in(request)).collect();
        assert_eq!(codes.len(), 1, "all are handed the same code");
        app.sign_in_with(mobile, codes.first().unwrap()).await.expect(201);
    }
    ask(&app, "13600136000").await.expect_error(429, "sms_too_frequent");
    assert!(tencent.received().is_empty() && twilio.received().is_empty());
}

#[tokio::test]
async fn the_log_has_the_vendors_codes_and_neither_numbers_nor_codes_nor_secrets() {
    let (aliyun, aliyun_url) = StandIn::start(0, &[Aliyun.refused(), Aliyun.throttled()]).await;
    let (tencent, tencent_url) = StandIn::start(0, &[Tencent.refused()]).await;
    let (twilio, twilio_url) = StandIn::start(0, &[Twilio.refused()]).await;
    let flags = flags(&[(Aliyun, &aliyun_url), (Tencent, &tencent_url), (Twilio, &twilio_url)]);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let folder = tempfile::tempdir().unwrap();
    let environment = [("LOG_FORMAT", "json"), ("LOG_LEVEL", "trace"), ("SHUTDOWN_DELAY", "0")];
    let process = Process::serve(folder.path(), &environment, &flags).await;
    for status in [502, 429] {
        process.get(&format!("/app/v1_0/sms/codes/{MOBILE}")).await.expect(status);
    }
    process.running.signal("TERM");
    let finished = process.finished().await;

    let lines = finished.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told: Vec<_> = lines.filter_map(|line| Some(line["error"].as_str()?.to_owned())).collect();
    assert_eq!(told, [Aliyun.refusal(), Tencent.refusal(), Twilio.refusal(), Aliyun.limit()]);
    let output = finished.stdout + &finished.stderr;
    let sent = [(Aliyun, aliyun), (Tencent, tencent), (Twilio, twilio)];
    let requests = sent.iter().flat_map(|(vendor, stand_in)| stand_in.received().into_iter().map(|it| (*vendor, it)));
    let codes: Vec<_> = requests.map(|(vendor, request)| vendor.code_in(&request)).collect();
    assert_eq!(codes.len(), 4);
    for private in codes.iter().map(String::as_str).chain([MOBILE, SECRET, "验证码", "余额"]) {
        assert!(!output.contains(private), "{private} in {output}");
    }
}

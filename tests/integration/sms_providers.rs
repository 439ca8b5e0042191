//! Do the SMS providers speak their wire formats, and what do they make of the answers?

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::FixedOffset;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use phonepass::{
    clock::Clock,
    model::mobile::Mobile,
    sms::{
        Console, Failover, Outbox, SentMessage, SmsError, SmsMessage, SmsProvider, Webhook, Yuntongxun,
        YuntongxunAccount, http_client,
    },
};
use poem::{
    Body, Endpoint, Request, Response, Result, Server,
    http::{HeaderMap, StatusCode},
    listener::TcpAcceptor,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;

use crate::support::{MOBILE, TestApp, backends::Backends, process::Process};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const TOKEN: &str = "a-yuntongxun-token";

pub struct Received {
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: String,
    /// Which one it came over.
    pub connection: String,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

#[derive(Clone, Default)]
pub struct StandIn {
    answers: Arc<Mutex<VecDeque<(u16, &'static str)>>>,
    received: Arc<Mutex<Vec<Received>>>,
}

impl StandIn {
    /// Hangs up on the first `hang_ups` connections, then gives the answers in turn, then leaves callers waiting.
    /// Returns its base URL, too.
    pub async fn start(hang_ups: usize, answers: &[(u16, &'static str)]) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stand_in = Self::default();
        stand_in.answers.lock().unwrap().extend(answers);
        let endpoint = stand_in.clone();
        tokio::spawn(async move {
            for _ in 0..hang_ups {
                drop(listener.accept().await.unwrap());
            }
            Server::new_with_acceptor(TcpAcceptor::from_tokio(listener).unwrap()).run(endpoint).await
        });
        (stand_in, url)
    }

    pub fn received(&self) -> Vec<Received> {
        std::mem::take(&mut *self.received.lock().unwrap())
    }
}

impl Endpoint for StandIn {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let body = request.take_body().into_string().await?;
        self.received.lock().unwrap().push(Received {
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            headers: request.headers().clone(),
            body,
            connection: request.remote_addr().to_string(),
        });
        let answer = self.answers.lock().unwrap().pop_front();
        let Some((status, body)) = answer else {
            return std::future::pending().await;
        };
        Ok(Response::builder().status(StatusCode::from_u16(status).unwrap()).body(Body::from_string(body.to_owned())))
    }
}

pub fn message() -> SmsMessage {
    SmsMessage {
        mobile: Mobile::parse("13800138000").unwrap(),
        purpose: "login",
        code: "493027".to_owned(),
        ttl: Duration::from_secs(300),
        text: "【Phonepass】验证码 493027，5 分钟内有效。\n@example.com #493027".to_owned(),
    }
}

fn webhook(url: &str) -> Webhook {
    Webhook::new(http_client(), url, Some(SecretString::from(SECRET)), Clock::system()).unwrap()
}

fn yuntongxun(base_url: &str, clock: Clock) -> Yuntongxun {
    let account = YuntongxunAccount {
        base_url: base_url.to_owned(),
        account_sid: "8a216da8".to_owned(),
        auth_token: SecretString::from(TOKEN),
        app_id: "an-app".to_owned(),
        template_id: "1".to_owned(),
    };
    Yuntongxun::new(http_client(), account, clock)
}

/// What a receiver computes by the Standard Webhooks specification.
fn standard_webhooks_signature(id: &str, timestamp: &str, body: &str) -> String {
    let key = BASE64_STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap().chain_update(format!("{id}.{timestamp}.{body}"));
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

fn assert_refused(result: Result<(), SmsError>, expected: &str) {
    match result {
        Err(SmsError::Refused { code, .. }) => assert_eq!(code, expected),
        other => panic!("refused with {expected} was expected, not {other:?}"),
    }
}

fn assert_unreachable(result: Result<(), SmsError>, expected: &str) {
    match result {
        Err(SmsError::Unreachable { reason, .. }) => assert!(reason.contains(expected), "{reason}"),
        other => panic!("unreachable was expected, not {other:?}"),
    }
}

#[test]
fn the_stand_in_signs_like_the_published_example_of_standard_webhooks() {
    let signature =
        standard_webhooks_signature("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", r#"{"test": 2432232314}"#);
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[tokio::test]
async fn a_webhook_message_is_signed_by_the_standard_webhooks_scheme() {
    let (stand_in, url) = StandIn::start(0, &[(204, "")]).await;
    let clock = Clock::movable();
    clock.advance(chrono::Duration::days(400));
    let secret = Some(SecretString::from(SECRET));
    let webhook = Webhook::new(http_client(), format!("{url}/sms?shop=7"), secret, clock.clone()).unwrap();

    let before = clock.now().timestamp();
    webhook.send(&message()).await.unwrap();
    let after = clock.now().timestamp();

    let received = stand_in.received();
    let [request] = received.as_slice() else { panic!("{} requests", received.len()) };
    assert_eq!((request.path.as_str(), request.query.as_str()), ("/sms", "shop=7"));
    assert_eq!(request.header("content-type"), "application/json");
    let (id, timestamp) = (request.header("webhook-id"), request.header("webhook-timestamp"));
    assert!(id.strip_prefix("msg_").is_some_and(|id| id.len() == 32 && !id.contains('-')), "{id}");
    assert!((before..=after).contains(&timestamp.parse().unwrap()), "{timestamp}");
    assert_eq!(request.header("webhook-signature"), standard_webhooks_signature(id, timestamp, &request.body));
    let expected = message();
    assert_eq!(
        request.json(),
        json!({"mobile": "13800138000", "purpose": "login", "code": "493027", "ttl": 300, "text": expected.text})
    );
}

#[tokio::test]
async fn a_webhook_without_a_secret_sends_an_id_and_a_timestamp_but_no_signature() {
    let (stand_in, url) = StandIn::start(0, &[(200, "thank you")]).await;
    let webhook = Webhook::new(http_client(), url, None, Clock::system()).unwrap();

    webhook.send(&message()).await.unwrap();

    let received = stand_in.received();
    assert!(received[0].header("webhook-id").starts_with("msg_"));
    assert!(!received[0].header("webhook-timestamp").is_empty());
    assert!(!received[0].headers.contains_key("webhook-signature"));
}

#[tokio::test]
async fn a_webhook_is_tried_again_with_the_same_id_after_a_5xx() {
    let (stand_in, url) = StandIn::start(0, &[(503, "busy"), (200, "")]).await;

    webhook(&url).send(&message()).await.unwrap();

    let received = stand_in.received();
    let [first, second] = received.as_slice() else { panic!("{} requests", received.len()) };
    for header in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        assert!(!first.header(header).is_empty());
        assert_eq!(first.header(header), second.header(header));
    }
    assert_eq!(first.body, second.body);
}

#[tokio::test]
async fn each_webhook_message_has_an_id_of_its_own() {
    let (stand_in, url) = StandIn::start(0, &[(200, ""), (200, "")]).await;
    let webhook = webhook(&url);

    webhook.send(&message()).await.unwrap();
    webhook.send(&message()).await.unwrap();

    let received = stand_in.received();
    assert_ne!(received[0].header("webhook-id"), received[1].header("webhook-id"));
}

#[tokio::test]
async fn a_webhook_that_fails_twice_is_unreachable() {
    let (stand_in, url) = StandIn::start(0, &[(500, ""), (502, ""), (200, "")]).await;

    assert_unreachable(webhook(&url).send(&message()).await, "HTTP 502");

    assert_eq!(stand_in.received().len(), 2);
}

#[tokio::test]
async fn a_webhook_that_says_no_is_not_asked_again() {
    for status in [302, 400, 403] {
        let (stand_in, url) = StandIn::start(0, &[(status, "13800138000 is not welcome"), (200, "")]).await;

        assert_refused(webhook(&url).send(&message()).await, &status.to_string());

        assert_eq!(stand_in.received().len(), 1);
    }
}

#[tokio::test]
async fn a_webhook_that_hangs_up_is_tried_again_once() {
    let (stand_in, url) = StandIn::start(1, &[(200, "")]).await;
    webhook(&url).send(&message()).await.unwrap();
    assert_eq!(stand_in.received().len(), 1);

    let (stand_in, url) = StandIn::start(2, &[(200, "")]).await;
    assert_unreachable(webhook(&url).send(&message()).await, "");
    assert!(stand_in.received().is_empty());
}

#[tokio::test]
async fn a_webhook_that_does_not_answer_in_time_is_not_asked_again() {
    let (stand_in, url) = StandIn::start(0, &[]).await;
    let impatient = reqwest::Client::builder().timeout(Duration::from_millis(500)).build().unwrap();
    let webhook = Webhook::new(impatient, url, None, Clock::system()).unwrap();

    assert_unreachable(webhook.send(&message()).await, "timed out");

    assert_eq!(stand_in.received().len(), 1);
}

#[tokio::test]
async fn an_error_tells_neither_the_url_nor_the_message() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let webhook = webhook(&format!("http://user:hunter2@{closed}/path?key=hunter3"));
    let yuntongxun = yuntongxun(&format!("http://{closed}"), Clock::system());

    for provider in [&webhook as &dyn SmsProvider, &yuntongxun] {
        let error = provider.send(&message()).await.unwrap_err();
        let words = format!("{error} {error:?}");
        for private in ["hunter", "path", "sig=", "8a216da8", "13800138000", "493027", "验证码", TOKEN, SECRET] {
            assert!(!words.contains(private), "{words}");
        }
    }
}

#[test]
fn a_webhook_secret_may_lack_its_prefix_but_must_be_base64() {
    let build = |secret: &str| {
        Webhook::new(http_client(), "https://example.com", Some(SecretString::from(secret)), Clock::system())
    };
    assert!(build(SECRET).is_ok());
    assert!(build(SECRET.strip_prefix("whsec_").unwrap()).is_ok());
    for secret in ["whsec_", "", "not base64 §", "whsec_MfKQ9"] {
        assert_eq!(build(secret).err().as_deref(), Some("the webhook secret is empty or not base64"));
    }
}

#[test]
fn a_webhook_url_must_be_one_for_http() {
    for url in ["", "example.com/sms", "ftp://user:hunter2@example.com", "http://"] {
        let error = Webhook::new(http_client(), url, None, Clock::system()).err();
        assert_eq!(error.as_deref(), Some("the webhook URL is not an http or https URL"));
    }
}

#[tokio::test]
async fn a_yuntongxun_message_is_signed_in_china_time() {
    let (stand_in, url) = StandIn::start(0, &[(200, r#"{"statusCode":"000000","templateSMS":{}}"#)]).await;
    let clock = Clock::movable();
    clock.advance(chrono::Duration::days(400));
    let in_china = || {
        let china = FixedOffset::east_opt(8 * 3600).unwrap();
        clock.now().with_timezone(&china).format("%Y%m%d%H%M%S").to_string()
    };

    let before = in_china();
    yuntongxun(&format!("{url}/"), clock.clone()).send(&message()).await.unwrap();
    let after = in_china();

    let received = stand_in.received();
    let [request] = received.as_slice() else { panic!("{} requests", received.len()) };
    let credentials = BASE64_STANDARD.decode(request.header("authorization")).unwrap();
    let credentials = String::from_utf8(credentials).unwrap();
    let (sid, timestamp) = credentials.split_once(':').unwrap();
    assert_eq!(sid, "8a216da8");
    assert!((before.as_str()..=after.as_str()).contains(&timestamp), "{timestamp}");
    let digest = Md5::digest(format!("8a216da8{TOKEN}{timestamp}"));
    let signature: String = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(request.path, "/2013-12-26/Accounts/8a216da8/SMS/TemplateSMS");
    assert_eq!(request.query, format!("sig={signature}"));
    assert_eq!(request.header("accept"), "application/json");
    assert_eq!(request.header("content-type"), "application/json;charset=utf-8");
    assert_eq!(
        request.json(),
        json!({"to": "13800138000", "appId": "an-app", "templateId": "1", "datas": ["493027", "5"]})
    );
}

#[tokio::test]
async fn a_yuntongxun_refusal_keeps_the_vendors_code_and_drops_its_words() {
    let refusal = r#"{"statusCode":"160032","statusMsg":"13800138000: no such template"}"#;
    for status in [200, 400] {
        let (_, url) = StandIn::start(0, &[(status, refusal)]).await;
        let result = yuntongxun(&url, Clock::system()).send(&message()).await;
        assert_eq!(result.as_ref().unwrap_err().to_string(), "yuntongxun refused the message: 160032");
        assert_refused(result, "160032");
    }
}

#[tokio::test]
async fn yuntongxuns_success_code_under_a_failing_status_is_a_refusal() {
    let (_, url) = StandIn::start(0, &[(403, r#"{"statusCode":"000000"}"#)]).await;
    assert_refused(yuntongxun(&url, Clock::system()).send(&message()).await, "000000");
}

#[tokio::test]
async fn a_yuntongxun_answer_that_makes_no_sense_is_no_success() {
    let garbage = [
        (200, "<html>maintenance</html>", "HTTP 200, and nothing that makes sense"),
        (200, "", "HTTP 200, and nothing that makes sense"),
        (200, r#"{"statusCode":0}"#, "HTTP 200, and nothing that makes sense"),
        (404, "not here", "HTTP 404, and nothing that makes sense"),
        (503, r#"{"statusCode":"000000"}"#, "HTTP 503"),
    ];
    for (status, body, reason) in garbage {
        let (stand_in, url) = StandIn::start(0, &[(status, body), (200, r#"{"statusCode":"000000"}"#)]).await;
        assert_unreachable(yuntongxun(&url, Clock::system()).send(&message()).await, reason);
        assert_eq!(stand_in.received().len(), 1);
    }
}

#[tokio::test]
async fn a_yuntongxun_connection_that_closes_is_unreachable() {
    let (_, url) = StandIn::start(1, &[]).await;
    assert_unreachable(yuntongxun(&url, Clock::system()).send(&message()).await, "");
}

#[tokio::test]
async fn the_console_keeps_what_it_prints() {
    let (outbox, clock) = (Outbox::default(), Clock::movable());
    let console = Console::new(outbox.clone(), clock.clone());

    let before = clock.now();
    console.send(&message()).await.unwrap();

    let recent = outbox.recent();
    let [sent] = recent.as_slice() else { panic!("{} messages", recent.len()) };
    assert_eq!(sent.mobile, "13800138000");
    assert_eq!((sent.purpose.as_str(), sent.code.as_str()), ("login", "493027"));
    assert_eq!(sent.text, message().text);
    assert!((before..=clock.now()).contains(&sent.sent_at));
}

#[test]
fn the_outbox_keeps_the_last_fifty_messages_newest_first() {
    let outbox = Outbox::default();
    for number in 0..60 {
        outbox.record(SentMessage {
            mobile: "13800138000".to_owned(),
            purpose: "login".to_owned(),
            code: number.to_string(),
            text: String::new(),
            sent_at: Clock::system().now(),
        });
    }
    let codes: Vec<String> = outbox.recent().into_iter().map(|message| message.code).collect();
    let expected: Vec<String> = (10..60).rev().map(|number: u32| number.to_string()).collect();
    assert_eq!(codes, expected);
}

const VENDORS: [&str; 3] = ["first", "second", "third"];

#[derive(Clone, Copy)]
enum Mood {
    Takes,
    Refuses,
    RefusesNumber,
    Throttles,
    IsSilent,
}

use Mood::{IsSilent, Refuses, RefusesNumber, Takes, Throttles};

/// One to three vendors, each in its mood.
struct Vendors {
    failover: Failover,
    clock: Clock,
    moods: Arc<Mutex<Vec<Mood>>>,
    asked: Arc<Mutex<Vec<&'static str>>>,
}

struct MoodyVendor {
    index: usize,
    moods: Arc<Mutex<Vec<Mood>>>,
    asked: Arc<Mutex<Vec<&'static str>>>,
}

impl Vendors {
    fn new(moods: &[Mood]) -> Self {
        let (clock, asked) = (Clock::movable(), Arc::default());
        let shared = Arc::new(Mutex::new(moods.to_vec()));
        let vendors = (0..moods.len()).map(|index| {
            let vendor = MoodyVendor { index, moods: shared.clone(), asked: Arc::clone(&asked) };
            (VENDORS[index], Arc::new(vendor) as Arc<dyn SmsProvider>)
        });
        Self { failover: Failover::new(vendors.collect(), clock.clone()), clock, moods: shared, asked }
    }

    fn set(&self, moods: &[Mood]) {
        *self.moods.lock().unwrap() = moods.to_vec();
    }

    fn advance(&self, seconds: i64) {
        self.clock.advance(chrono::Duration::seconds(seconds));
    }

    /// Sends a message; tells who was asked to take it, and the answer.
    async fn send(&self) -> (Vec<&'static str>, Result<(), String>) {
        let answer = self.failover.send(&message()).await.map_err(|error| error.to_string());
        (std::mem::take(&mut *self.asked.lock().unwrap()), answer)
    }
}

#[async_trait]
impl SmsProvider for MoodyVendor {
    async fn send(&self, _: &SmsMessage) -> Result<(), SmsError> {
        let vendor = VENDORS[self.index];
        self.asked.lock().unwrap().push(vendor);
        match self.moods.lock().unwrap()[self.index] {
            Takes => Ok(()),
            Refuses => Err(SmsError::Refused { vendor, code: "no".to_owned() }),
            RefusesNumber => Err(SmsError::NumberRefused { vendor, code: "unknown".to_owned() }),
            Throttles => Err(SmsError::Throttled { vendor, code: "later".to_owned() }),
            IsSilent => Err(SmsError::Unreachable { vendor, reason: "timed out".to_owned() }),
        }
    }
}

#[tokio::test]
async fn the_first_vendor_that_takes_a_message_is_the_last_one_asked() {
    let vendors = Vendors::new(&[Takes, Takes, Takes]);
    assert_eq!(vendors.send().await, (vec!["first"], Ok(())));
    vendors.set(&[Refuses, Takes, Takes]);
    assert_eq!(vendors.send().await, (vec!["first", "second"], Ok(())));
    vendors.set(&[IsSilent, Refuses, Takes]);
    assert_eq!(vendors.send().await, (vec!["first", "second", "third"], Ok(())));
}

#[tokio::test]
async fn when_all_vendors_fail_the_last_ones_word_counts() {
    let vendors = Vendors::new(&[Refuses, Refuses, IsSilent]);
    assert_eq!(vendors.send().await, (VENDORS.to_vec(), Err("third cannot be reached: timed out".to_owned())));
    vendors.set(&[IsSilent, IsSilent, Refuses]);
    assert_eq!(vendors.send().await, (VENDORS.to_vec(), Err("third refused the message: no".to_owned())));
}

#[tokio::test]
async fn a_vendors_limit_for_a_number_is_not_evaded_through_the_next_vendor() {
    let vendors = Vendors::new(&[Throttles, Takes]);
    for _ in 0..5 {
        assert_eq!(vendors.send().await, (vec!["first"], Err("first limits this number: later".to_owned())));
    }
    vendors.set(&[Refuses, Throttles]);
    let (asked, answer) = vendors.send().await;
    assert_eq!((asked, answer), (vec!["first", "second"], Err("second limits this number: later".to_owned())));
}

#[tokio::test]
async fn a_number_that_a_vendor_refuses_costs_no_second_call_and_no_vendor_its_place() {
    let vendors = Vendors::new(&[RefusesNumber, Takes]);
    let refused = Err("first does not send to this number: unknown".to_owned());
    for _ in 0..100 {
        assert_eq!(vendors.send().await, (vec!["first"], refused.clone()));
    }
    vendors.set(&[Takes, Takes]);
    assert_eq!(vendors.send().await, (vec!["first"], Ok(())));

    // Nor is a vendor that fails taken for one that works.
    for mood in [Refuses, Refuses, RefusesNumber, Refuses] {
        vendors.set(&[mood, Takes]);
        vendors.send().await.1.ok();
    }
    assert_eq!(vendors.send().await, (vec!["second"], Ok(())));
    vendors.set(&[IsSilent, RefusesNumber]);
    vendors.advance(30);
    let refused = Err("second does not send to this number: unknown".to_owned());
    assert_eq!(vendors.send().await, (vec!["first", "second"], refused));
}

#[tokio::test]
async fn a_vendor_that_fails_three_times_in_a_row_is_skipped_for_half_a_minute() {
    for failing in [Refuses, IsSilent] {
        let vendors = Vendors::new(&[failing, Takes]);
        for _ in 0..3 {
            assert_eq!(vendors.send().await.0, ["first", "second"]);
        }
        assert_eq!(vendors.send().await, (vec!["second"], Ok(())));
        vendors.advance(25);
        assert_eq!(vendors.send().await, (vec!["second"], Ok(())));

        vendors.advance(5);
        assert_eq!(vendors.send().await.0, ["first", "second"]);
        // It had its chance.
        assert_eq!(vendors.send().await, (vec!["second"], Ok(())));
        vendors.advance(25);
        assert_eq!(vendors.send().await, (vec!["second"], Ok(())));

        vendors.advance(5);
        vendors.set(&[Takes, Takes]);
        assert_eq!(vendors.send().await, (vec!["first"], Ok(())));
        vendors.set(&[failing, Takes]);
        for _ in 0..3 {
            assert_eq!(vendors.send().await.0, ["first", "second"]);
        }
        assert_eq!(vendors.send().await, (vec!["second"], Ok(())));
    }
}

#[tokio::test]
async fn a_vendor_that_fails_now_and_then_is_not_skipped() {
    let vendors = Vendors::new(&[Takes, Takes]);
    for _ in 0..5 {
        vendors.set(&[Refuses, Takes]);
        for _ in 0..2 {
            assert_eq!(vendors.send().await.0, ["first", "second"]);
        }
        vendors.set(&[Takes, Takes]);
        assert_eq!(vendors.send().await, (vec!["first"], Ok(())));
    }
}

#[tokio::test]
async fn while_every_vendor_is_skipped_every_vendor_is_tried() {
    let vendors = Vendors::new(&[Refuses, IsSilent]);
    for _ in 0..5 {
        assert_eq!(vendors.send().await.0, ["first", "second"]);
    }
    vendors.set(&[Refuses, Takes]);
    assert_eq!(vendors.send().await, (vec!["first", "second"], Ok(())));
    // Only the second has shown that it works again.
    assert_eq!(vendors.send().await, (vec!["second"], Ok(())));
}

/// Settings for two vendors, by flag.
pub fn two_vendors(yuntongxun: &str, webhook: &str) -> [String; 8] {
    [
        "--sms-provider=yuntongxun,webhook".to_owned(),
        "--sms-total-per-hour=0".to_owned(),
        "--yuntongxun-account-sid=8a216da8".to_owned(),
        format!("--yuntongxun-auth-token={TOKEN}"),
        "--yuntongxun-app-id=an-app".to_owned(),
        "--yuntongxun-template-id=1".to_owned(),
        format!("--sms-base-url-yuntongxun={yuntongxun}"),
        format!("--sms-webhook-url={webhook}"),
    ]
}

#[tokio::test]
async fn a_code_arrives_once_through_the_second_vendor_while_the_first_one_fails() {
    let (first, first_url) = StandIn::start(0, &[(200, r#"{"statusCode":"160050"}"#)]).await;
    let (second, second_url) = StandIn::start(0, &[(200, "")]).await;
    let flags = two_vendors(&first_url, &second_url);
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags.each_ref().map(String::as_str)).await;

    app.get(&format!("/app/v1_0/sms/codes/{MOBILE}")).await.expect(200);

    let (refused, taken) = (first.received(), second.received());
    let ([refused], [taken]) = (refused.as_slice(), taken.as_slice()) else { panic!("one request each") };
    let code = taken.json()["code"].as_str().unwrap().to_owned();
    assert_eq!(refused.json()["datas"][0], code);
    app.sign_in_with(MOBILE, &code).await.expect(201);
}

#[tokio::test]
async fn when_both_vendors_fail_neither_the_code_nor_the_gap_stays() {
    let success = r#"{"statusCode":"000000"}"#;
    let (first, first_url) = StandIn::start(0, &[(200, r#"{"statusCode":"160050"}"#), (200, success)]).await;
    let (second, second_url) = StandIn::start(0, &[(403, "")]).await;
    let flags = two_vendors(&first_url, &second_url);
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags.each_ref().map(String::as_str)).await;
    let path = format!("/app/v1_0/sms/codes/{MOBILE}");

    app.get(&path).await.expect_error(502, "sms_send_failed");

    let code = second.received()[0].json()["code"].as_str().unwrap().to_owned();
    app.sign_in_with(MOBILE, &code).await.expect_error(400, "sms_code_expired");
    app.get(&path).await.expect(200);
    let code = first.received()[1].json()["datas"][0].as_str().unwrap().to_owned();
    app.sign_in_with(MOBILE, &code).await.expect(201);
    assert!(second.received().is_empty());
}

#[tokio::test]
async fn each_vendors_failure_is_logged_once() {
    let (_first, first_url) = StandIn::start(0, &[(200, r#"{"statusCode":"160050"}"#); 2]).await;
    let (_second, second_url) = StandIn::start(0, &[(200, ""), (403, "")]).await;
    let flags = two_vendors(&first_url, &second_url);
    let folder = tempfile::tempdir().unwrap();
    let environment = [("LOG_FORMAT", "json"), ("SHUTDOWN_DELAY", "0"), ("SMS_RESEND_SECONDS", "0")];
    let process = Process::serve(folder.path(), &environment, &flags.each_ref().map(String::as_str)).await;
    for status in [200, 502] {
        process.get(&format!("/app/v1_0/sms/codes/{MOBILE}")).await.expect(status);
    }
    process.running.signal("TERM");
    let finished = process.finished().await;

    let lines = finished.stderr.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.filter(|line: &Value| line["level"] != "INFO").collect();
    let told: Vec<_> = lines.iter().map(|line| (line["level"].as_str(), line["error"].as_str())).collect();
    let first = (Some("WARN"), Some("yuntongxun refused the message: 160050"));
    assert_eq!(told, [first, first, (Some("ERROR"), Some("webhook refused the message: 403"))]);
    assert!(lines.iter().all(|line| line["mobile"] == "138****8000"), "{lines:?}");
}

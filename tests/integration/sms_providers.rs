//! Do the SMS providers speak their wire formats, and what do they make of the answers?

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::FixedOffset;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use phonepass::{
    auth::clock::Clock,
    model::mobile::Mobile,
    sms::{
        Console, Outbox, SentMessage, SmsError, SmsMessage, SmsProvider, Webhook, Yuntongxun, YuntongxunAccount,
        http_client,
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

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const TOKEN: &str = "a-yuntongxun-token";

pub struct Received {
    path: String,
    query: String,
    headers: HeaderMap,
    pub body: String,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
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
        });
        let answer = self.answers.lock().unwrap().pop_front();
        let Some((status, body)) = answer else {
            return std::future::pending().await;
        };
        Ok(Response::builder().status(StatusCode::from_u16(status).unwrap()).body(Body::from_string(body.to_owned())))
    }
}

fn message() -> SmsMessage {
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
    for status in [302, 400, 429] {
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
    let refusal = r#"{"statusCode":"160038","statusMsg":"13800138000: too often"}"#;
    for status in [200, 400] {
        let (_, url) = StandIn::start(0, &[(status, refusal)]).await;
        let result = yuntongxun(&url, Clock::system()).send(&message()).await;
        assert_eq!(result.as_ref().unwrap_err().to_string(), "yuntongxun refused the message: 160038");
        assert_refused(result, "160038");
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
        (200, "<html>maintenance</html>", "HTTP 200 without a statusCode"),
        (200, "", "HTTP 200 without a statusCode"),
        (200, r#"{"statusCode":0}"#, "HTTP 200 without a statusCode"),
        (404, "not here", "HTTP 404 without a statusCode"),
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

//! What do the tests stand on? A whole service over real HTTP, on back ends of its own, with a clock that moves.

pub mod backends;
pub mod command;
pub mod flows;
pub mod forwarder;
pub mod needs;
pub mod nginx;
pub mod process;
pub mod replicated_redis;
pub mod senders;
pub mod servers;
pub mod templates;

use std::{net::SocketAddr, time::Duration};

use backends::{Backends, Limits, Stores};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use phonepass::{
    app::{self, App},
    clock::Clock,
    config::Cli,
    random::Random,
    server::{self, Connections, Door, Room},
    sms::SentMessage,
    store::users::Timeouts,
};
use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// A mobile that no other test cares about: every test has its own back ends.
pub const MOBILE: &str = "13800138000";

/// A password that no rule refuses.
pub const PASSWORD: &str = "a long enough secret";

/// How long work may wait for a core.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Limits of a database that answers, however slow this machine is.
pub const WIDE: Timeouts = Timeouts { connection: PATIENCE, statement: PATIENCE };

/// A service of the test's own.
pub struct TestApp {
    pub url: String,
    pub clock: Clock,
    pub random: Random,
    pub app: App,
    pub stores: Stores,
    client: reqwest::Client,
    server: JoinHandle<Connections>,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    /// Sends a request and reads the answer to its end.
    pub async fn to(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, bytes: response.bytes().await.unwrap().into() }
    }

    /// The body as JSON; `null` if it is empty.
    pub fn json(&self) -> Value {
        if self.bytes.is_empty() { Value::Null } else { serde_json::from_slice(&self.bytes).unwrap() }
    }

    /// Fails unless the status is this one; returns the body.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.bytes));
        self.json()
    }

    /// Fails unless this is an error of the app family with this status and code; returns the body.
    #[track_caller]
    pub fn expect_error(&self, status: u16, code: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["request_id"], self.header("x-request-id"), "{body}");
        assert!(body["message"].is_string(), "{body}");
        body
    }

    /// Fails unless this is an answer of the classic families with this `errno`; returns the body.
    #[track_caller]
    pub fn expect_errno(&self, errno: i64) -> Value {
        let body = self.expect(200);
        assert_eq!(body["errno"], errno, "{body}");
        assert!(body["errmsg"].is_string(), "{body}");
        assert_eq!(self.header("content-type"), "application/json");
        body
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Fails unless this says that these fields are wrong, and no others.
    #[track_caller]
    pub fn expect_fields(&self, names: &[&str]) {
        let body = self.expect_error(400, "request_invalid");
        let fields: Vec<_> = body["fields"].as_array().into_iter().flatten().map(|field| &field["field"]).collect();
        assert_eq!(fields, names, "{body}");
    }

    /// The cookie that this sets, as a browser sends it back.
    pub fn cookie(&self) -> &str {
        self.header("set-cookie").split(';').next().unwrap()
    }
}

/// The two tokens of a session.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub access: String,
    pub refresh: String,
}

impl Tokens {
    pub fn of(body: &Value) -> Self {
        let text = |name: &str| body["data"][name].as_str().unwrap().to_owned();
        Self { access: text("token"), refresh: text("refresh_token") }
    }

    /// The claim `sid`.
    pub fn session_id(&self) -> String {
        self.claims()["sid"].as_str().unwrap().to_owned()
    }

    /// What the access token says.
    pub fn claims(&self) -> Value {
        let payload = URL_SAFE_NO_PAD.decode(self.access.split('.').nth(1).unwrap()).unwrap();
        serde_json::from_slice(&payload).unwrap()
    }
}

impl TestApp {
    /// A service with default settings.
    pub async fn start(backends: Backends) -> Self {
        Self::start_with(backends, &[]).await
    }

    /// A service with some settings, as flags.
    pub async fn start_with(backends: Backends, flags: &[&str]) -> Self {
        Self::start_on(Stores::create(backends).await, flags).await
    }

    /// A service on given stores: a second instance, or one after a restart.
    pub async fn start_on(stores: Stores, flags: &[&str]) -> Self {
        Self::start_at(Clock::movable(), stores, flags).await
    }

    /// A service on given stores that starts with this clock.
    pub async fn start_at(clock: Clock, stores: Stores, flags: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let mut all = vec!["phonepass".to_owned(), format!("--http-addr={address}")];
        all.extend(stores.flags());
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let mut config = Cli::from_flags(all).unwrap_or_else(|error| panic!("{error:?}")).config;
        // Servers that all tests share answer, however slow this machine is. One of the test's own may be stopped.
        let wide = |setting: &str| match stores.limits {
            Limits::Fitting => !flags.iter().any(|flag| flag.starts_with(setting)),
            Limits::OfOperators => false,
            Limits::Wide => true,
        };
        if wide("--database-url=") {
            config.database_timeouts = WIDE;
        }
        if wide("--redis-url=") {
            config.redis_timeout = PATIENCE;
        }
        let random = Random::seeded(stores.next_app());
        let mut app = app::build(&config, clock.clone(), random.clone()).await.unwrap();
        // Nothing is refused because this machine is slow.
        app.hashing.set_max_wait(PATIENCE);
        app.drawing.set_max_wait(PATIENCE);
        let endpoint = std::mem::replace(&mut app.endpoint, poem::EndpointExt::boxed(poem::Route::new()));
        let door = Door::of(&config, Room::unbounded());
        let server = tokio::spawn(server::serve_at(door, listener, endpoint, std::future::pending()));
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).no_proxy().build().unwrap();
        Self { url: format!("http://{address}"), clock, random, app, stores, client, server }
    }

    /// Moves time, in the service and in Redis.
    pub async fn advance(&self, seconds: u64) {
        self.clock.advance(chrono::Duration::seconds(seconds.cast_signed()));
        self.stores.expire(Duration::from_secs(seconds)).await;
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        Answer::to(request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn get_as(&self, path: &str, token: &str) -> Answer {
        self.send(self.request(Method::GET, path).bearer_auth(token)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    /// Sends a body as whoever has this access token.
    pub async fn send_as(&self, method: Method, path: &str, access_token: &str, body: Value) -> Answer {
        self.send(self.request(method, path).bearer_auth(access_token).json(&body)).await
    }

    /// Asks for a code and reads it where a developer would.
    pub async fn code(&self, mobile: &str) -> String {
        self.get(&format!("/app/v1_0/sms/codes/{mobile}")).await.expect(200);
        self.last_code(mobile)
    }

    /// So many numbers, at most a hundred, with a code each.
    pub async fn codes(&self, numbers: usize) -> Vec<(String, String)> {
        let mut codes = Vec::new();
        for number in 0..numbers {
            let mobile = format!("138001380{number:02}");
            let code = self.code(&mobile).await;
            codes.push((mobile, code));
        }
        codes
    }

    /// The last code that went to a mobile.
    pub fn last_code(&self, mobile: &str) -> String {
        let messages = self.app.outbox.as_ref().expect("the console provider").recent();
        messages.into_iter().find(|message| message.mobile == mobile).expect("a message").code
    }

    /// Asks for a code of a purpose as whoever has this access token (none is needed to reset a password). It may be sent
    /// only after the answer.
    pub async fn code_for(&self, purpose: &str, mobile: &str, access_token: &str) -> String {
        let outbox = self.app.outbox.as_ref().expect("the console provider");
        let fits = |message: &SentMessage| message.mobile == mobile && message.purpose == purpose;
        let sent = || outbox.recent().into_iter().filter(fits).map(|message| message.code).collect::<Vec<_>>();
        let before = sent().len();
        let body = json!({ "mobile": mobile, "purpose": purpose });
        self.send_as(Method::POST, "/app/v1_0/sms/codes", access_token, body).await.expect(200);
        process::until("a message", Duration::from_secs(10), async || sent().len() > before).await;
        sent().swap_remove(0)
    }

    pub async fn sign_in_with(&self, mobile: &str, code: &str) -> Answer {
        self.post("/app/v1_0/authorizations", json!({ "mobile": mobile, "code": code })).await
    }

    /// Signs in by code.
    pub async fn sign_in(&self, mobile: &str) -> Tokens {
        let code = self.code(mobile).await;
        Tokens::of(&self.sign_in_with(mobile, &code).await.expect(201))
    }

    pub async fn refresh(&self, refresh_token: &str) -> Answer {
        self.send(self.request(Method::PUT, "/app/v1_0/authorizations").bearer_auth(refresh_token)).await
    }

    pub async fn sign_out(&self, access_token: &str) -> Answer {
        self.send(self.request(Method::DELETE, "/app/v1_0/authorizations").bearer_auth(access_token)).await
    }

    pub async fn user(&self, access_token: &str) -> Answer {
        self.get_as("/app/v1_0/user", access_token).await
    }

    /// Draws a picture under an id and tells what it says.
    pub async fn picture(&self, id: &str) -> String {
        assert_eq!(self.get(&format!("/app/v1_0/image_codes/{id}")).await.status, 200);
        self.picture_text(id).await
    }

    /// What the picture under an id says.
    pub async fn picture_text(&self, id: &str) -> String {
        let text = self.app.codes.take_image_code(id).await.unwrap().expect("a picture code");
        self.put_picture(id, &text).await;
        text
    }

    /// Puts a picture under an id without drawing it.
    pub async fn put_picture(&self, id: &str, text: &str) {
        self.app.codes.put_image_code(id, text, "127.0.0.1", Duration::from_secs(300)).await.unwrap();
    }

    /// Sends a request as a browser page does that knows no tokens, only cookies.
    pub async fn send_with_cookie(&self, method: Method, path: &str, cookie: &str) -> Answer {
        self.send(self.request(method, path).header("cookie", cookie)).await
    }

    /// Registers with a password, the classic way.
    pub async fn register(&self, mobile: &str, password: &str) -> Answer {
        let code = self.classic_code(mobile).await;
        let body = json!({ "mobile": mobile, "sms_code": code, "password": password, "password2": password });
        self.post("/api/v1.0/users", body).await
    }

    /// Asks for a code the classic way, with a picture.
    pub async fn classic_code(&self, mobile: &str) -> String {
        let text = self.picture("a-picture").await;
        let path = format!("/api/v1.0/smscode/{mobile}?text={text}&id=a-picture");
        self.get(&path).await.expect_errno(0);
        self.last_code(mobile)
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Fails unless a session lives: both of its tokens work.
pub async fn expect_goes_on(app: &TestApp, tokens: &Tokens) {
    app.user(&tokens.access).await.expect(200);
    app.refresh(&tokens.refresh).await.expect(201);
}

/// Fails unless a session has been ended: both of its tokens say so.
pub async fn expect_ended(app: &TestApp, tokens: &Tokens) {
    app.user(&tokens.access).await.expect_error(401, "session_revoked");
    app.refresh(&tokens.refresh).await.expect_error(401, "session_revoked");
}

/// Fails unless an answer tells to wait for so many seconds, less those that the test has taken.
#[track_caller]
pub fn expect_retry_after(answer: &Answer, seconds: u64) {
    let told = answer.json()["retry_after"].as_u64().unwrap();
    assert_eq!(answer.header("retry-after"), told.to_string());
    assert!(told <= seconds && told + 60 > seconds, "{told}, not {seconds}");
}

/// A code that is not this one.
pub fn other_than(code: &str) -> &'static str {
    if code == "000000" { "000001" } else { "000000" }
}

/// Defines a test that runs on every combination of back ends.
#[macro_export]
macro_rules! on_every_backend {
    ($(#[$attribute:meta])* async fn $name:ident($backends:ident: Backends) $body:block) => {
        mod $name {
            use super::*;

            async fn test($backends: $crate::backends::Backends) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgresql_and_redis() {
                test($crate::backends::Backends::POSTGRESQL_AND_REDIS).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgresql_and_in_process() {
                test($crate::backends::Backends::POSTGRESQL_AND_IN_PROCESS).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite_and_redis() {
                test($crate::backends::Backends::SQLITE_AND_REDIS).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite_and_in_process() {
                test($crate::backends::Backends::SQLITE_AND_IN_PROCESS).await;
            }
        }
    };
}

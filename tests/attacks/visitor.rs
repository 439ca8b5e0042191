//! Clients of a service, each at an address and on a device, and what they make of its answers.

use futures_util::{StreamExt, stream};
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Answer, PATIENCE, TestApp, Tokens};

/// Every visitor stands behind this proxy.
pub const PROXY: &str = "--trusted-proxies=127.0.0.1";

pub const SEND: &str = "/app/v1_0/sms/codes";
pub const SIGN_IN: &str = "/app/v1_0/authorizations";
pub const SIGN_IN_WITH_PASSWORD: &str = "/app/v1_0/authorizations/password";

/// How many requests of a crowd are under way at the same time.
const AT_ONCE: usize = 16;

/// What an answer means to the one who asked, in any family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// It worked.
    Done,
    /// A challenge is asked for.
    Challenged,
    /// The challenge was not solved.
    Misread,
    /// A code or a password was looked at, and is wrong.
    Wrong,
    /// There is no such code.
    Missing,
    /// The number is registered.
    Taken,
    /// A limit refused.
    Limited,
    /// No vendor took the message.
    Unsent,
    /// There is no room at this moment.
    Busy,
}

impl Outcome {
    pub fn of(answer: &Answer) -> Self {
        let body = answer.json();
        match (answer.status.as_u16(), body["errno"].as_i64(), body["code"].as_str()) {
            (200, Some(0), _) | (200 | 201 | 204, None, _) => Self::Done,
            (200, Some(4001), _) | (503, ..) => Self::Busy,
            (200, Some(4002), _) | (400, _, Some("sms_code_expired")) => Self::Missing,
            (200, Some(4003), _) | (409, ..) => Self::Taken,
            (200, Some(4004 | 4106), _)
            | (400, _, Some("sms_code_invalid"))
            | (401, _, Some("credentials_invalid")) => Self::Wrong,
            (200, Some(4201), _) | (429, ..) => Self::Limited,
            (200, Some(4301), _) | (502, ..) => Self::Unsent,
            (400, _, Some("image_code_invalid" | "image_code_expired")) => Self::Misread,
            (403, _, Some("image_code_required")) => Self::Challenged,
            _ => panic!("{} {body}", answer.status),
        }
    }
}

/// A client at an address, and on a device where its app brings the id of one.
#[derive(Clone)]
pub struct Visitor<'a> {
    pub app: &'a TestApp,
    pub address: String,
    device: Option<String>,
}

impl<'a> Visitor<'a> {
    pub fn at(app: &'a TestApp, address: impl Into<String>) -> Self {
        Self { app, address: address.into(), device: None }
    }

    /// The same client with an app that knows its device.
    pub fn on_a_device(self) -> Self {
        Self { device: Some(Uuid::now_v7().to_string()), ..self }
    }

    /// The same device on another network.
    pub fn moved_to(&self, address: impl Into<String>) -> Self {
        Self { address: address.into(), ..self.clone() }
    }

    /// The same network without the device.
    pub fn without_device(&self) -> Self {
        Self { device: None, ..self.clone() }
    }

    pub async fn request(&self, method: Method, path: &str, mut body: Value) -> Answer {
        if let Some(id) = &self.device {
            body["device"] = json!({ "id": id, "name": "a phone", "platform": "android" });
        }
        let request = self.app.request(method, path).header("x-forwarded-for", &self.address);
        // No answer comes too late: this machine may be slow.
        self.app.send(request.timeout(PATIENCE).json(&body)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.request(Method::POST, path, body).await
    }

    /// Asks for a code to sign in with.
    pub async fn ask(&self, mobile: &str) -> Outcome {
        Outcome::of(&self.post(SEND, json!({ "mobile": mobile })).await)
    }

    /// Asks for one with what it reads in a picture: the right text, or a wrong one.
    pub async fn ask_with_picture(&self, mobile: &str, right: bool) -> Outcome {
        let (id, text) = self.picture(right).await;
        let body = json!({ "mobile": mobile, "image_code_id": id, "image_code": text });
        Outcome::of(&self.post(SEND, body).await)
    }

    /// Asks for one, with a picture read right if one is asked for.
    pub async fn ask_at_any_price(&self, mobile: &str) -> Outcome {
        match self.ask(mobile).await {
            Outcome::Challenged => self.ask_with_picture(mobile, true).await,
            outcome => outcome,
        }
    }

    /// Asks for one the classic way, with a picture read right.
    pub async fn ask_classic(&self, mobile: &str) -> Outcome {
        let (id, text) = self.picture(true).await;
        let body = json!({ "mobile": mobile, "image_code_id": id, "image_code": text });
        Outcome::of(&self.post("/passport/sms_code", body).await)
    }

    async fn picture(&self, right: bool) -> (String, &'static str) {
        let id = Uuid::now_v7().to_string();
        self.app.put_picture(&id, "abcd").await;
        (id, if right { "abcd" } else { "wxyz" })
    }

    pub async fn try_code(&self, mobile: &str, code: &str) -> Outcome {
        Outcome::of(&self.post(SIGN_IN, json!({ "mobile": mobile, "code": code })).await)
    }

    /// Signs in with the last code that was sent to a number: only its owner can read it.
    pub async fn enter_code(&self, mobile: &str) -> Outcome {
        self.try_code(mobile, &self.app.last_code(mobile)).await
    }

    pub async fn try_password(&self, mobile: &str, password: &str) -> Outcome {
        let body = json!({ "mobile": mobile, "password": password });
        Outcome::of(&self.post(SIGN_IN_WITH_PASSWORD, body).await)
    }

    /// Signs in by code, with nothing in the way.
    pub async fn sign_in(&self, mobile: &str) -> Tokens {
        assert_eq!(self.ask(mobile).await, Outcome::Done, "{mobile} from {}", self.address);
        let body = json!({ "mobile": mobile, "code": self.app.last_code(mobile) });
        Tokens::of(&self.post(SIGN_IN, body).await.expect(201))
    }

    /// Registers with a password, and signs in with it, so that the account knows network and device.
    pub async fn register(&self, mobile: &str, password: &str) {
        assert_eq!(self.ask_classic(mobile).await, Outcome::Done, "{mobile} from {}", self.address);
        let body = json!({ "mobile": mobile, "sms_code": self.app.last_code(mobile), "password": password });
        self.post("/passport/register", body).await.expect_errno(0);
        assert_eq!(self.try_password(mobile, password).await, Outcome::Done);
    }
}

/// Lets a crowd act, some at the same time; returns what each of them has got, in their order.
pub async fn crowd<T>(acts: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    stream::iter(acts).buffered(AT_ONCE).collect().await
}

/// How often something happened.
pub fn count(outcomes: &[Outcome], outcome: Outcome) -> usize {
    outcomes.iter().filter(|happened| **happened == outcome).count()
}

/// An IPv4 address alone in its /24.
pub fn scattered(n: usize) -> String {
    format!("{}.{}.{}.7", 11 + n / 65536, n / 256 % 256, n % 256)
}

/// A number by its 7-digit prefix: prefixes are handed out to a city and a carrier, numbers within one are neighbours.
pub fn number(prefix: usize, n: usize) -> String {
    format!("{}{n:04}", 1_370_000 + prefix)
}

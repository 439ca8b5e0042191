//! Requests from many places: every client of such a test stands behind a proxy, and some bring a device.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, PASSWORD, TestApp, Tokens};

/// Every client stands behind this proxy.
pub const PROXY: &str = "--trusted-proxies=127.0.0.1";

pub const HERE: &str = "192.0.2.1";
pub const THERE: &str = "198.51.100.7";
pub const OTHER: &str = "13900139000";
pub const HOUR: u64 = 3600;
pub const DAY: u64 = 24 * HOUR;

/// The id of a device.
pub const PHONE: &str = "01a1feda-4dd7-70d0-a6bb-cd5e7c17ea72";

/// No limit on messages but the one of a number, and no challenge.
pub const MANY_MESSAGES: [&str; 5] =
    [PROXY, "--sms-resend-seconds=0", "--sms-per-ip-per-hour=0", "--sms-asks-per-ip-per-hour=0", "--image-code=never"];

/// Where a request comes from, and on which device.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    pub ip: &'a str,
    pub device: Option<&'a str>,
}

/// A client at an address, without a device.
pub fn at(ip: &str) -> Sender<'_> {
    Sender { ip, device: None }
}

impl<'a> Sender<'a> {
    /// The same with a device.
    pub fn on(self, device: &'a str) -> Self {
        Self { device: Some(device), ..self }
    }

    pub async fn post(self, app: &TestApp, path: &str, mut body: Value) -> Answer {
        if let Some(device) = self.device {
            body["device"] = json!({ "id": device });
        }
        app.send(app.request(Method::POST, path).header("x-forwarded-for", self.ip).json(&body)).await
    }

    pub async fn ask(self, app: &TestApp, mobile: &str) -> Answer {
        self.post(app, "/app/v1_0/sms/codes", json!({ "mobile": mobile })).await
    }

    pub async fn ask_for(self, app: &TestApp, purpose: &str, mobile: &str) -> Answer {
        self.post(app, "/app/v1_0/sms/codes", json!({ "mobile": mobile, "purpose": purpose })).await
    }

    /// Asks with a picture that was read.
    pub async fn ask_with_picture(self, app: &TestApp, mobile: &str) -> Answer {
        app.put_picture("p", "abcd").await;
        let body = json!({ "mobile": mobile, "image_code_id": "p", "image_code": "abcd" });
        self.post(app, "/app/v1_0/sms/codes", body).await
    }

    /// Asks the classic way, with a picture that was read.
    pub async fn ask_classic(self, app: &TestApp, mobile: &str) -> Answer {
        app.put_picture("p", "abcd").await;
        let body = json!({ "mobile": mobile, "image_code_id": "p", "image_code": "abcd" });
        self.post(app, "/passport/sms_code", body).await
    }

    pub async fn try_code(self, app: &TestApp, mobile: &str, code: &str) -> Answer {
        self.post(app, "/app/v1_0/authorizations", json!({ "mobile": mobile, "code": code })).await
    }

    /// Guesses wrong at the last code that went to a mobile.
    pub async fn try_wrong_code(self, app: &TestApp, mobile: &str) -> Answer {
        self.try_code(app, mobile, wrong(app, mobile)).await
    }

    /// Asks for a code and signs in with it.
    pub async fn sign_in(self, app: &TestApp, mobile: &str) -> Tokens {
        self.ask(app, mobile).await.expect(200);
        Tokens::of(&self.try_code(app, mobile, &app.last_code(mobile)).await.expect(201))
    }

    pub async fn try_password(self, app: &TestApp, mobile: &str, password: &str) -> Answer {
        self.post(app, "/app/v1_0/authorizations/password", json!({ "mobile": mobile, "password": password })).await
    }

    pub async fn try_wrong_password(self, app: &TestApp, mobile: &str) -> Answer {
        self.try_password(app, mobile, "a wrong secret").await
    }

    /// Resets a password with a code.
    pub async fn reset(self, app: &TestApp, mobile: &str, code: &str) -> Answer {
        let body = json!({ "mobile": mobile, "code": code, "password": PASSWORD });
        self.post(app, "/app/v1_0/password_resets", body).await
    }
}

/// A code that is not the last one that was sent.
pub fn wrong(app: &TestApp, mobile: &str) -> &'static str {
    super::other_than(&app.last_code(mobile))
}

/// So many mobiles of one prefix.
pub fn numbers(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("137{n:08}"))
}

/// So many mobiles, no two of one prefix.
pub fn scattered_numbers(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("137{n:04}0000"))
}

/// An address in a network of its own and, up to 65,536 of them, in a block of its own.
pub fn stranger(n: usize) -> String {
    format!("{}.{}.{}.9", 60 + n / 65_536, n / 256 % 256, n % 256)
}

/// How many messages have gone to a mobile, of the last 50 in all.
pub fn messages_to(app: &TestApp, mobile: &str) -> usize {
    let messages = app.app.outbox.as_ref().expect("the console provider").recent();
    messages.iter().filter(|message| message.mobile == mobile).count()
}

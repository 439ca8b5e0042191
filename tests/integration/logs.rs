//! Does the log, at its most talkative, keep quiet about whom it serves and what they know?

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fred::{
    clients::Client,
    interfaces::{ClientLike, KeysInterface},
    types::{Builder, config::Config},
};
use phonepass::server;
use poem::{Endpoint, Request, Response, Result, http::StatusCode};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tokio::net::TcpListener;

use crate::{
    metrics::Scrape,
    support::{
        PASSWORD, Tokens,
        process::{Process, free_port, until},
        servers::{PASSWORD_IN_URL, Server},
    },
};

const SECRET: &str = "c2hhcmVkIHNlY3JldCBzaGFyZWQgc2VjcmV0IDMyYiE=";
const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const WEBHOOK_KEY: &str = "a-key-in-a-url";
const TEST_CODE: &str = "24681357";
const WRONG_PASSWORD: &str = "not the right secret";

// Who sign in: by code, by password, by a fixed code.
const ANNA: &str = "13812345670";
const BERT: &str = "13812345671";
const TESTER: &str = "13812345672";

// Who meet faults: of the vendor, of Redis, of PostgreSQL.
const CARL: &str = "13812345673";
const DORA: &str = "13812345674";
const EMIL: &str = "13812345675";

/// The vendor behind the webhook, and so every phone.
#[derive(Clone, Default)]
struct Vendor {
    codes: Arc<Mutex<Vec<String>>>,
    fails: Arc<AtomicBool>,
}

impl Vendor {
    /// Starts to listen; returns the URL.
    async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/sms?key={WEBHOOK_KEY}", listener.local_addr().unwrap());
        tokio::spawn(server::serve(listener, self.clone(), std::future::pending()));
        url
    }

    /// Every code so far, the last one last.
    fn codes(&self) -> Vec<String> {
        self.codes.lock().unwrap().clone()
    }

    fn last_code(&self) -> String {
        self.codes().pop().unwrap()
    }
}

impl Endpoint for Vendor {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        let message: Value = request.take_body().into_json().await?;
        self.codes.lock().unwrap().push(message["code"].as_str().unwrap().to_owned());
        let status = if self.fails.load(Ordering::Relaxed) { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
        Ok(Response::builder().status(status).finish())
    }
}

/// Draws a picture and reads it where the service keeps it.
async fn picture(process: &Process, redis: &Client) -> String {
    assert_eq!(process.get("/api/v1.0/imagecode/a-picture").await.status, 200);
    redis.get("phonepass:image_code:a-picture").await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_line_holds_a_mobile_a_code_a_token_a_password_or_a_secret() {
    let (mut postgresql, mut redis_server) = (Server::postgresql().await, Server::redis().await);
    let vendor = Vendor::default();
    let webhook = vendor.listen().await;
    let folder = tempfile::tempdir().unwrap();
    let test_codes = format!("{TESTER}={TEST_CODE}");
    let environment = [
        ("LOG_LEVEL", "trace"),
        ("LOG_FORMAT", "json"),
        ("DATABASE_URL", postgresql.url.as_str()),
        ("REDIS_URL", redis_server.url.as_str()),
        ("SECRET_KEY", SECRET),
        ("SMS_PROVIDER", "webhook"),
        ("SMS_TOTAL_PER_HOUR", "0"),
        ("SMS_WEBHOOK_URL", webhook.as_str()),
        ("SMS_WEBHOOK_SECRET", WEBHOOK_SECRET),
        ("SMS_TEST_CODES", test_codes.as_str()),
        ("IMAGE_CODE", "never"),
        ("SMS_RESEND_SECONDS", "0"),
        // As long as they get: six digits or four letters would show up by chance, in a time or an id.
        ("SMS_CODE_LENGTH", "8"),
        ("IMAGE_CODE_LENGTH", "8"),
        ("SHUTDOWN_DELAY", "0"),
    ];
    let process = Process::serve(folder.path(), &environment, &[]).await;
    let redis: Client = Builder::from_config(Config::from_url(&redis_server.url).unwrap()).build().unwrap();
    redis.init().await.unwrap();
    let mut sessions = Vec::new();
    let mut pictures = Vec::new();

    // By code.
    process.get(&format!("/app/v1_0/sms/codes/{ANNA}")).await.expect(200);
    process.post("/app/v1_0/sms/codes", json!({ "mobile": ANNA, "purpose": "login" })).await.expect(200);
    let code = vendor.last_code();
    let wrong = if code == "13579246" { "13579247" } else { "13579246" };
    process.sign_in_with(ANNA, wrong).await.expect_error(400, "sms_code_invalid");
    let anna = Tokens::of(&process.sign_in_with(&format!("+86 {ANNA}"), &code).await.expect(201));
    process.sign_in_with(ANNA, &code).await.expect_error(400, "sms_code_expired");
    let refreshed = Tokens::of(&process.refresh(&anna.refresh).await.expect(201));
    let user = |token: &str| process.request(Method::GET, "/app/v1_0/user").bearer_auth(token);
    process.send(user(&refreshed.access)).await.expect(200);
    process.send(user(&format!("{}x", anna.access))).await.expect_error(401, "token_invalid");
    process.refresh(&format!("{}x", anna.refresh)).await.expect_error(401, "refresh_token_invalid");
    sessions.extend([anna, refreshed.clone()]);
    sessions.push(Tokens::of(&process.sign_in_with(TESTER, TEST_CODE).await.expect(201)));

    // The classic way: the mobile is in the path.
    for path in ["smscode", "sms_codes", "sms_code"] {
        let text = picture(&process, &redis).await;
        let query = format!("text={text}&id=a-picture&image_code={text}&image_code_id=a-picture");
        process.get(&format!("/api/v1.0/{path}/{BERT}?{query}")).await.expect_errno(0);
        pictures.push(text);
    }
    let text = picture(&process, &redis).await;
    let body = json!({ "mobile": BERT, "image_code": text, "image_code_id": "a-picture" });
    process.post("/passport/sms_code", body).await.expect_errno(0);
    pictures.push(text);
    process.get(&format!("/api/v1.0/smscode/{BERT}?text=wrong-text&id=a-picture")).await.expect_errno(4002);
    let registration = |code: &str| json!({ "mobile": BERT, "sms_code": code, "password": PASSWORD });
    process.post("/api/v1.0/users", registration(wrong)).await.expect_errno(4004);
    let registered = process.post("/api/v1.0/users", registration(&vendor.last_code())).await.expect_errno(0);
    sessions.push(Tokens::of(&registered));
    for path in ["/api/v1.0/sessions", "/passport/login", "/app/v1_0/authorizations/password"] {
        process.post(path, json!({ "mobile": BERT, "password": WRONG_PASSWORD })).await;
        let right = process.post(path, json!({ "mobile": BERT, "password": PASSWORD })).await;
        sessions.push(Tokens::of(&right.json()));
    }
    let cookie = format!("phonepass_session={}", sessions.last().unwrap().access);
    let request = process.request(Method::GET, "/api/v1.0/session").header("cookie", cookie);
    process.send(request).await.expect_errno(0);

    // What makes no sense.
    for path in ["/app/v1_0/authorizations", "/api/v1.0/users", "/passport/login"] {
        let broken = format!(r#"{{"mobile":"{ANNA}","code":"{code}","password":"{PASSWORD}""#);
        let request = process.request(Method::POST, path).header("content-type", "application/json");
        process.send(request.body(broken)).await;
        process.post(path, json!([ANNA, code, PASSWORD])).await;
        process.post(path, json!({ "mobile": [ANNA], "code": { "code": code }, "password": 1 })).await;
    }
    process.get(&format!("/app/v1_0/users/{ANNA}?code={code}&token={}", refreshed.access)).await.expect(404);
    process.post(&format!("/app/v1_0/sms/codes/{ANNA}"), json!({})).await.expect(405);
    process.get(&format!("/app/v1_0/sms/codes/{ANNA}%FF{code}")).await;

    // Faults: of the vendor, ...
    vendor.fails.store(true, Ordering::Relaxed);
    process.get(&format!("/app/v1_0/sms/codes/{CARL}")).await.expect_error(502, "sms_send_failed");
    vendor.fails.store(false, Ordering::Relaxed);
    // ... of Redis, which finds something else where a code should be, and is gone, ...
    let _: () = redis.set(format!("phonepass:sms_code:login:{DORA}"), "no hash", None, None, false).await.unwrap();
    process.sign_in_with(DORA, wrong).await.expect_error(503, "unavailable");
    redis_server.stop();
    process.get(&format!("/app/v1_0/sms/codes/{DORA}")).await.expect_error(503, "unavailable");
    process.sign_in_with(DORA, wrong).await.expect_error(503, "unavailable");
    redis_server.start().await;
    // ... and of PostgreSQL, whose messages can quote a whole row, and which is gone, too.
    let mut connection = PgConnection::connect(&postgresql.url).await.unwrap();
    connection.execute("ALTER TABLE users ADD CHECK (mobile NOT LIKE '13812345675%')").await.unwrap();
    connection.close().await.unwrap();
    until("Redis is found again", Duration::from_secs(10), async || {
        process.get(&format!("/app/v1_0/sms/codes/{EMIL}")).await.status == 200
    })
    .await;
    process.sign_in_with(EMIL, &vendor.last_code()).await.expect_error(503, "unavailable");
    postgresql.stop();
    process.sign_in_with(EMIL, &vendor.last_code()).await.expect_error(503, "unavailable");
    process.refresh(&refreshed.refresh).await.expect_error(503, "unavailable");
    process.post("/passport/login", json!({ "mobile": BERT, "password": PASSWORD })).await.expect_errno(4001);
    postgresql.start().await;

    let sign_out = process.request(Method::DELETE, "/app/v1_0/authorizations").bearer_auth(&refreshed.access);
    process.send(sign_out).await.expect(204);
    process.send(user(&refreshed.access)).await.expect_error(401, "session_revoked");
    process.running.signal("TERM");
    let finished = process.finished().await;
    finished.expect_success();

    let lines: Vec<Value> = finished.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let served: Vec<_> = lines.iter().filter(|line| line["message"] == "request served").collect();
    let expected = [
        ("send_sms_code", 1),
        ("sign_in_with_sms_code", 11),
        ("sign_in_with_password", 2),
        ("refresh_token", 3),
        ("sign_out", 1),
        ("get_current_user", 3),
        ("ihome_send_sms_code_at_smscode", 2),
        ("ihome_send_sms_code", 2),
        ("ihome_register", 5),
        ("ihome_sign_in", 2),
        ("ihome_get_session", 1),
        ("passport_send_sms_code", 1),
        ("passport_sign_in", 6),
    ];
    let counted = expected.map(|(name, _)| (name, served.iter().filter(|line| line["operation"] == name).count()));
    assert_eq!(counted, expected, "{}", finished.stderr);
    assert!(served.iter().all(|line| line["span"]["request_id"].is_string()), "{}", finished.stderr);
    for fault in ["an SMS was not sent", "a request could not be served"] {
        assert!(lines.iter().any(|line| line["message"] == fault), "{fault}: {}", finished.stderr);
    }
    assert!(lines.iter().any(|line| line["mobile"] == "138****5673"), "{}", finished.stderr);

    let mut private = [ANNA, BERT, TESTER, CARL, DORA, EMIL].map(str::to_owned).to_vec();
    private.extend([PASSWORD, WRONG_PASSWORD, SECRET, WEBHOOK_SECRET, WEBHOOK_KEY, PASSWORD_IN_URL].map(str::to_owned));
    private.extend([wrong, TEST_CODE].map(str::to_owned));
    private.extend(vendor.codes().into_iter().chain(pictures));
    for tokens in sessions {
        // Without one part, a token is no less private.
        private.extend(tokens.access.split('.').skip(1).map(str::to_owned));
        private.push(tokens.refresh.trim_start_matches("rt_").to_owned());
    }
    let log = format!("{}{}", finished.stdout, finished.stderr).to_lowercase();
    for word in private {
        let line = log.lines().find(|line| line.contains(&word.to_lowercase()));
        assert!(line.is_none(), "{word} is in the log: {}", line.unwrap_or_default());
    }
}

/// The security events among the lines of a log.
fn events(lines: &str) -> Vec<Value> {
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["target"] == "phonepass::event").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_security_event_is_one_line_that_tells_who_and_from_where() {
    let folder = tempfile::tempdir().unwrap();
    let vendor = Vendor::default();
    let webhook = vendor.listen().await;
    let environment = [
        ("LOG_FORMAT", "json"),
        ("SMS_PROVIDER", "webhook"),
        ("SMS_TOTAL_PER_HOUR", "0"),
        ("SMS_WEBHOOK_URL", webhook.as_str()),
        ("SMS_RESEND_SECONDS", "0"),
        ("IMAGE_CODE", "never"),
        ("SMS_CODE_LENGTH", "8"),
        ("VERIFY_PER_MOBILE_PER_HOUR", "7"),
        ("TRUSTED_PROXIES", "127.0.0.1"),
        ("SHUTDOWN_DELAY", "0"),
    ];
    let process = Process::serve(folder.path(), &environment, &[]).await;
    let ask = async |mobile: &str, purpose: &str, token: &str| {
        let body = json!({ "mobile": mobile, "purpose": purpose });
        let request = process.request(Method::POST, "/app/v1_0/sms/codes").bearer_auth(token).json(&body);
        process.send(request).await
    };
    let send = async |method: Method, path: &str, token: &str, body: Value| {
        let request = process.request(method, &format!("/app/v1_0/{path}")).bearer_auth(token);
        process.send(request.json(&body)).await
    };
    let sign_in = async || {
        ask(ANNA, "login", "").await.expect(200);
        let request = process
            .request(Method::POST, "/app/v1_0/authorizations")
            .header("user-agent", "a phone")
            .header("x-forwarded-for", "192.0.2.1")
            .header("x-request-id", "request-of-anna");
        let answer = process.send(request.json(&json!({ "mobile": ANNA, "code": vendor.last_code() }))).await;
        answer.expect(201)
    };

    let registered = sign_in().await;
    let (user_id, tokens) = (registered["data"]["user_id"].clone(), Tokens::of(&registered));
    ask(ANNA, "reset_password", "").await.expect(200);
    until("the code in the background", Duration::from_secs(10), async || vendor.codes().len() == 2).await;
    let body = json!({ "password": PASSWORD, "code": vendor.last_code() });
    send(Method::PUT, "user/password", &tokens.access, body).await.expect(204);
    let body = json!({ "mobile": ANNA, "password": WRONG_PASSWORD });
    process.post("/app/v1_0/authorizations/password", body).await.expect_error(401, "credentials_invalid");
    let second = Tokens::of(&sign_in().await);
    send(Method::DELETE, "user/sessions", &second.access, json!({})).await.expect(204);
    let third = Tokens::of(&process.refresh(&second.refresh).await.expect(201));
    process.refresh(&third.refresh).await.expect(201);
    process.refresh(&second.refresh).await.expect_error(401, "refresh_token_reused");

    ask(ANNA, "login", "").await.expect(200);
    let wrong = if vendor.last_code() == "00000000" { "00000001" } else { "00000000" };
    for _ in 0..5 {
        process.sign_in_with(ANNA, wrong).await.expect_error(400, "sms_code_invalid");
    }
    let fourth = Tokens::of(&sign_in().await).access;
    ask(BERT, "change_mobile", &fourth).await.expect(200);
    let new = vendor.last_code();
    ask(ANNA, "change_mobile", &fourth).await.expect(200);
    let body = json!({ "mobile": BERT, "code": new, "current_code": vendor.last_code() });
    send(Method::PUT, "user/mobile", &fourth, body).await.expect(200);
    vendor.fails.store(true, Ordering::Relaxed);
    ask(BERT, "delete_account", &fourth).await.expect_error(502, "sms_send_failed");
    vendor.fails.store(false, Ordering::Relaxed);
    ask(BERT, "delete_account", &fourth).await.expect(200);
    let code = vendor.last_code();
    let wrong = if code == "00000000" { "00000001" } else { "00000000" };
    send(Method::POST, "account_deletions", &fourth, json!({ "code": wrong })).await.expect(400);
    send(Method::POST, "account_deletions", &fourth, json!({ "code": code })).await.expect(204);
    for _ in 0..8 {
        process.post("/app/v1_0/authorizations/password", json!({ "mobile": CARL, "password": PASSWORD })).await;
    }
    process.running.signal("TERM");
    let finished = process.finished().await;

    let events = events(&finished.stderr);
    let mut names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    names.dedup();
    let expected = [
        "code_sent",
        "registered",
        "code_sent",
        "password_changed",
        "sign_in_failed",
        "code_sent",
        "signed_in",
        "signed_out",
        "refresh_from_new_network",
        "refresh_reused",
        "code_sent",
        "sign_in_failed",
        "code_burnt",
        "code_sent",
        "signed_in",
        "code_sent",
        "mobile_changed",
        "code_not_sent",
        "code_sent",
        "code_refused",
        "account_deleted",
        "sign_in_failed",
        "limited",
    ];
    assert_eq!(names, expected, "{}", finished.stderr);
    let registered = &events[1];
    assert_eq!(registered["user_id"], user_id);
    assert!(registered["session_id"].is_string(), "{registered}");
    assert_eq!(registered["mobile"], "138****5670");
    assert_eq!((&registered["ip"], &registered["user_agent"]), (&json!("192.0.2.1"), &json!("a phone")));
    assert_eq!((&registered["request_id"], &registered["reason"]), (&json!("request-of-anna"), &json!("sms")));
    assert!(events.iter().all(|event| event["request_id"].is_string() && event["ip"].is_string()), "{events:?}");
    assert_eq!(events.last().unwrap()["reason"], "wrong_passwords");
    for private in [ANNA, BERT, CARL, PASSWORD, WRONG_PASSWORD].map(str::to_owned).into_iter().chain(vendor.codes()) {
        assert!(!events.iter().any(|event| event.to_string().contains(&private)), "{private}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signs_of_abuse_are_events_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = format!("127.0.0.1:{}", free_port());
    let environment = [
        ("LOG_FORMAT", "json"),
        ("METRICS_ADDR", metrics.as_str()),
        ("TRUSTED_PROXIES", "127.0.0.1"),
        ("SMS_RESEND_SECONDS", "0"),
        ("SMS_PER_IP_PER_HOUR", "1"),
        // Suspicion is on record, and does nothing else.
        ("FRAUD", "record"),
        ("SHUTDOWN_DELAY", "0"),
    ];
    let process = Process::serve(folder.path(), &environment, &[]).await;
    let from = |address: String, method: Method, path: &str| {
        process.request(method, &format!("/app/v1_0/{path}")).header("x-forwarded-for", address)
    };
    let ask = async |address: String, mobile: &str| {
        process.send(from(address, Method::POST, "sms/codes").json(&json!({ "mobile": mobile }))).await
    };
    // Nine messages of one block, and 22 to one prefix.
    for n in 0..9 {
        ask(format!("203.0.113.{n}"), &format!("137{n:04}0000")).await.expect(200);
    }
    for n in 0..22 {
        ask(format!("60.0.{n}.1"), &format!("1360000{n:04}")).await.expect(200);
    }
    // An owner, of whose messages strangers have six, and so many as are not redeemed are suspicious.
    ask("192.0.2.1".to_owned(), ANNA).await.expect(200);
    let outbox = process.request(Method::GET, "/dev/sms").header("accept", "application/json");
    let code = process.send(outbox).await.expect(200)[0]["code"].clone();
    let sign_in = from("192.0.2.1".to_owned(), Method::POST, "authorizations").header("user-agent", "a phone");
    let owner = process.send(sign_in.json(&json!({ "mobile": ANNA, "code": code }))).await.expect(201);
    for n in 0..6 {
        let status = ask(format!("61.0.{n}.1"), ANNA).await.status;
        assert_eq!(status, if n < 5 { 200 } else { 429 }, "{n}");
    }
    let mut tokens = Tokens::of(&owner);
    for (address, agent) in [
        ("192.0.2.1", "a phone"),
        ("192.0.2.1", "a script"),
        ("192.0.2.1", "a phone"),
        ("192.0.2.2", "a phone"),
        ("192.0.2.2", "a phone"),
    ] {
        let request = from(address.to_owned(), Method::PUT, "authorizations").header("user-agent", agent);
        tokens = Tokens::of(&process.send(request.bearer_auth(&tokens.refresh)).await.expect(201));
    }
    let scrape = Scrape::of(&metrics).await;
    process.running.signal("TERM");
    let finished = process.finished().await;

    let events = events(&finished.stderr);
    let reasons = |name: &str| {
        let events = events.iter().filter(|event| event["event"] == name);
        events.map(|event| event["reason"].as_str().unwrap()).collect::<Vec<_>>()
    };
    let suspicion = reasons("suspicion");
    assert_eq!(suspicion[..2], ["sms_block", "sms_prefix"], "{}", finished.stderr);
    assert!(suspicion[2..].iter().all(|reason| *reason == "sms_unredeemed"), "{suspicion:?}");
    assert_eq!(reasons("strangers_bound"), ["sms_per_mobile"], "{}", finished.stderr);
    assert_eq!(reasons("refresh_from_new_network"), ["agent", "network"], "{}", finished.stderr);
    for name in ["suspicion", "strangers_bound", "refresh_from_new_network"] {
        let counted = scrape.value("phonepass_security_events_total", &[("event", name)]);
        assert_eq!(counted, reasons(name).len() as f64, "{name}");
    }
    let named = events.iter().find(|event| event["event"] == "suspicion").unwrap();
    assert_eq!((&named["mobile"], &named["ip"]), (&json!("137****0000"), &json!("203.0.113.8")));
}

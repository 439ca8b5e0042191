//! The challenges that a refusal offers, and the answers that open the way to a code.

use std::time::Duration;

use aws_lc_rs::pbkdf2;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, MOBILE, TestApp, backends::Backends, on_every_backend};

const OTHER_MOBILE: &str = "13800138001";

/// Each message needs a proof of work.
const POW: [&str; 3] = ["--challenges=pow", "--image-code=always", "--sms-resend-seconds=0"];

/// A proof of work for a number.
async fn challenge(app: &TestApp, mobile: &str) -> Value {
    app.get(&format!("/app/v1_0/challenges/pow?mobile={mobile}")).await.expect(200)
}

fn bytes_of(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The key of a counter, as ALTCHA derives it.
fn key(challenge: &Value, counter: u32) -> String {
    let parameters = &challenge["parameters"];
    let password = [bytes_of(&parameters["nonce"]), counter.to_be_bytes().to_vec()].concat();
    let cost = u32::try_from(parameters["cost"].as_u64().unwrap()).unwrap().try_into().unwrap();
    let mut key = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, cost, &bytes_of(&parameters["salt"]), &password, &mut key);
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first counter whose key begins as asked for, or does not.
fn solution(challenge: &Value, fits: bool) -> Value {
    let (counter, key) =
        (0..).map(|counter| (counter, key(challenge, counter))).find(|(_, key)| key.starts_with("00") == fits).unwrap();
    json!({ "counter": counter, "derivedKey": key })
}

fn payload(challenge: &Value, solution: &Value) -> String {
    STANDARD.encode(json!({ "challenge": challenge, "solution": solution }).to_string())
}

/// A payload that counts for a number.
pub async fn solved(app: &TestApp, mobile: &str) -> String {
    let challenge = challenge(app, mobile).await;
    payload(&challenge, &solution(&challenge, true))
}

async fn send(app: &TestApp, mobile: &str, kind: &str, response: &str) -> Answer {
    let challenge = json!({ "kind": kind, "response": response });
    app.post("/app/v1_0/sms/codes", json!({ "mobile": mobile, "challenge": challenge })).await
}

#[tokio::test]
async fn a_refusal_lists_the_kinds_in_the_order_of_the_setting() {
    let all = [
        "--challenges=turnstile,picture,tencent,pow,aliyun",
        "--image-code=always",
        "--captcha-aliyun-access-key-id=a",
        "--captcha-aliyun-access-key-secret=b",
        "--captcha-aliyun-scene-id=c",
        "--captcha-tencent-secret-id=d",
        "--captcha-tencent-secret-key=e",
        "--captcha-tencent-app-id=7",
        "--captcha-tencent-app-secret-key=f",
        "--turnstile-site-key=g",
        "--turnstile-secret=h",
    ];
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &all).await;
    let refusal = app.get(&format!("/app/v1_0/sms/codes/{MOBILE}")).await.expect_error(403, "image_code_required");
    let expected = json!([
        { "kind": "turnstile", "site_key": "g" },
        { "kind": "picture" },
        { "kind": "tencent", "app_id": "7" },
        { "kind": "pow", "url": "/app/v1_0/challenges/pow" },
        { "kind": "aliyun", "scene_id": "c" },
    ]);
    assert_eq!(refusal["challenges"], expected);
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &["--image-code=always"]).await;
    let refusal = app.post("/app/v1_0/sms/codes", json!({ "mobile": MOBILE })).await;
    let refusal = refusal.expect_error(403, "image_code_required");
    assert_eq!(refusal["challenges"], json!([{ "kind": "picture" }]));
}

#[tokio::test]
async fn a_proof_of_work_is_a_bare_challenge_of_altcha_for_one_number() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &POW).await;
    let answer = app.get(&format!("/app/v1_0/challenges/pow?mobile=%2B86%20{MOBILE}")).await;
    let body = answer.expect(200);
    let members: Vec<_> = body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["parameters", "signature"]);
    let parameters = &body["parameters"];
    let fixed = ["algorithm", "cost", "keyLength", "keyPrefix"].map(|name| parameters[name].clone());
    assert_eq!(fixed, [json!("PBKDF2/SHA-256"), json!(5000), json!(32), json!("00")]);
    let rest = parameters["expiresAt"].as_i64().unwrap() - app.clock.now().timestamp();
    assert!((298..=300).contains(&rest), "{rest}");
    assert_eq!([&parameters["nonce"], &parameters["salt"]].map(|hex| bytes_of(hex).len()), [16, 16]);
    assert_eq!(bytes_of(&body["signature"]).len(), 32);
    // What is signed is the JSON as it is sent: sorted, without blanks.
    let text = String::from_utf8(answer.bytes.clone()).unwrap();
    let mut at = 0;
    for name in ["algorithm", "cost", "data", "expiresAt", "keyLength", "keyPrefix", "nonce", "salt", "signature"] {
        at += text[at..].find(&format!("\"{name}\":")).unwrap_or_else(|| panic!("{name} is out of order in {text}"));
    }
    let same_number = challenge(&app, MOBILE).await;
    assert_eq!(same_number["parameters"]["data"], parameters["data"]);
    assert_ne!(same_number["parameters"]["nonce"], parameters["nonce"]);
    assert_ne!(challenge(&app, OTHER_MOBILE).await["parameters"]["data"], parameters["data"]);
    assert!(!text.contains(MOBILE), "{text}");
}

#[tokio::test]
async fn a_proof_of_work_needs_a_number_and_the_setting() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &POW).await;
    app.get("/app/v1_0/challenges/pow").await.expect_fields(&["mobile"]);
    app.get("/app/v1_0/challenges/pow?mobile=1380013800").await.expect_error(400, "mobile_invalid");
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    app.get(&format!("/app/v1_0/challenges/pow?mobile={MOBILE}")).await.expect_error(404, "not_found");
}

on_every_backend! {
    async fn a_proof_of_work_opens_the_way_to_one_code_once(backends: Backends) {
        let app = TestApp::start_with(backends, &POW).await;
        let response = solved(&app, MOBILE).await;
        send(&app, MOBILE, "pow", &response).await.expect(200);
        app.sign_in_with(MOBILE, &app.last_code(MOBILE)).await.expect(201);
        send(&app, MOBILE, "pow", &response).await.expect_error(400, "image_code_invalid");

        let response = solved(&app, MOBILE).await;
        let answers = join_all((0..8).map(|_| send(&app, MOBILE, "pow", &response))).await;
        let passed = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(passed, 1);
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            answer.expect_error(400, "image_code_invalid");
        }
    }
}

#[tokio::test]
async fn where_a_network_has_no_place_left_in_the_process_a_proof_of_work_is_taken_if_it_is_exempt() {
    for (flags, is_exempt) in [(vec![], false), (vec!["--limit-exempt=127.0.0.1"], true)] {
        let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[&POW[..], &flags].concat()).await;
        for n in 0..1000 {
            assert!(app.app.codes.take_once(&n.to_string(), "127.0.0.1", Duration::from_secs(300)).await.unwrap());
        }
        let answer = send(&app, MOBILE, "pow", &solved(&app, MOBILE).await).await;
        if is_exempt {
            answer.expect(200)
        } else {
            answer.expect_error(429, "too_many_requests")
        };
    }
}

#[tokio::test]
async fn a_proof_of_work_that_another_instance_took_is_refused() {
    let app = TestApp::start_with(Backends::POSTGRESQL_AND_REDIS, &POW).await;
    let other = TestApp::start_on(app.stores.clone(), &POW).await;
    let response = solved(&app, MOBILE).await;
    send(&other, MOBILE, "pow", &response).await.expect(200);
    send(&app, MOBILE, "pow", &response).await.expect_error(400, "image_code_invalid");
}

on_every_backend! {
    async fn a_proof_of_work_expires_after_five_minutes_and_is_not_taken_twice_before(backends: Backends) {
        let app = TestApp::start_with(backends, &POW).await;
        let (early, late) = (solved(&app, MOBILE).await, solved(&app, MOBILE).await);
        send(&app, MOBILE, "pow", &early).await.expect(200);
        app.advance(200).await;
        send(&app, MOBILE, "pow", &early).await.expect_error(400, "image_code_invalid");
        app.advance(101).await;
        send(&app, MOBILE, "pow", &late).await.expect_error(400, "image_code_expired");
        send(&app, MOBILE, "pow", &early).await.expect_error(400, "image_code_expired");
    }
}

#[tokio::test]
async fn a_proof_of_work_counts_only_as_it_was_asked_for() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &POW).await;
    let [fresh, second, third] = [challenge(&app, MOBILE), challenge(&app, MOBILE), challenge(&app, MOBILE)];
    let [fresh, second, third] = [fresh.await, second.await, third.await];
    let right = solution(&fresh, true);
    let changed = |pointer: &str, value: Value| {
        let mut challenge = fresh.clone();
        *challenge.pointer_mut(pointer).unwrap() = value;
        payload(&challenge, &right)
    };
    // The key of a counter that any client can derive: the reference implementation took it once.
    let without_work = payload(&fresh, &solution(&fresh, false));
    let mut made_up = solution(&second, true);
    made_up["derivedKey"] = json!("00".repeat(32));
    let mut other_counter = solution(&third, true);
    other_counter["counter"] = json!(other_counter["counter"].as_u64().unwrap() + 1);
    let mut beyond = right.clone();
    beyond["counter"] = json!(right["counter"].as_u64().unwrap() + (1 << 32));
    for (what, response) in [
        ("a key without the prefix", without_work),
        ("a key that is none", payload(&second, &made_up)),
        ("another counter", payload(&third, &other_counter)),
        ("a solution after a wrong one", payload(&third, &solution(&third, true))),
        ("a counter that would wrap", payload(&fresh, &beyond)),
        ("a lower cost", changed("/parameters/cost", json!(1))),
        ("no prefix", changed("/parameters/keyPrefix", json!(""))),
        ("a shorter key", changed("/parameters/keyLength", json!(1))),
        ("another algorithm", changed("/parameters/algorithm", json!("SHA-256"))),
        ("a later end", changed("/parameters/expiresAt", json!(4_000_000_000_i64))),
        ("another nonce", changed("/parameters/nonce", json!("00"))),
        ("another number", changed("/parameters/data/m", json!("00"))),
        ("another signature", changed("/signature", json!("00"))),
        ("no signature", changed("/signature", Value::Null)),
        ("no JSON", STANDARD.encode("{")),
        ("no base64", "{}".to_owned()),
        ("too long a text", "A".repeat(5000)),
    ] {
        let answer = send(&app, MOBILE, "pow", &response).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["code"].as_str()),
            (400, Some("image_code_invalid")),
            "{what}"
        );
    }
    // Only a key that was derived uses its challenge up.
    send(&app, OTHER_MOBILE, "pow", &payload(&fresh, &right)).await.expect_error(400, "image_code_invalid");
    send(&app, MOBILE, "pow", &payload(&fresh, &right)).await.expect(200);
}

#[tokio::test]
async fn a_payload_may_be_url_safe_have_capitals_and_say_more() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &POW).await;
    let fresh = challenge(&app, MOBILE).await;
    let mut solution = solution(&fresh, true);
    solution["derivedKey"] = json!(solution["derivedKey"].as_str().unwrap().to_ascii_uppercase());
    solution["time"] = json!(83.2);
    let payload = json!({ "challenge": fresh, "solution": solution, "took": "a while, ÿ~?>" });
    send(&app, MOBILE, "pow", &URL_SAFE_NO_PAD.encode(payload.to_string())).await.expect(200);
}

#[tokio::test]
async fn a_proof_of_work_of_another_key_is_worth_nothing() {
    let key = |byte: u8| format!("--secret-key={}", STANDARD.encode([byte; 32]));
    let (one, other) = (key(1), key(2));
    let one = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[&POW[..], &[one.as_str()]].concat()).await;
    let other = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[&POW[..], &[other.as_str()]].concat()).await;
    let response = solved(&one, MOBILE).await;
    send(&other, MOBILE, "pow", &response).await.expect_error(400, "image_code_invalid");
    send(&one, MOBILE, "pow", &response).await.expect(200);
}

#[tokio::test]
async fn a_kind_that_is_not_configured_is_a_wrong_answer() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &POW).await;
    let text = app.picture("x").await;
    send(&app, MOBILE, "picture", &format!("x:{text}")).await.expect_error(400, "image_code_invalid");
    let body = json!({ "mobile": MOBILE, "image_code_id": "x", "image_code": text });
    app.post("/app/v1_0/sms/codes", body).await.expect_error(400, "image_code_invalid");
    for kind in ["aliyun", "tencent", "turnstile"] {
        send(&app, MOBILE, kind, "x").await.expect_error(400, "image_code_invalid");
    }
}

#[tokio::test]
async fn a_picture_is_answered_in_its_own_fields_or_as_a_challenge() {
    let flags = ["--image-code=always", "--challenges=pow,picture", "--sms-resend-seconds=0"];
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags).await;
    let text = app.picture("x").await;
    send(&app, MOBILE, "picture", &format!("x: {} ", text.to_uppercase())).await.expect(200);
    send(&app, MOBILE, "picture", &format!("x:{text}")).await.expect_error(400, "image_code_expired");
    app.put_picture("y", "abcd").await;
    send(&app, MOBILE, "picture", "y:wxyz").await.expect_error(400, "image_code_invalid");
    app.put_picture("z", "abcd").await;
    let body = json!({ "mobile": MOBILE, "image_code_id": "z", "image_code": "abcd", "challenge": null });
    app.post("/app/v1_0/sms/codes", body).await.expect(200);
}

/// What no client may send as `challenge`.
fn malformed() -> Vec<Value> {
    vec![
        json!({}),
        json!([]),
        json!("pow:x"),
        json!(1),
        json!({ "kind": "pow" }),
        json!({ "response": "x" }),
        json!({ "kind": "pow", "response": "" }),
        json!({ "kind": "pow", "response": 1 }),
        json!({ "kind": "hashcash", "response": "x" }),
        json!({ "kind": "Pow", "response": "x" }),
        json!({ "kind": "pow", "response": "x".repeat(8193) }),
        json!({ "kind": "picture", "response": "x" }),
        json!({ "kind": "picture", "response": "x:" }),
        json!({ "kind": "picture", "response": ":abcd" }),
        json!({ "kind": "picture", "response": "a.b:abcd" }),
    ]
}

#[tokio::test]
async fn a_malformed_challenge_is_told_wherever_one_is_taken_and_costs_nothing() {
    let flags = ["--sms-resend-seconds=0", "--sms-per-mobile-per-day=0"];
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags).await;
    let tokens = app.sign_in(MOBILE).await;
    let code = app.code(OTHER_MOBILE).await;
    let operations = [
        (Method::POST, "/sms/codes", json!({ "mobile": OTHER_MOBILE })),
        (Method::POST, "/authorizations", json!({ "mobile": OTHER_MOBILE, "code": code })),
        (Method::POST, "/authorizations/password", json!({ "mobile": OTHER_MOBILE, "password": "x" })),
        (Method::POST, "/password_resets", json!({ "mobile": MOBILE, "code": "123456", "password": "x" })),
        (Method::PUT, "/user/password", json!({ "password": "x", "old_password": "y" })),
        (Method::PUT, "/user/mobile", json!({ "mobile": OTHER_MOBILE, "code": "123456", "current_code": "123456" })),
        (Method::POST, "/account_deletions", json!({ "code": "123456" })),
    ];
    for (method, path, body) in &operations {
        for challenge in malformed() {
            let mut body = body.clone();
            body["challenge"] = challenge;
            let path = format!("/app/v1_0{path}");
            app.send_as(method.clone(), &path, &tokens.access, body).await.expect_fields(&["challenge"]);
        }
    }
    let body = json!({ "mobile": OTHER_MOBILE, "code": code, "challenge": "" });
    app.post("/app/v1_0/authorizations", body).await.expect(201);
}

#[tokio::test]
async fn a_challenge_travels_in_a_header_where_there_is_no_body_and_beside_one() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &POW).await;
    let get = |challenge: String| {
        let request = app.request(Method::GET, &format!("/app/v1_0/sms/codes/{MOBILE}"));
        app.send(request.header("x-challenge-response", challenge))
    };
    get(format!("pow:{}", solved(&app, MOBILE).await)).await.expect(200);
    get("pow:x".to_owned()).await.expect_error(400, "image_code_invalid");
    for malformed in ["", "pow", "pow:", ":x", "hashcash:x", "picture:x"] {
        get(malformed.to_owned()).await.expect_fields(&["X-Challenge-Response"]);
    }
    let post = app.request(Method::POST, "/app/v1_0/sms/codes").json(&json!({ "mobile": MOBILE }));
    let header = format!("pow:{}", solved(&app, MOBILE).await);
    app.send(post.header("x-challenge-response", header)).await.expect(200);
    let bytes = app.request(Method::GET, &format!("/app/v1_0/sms/codes/{MOBILE}"));
    let bytes = bytes.header("x-challenge-response", &b"pow:\xFF"[..]);
    app.send(bytes).await.expect_fields(&["X-Challenge-Response"]);
}

#[tokio::test]
async fn a_classic_page_shows_a_picture_whatever_the_kinds_are() {
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &POW).await;
    app.classic_code(MOBILE).await;
    let text = app.picture("x").await;
    let path = format!("/api/v1.0/sms_codes/{OTHER_MOBILE}?image_code={text}&image_code_id=x");
    let request = app.request(Method::GET, &path).header("x-challenge-response", "hashcash:x");
    let refusal = app.send(request).await.expect_errno(4103);
    assert!(refusal["errmsg"].as_str().unwrap().contains("X-Challenge-Response"), "{refusal}");
    let request = app.request(Method::GET, &path).header("x-challenge-response", "pow:x");
    app.send(request).await.expect_errno(0);
}

#[tokio::test]
async fn words_fit_the_kind_of_challenge() {
    let english = |request: reqwest::RequestBuilder| request.header("accept-language", "en");
    let pow = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &POW).await;
    let picture = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &["--image-code=always"]).await;
    for (app, message) in [(&pow, "A challenge has to be solved first"), (&picture, "A picture code is needed")] {
        let request = app.request(Method::GET, &format!("/app/v1_0/sms/codes/{MOBILE}"));
        let refusal = app.send(english(request)).await.expect_error(403, "image_code_required");
        assert_eq!(refusal["message"], message);
    }
    let request = pow.request(Method::GET, &format!("/app/v1_0/sms/codes/{MOBILE}"));
    let refusal = pow.send(english(request).header("x-challenge-response", "pow:x")).await;
    assert_eq!(refusal.expect_error(400, "image_code_invalid")["message"], "The challenge was not solved");
}

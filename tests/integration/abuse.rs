//! What does somebody get who tries as hard as they can? Simulations of attacks.

use std::collections::HashMap;

use futures_util::future::join_all;
use reqwest::{Method, header::HeaderValue};
use serde_json::{Value, json};

use crate::support::{Answer, MOBILE, PASSWORD, TestApp, backends::Backends};

const PROXY: &str = "--trusted-proxies=127.0.0.1";

/// What a proxy makes of a request from an address whose sender wrote an `X-Forwarded-For` of their own.
fn forwarded(spoofed: &str, real: &str) -> String {
    format!("{spoofed}, {real}")
}

async fn post(app: &TestApp, forwarded_for: &str, path: &str, body: Value) -> Answer {
    app.send(app.request(Method::POST, path).header("x-forwarded-for", forwarded_for).json(&body)).await
}

fn address(n: usize) -> String {
    format!("10.{}.{}.{}", n / 65536, n / 256 % 256, n % 256)
}

/// The ways to guess: at codes and at passwords, in every family.
const CODE_PATHS: [(&str, &str); 3] =
    [("/app/v1_0/authorizations", "code"), ("/api/v1.0/users", "sms_code"), ("/passport/register", "smscode")];
const PASSWORD_PATHS: [&str; 3] = ["/app/v1_0/authorizations/password", "/api/v1.0/sessions", "/passport/login"];

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Pathway {
    Code,
    Password,
}

/// Was a guess looked at, and was it wrong?
fn was_tried(answer: &Answer) -> bool {
    let body = answer.json();
    // 503: another guess at the password was looked at.
    assert!(!matches!(answer.status.as_u16(), 201 | 500..=502 | 504..), "{body}");
    body["code"] == "sms_code_invalid"
        || body["code"] == "credentials_invalid"
        || body["errno"] == 4004
        || body["errno"] == 4106
}

/// Ten thousand guesses within three hours, from several addresses, at codes and passwords, over fresh codes.
async fn brute_force(backends: Backends) {
    const ADDRESSES: usize = 4;
    const ROUNDS: usize = 18; // of ten minutes
    const GUESSES: usize = 140; // of an address in a round: together 10,080
    const BUDGET: usize = 20;
    const IN_ALL: usize = 100;
    let flags = [
        PROXY,
        "--sms-resend-seconds=0",
        "--sms-per-mobile-per-day=0",
        "--sms-per-ip-per-hour=0",
        "--sms-asks-per-ip-per-hour=0",
        "--image-code=never",
    ];
    let app = TestApp::start_with(backends, &flags).await;
    app.register(MOBILE, PASSWORD).await.expect_errno(0);
    // Whose codes the attackers guess at.
    let owner = "192.0.2.77";

    // How many guesses were tried: by pathway and address, a number for each round.
    let mut tried = HashMap::<(Pathway, usize), Vec<usize>>::new();
    for round in 0..ROUNDS {
        let attackers = (0..ADDRESSES).map(|attacker| {
            let app = &app;
            async move {
                let from = forwarded(&address(round * ADDRESSES + attacker), &format!("203.0.113.{attacker}"));
                let mut counts = HashMap::from([(Pathway::Code, 0), (Pathway::Password, 0)]);
                for batch in 0..7 {
                    post(app, owner, "/app/v1_0/sms/codes", json!({ "mobile": MOBILE })).await.expect(200);
                    let wrong = if app.last_code(MOBILE) == "111111" { "222222" } else { "111111" };
                    let guesses = (0..GUESSES / 7).map(|n| {
                        let from = &from;
                        async move {
                            let n = n + batch;
                            if n % 2 == 0 {
                                let (path, field) = CODE_PATHS[n / 2 % 3];
                                let body = json!({ "mobile": MOBILE, field: wrong, "password": "some long secret" });
                                (Pathway::Code, post(app, from, path, body).await)
                            } else {
                                let body = json!({ "mobile": MOBILE, "password": format!("guess number {n}") });
                                (Pathway::Password, post(app, from, PASSWORD_PATHS[n / 2 % 3], body).await)
                            }
                        }
                    });
                    for (pathway, answer) in join_all(guesses).await {
                        *counts.get_mut(&pathway).unwrap() += usize::from(was_tried(&answer));
                    }
                }
                (attacker, counts)
            }
        });
        for (attacker, counts) in join_all(attackers).await {
            for (pathway, count) in counts {
                tried.entry((pathway, attacker)).or_default().push(count);
            }
        }
        app.advance(600).await;
    }

    for pathway in [Pathway::Code, Pathway::Password] {
        for hour in 0..=ROUNDS - 6 {
            let within = |attacker| tried[&(pathway, attacker)][hour..hour + 6].iter().sum::<usize>();
            let each: Vec<_> = (0..ADDRESSES).map(within).collect();
            assert!(each.iter().all(|count| *count <= BUDGET), "{pathway:?} {hour} {each:?}");
        }
        let all: usize = (0..ADDRESSES).flat_map(|attacker| &tried[&(pathway, attacker)]).sum();
        assert!(all <= IN_ALL, "{pathway:?} {all}");
        // The attack was one: most of what there is was used up.
        assert!(all >= IN_ALL / 2, "{pathway:?} {all}");
    }

    // The owner, in the middle of it all, has mistyped once and signs in: both ways.
    let device = json!({ "id": "01a1feda-4dd7-70d0-a6bb-cd5e7c17ea72" });
    post(&app, owner, "/app/v1_0/sms/codes", json!({ "mobile": MOBILE })).await.expect(200);
    let code = app.last_code(MOBILE);
    let sign_in = json!({ "mobile": MOBILE, "code": code, "device": device });
    post(&app, owner, "/app/v1_0/authorizations", sign_in).await.expect(201);
    for (password, status) in [("a mistyped secret", 401), (PASSWORD, 201)] {
        let sign_in = json!({ "mobile": MOBILE, "password": password, "device": device });
        post(&app, "192.0.2.78", PASSWORD_PATHS[0], sign_in).await.expect(status);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_guesses_get_no_more_tries_than_the_budgets_on_postgresql_and_redis() {
    brute_force(Backends::POSTGRESQL_AND_REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_guesses_get_no_more_tries_than_the_budgets_on_sqlite_and_in_process() {
    brute_force(Backends::SQLITE_AND_IN_PROCESS).await;
}

fn messages(app: &TestApp) -> usize {
    app.app.outbox.as_ref().unwrap().recent().len()
}

/// A thousand numbers from one address, and one number from a thousand addresses, all under false names.
async fn bombing(backends: Backends) {
    let app = TestApp::start_with(backends, &[PROXY]).await;
    let code_path = "/app/v1_0/sms/codes";
    for n in 0..1000 {
        let from = forwarded(&address(n), "203.0.113.1");
        post(&app, &from, code_path, json!({ "mobile": format!("137{n:08}") })).await;
    }
    assert_eq!(messages(&app), 10, "after that, nothing without challenges");
    // Solving pictures gets to the quota, once requests are looked at again.
    app.advance(3600).await;
    for n in 1000..1100 {
        let text = app.picture("p").await;
        let from = forwarded(&address(n), "203.0.113.1");
        let body = json!({ "mobile": format!("137{n:08}"), "image_code_id": "p", "image_code": text });
        post(&app, &from, code_path, body).await;
    }
    assert_eq!(messages(&app), 10 + 30, "the quota of an address");

    for n in 0..1000 {
        let from = forwarded("192.0.2.9", &address(n));
        post(&app, &from, code_path, json!({ "mobile": MOBILE })).await;
        // An attacker with patience, and a day of it.
        if n % 10 == 9 {
            app.advance(860).await;
        }
    }
    let sent = messages(&app) - 40;
    assert!((3..=10).contains(&sent), "{sent}: the quota of a number, and the patience of the picture codes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_numbers_and_a_thousand_addresses_get_no_more_messages_than_the_quotas_on_postgresql_and_redis() {
    bombing(Backends::POSTGRESQL_AND_REDIS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_numbers_and_a_thousand_addresses_get_no_more_messages_than_the_quotas_on_sqlite_and_in_process() {
    bombing(Backends::SQLITE_AND_IN_PROCESS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_trusted_proxy_all_false_names_are_one_address() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    for n in 0..1000 {
        post(&app, &address(n), "/app/v1_0/sms/codes", json!({ "mobile": format!("137{n:08}") })).await;
    }
    assert_eq!(messages(&app), 10);
}

#[tokio::test]
async fn bytes_that_are_no_text_hide_nobody() {
    let flags = [PROXY, "--sms-per-ip-per-hour=1", "--image-code=never"];
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags).await;
    for (n, (forged, status)) in [("192.0.2.1", 200), ("192.0.2.2", 429), ("127.0.0.1", 429)].into_iter().enumerate() {
        // The proxy has added the last address to a line that its sender began.
        let begun_by_the_sender = HeaderValue::from_bytes(b"\xff, 198.51.100.7").unwrap();
        let request = app.request(Method::POST, "/app/v1_0/sms/codes").header("x-forwarded-for", forged);
        let request = request.header("x-forwarded-for", begun_by_the_sender);
        app.send(request.json(&json!({ "mobile": format!("1370000000{n}") }))).await.expect(status);
    }
}

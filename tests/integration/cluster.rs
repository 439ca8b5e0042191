//! Do the scripts keep to one slot each in a Redis Cluster, and hold the limits all the same?

use fred::{
    clients::Client,
    interfaces::{ClientLike, KeysInterface},
    types::{Builder, config::Config},
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    limits::scripts_run,
    sms_providers::StandIn,
    support::{MOBILE, PASSWORD, TestApp, Tokens, backends::Backends, other_than, servers::Server},
};

const OTHER: &str = "13900139000";

async fn ask(app: &TestApp, mobile: &str) -> crate::support::Answer {
    app.get(&format!("/app/v1_0/sms/codes/{mobile}")).await
}

/// A service on SQLite and a cluster of one master: it refuses, like any, a script whose keys are in different slots.
async fn start(cluster: &Server, flags: &[&str]) -> TestApp {
    let cluster = cluster.flag();
    TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[&[cluster.as_str()], flags].concat()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_in_limits_and_repetitions_work_in_a_cluster() {
    let cluster = Server::redis_cluster().await;
    let app = start(&cluster, &["--sms-total-per-hour=20", "--verify-per-mobile-per-hour=3"]).await;
    let tokens = app.sign_in(MOBILE).await;
    app.user(&tokens.access).await.expect(200);
    ask(&app, MOBILE).await.expect_error(429, "sms_too_frequent");
    app.register(OTHER, PASSWORD).await.expect_errno(0);

    let mobile = "13700137000";
    let code = app.code(mobile).await;
    let key = Uuid::now_v7().to_string();
    let sign_in = async |code: &str| {
        let request = app.request(reqwest::Method::POST, "/app/v1_0/authorizations").header("idempotency-key", &key);
        app.send(request.json(&json!({ "mobile": mobile, "code": code }))).await
    };
    sign_in(other_than(&code)).await.expect_error(400, "sms_code_invalid");
    let first = Tokens::of(&sign_in(&code).await.expect(201));
    assert_eq!(Tokens::of(&sign_in(&code).await.expect(201)).session_id(), first.session_id());

    let code = app.code("13700137001").await;
    for _ in 0..5 {
        app.sign_in_with("13700137001", other_than(&code)).await.expect_error(400, "sms_code_invalid");
    }
    app.sign_in_with("13700137001", &code).await.expect_error(400, "sms_code_expired");
    let credentials = json!({ "mobile": OTHER, "password": "a wrong secret" });
    app.post("/app/v1_0/authorizations/password", credentials).await.expect_error(401, "credentials_invalid");
    app.post("/passport/login", json!({ "mobile": OTHER, "password": PASSWORD })).await.expect_errno(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_a_request_for_a_message_is_one_step_for_each_subject() {
    let cluster = Server::redis_cluster().await;
    let app = start(&cluster, &["--sms-total-per-hour=20"]).await;
    ask(&app, OTHER).await.expect(200);
    let before = scripts_run(&cluster).await;
    ask(&app, MOBILE).await.expect(200);
    // The number with its code, its prefix, the address, its block, and all messages.
    assert_eq!(scripts_run(&cluster).await - before, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_what_one_slot_refuses_no_other_goes_on_counting() {
    let cluster = Server::redis_cluster().await;
    let app = start(&cluster, &["--sms-per-ip-per-hour=2", "--sms-total-per-hour=4"]).await;
    ask(&app, MOBILE).await.expect(200);
    for _ in 0..5 {
        // Refused by the number's slot: neither the address nor the total may count it.
        ask(&app, MOBILE).await.expect_error(429, "sms_too_frequent");
    }
    ask(&app, OTHER).await.expect(200);
    for number in 0..5 {
        ask(&app, &format!("1370000000{number}")).await.expect_error(429, "too_many_requests");
    }
    let client: Client = Builder::from_config(Config::from_url(&cluster.url).unwrap()).build().unwrap();
    client.init().await.unwrap();
    let total: usize =
        fred::interfaces::SortedSetsInterface::zcard(&client, "phonepass:limit:sms_total:{all}").await.unwrap();
    assert_eq!(total, 2);
    let gap: bool = client.exists("phonepass:limit:sms_gap:{13700000000}").await.unwrap();
    assert!(!gap);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_a_message_that_was_not_sent_leaves_nothing_behind() {
    let cluster = Server::redis_cluster().await;
    let flags = [
        "--sms-provider=webhook",
        "--sms-webhook-url=http://127.0.0.1:1/",
        "--sms-total-per-hour=0",
        "--sms-per-ip-per-hour=1",
    ];
    let app = start(&cluster, &flags).await;
    for _ in 0..3 {
        ask(&app, MOBILE).await.expect_error(502, "sms_send_failed");
    }
    app.sign_in_with(MOBILE, "000000").await.expect_error(400, "sms_code_expired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_a_code_that_arrived_signs_in_after_the_next_one_was_not_sent() {
    let cluster = Server::redis_cluster().await;
    let (vendor, url) = StandIn::start(0, &[(200, ""), (403, "")]).await;
    let webhook = format!("--sms-webhook-url={url}");
    let flags = ["--sms-provider=webhook", "--sms-total-per-hour=0", "--sms-resend-seconds=0", &webhook];
    let app = start(&cluster, &flags).await;
    ask(&app, MOBILE).await.expect(200);
    let code = vendor.received()[0].json()["code"].as_str().unwrap().to_owned();
    app.sign_in_with(MOBILE, other_than(&code)).await.expect_error(400, "sms_code_invalid");
    ask(&app, MOBILE).await.expect_error(502, "sms_send_failed");
    let body = app.sign_in_with(MOBILE, other_than(&code)).await.expect_error(400, "sms_code_invalid");
    assert_eq!(body["attempts_left"], 3);
    app.sign_in_with(MOBILE, &code).await.expect(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_a_code_is_kept_even_if_nothing_of_its_number_is_counted() {
    let cluster = Server::redis_cluster().await;
    for per_ip in ["--sms-per-ip-per-hour=0", "--sms-per-ip-per-hour=100"] {
        let off = ["--sms-resend-seconds=0", "--sms-per-mobile-per-day=0", "--verify-per-mobile-per-hour=0"];
        let app = start(&cluster, &[&off[..], &["--image-code=never", per_ip]].concat()).await;
        let code = app.code(MOBILE).await;
        app.sign_in_with(MOBILE, other_than(&code)).await.expect_error(400, "sms_code_invalid");
        app.sign_in_with(MOBILE, &code).await.expect(201);
        app.post("/app/v1_0/sms/codes", json!({ "mobile": OTHER, "purpose": "reset_password" })).await.expect(200);
    }
}

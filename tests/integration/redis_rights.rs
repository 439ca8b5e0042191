//! The rights that the service needs in Redis, and what happens when one is missing.

use futures_util::future::join_all;

use crate::support::{
    TestApp,
    backends::Backends,
    flows::{FLAGS, all_work},
    needs::need,
    process::until,
    replicated_redis::ReplicatedRedis,
    servers::Server,
};

const OPERATIONS: &str = include_str!("../../docs/operations.md");

/// How long `/readyz` may take to notice a change.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// The rights in `docs/operations.md`.
fn rights() -> String {
    let mut lines = OPERATIONS.lines().skip_while(|line| !line.starts_with("ACL SETUSER phonepass"));
    let rule: Vec<_> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
    assert!(!rule.is_empty(), "docs/operations.md has no rights");
    rule.concat().replace('\\', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The commands that readiness has to miss; the others are needed to connect.
fn commands() -> Vec<String> {
    let of_connections = ["+ping", "+info", "+client|id", "+role", "+cluster|slots", "+cluster|info"];
    let rights = rights();
    let granted = rights.split(' ').filter(|right| right.starts_with('+') && !of_connections.contains(right));
    granted.map(|right| right[1..].to_owned()).collect()
}

/// The setting that names a Redis, with the user in it.
fn as_user(flag: &str) -> String {
    flag.replacen("://", "://phonepass:PASSWORD@", 1)
}

async fn start(flag: &str) -> TestApp {
    let flag = as_user(flag);
    TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[&[flag.as_str()][..], &FLAGS].concat()).await
}

async fn expect_not_ready(app: &TestApp, why: &str) {
    until(why, PATIENCE, async || app.get("/readyz").await.status == 503).await;
    let checks = app.get("/readyz").await.expect(503)["checks"].clone();
    assert_eq!(
        (&checks[0]["ok"], &checks[1]["name"], &checks[1]["ok"]),
        (&true.into(), &"redis".into(), &false.into())
    );
}

async fn expect_ready(app: &TestApp, why: &str) {
    until(why, PATIENCE, async || app.get("/readyz").await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_in_the_manual_suffice_and_readiness_reports_each_that_is_missing() {
    let redis = Server::redis().await;
    let _: String = redis.ask(&rights()).await;
    let app = start(&redis.flag()).await;
    all_work(&app, "13811111").await;
    assert!(commands().len() > 10, "{:?}", commands());
    for command in commands() {
        let _: String = redis.ask(&format!("ACL SETUSER phonepass -{command}")).await;
        expect_not_ready(&app, &format!("{command} is missed")).await;
        let _: String = redis.ask(&format!("ACL SETUSER phonepass +{command}")).await;
        expect_ready(&app, &format!("{command} is back")).await;
    }
    let kinds = ["image_code", "sms_code", "idempotency", "limit", "once"];
    for keys in kinds {
        let others = kinds.into_iter().filter(|other| *other != keys);
        let others: String = others.map(|other| format!(" ~phonepass:{other}:*")).collect();
        let _: String = redis.ask(&format!("ACL SETUSER phonepass resetkeys{others}")).await;
        expect_not_ready(&app, &format!("the keys {keys} are missed")).await;
    }
    let _: String = redis.ask("ACL SETUSER phonepass ~phonepass:*").await;
    expect_ready(&app, "all keys are back").await;
    all_work(&app, "13822222").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_readiness_reports_a_right_that_one_primary_refuses() {
    let redis = ReplicatedRedis::in_a_cluster(&need("TEST_REDIS_SERVER")).await;
    redis.ask_all(&rights()).await;
    let app = start(&redis.flag).await;
    expect_ready(&app, "the cluster is known").await;
    all_work(&app, "13811111").await;
    for number in 0..3 {
        redis.ask_primary(number, "ACL SETUSER phonepass -evalsha -eval").await;
        expect_not_ready(&app, "scripts are missed").await;
        redis.ask_primary(number, "ACL SETUSER phonepass +evalsha +eval").await;
        expect_ready(&app, "scripts are back").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_sentinels_readiness_reports_a_right_that_the_primary_refuses() {
    let redis = ReplicatedRedis::under_sentinels(&need("TEST_REDIS_SERVER")).await;
    redis.ask_all(&rights()).await;
    let app = start(&redis.flag).await;
    all_work(&app, "13811111").await;
    redis.ask_primary(0, "ACL SETUSER phonepass -set").await;
    expect_not_ready(&app, "a command is missed").await;
    redis.ask_primary(0, "ACL SETUSER phonepass +set").await;
    expect_ready(&app, "the command is back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_ask_at_the_same_time_share_one_check() {
    let redis = Server::redis().await;
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[&redis.flag()]).await;
    let asked = async || {
        let stats: String = redis.ask("INFO commandstats").await;
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_getdel:calls=")).unwrap_or("0,").to_owned();
        line.split(',').next().unwrap().parse::<u128>().unwrap()
    };
    let before = asked().await;
    let started = std::time::Instant::now();
    for answer in join_all((0..200).map(|_| app.get("/readyz"))).await {
        answer.expect(200);
    }
    let (calls, allowed) = (asked().await - before, 1 + started.elapsed().as_millis() / 200);
    assert!((1..=allowed).contains(&calls), "{calls} of {allowed}");
}

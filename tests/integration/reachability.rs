//! Does the log say why a store is not reached, and no secret with it?

use std::fs;

use reqwest::Method;

use crate::support::{
    MOBILE,
    needs::need,
    process::{Process, free_port, until},
    servers::Server,
};

const PASSWORD: &str = "hunter2";

/// What a service says that starts without its Redis; it serves nevertheless.
async fn told_about_redis(url: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[("REDIS_URL", url), ("SHUTDOWN_DELAY", "0")], &[]);
    until("the service serves", std::time::Duration::from_secs(30), async || {
        process.request(Method::GET, "/healthz").send().await.is_ok()
    })
    .await;
    process.get("/readyz").await.expect(503);
    process.get(&format!("/app/v1_0/sms/codes/{MOBILE}")).await.expect_error(503, "unavailable");
    process.running.signal("TERM");
    let finished = process.finished().await;
    finished.expect_success();
    assert!(!finished.stderr.contains(PASSWORD), "{}", finished.stderr);
    finished.stderr
}

#[track_caller]
fn expect_reason(told: &str, reason: &str) {
    let warned = told.lines().filter(|line| line.contains("redis unreachable, retrying") && line.contains(reason));
    assert!(warned.clone().count() >= 1, "{reason} in {told}");
    assert!(warned.count() <= 2, "told again and again: {told}");
    // What a request fails with says why, too.
    let failed = told.lines().any(|line| line.contains("redis is unavailable") && line.contains(reason));
    assert!(failed, "{reason} in {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_redis_is_not_reached_at_the_start_is_in_the_log() {
    let redis = Server::redis_with(&need("TEST_REDIS_SERVER"), &["--requirepass", "Sesam"]).await;
    let (port, closed) = (redis.port(), free_port());
    let sentinel = "sentinelServiceName=phonepass";
    for (url, reason) in [
        (format!("redis://127.0.0.1:{port}"), "NOAUTH"),
        (format!("redis://:{PASSWORD}@127.0.0.1:{port}"), "WRONGPASS"),
        (format!("redis://nobody:{PASSWORD}@127.0.0.1:{port}"), "WRONGPASS"),
        (format!("rediss://:{PASSWORD}@127.0.0.1:{port}"), "TLS"),
        (format!("redis://:{PASSWORD}@127.0.0.1:{closed}"), "connection refused"),
        (format!("redis://:{PASSWORD}@nowhere.invalid:6379"), "failed to lookup address information"),
        (format!("redis-cluster://:{PASSWORD}@127.0.0.1:{closed}"), "connection refused"),
        (format!("redis-cluster://:{PASSWORD}@127.0.0.1:{port}"), "WRONGPASS"),
        (format!("redis-sentinel://:{PASSWORD}@127.0.0.1:{closed}?{sentinel}"), "connection refused"),
        (format!("redis-sentinel://127.0.0.1:{port}?{sentinel}&sentinelPassword={PASSWORD}"), "WRONGPASS"),
    ] {
        let told = told_about_redis(&url).await;
        expect_reason(&told, reason);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_redis_went_away_is_in_the_log() {
    let mut redis = Server::redis().await;
    let folder = tempfile::tempdir().unwrap();
    let environment = [("REDIS_URL", redis.url.as_str()), ("SHUTDOWN_DELAY", "0")];
    let mut process = Process::serve(folder.path(), &environment, &[]).await;
    process.sign_in(MOBILE).await;
    redis.stop();
    process.get("/app/v1_0/sms/codes/13900139000").await.expect_error(503, "unavailable");
    redis.start().await;
    process.ready().await;
    process.running.signal("TERM");
    let finished = process.finished().await;
    expect_reason(&finished.stderr, "connection refused");
    assert!(finished.stderr.contains("redis connected"), "{}", finished.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_postgresql_is_not_reached_is_the_last_word_of_a_start() {
    let hba = tempfile::Builder::new().prefix("hba").tempfile().unwrap();
    fs::write(hba.path(), "host all guest 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n").unwrap();
    fs::set_permissions(hba.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let mut postgresql = Server::postgresql_with(&[&format!("hba_file={}", hba.path().display())]).await;
    let (port, closed, folder) = (postgresql.port(), free_port(), tempfile::tempdir().unwrap());
    let run = async |url: &str| {
        let environment = [("DATABASE_URL", url)];
        let finished = Process::run(folder.path(), &environment, &[]).await;
        assert_eq!(finished.code, 1, "{finished:?}");
        assert!(!finished.stderr.contains(PASSWORD), "{finished:?}");
        finished.stderr
    };
    for (url, reason) in [
        (format!("postgres://guest:{PASSWORD}@127.0.0.1:{port}/postgres"), "password authentication failed"),
        (format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/nothing"), "does not exist"),
        (format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/postgres?sslmode=require"), "TLS"),
        (format!("postgres://postgres:{PASSWORD}@127.0.0.1:{closed}/postgres"), "connection refused"),
        (format!("postgres://postgres:{PASSWORD}@nowhere.invalid/postgres"), "failed to lookup address information"),
    ] {
        let told = run(&url).await;
        assert!(told.contains("postgresql is unavailable: ") && told.contains(reason), "{reason} in {told}");
        assert!(!told.contains("timed out"), "{told}");
    }

    for statements in ["named", "unnamed"] {
        let environment =
            [("DATABASE_URL", &*postgresql.url), ("DATABASE_STATEMENTS", statements), ("SHUTDOWN_DELAY", "0")];
        let process = Process::serve(folder.path(), &environment, &[]).await;
        let tokens = process.sign_in(MOBILE).await;
        postgresql.stop();
        // The first ones meet connections that were open, and are told why those were closed.
        for _ in 0..20 {
            process.refresh(&tokens.refresh).await.expect_error(503, "unavailable");
        }
        postgresql.start().await;
        process.running.signal("TERM");
        let told = process.finished().await.stderr;
        let reasons = told.lines().filter(|line| line.contains("postgresql is unavailable"));
        assert!(reasons.clone().any(|line| line.contains("connection refused")), "{told}");
        assert!(reasons.clone().all(|line| !line.contains("timed out")), "{told}");
    }
}

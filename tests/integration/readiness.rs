//! What `/readyz` reports about a store that answers, but cannot do what a sign-in needs.

use std::time::Duration;

use crate::support::{MOBILE, TestApp, backends::Backends, on_every_backend, process::until, servers::Server};

/// How long `/readyz` may take to notice a change.
const PATIENCE: Duration = Duration::from_secs(10);

async fn expect_not_ready(app: &TestApp, store: &str) {
    until("it is not ready", PATIENCE, async || app.get("/readyz").await.status == 503).await;
    let checks = app.get("/readyz").await.expect(503)["checks"].clone();
    let failing: Vec<_> = checks.as_array().unwrap().iter().filter(|check| check["ok"] == false).collect();
    assert!(failing.len() == 1 && failing[0]["name"] == store, "{checks}");
}

async fn expect_ready(app: &TestApp) {
    until("it is ready", PATIENCE, async || app.get("/readyz").await.status == 200).await;
}

on_every_backend! {
    async fn a_database_that_cannot_take_a_sign_in_is_not_ready(backends: Backends) {
        let app = TestApp::start_with(backends, &["--sms-resend-seconds=0"]).await;
        app.sign_in(MOBILE).await;
        expect_ready(&app).await;
        for table in ["users", "sessions"] {
            app.stores.execute(&format!("ALTER TABLE {table} RENAME TO gone")).await;
            expect_not_ready(&app, if backends.postgresql { "postgresql" } else { "sqlite" }).await;
            app.stores.execute(&format!("ALTER TABLE gone RENAME TO {table}")).await;
            expect_ready(&app).await;
        }
        app.sign_in(MOBILE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_full_is_not_ready() {
    let redis = Server::redis().await;
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[&redis.flag()]).await;
    expect_ready(&app).await;
    let _: String = redis.ask("CONFIG SET maxmemory 1").await;
    expect_not_ready(&app, "redis").await;
    let _: String = redis.ask("CONFIG SET maxmemory 0").await;
    expect_ready(&app).await;
    app.sign_in(MOBILE).await;
}

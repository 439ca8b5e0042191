//! A service on SQLite with a full disk, and with a writer that is stuck.

use std::{process::Command, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, SqliteConnection};

use crate::{
    faults::expect_unavailable,
    support::{
        Answer, MOBILE, PASSWORD, TestApp, Tokens,
        backends::{Backends, Stores},
        flows::FLAGS,
        process::{Process, free_port, until},
    },
};

const OTHER: &str = "13900139000";

/// How long the service may take to notice a change.
const RECOVERY: Duration = Duration::from_secs(10);

/// A service on SQLite, and a limit of the size of its files that moves: beyond it, writing fails as on a full disk.
struct Disk {
    process: Process,
    folder: tempfile::TempDir,
}

impl Disk {
    async fn with_room() -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), format!("127.0.0.1:{}", free_port()));
        let mut command = Command::new("sh");
        // The log would meet the limit, too.
        let program = "trap '' XFSZ; exec \"$0\" >/dev/null 2>&1";
        command.args(["-c", program, env!("CARGO_BIN_EXE_phonepass")]).current_dir(folder.path());
        let settings = [
            ("HTTP_ADDR", address.as_str()),
            ("SMS_TEST_CODES", "13800138000=246810,13900139000=135790"),
            ("DATA_DIR", "data"),
        ];
        let mut process = Process::of(command, &address, &settings);
        process.ready().await;
        Self { process, folder }
    }

    fn limit(&self, bytes: &str) {
        self.process.running.limit_file_size(bytes);
    }

    async fn send(&self, method: Method, path: &str, token: &str, body: Value) -> Answer {
        self.process.send(self.process.request(method, path).bearer_auth(token).json(&body)).await
    }

    async fn sign_in(&self, mobile: &str, code: &str) -> Answer {
        self.process.sign_in_with(mobile, code).await
    }

    async fn name(&self, token: &str) -> Value {
        self.send(Method::GET, "/app/v1_0/user", token, Value::Null).await.expect(200)["data"]["name"].clone()
    }

    /// Counts rows past the service.
    async fn count(&self, table: &str) -> i64 {
        let file = self.folder.path().join("data/phonepass.db");
        let mut database = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
        let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        sqlx::query_scalar(sql).fetch_one(&mut database).await.unwrap()
    }

    async fn expect_not_ready(&self) {
        until("it is not ready", RECOVERY, async || self.process.get("/readyz").await.status == 503).await;
        let checks = self.process.get("/readyz").await.expect(503)["checks"].clone();
        assert_eq!(checks[0], json!({ "name": "sqlite", "ok": false }), "{checks}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_reported_and_writing_resumes_without_a_restart() {
    let disk = Disk::with_room().await;
    let tokens = Tokens::of(&disk.sign_in(MOBILE, "246810").await.expect(201));
    let access = tokens.access.as_str();
    disk.sign_in(MOBILE, "246810").await.expect(201);
    let body = json!({ "mobile": OTHER, "sms_code": "135790", "password": PASSWORD });
    let registered = disk.process.post("/passport/register", body).await;
    let other = Tokens::of(&registered.expect_errno(0));
    let name = disk.name(access).await;
    let settings = disk.count("settings").await;

    for _ in 0..3 {
        disk.limit("4096");
        // Whatever changes a row, in each way that there is, several times.
        for _ in 0..2 {
            expect_unavailable(&disk.sign_in(MOBILE, "246810").await);
            expect_unavailable(&disk.process.refresh(&tokens.refresh).await);
            let renamed = disk.send(Method::PATCH, "/app/v1_0/user", access, json!({ "name": "lost" })).await;
            expect_unavailable(&renamed);
            let body = json!({ "password": "another long secret", "old_password": PASSWORD });
            expect_unavailable(&disk.send(Method::PUT, "/app/v1_0/user/password", &other.access, body).await);
            let body = json!({ "mobile": OTHER, "password": PASSWORD });
            disk.process.post("/passport/login", body).await.expect_errno(4001);
            let body = json!({ "mobile": "13700137000", "sms_code": "000000", "password": PASSWORD });
            disk.process.post("/passport/register", body).await.expect(200);
            expect_unavailable(&disk.send(Method::DELETE, "/app/v1_0/user/sessions", access, json!({})).await);
            expect_unavailable(&disk.send(Method::DELETE, "/app/v1_0/authorizations", access, json!({})).await);
            disk.expect_not_ready().await;
        }
        // Reading still works.
        assert_eq!(disk.name(access).await, name);

        disk.limit("unlimited");
        until("there is room", RECOVERY, async || disk.process.get("/readyz").await.status == 200).await;
        let again = Tokens::of(&disk.sign_in(MOBILE, "246810").await.expect(201));
        let renamed = disk.send(Method::PATCH, "/app/v1_0/user", &again.access, json!({ "name": name })).await;
        renamed.expect(200);
        disk.process.refresh(&tokens.refresh).await.expect(201);
        assert_eq!(disk.name(access).await, name);
        disk.process.post("/passport/login", json!({ "mobile": OTHER, "password": PASSWORD })).await.expect_errno(0);
    }
    // Each sign-in that was answered with success has its session, and none other has; looking leaves no trace.
    assert_eq!(disk.count("users").await, 2);
    assert_eq!(disk.count("sessions").await, 3 + 2 * 3);
    assert_eq!(disk.count("settings").await, settings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_writer_is_reported_and_abandoned_transactions_block_no_later_one() {
    let stores = Stores::create(Backends::SQLITE_AND_IN_PROCESS).await.hurried();
    let app = TestApp::start_on(stores, &FLAGS).await;
    let tokens = app.sign_in(MOBILE).await;
    let code = app.code(OTHER).await;
    for _ in 0..2 {
        let mut holder = SqliteConnection::connect(&app.stores.database_url()).await.unwrap();
        holder.execute("BEGIN IMMEDIATE").await.unwrap();
        // One request times out, another is cancelled: each leaves its transaction half-way.
        let body = json!({ "name": "lost" });
        let gone = app.request(Method::PATCH, "/app/v1_0/user").bearer_auth(&tokens.access).json(&body);
        let gone = tokio::time::timeout(Duration::from_millis(300), app.send(gone));
        let reported = until("readiness reports it", RECOVERY, async || app.get("/readyz").await.status == 503);
        let ((), signed_in, gone) = tokio::join!(reported, app.sign_in_with(OTHER, &code), gone);
        expect_unavailable(&signed_in);
        assert!(gone.is_err());
        holder.execute("ROLLBACK").await.unwrap();
        until("the writer writes", RECOVERY, async || app.get("/readyz").await.status == 200).await;
    }
    app.sign_in_with(OTHER, &code).await.expect(201);
    assert_ne!(app.user(&tokens.access).await.expect(200)["data"]["name"], "lost");
}

//! Does the work of a start and of the commands stay small in a large database?

use std::{process::Stdio, time::Duration};

use phonepass::{
    auth::master_key::MasterKey,
    clock::Clock,
    model::{mobile::Mobile, user::UserStatus},
    store::users::{self, Statements},
};
use reqwest::Method;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, SqliteConnection};

use crate::support::{
    MOBILE, TestApp, WIDE,
    backends::{Backends, Stores},
    command::{phonepass, run},
    process::{Process, until},
};

/// What PostgreSQL itself counted of a table: rows that a scan has read, rows that an index has led to, rows changed.
#[derive(Debug, sqlx::FromRow)]
struct Touched {
    scanned: i64,
    found: i64,
    changed: i64,
}

impl Touched {
    /// What was counted since then, once all others have disconnected, which is when the last of it is counted.
    async fn since(&self, stores: &Stores, table: &str) -> Self {
        let mut connection = PgConnection::connect(&stores.database_url()).await.unwrap();
        let others = "SELECT count(*) FROM pg_stat_activity
                      WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
        while sqlx::query_scalar::<_, i64>(others).fetch_one(&mut connection).await.unwrap() > 0 {
            tokio::task::yield_now().await;
        }
        let now: Self = sqlx::query_as(
            "SELECT seq_tup_read AS scanned, coalesce(idx_tup_fetch, 0) AS found, n_tup_upd AS changed
             FROM pg_stat_user_tables WHERE relname = $1",
        )
        .bind(table)
        .fetch_one(&mut connection)
        .await
        .unwrap();
        Self { scanned: now.scanned - self.scanned, found: now.found - self.found, changed: now.changed - self.changed }
    }

    const NOTHING: Self = Self { scanned: 0, found: 0, changed: 0 };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_created_lately_are_found_among_a_million_without_a_scan() {
    let stores = Stores::create(Backends::POSTGRESQL_AND_IN_PROCESS).await;
    let list = async || {
        let finished = run(&stores, &["users", "list", "--format=csv", "--created-after=2025-01-01"], "").await;
        let text = finished.expect_success().to_owned();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        reader.records().map(|row| row.unwrap()[5].to_owned()).collect::<Vec<_>>()
    };
    assert!(list().await.is_empty());
    // Every 800th of them, 1250 in all, and the last to come was created first, as in an import.
    stores
        .execute(
            "INSERT INTO users (id, mobile, name, status, created_at, updated_at, last_login)
             SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 13800000000 + n, '', 'active',
                    CASE n % 800 WHEN 0 THEN timestamptz '2025-01-31Z' - n * interval '1 second'
                                 ELSE timestamptz '2024-01-31Z' END, now(), now()
             FROM generate_series(1, 1000000) AS n",
        )
        .await;
    let before = Touched::NOTHING.since(&stores, "users").await;
    let times = list().await;
    assert_eq!(times.len(), 1250);
    assert!(times.is_sorted() && times[0].starts_with("2025-01-19"), "{:?}", &times[..3]);
    let touched = before.since(&stores, "users").await;
    assert!(touched.scanned == 0 && touched.found < 2000, "{touched:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_secret_ends_a_million_sessions_without_touching_them() {
    let stores = Stores::create(Backends::POSTGRESQL_AND_IN_PROCESS).await;
    let (folder, url) = (stores.folder.path(), stores.database_url());
    let secrets = [MasterKey::generate(), MasterKey::generate()];
    let [former, renewed] = [0, 1].map(|secret| [("SECRET_KEY", &*secrets[secret]), ("DATABASE_URL", &*url)]);
    let process = Process::serve(folder, &former, &[]).await;
    let old = process.sign_in(MOBILE).await;
    stop(process).await;
    // A million that live, and three thousand that have been ended and expired, too lately for the service to delete them.
    stores
        .execute(
            "INSERT INTO sessions (id, user_id, amr, refresh_counter, created_at, expires_at, revoked_at)
             SELECT (lpad(to_hex(1700000000000 + n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid,
                    ('00000000-0000-7000-8000-' || lpad(to_hex(n / 3), 12, '0'))::uuid, 'sms', 0,
                    now() - interval '20 days', now() + interval '10 days' - (n % 335 / 334) * interval '250 hours',
                    CASE n % 335 WHEN 334 THEN now() - interval '2 days' END
             FROM generate_series(1, 1005000) AS n",
        )
        .await;
    let before = Touched::NOTHING.since(&stores, "sessions").await;

    let process = Process::serve(folder, &renewed, &["--accept-new-secret"]).await;
    let new = process.sign_in(MOBILE).await;
    process.refresh(&new.refresh).await.expect(201);
    stop(process).await;
    let process = Process::serve(folder, &former, &["--accept-new-secret"]).await;
    for tokens in [&old, &new] {
        let answer = process.refresh(&tokens.refresh).await;
        let code = if tokens.refresh == old.refresh { "session_revoked" } else { "refresh_token_invalid" };
        answer.expect_error(401, code);
    }
    stop(process).await;
    let touched = before.since(&stores, "sessions").await;
    assert!(touched.scanned == 0 && touched.found < 100 && touched.changed < 10, "{touched:?}");

    let users = users::connect(&url.parse().unwrap(), Statements::Named, 2, WIDE).await.unwrap();
    for deleted in [1000, 1000, 1000, 0] {
        let (now, known) = (Clock::system().now(), Clock::system().now() - chrono::Duration::days(90));
        assert_eq!(users.delete_sessions_over_before(now, known, 1000).await.unwrap(), deleted);
    }
    drop(users);
    let touched = before.since(&stores, "sessions").await;
    assert!(touched.scanned == 0 && touched.found < 10_000, "{touched:?}");
}

/// Ends whatever a user with a million sessions has, in four ways: each touches so many rows as if there were three.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_sessions_of_one_user_end_in_one_row() {
    let stores = Stores::create(Backends::POSTGRESQL_AND_IN_PROCESS).await;
    let (folder, url) = (stores.folder.path(), stores.database_url());
    let process = Process::serve(folder, &[("DATABASE_URL", &*url)], &[]).await;
    let tokens = process.sign_in(MOBILE).await;
    stop(process).await;
    stores
        .execute(
            "INSERT INTO sessions (id, user_id, amr, refresh_counter, created_at, expires_at)
             SELECT (lpad(to_hex(1700000000000 + n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid,
                    users.id, 'sms', 0, now() - interval '20 days' + n * interval '1 ms', now() + interval '10 days'
             FROM generate_series(1, 1000000) AS n, users",
        )
        .await;
    stores.execute("ANALYZE sessions").await;
    let users = users::connect(&url.parse().unwrap(), Statements::Named, 2, WIDE).await.unwrap();
    let user = users.user_by_mobile(&Mobile::parse(MOBILE).unwrap()).await.unwrap().unwrap().id;
    let session = users.sessions(user, 1, Clock::system().now()).await.unwrap()[0].id;
    drop(users);

    for way in 0..5 {
        let before = Touched::NOTHING.since(&stores, "sessions").await;
        let users = users::connect(&url.parse().unwrap(), Statements::Named, 2, WIDE).await.unwrap();
        let now = Clock::system().now();
        match way {
            0 => drop(users.end_sessions(user, Some(session), now).await.unwrap().unwrap()),
            1 => drop(users.set_password(user, "hash", None, &[], now).await.unwrap().unwrap()),
            2 => drop(users.set_status(user, UserStatus::Disabled, &[], now).await.unwrap().unwrap()),
            3 => assert!(users.sessions(user, 100, now).await.unwrap().is_empty()),
            _ => assert!(users.endings_since(None, Duration::from_secs(3600)).await.unwrap().ended.is_empty()),
        }
        drop(users);
        let touched = before.since(&stores, "sessions").await;
        assert!(touched.scanned == 0 && touched.found < 10 && touched.changed == 0, "{way}: {touched:?}");
    }
    let process = Process::serve(folder, &[("DATABASE_URL", &*url)], &[]).await;
    process.refresh(&tokens.refresh).await.expect_error(403, "account_disabled");
    stop(process).await;
}

/// What SQLite reads while a user's sessions end, once with three of them and once with very many: the same few pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_sqlite_a_million_sessions_of_one_user_end_in_one_row() {
    let stores = Stores::create(Backends::SQLITE_AND_IN_PROCESS).await;
    let app = TestApp::start_on(stores.clone(), &["--sms-resend-seconds=0"]).await;
    for _ in 0..3 {
        app.sign_in(MOBILE).await;
    }
    drop(app);
    let few = read_by_endings(&stores).await;
    fill_sqlite(&stores, 1_000_000).await;
    let many = read_by_endings(&stores).await;
    for ((way, few), (_, many)) in few.into_iter().zip(many) {
        assert!(many < few + 64 * PAGE, "{way}: {many} bytes instead of {few}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sessions_of_a_deleted_user_are_read_a_few_times_and_no_more() {
    let stores = Stores::create(Backends::SQLITE_AND_IN_PROCESS).await;
    let app = TestApp::start_on(stores.clone(), &[]).await;
    app.sign_in(MOBILE).await;
    drop(app);
    fill_sqlite(&stores, 50_000).await;
    let size = std::fs::metadata(stores.folder.path().join("phonepass.db")).unwrap().len();
    let read = read_by_command(&stores, &["users", "delete", MOBILE, "--yes"]).await;
    assert!(read < 10 * size, "{read} bytes of {size}");
    let url = stores.database_url();
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let left = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM sessions WHERE ip IS NOT NULL");
    assert_eq!(left.fetch_one(&mut connection).await.unwrap(), 0);
}

/// A page of SQLite.
const PAGE: u64 = 4096;

/// So many living sessions of the one user there is.
async fn fill_sqlite(stores: &Stores, sessions: u32) {
    let sql = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {sessions})
         INSERT INTO sessions (id, user_id, amr, refresh_counter, created_at, expires_at, ip)
         SELECT unhex(printf('%012x70008000%012x', 1700000000000 + n, n)), users.id, 'sms', 0,
                (unixepoch() - 20 * 86400) * 1000000 + n * 1000, (unixepoch() + 10 * 86400) * 1000000, '192.0.2.1'
         FROM numbers, users;
         ANALYZE;
         PRAGMA wal_checkpoint(TRUNCATE)"
    );
    stores.execute(&sql).await;
}

/// How many bytes the program reads while the sessions of the one user there is end, way by way.
async fn read_by_endings(stores: &Stores) -> Vec<(&'static str, u64)> {
    let flags = stores.flags();
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let environment = [("SMS_RESEND_SECONDS", "0"), ("SHUTDOWN_DELAY", "0")];
    let process = Process::serve(stores.folder.path(), &environment, &flags).await;
    let tokens = process.sign_in(MOBILE).await;
    process.post("/app/v1_0/sms/codes", json!({ "mobile": MOBILE, "purpose": "reset_password" })).await.expect(200);
    let mut code = Value::Null;
    until("a code is sent", Duration::from_secs(30), async || {
        let messages = process.request(Method::GET, "/dev/sms").header("accept", "application/json");
        let message = process.send(messages).await.expect(200)[0].clone();
        code = message["code"].clone();
        message["purpose"] == "reset_password"
    })
    .await;
    let mut read = Vec::new();
    for way in ["others", "reset"] {
        let before = bytes_read_by(process.running.id());
        if way == "others" {
            let others = process.request(Method::DELETE, "/app/v1_0/user/sessions").bearer_auth(&tokens.access);
            process.send(others).await.expect(204);
        } else {
            let reset = json!({ "mobile": MOBILE, "code": code, "password": "as long as it is new" });
            process.post("/app/v1_0/password_resets", reset).await.expect(204);
        }
        read.push((way, bytes_read_by(process.running.id()) - before));
    }
    stop(process).await;
    for way in ["sign-out", "disable", "enable"] {
        read.push((way, read_by_command(stores, &["users", way, MOBILE, "--yes"]).await));
    }
    read
}

/// How many bytes a command reads, which has to succeed.
async fn read_by_command(stores: &Stores, arguments: &[&str]) -> u64 {
    let mut command = phonepass(stores, arguments);
    let run = move || {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        // Its end is waited for without taking it away: what it has read goes with it.
        let id = Pid::from_child(&child);
        waitid(WaitId::Pid(id), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        let read = bytes_read_by(child.id());
        assert!(child.wait().unwrap().success());
        read
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// How many bytes a process has read, from files and from the cache of the kernel alike.
fn bytes_read_by(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/io")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

async fn stop(process: Process) {
    process.running.signal("TERM");
    assert_eq!(process.finished().await.code, 0);
}

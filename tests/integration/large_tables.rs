//! Does the work of a start and of the commands stay small in a large database?

use std::time::Duration;

use phonepass::{
    auth::master_key::MasterKey,
    clock::Clock,
    model::{mobile::Mobile, user::UserStatus},
    store::users::{self, Statements},
};
use sqlx::{Connection, PgConnection};

use crate::support::{
    MOBILE,
    backends::{Backends, Stores},
    command::run,
    process::Process,
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

    let users = users::connect(&url.parse().unwrap(), Statements::Named, 2).await.unwrap();
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
    let users = users::connect(&url.parse().unwrap(), Statements::Named, 2).await.unwrap();
    let user = users.user_by_mobile(&Mobile::parse(MOBILE).unwrap()).await.unwrap().unwrap().id;
    let session = users.sessions(user, 1, Clock::system().now()).await.unwrap()[0].id;
    drop(users);

    for way in 0..5 {
        let before = Touched::NOTHING.since(&stores, "sessions").await;
        let users = users::connect(&url.parse().unwrap(), Statements::Named, 2).await.unwrap();
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

async fn stop(process: Process) {
    process.running.signal("TERM");
    assert_eq!(process.finished().await.code, 0);
}

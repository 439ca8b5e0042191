//! Does the service outlive the PostgreSQL that it writes to?

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};

use crate::{
    faults::{expect_unavailable, in_time},
    support::{MOBILE, TestApp, Tokens, backends::Backends, forwarder::Forwarder, process::until, servers::Server},
};

/// How long it may take until everything works again, the time that the servers need for it included.
const RECOVERY: Duration = Duration::from_secs(30);

/// Users who sign in while the primary goes away, how many of them before, and how many at once.
const USERS: usize = 60;
const BEFORE: usize = 10;
const AT_ONCE: usize = 4;

/// More requests than there are connections.
const CROWD: usize = 40;

/// A primary, a standby that has whatever was answered, and the address under which clients know the one that writes.
struct Pair {
    primary: Server,
    standby: Server,
    address: Forwarder,
}

impl Pair {
    async fn start() -> Self {
        let primary = Server::postgresql_with(&["synchronous_standby_names=*"]).await;
        let standby = Server::standby_of(&primary).await;
        let mut connection = PgConnection::connect(&primary.url).await.unwrap();
        until("the standby follows", RECOVERY, async || {
            let sql = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
            sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut connection).await.unwrap() == 1
        })
        .await;
        let address = Forwarder::to(primary.port()).await;
        Self { primary, standby, address }
    }

    async fn app(&self) -> TestApp {
        let url = format!("--database-url=postgres://postgres@127.0.0.1:{}/postgres", self.address.port);
        let flags = [
            &*url,
            "--image-code=never",
            "--sms-per-ip-per-hour=0",
            "--sms-asks-per-ip-per-hour=0",
            "--sms-resend-seconds=0",
        ];
        TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &flags).await
    }

    /// What an operator, or a program in their place, does.
    async fn promote_the_standby(&self) {
        let mut standby = PgConnection::connect(&self.standby.url).await.unwrap();
        let promoted: bool = sqlx::query_scalar("SELECT pg_promote()").fetch_one(&mut standby).await.unwrap();
        assert!(promoted);
        self.address.move_to(self.standby.port());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_standby_takes_over_and_nothing_that_was_answered_is_lost() {
    let mut pair = Pair::start().await;
    let app = pair.app().await;
    let users = app.codes(USERS).await;

    let (next, accepted) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let sign_in_one_after_the_other = async || {
        let mut signed_in = Vec::new();
        while let Some((mobile, code)) = users.get(next.fetch_add(1, Ordering::Relaxed)) {
            until("a user is signed in", RECOVERY, async || {
                let answer = in_time(app.sign_in_with(mobile, code)).await;
                if answer.status != 201 {
                    expect_unavailable(&answer);
                    return false;
                }
                signed_in.push((mobile, Tokens::of(&answer.json())));
                accepted.fetch_add(1, Ordering::Relaxed);
                true
            })
            .await;
        }
        signed_in
    };
    let fail_over = async {
        until("some have signed in", RECOVERY, async || accepted.load(Ordering::Relaxed) >= BEFORE).await;
        pair.primary.kill();
        pair.promote_the_standby().await;
    };
    let (signed_in, ()) = tokio::join!(join_all((0..AT_ONCE).map(|_| sign_in_one_after_the_other())), fail_over);
    let signed_in = signed_in.concat();
    assert_eq!(signed_in.len(), USERS);

    for (mobile, tokens) in signed_in {
        assert_eq!(app.user(&tokens.access).await.expect(200)["data"]["mobile"], mobile.as_str());
        app.refresh(&tokens.refresh).await.expect(201);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_demoted_is_left() {
    let pair = Pair::start().await;
    let app = pair.app().await;
    let tokens = app.sign_in(MOBILE).await;
    // More at once than there are connections, and so often that none rests.
    let renamed = async || {
        let rename = async |_| {
            let body = json!({ "name": "Somebody" });
            in_time(app.send_as(Method::PATCH, "/app/v1_0/user", &tokens.access, body)).await
        };
        let answers = join_all((0..CROWD).map(rename)).await;
        answers.iter().filter(|answer| answer.status != 200).for_each(expect_unavailable);
        answers.iter().filter(|answer| answer.status == 200).count()
    };
    assert_eq!(renamed().await, CROWD);

    let mut former = PgConnection::connect(&pair.primary.url).await.unwrap();
    former.execute("ALTER SYSTEM SET default_transaction_read_only = on").await.unwrap();
    former.execute("SELECT pg_reload_conf()").await.unwrap();
    until("the former primary refuses", RECOVERY, async || renamed().await == 0).await;
    let found = until("the service has found the new primary", RECOVERY, async || renamed().await == CROWD);
    tokio::join!(pair.promote_the_standby(), found);

    // No connection to the former one is used any more: it knows nothing of what is changed now.
    app.sign_in(MOBILE).await;
    for answer in join_all((0..CROWD).map(|_| app.get_as("/app/v1_0/user/sessions", &tokens.access))).await {
        assert_eq!(answer.expect(200)["data"]["sessions"].as_array().unwrap().len(), 2);
    }
    app.sign_in("13900139001").await;
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&mut former).await.unwrap();
    assert_eq!(users, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_without_connections_is_unavailable_until_it_has_some() {
    let postgresql = Server::postgresql_with(&["max_connections=6", "superuser_reserved_connections=0"]).await;
    let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &[&postgresql.flag()]).await;
    let code = app.code(MOBILE).await;
    let mut mine: Vec<PgConnection> = Vec::new();
    let mut first = PgConnection::connect(&postgresql.url).await.unwrap();
    let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'phonepass'";
    until("all connections are taken", RECOVERY, async || {
        first.execute(others).await.unwrap();
        while let Ok(connection) = PgConnection::connect(&postgresql.url).await {
            mine.push(connection);
        }
        let own = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'phonepass'";
        sqlx::query_scalar::<_, i64>(own).fetch_one(&mut first).await.unwrap() == 0
    })
    .await;

    for _ in 0..3 {
        expect_unavailable(&in_time(app.sign_in_with(MOBILE, &code)).await);
    }
    in_time(app.get("/readyz")).await.expect(503);
    for connection in mine {
        connection.close().await.unwrap();
    }
    until("the service is ready again", RECOVERY, async || in_time(app.get("/readyz")).await.status == 200).await;
    app.sign_in_with(MOBILE, &code).await.expect(201);
}

//! Does everything work behind a pooler, also behind one that gives each transaction another connection, and is nothing
//! left on those?

use futures_util::future::join_all;
use serde_json::json;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, Row};

use crate::{
    faults::expect_unavailable,
    support::{
        MOBILE, PASSWORD, TestApp, Tokens,
        backends::{Backends, Stores},
        expect_ended, expect_goes_on,
        flows::{FLAGS, all_work},
        process::Process,
        servers::{CONNECTIONS_OF_PGBOUNCER, Server},
    },
};

const UNNAMED: &str = "--database-statements=unnamed";

async fn start(pooler: &Server) -> TestApp {
    let flags = [
        &*pooler.flag(),
        UNNAMED,
        "--image-code=never",
        "--sms-per-ip-per-hour=0",
        "--sms-asks-per-ip-per-hour=0",
        "--sms-resend-seconds=0",
    ];
    TestApp::start_on(Stores::create(Backends::SQLITE_AND_IN_PROCESS).await.patient(), &flags).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_behind_a_pooler_in_transaction_mode() {
    let postgresql = Server::postgresql().await;
    let pooler = Server::pgbouncer(&postgresql).await;
    let app = start(&pooler).await;

    let mobiles: Vec<_> = (0..40).map(|number| format!("138001380{number:02}")).collect();
    let mut users = join_all(mobiles.iter().map(|mobile| app.sign_in(mobile))).await;
    for _ in 0..3 {
        let refreshed = join_all(users.iter().map(|tokens| app.refresh(&tokens.refresh))).await;
        users = refreshed.iter().map(|answer| Tokens::of(&answer.expect(201))).collect();
        let seen = join_all(users.iter().map(|tokens| app.user(&tokens.access))).await;
        for (mobile, answer) in mobiles.iter().zip(seen) {
            assert_eq!(answer.expect(200)["data"]["mobile"], mobile.as_str());
        }
        let listed = join_all(users.iter().map(|user| app.get_as("/app/v1_0/user/sessions", &user.access))).await;
        assert!(listed.iter().all(|answer| answer.expect(200)["data"]["sessions"].as_array().unwrap().len() == 1));
    }

    app.register("13900139000", PASSWORD).await.expect_errno(0);
    let credentials = json!({ "mobile": "13900139000", "password": PASSWORD });
    let login = app.post("/app/v1_0/authorizations/password", credentials).await;
    let tokens = Tokens::of(&login.expect(201));
    let body = json!({ "name": "Somebody" });
    let changed = app.send_as(reqwest::Method::PATCH, "/app/v1_0/user", &tokens.access, body).await;
    assert_eq!(changed.expect(200)["data"]["name"], "Somebody");
    let code = app.code_for("change_mobile", "13900139001", &tokens.access).await;
    let current = app.code_for("change_mobile", "13900139000", &tokens.access).await;
    let body = json!({ "mobile": "13900139001", "code": code, "current_code": current });
    let moved = app.send_as(reqwest::Method::PUT, "/app/v1_0/user/mobile", &tokens.access, body).await;
    assert_eq!(moved.expect(200)["data"]["mobile"], "13900139001");
    expect_goes_on(&app, &tokens).await;
    app.sign_out(&users[0].access).await.expect(204);
    expect_ended(&app, &users[0]).await;
    expect_goes_on(&app, &users[1]).await;

    expect_nothing_left(&pooler).await;
}

/// Neither names nor settings nor locks, on any of the connections that the next one may get.
async fn expect_nothing_left(pooler: &Server) {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS_OF_PGBOUNCER {
        clients.push(pooler.options().connect().await.unwrap());
    }
    // All at once, so that each has a connection of its own.
    join_all(clients.iter_mut().map(async |client| {
        client.execute("BEGIN").await.unwrap();
        for (sql, expected) in [
            ("SHOW enable_seqscan", "on"),
            ("SHOW enable_nestloop", "on"),
            ("SHOW plan_cache_mode", "auto"),
            ("SHOW lock_timeout", "0"),
            ("SHOW statement_timeout", "0"),
            ("SHOW jit", "on"),
            ("SELECT count(*)::text FROM pg_prepared_statements", "0"),
            ("SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'", "0"),
        ] {
            let row = sqlx::raw_sql(sql).fetch_one(&mut *client).await.unwrap();
            assert_eq!(row.get::<&str, _>(0), expected, "{sql}");
        }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_pooler_nobody_waits_long_for_a_row() {
    let postgresql = Server::postgresql().await;
    let pooler = Server::pgbouncer(&postgresql).await;
    let app = start(&pooler).await;
    app.sign_in(MOBILE).await;
    let code = app.code(MOBILE).await;

    let mut other = PgConnection::connect(&postgresql.url).await.unwrap();
    other.execute("BEGIN; SELECT * FROM users FOR UPDATE").await.unwrap();
    // A statement has all the time that it needs, a lock half a second.
    expect_unavailable(&app.sign_in_with(MOBILE, &code).await);
    other.execute("ROLLBACK").await.unwrap();
    app.sign_in_with(MOBILE, &code).await.expect(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_that_start_at_once_make_one_schema_behind_a_pooler_and_without_one() {
    let postgresql = Server::postgresql().await;
    let pooler = Server::pgbouncer(&postgresql).await;
    let mut server = PgConnection::connect(&postgresql.url).await.unwrap();
    for round in 0..3 {
        let name = format!("fresh_{round}");
        server.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        let url_of = |server: &Server| format!("{}/{name}", server.url.rsplit_once('/').unwrap().0);
        let (direct, pooled) = (url_of(&postgresql), url_of(&pooler));
        let direct = [("DATABASE_URL", direct.as_str())];
        let pooled = [("DATABASE_URL", pooled.as_str()), ("DATABASE_STATEMENTS", "unnamed")];
        let folder = tempfile::tempdir().unwrap();
        let environments = [&direct[..], &pooled, &direct, &pooled];
        let migrate = |environment| Process::run(folder.path(), environment, &["migrate"]);
        for finished in join_all(environments.map(migrate)).await {
            finished.expect_success();
        }
        let mut fresh = PgConnection::connect(direct[0].1).await.unwrap();
        let applied: i64 =
            sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations").fetch_one(&mut fresh).await.unwrap();
        assert_eq!(applied, std::fs::read_dir("migrations/postgres").unwrap().count() as i64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_session_mode_nothing_has_to_be_set_on_either_side() {
    let postgresql = Server::postgresql().await;
    let pooler = Server::pgbouncer_in_session_mode(&postgresql).await;
    let flag = pooler.flag();
    let flags = [&[flag.as_str()][..], &FLAGS].concat();
    let app = TestApp::start_on(Stores::create(Backends::SQLITE_AND_IN_PROCESS).await.patient(), &flags).await;
    let users =
        join_all((0..40).map(|number| format!("138001380{number:02}")).map(async |mobile| app.sign_in(&mobile).await));
    for tokens in users.await {
        expect_goes_on(&app, &tokens).await;
    }
    all_work(&app, "13811111").await;
    app.get("/readyz").await.expect(200);

    // Connections have the settings of the service.
    let mut server = PgConnection::connect(&postgresql.url).await.unwrap();
    server.execute("BEGIN; SELECT id FROM users FOR UPDATE").await.unwrap();
    let code = app.code("13800138001").await;
    // A statement has all the time that it needs, a lock half a second.
    expect_unavailable(&app.sign_in_with("13800138001", &code).await);
    server.execute("ROLLBACK").await.unwrap();
    app.sign_in_with("13800138001", &code).await.expect(201);
}

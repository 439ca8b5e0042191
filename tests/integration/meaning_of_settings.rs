//! Do settings mean what they say: networks, folders, a database, the console?

use std::{fs, process::Command};

use reqwest::Method;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use uuid::Uuid;

use crate::support::{
    MOBILE, PASSWORD, TestApp,
    needs::need,
    on_every_backend,
    process::{Process, free_port},
    senders::{HERE, MANY_MESSAGES, OTHER, PROXY, at},
};

on_every_backend! {
    async fn networks_of_ipv4_in_the_clothes_of_ipv6_are_those_of_ipv4(backends: Backends) {
        for (network, trusted) in [
            ("::ffff:127.0.0.0/104", true),
            ("::ffff:127.0.0.1", true),
            ("::ffff:7f00:1/128", true),
            ("::ffff:0:0/96", true),
            ("::ffff:10.0.0.0/104", false),
            ("::/0", false),
        ] {
            let flags = [&format!("--trusted-proxies={network}"), "--requests-per-ip-per-minute=1"];
            let app = TestApp::start_with(backends, &flags).await;
            for (client, admitted) in [("203.0.113.7", true), ("203.0.113.8", trusted)] {
                let request = app.request(Method::GET, "/").header("x-forwarded-for", client);
                assert_eq!(app.send(request).await.status == 200, admitted, "{network} {client}");
            }
        }
    }
}

on_every_backend! {
    async fn without_settings_an_address_asks_and_an_account_signs_in_sixty_times_an_hour(backends: Backends) {
        let app = TestApp::start_with(backends, &[PROXY]).await;
        at(HERE).ask(&app, OTHER).await.expect(200);
        for _ in 1..60 {
            at(HERE).ask(&app, OTHER).await.expect_error(429, "sms_too_frequent");
        }
        at(HERE).ask(&app, OTHER).await.expect_error(429, "too_many_requests");

        let app = TestApp::start_with(backends, &MANY_MESSAGES).await;
        app.register(MOBILE, PASSWORD).await.expect_errno(0);
        for _ in 1..60 {
            at(HERE).try_password(&app, MOBILE, PASSWORD).await.expect(201);
        }
        at(HERE).try_password(&app, MOBILE, PASSWORD).await.expect_error(429, "too_many_requests");
    }
}

#[tokio::test]
async fn a_database_that_cannot_hold_chinese_is_a_wrong_setting() {
    let mut admin = PgConnection::connect(&need("TEST_POSTGRES_URL")).await.unwrap();
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = format!("test_{}", Uuid::now_v7().simple());
        let create =
            format!("CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
        admin.execute(AssertSqlSafe(create)).await.unwrap();
        let url = need("TEST_POSTGRES_URL");
        let url = format!("{}/{name}", url.rsplit_once('/').unwrap().0);
        let folder = tempfile::tempdir().unwrap();
        let mut told = Vec::new();
        for statements in ["named", "unnamed"] {
            let environment = [("DATABASE_URL", url.as_str()), ("DATABASE_STATEMENTS", statements)];
            for command in ["serve", "migrate"] {
                told.push(Process::run(folder.path(), &environment, &[command]).await);
            }
        }
        admin.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await.unwrap();
        for finished in told {
            let told = finished.expect_wrong_settings();
            assert!(told.starts_with("DATABASE_URL=(hidden): ") && told.contains(encoding), "{told}");
        }
    }
}

/// Characters that mean something in a URL mean nothing in a path.
#[tokio::test]
async fn folders_are_paths_whatever_their_names() {
    for name in ["a%20b", "a?b", "a#b", "a b", "数据", "file:x", "?mode=memory", ":memory:", "a%", "a&b=c"] {
        let folder = tempfile::tempdir().unwrap();
        let keys = format!("{name}/signing keys");
        let environment = [("DATA_DIR", name), ("JWT_KEYS_DIR", &keys)];
        Process::run(folder.path(), &environment, &["keys", "generate"]).await.expect_success();
        let process = Process::serve(folder.path(), &environment, &[]).await;
        let tokens = process.sign_in(MOBILE).await;
        drop(process);
        for file in ["phonepass.db", "secret.key", "signing keys"] {
            assert!(folder.path().join(name).join(file).exists(), "{name}/{file}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{name}");
        let process = Process::serve(folder.path(), &environment, &[]).await;
        process.refresh(&tokens.refresh).await.expect(201);
    }
}

#[tokio::test]
async fn the_console_is_put_on_the_network_only_when_that_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let address = |port| format!("0.0.0.0:{port}");
    for (provider, host) in [("console", "0.0.0.0"), ("webhook,console", "192.0.2.1"), ("console", "[::]")] {
        let environment = [
            ("HTTP_ADDR", &*format!("{host}:8000")),
            ("SMS_PROVIDER", provider),
            ("SMS_WEBHOOK_URL", "https://example.com"),
            ("SMS_TOTAL_PER_HOUR", "0"),
        ];
        let finished = Process::run(folder.path(), &environment, &[]).await;
        let told = finished.expect_wrong_settings();
        assert!(told.starts_with("SMS_PROVIDER: console") && told.contains("DEV=on (--dev)"), "{told}");
        // It does not serve.
        let finished = Process::run(folder.path(), &environment, &["keys", "list"]).await;
        finished.expect_success();
    }
    for (environment, arguments) in [
        (vec![("DEV", "on")], &[][..]),
        (vec![], &["--dev"][..]),
        (vec![], &["--dev", "serve"]),
        (vec![], &["serve", "--dev"]),
        (vec![("DEV", "off")], &["--dev=on"]),
        (
            vec![("SMS_PROVIDER", "webhook"), ("SMS_WEBHOOK_URL", "https://example.com"), ("SMS_TOTAL_PER_HOUR", "0")],
            &[],
        ),
    ] {
        let port = free_port();
        let (listen, reached) = (address(port), format!("127.0.0.1:{port}"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_phonepass"));
        command.args(arguments).current_dir(folder.path());
        let environment = [&[("HTTP_ADDR", listen.as_str())], &environment[..]].concat();
        Process::of(command, &reached, &environment).ready().await;
    }
    let finished = Process::run(folder.path(), &[("DEV", "yes")], &[]).await;
    assert!(finished.expect_wrong_settings().contains("DEV=yes: expected on, off"));
}

//! What operators' commands leave on record.

use std::{fs, process::Command};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    MOBILE, PASSWORD, TestApp,
    backends::{Backends, Stores},
    command::run,
    on_every_backend,
    process::{Finished, Process},
};

const MASKED: &str = "138****8000";

/// The security events that a program left, without their times.
fn events(finished: &Finished) -> Vec<Value> {
    let lines = finished.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let events = lines.filter(|line| line["target"] == "phonepass::event").map(|mut line| {
        assert!(line.as_object_mut().unwrap().remove("timestamp").is_some());
        line
    });
    events.collect()
}

/// Who runs these tests.
fn actor() -> String {
    let login = Command::new("id").arg("-un").output().unwrap().stdout;
    format!("operator:{}", String::from_utf8(login).unwrap().trim())
}

/// The one event of a command that did something to a user.
fn about(user_id: &Value, event: &str, count: u32) -> Vec<Value> {
    vec![json!({
        "level": "INFO", "message": "security event", "target": "phonepass::event", "event": event, "actor": actor(),
        "count": count, "user_id": user_id, "mobile": MASKED,
    })]
}

on_every_backend! {
    async fn what_an_operator_does_to_a_user_is_on_record_with_who_did_it(backends: Backends) {
        let app = TestApp::start_with(backends, &["--sms-resend-seconds=0"]).await;
        let registered = app.register(MOBILE, PASSWORD).await.expect_errno(0);
        let id = &registered["data"]["user_id"];
        let users = async |command: &str, answer: &str| {
            let finished = run(&app.stores, &["users", command, MOBILE], answer).await;
            assert!(!finished.stderr.contains(PASSWORD), "{finished:?}");
            events(&finished)
        };
        assert_eq!(users("disable", "n\n").await, [Value::Null; 0]);
        assert_eq!(users("disable", "y\n").await, about(id, "user_disabled", 1));
        assert_eq!(users("disable", "y\n").await, [Value::Null; 0], "nothing has changed");
        assert_eq!(users("enable", "y\n").await, about(id, "user_enabled", 0));
        assert_eq!(users("enable", "y\n").await, [Value::Null; 0], "nothing has changed");
        app.sign_in(MOBILE).await;
        app.sign_in(MOBILE).await;
        assert_eq!(users("sign-out", "y\n").await, about(id, "signed_out", 2));
        assert_eq!(users("sign-out", "y\n").await, [Value::Null; 0], "nothing has changed");
        let unlocked = json!({
            "level": "INFO", "message": "security event", "target": "phonepass::event", "event": "user_unlocked",
            "actor": actor(), "user_id": id, "mobile": MASKED,
        });
        assert_eq!(users("unlock", "y\n").await, [unlocked]);
        app.sign_in(MOBILE).await;
        assert_eq!(users("delete", "y\n").await, about(id, "account_deleted", 1));
        for command in [["users", "list"].as_slice(), &["users", "show", MOBILE]] {
            assert_eq!(events(&run(&app.stores, command, "").await), [Value::Null; 0]);
        }
    }
}

on_every_backend! {
    async fn an_import_is_on_record_with_how_many_came(backends: Backends) {
        let stores = Stores::create(backends).await;
        let import = async |file: &str| events(&run(&stores, &["users", "import", "-"], file).await);
        let expected = json!({
            "level": "INFO", "message": "security event", "target": "phonepass::event", "event": "users_imported",
            "actor": actor(), "count": 2,
        });
        assert_eq!(import("mobile\n13800138000\n13800138001\nno number\n").await, [expected]);
        assert_eq!(import("mobile\n13800138000\n").await, [Value::Null; 0], "nothing has changed");
    }
}

#[tokio::test]
async fn a_new_signing_key_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let finished = Process::run(folder.path(), &[("LOG_FORMAT", "json")], &["keys", "generate"]).await;
    let path = finished.expect_success().trim().to_owned();
    let kid = path.strip_prefix("data/keys/").unwrap().strip_suffix(".pem").unwrap();
    let expected = json!({
        "level": "INFO", "message": "security event", "target": "phonepass::event", "event": "key_generated",
        "actor": actor(), "reason": kid,
    });
    assert_eq!(events(&finished), [expected]);
    assert_eq!(events(&Process::run(folder.path(), &[], &["keys", "list"]).await), [Value::Null; 0]);
}

#[tokio::test]
async fn a_new_secret_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = ["c2hhcmVkIHNlY3JldCBzaGFyZWQgc2VjcmV0IDMyYiE=", "YW5vdGhlciBzZWNyZXQgb2Ygc29tZSAzMiBieXRlcyE="];
    for (secret, expected) in [(secrets[0], 0), (secrets[1], 1), (secrets[1], 0)] {
        let environment = [("SECRET_KEY", secret), ("LOG_FORMAT", "json"), ("SHUTDOWN_DELAY", "0")];
        let process = Process::serve(folder.path(), &environment, &["serve", "--accept-new-secret"]).await;
        process.running.signal("TERM");
        let events = events(&process.finished().await);
        assert_eq!(events.len(), expected);
        for event in events {
            assert_eq!((&event["event"], &event["actor"]), (&json!("secret_changed"), &json!(actor())));
        }
    }
}

#[tokio::test]
async fn events_of_commands_have_the_format_and_the_level_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let finished =
        Process::run(folder.path(), &[("LOG_FORMAT", "text"), ("NO_COLOR", "1")], &["keys", "generate"]).await;
    let line = finished.stderr.trim();
    assert!(line.contains(" INFO ") && line.contains(&format!("actor=\"{}\"", actor())), "{finished:?}");
    let finished = Process::run(folder.path(), &[("LOG_LEVEL", "warn")], &["keys", "generate"]).await;
    assert_eq!(finished.stderr, "");
}

#[tokio::test]
async fn the_document_needs_nothing_but_the_program() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("no-folder"), "").unwrap();
    let environment = [
        ("DATA_DIR", "no-folder/data"),
        ("TMPDIR", "/nowhere"),
        ("DATABASE_URL", "postgres://127.0.0.1:1/none"),
        ("REDIS_URL", "redis://127.0.0.1:1"),
        ("JWT_ALG", "RS256"),
        ("JWT_KEYS_DIR", "no-folder/keys"),
        ("METRICS_ADDR", "127.0.0.1:1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
        // Without the secrets that it needs to serve.
        ("SMS_PROVIDER", "aliyun"),
        ("PUBLIC_URL", "https://id.example.com"),
    ];
    let served = {
        let app = TestApp::start_with(Backends::SQLITE_AND_IN_PROCESS, &["--public-url=https://id.example.com"]).await;
        app.send(app.request(Method::GET, "/openapi.json")).await.expect(200)
    };
    let finished = Process::run(folder.path(), &environment, &["openapi"]).await;
    assert_eq!(serde_json::from_str::<Value>(finished.expect_success()).unwrap(), served);
    assert_eq!(finished.stderr, "");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

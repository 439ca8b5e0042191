//! Does the program start, refuse, obey its commands and stop as its operator expects?

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use clap::CommandFactory;
use futures_util::future::join_all;
use phonepass::{config::Cli, env_file};
use reqwest::Method;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    MOBILE,
    backends::{Backends, Stores},
    process::{Process, until},
};

const SECRET: &str = "c2hhcmVkIHNlY3JldCBzaGFyZWQgc2VjcmV0IDMyYiE=";
const OTHER_SECRET: &str = "YW5vdGhlciBzZWNyZXQgb2Ygc29tZSAzMiBieXRlcyE=";

/// Every variable that the code knows with its default, in the order of `Config`.
fn variables() -> Vec<(String, Option<String>)> {
    let command = Cli::command();
    let settings = command.get_arguments().filter_map(|arg| {
        let default = arg.get_default_values().first().map(|value| value.to_str().unwrap().to_owned());
        Some((arg.get_env()?.to_str().unwrap().to_owned(), default))
    });
    settings.collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn everything_wrong_is_told_at_once_with_what_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = [
        ("HTTP_ADDR", "nonsense", "nonsense", "address"),
        ("METRICS_ADDR", "9000", "9000", "address"),
        ("PUBLIC_URL", "ftp://id.example.com", "ftp://id.example.com", "http"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,everyone", "10.0.0.0/8,everyone", "address"),
        ("CORS_ORIGINS", "https://a.example.com/path", "https://a.example.com/path", "https://"),
        ("DATABASE_URL", "mysql://root:hunter2@x", "(hidden)", "postgres:"),
        ("DATABASE_MAX_CONNECTIONS", "1", "1", "2..=1000"),
        ("REDIS_URL", "memcached://:hunter2@x", "(hidden)", "redis:"),
        ("SECRET_KEY", "oops-secret", "(hidden)", "32 bytes in base64"),
        ("JWT_ALG", "none", "none", "ES256, EdDSA, RS256, HS256"),
        ("ACCESS_TOKEN_TTL", "0", "0", "from 1 on"),
        ("SMS_PROVIDER", "pigeon", "pigeon", "console, webhook, yuntongxun, aliyun, tencent, twilio, or"),
        ("SMS_CODE_LENGTH", "9", "9", "4..=8"),
        ("SMS_RESEND_SECONDS", "-1", "-1", "seconds"),
        ("SMS_TEST_CODES", "13600000000=oops-code", "(hidden)", "mobile=digits"),
        ("IMAGE_CODE", "sometimes", "sometimes", "always, adaptive, never"),
        ("LOG_LEVEL", "loud", "loud", "off, error, warn, info, debug, trace"),
    ];
    let environment = wrong.map(|(name, value, ..)| (name, value));
    let finished = Process::run(folder.path(), &environment, &[]).await;
    let told = finished.expect_wrong_settings();
    assert_eq!(told.lines().count(), wrong.len(), "{told}");
    for (line, (name, _, shown, accepted)) in told.lines().zip(wrong) {
        let reason = line.strip_prefix(&format!("{name}={shown}: ")).unwrap_or_else(|| panic!("{name}: {line}"));
        assert!(reason.contains(accepted), "{line}");
    }
    assert!(!told.contains("oops") && !told.contains("hunter2"), "{told}");
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "a refused start leaves nothing behind");
}

#[tokio::test]
async fn a_provider_without_its_settings_is_refused_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let finished = Process::run(folder.path(), &[("SMS_PROVIDER", "webhook")], &[]).await;
    assert!(finished.expect_wrong_settings().contains("SMS_WEBHOOK_URL"));

    let finished = Process::run(folder.path(), &[("SMS_PROVIDER", "yuntongxun")], &[]).await;
    let told = finished.expect_wrong_settings();
    for name in ["ACCOUNT_SID", "AUTH_TOKEN", "APP_ID", "TEMPLATE_ID"] {
        assert!(told.contains(&format!("YUNTONGXUN_{name}")), "{told}");
    }

    let environment = [
        ("SMS_PROVIDER", "webhook"),
        ("SMS_WEBHOOK_URL", "https://example.com"),
        ("SMS_WEBHOOK_SECRET", "whsec_oops!"),
    ];
    let finished = Process::run(folder.path(), &environment, &[]).await;
    let told = finished.expect_wrong_settings();
    assert!(told.contains("SMS_WEBHOOK_SECRET") && !told.contains("oops"), "{told}");
}

#[tokio::test]
async fn each_provider_of_a_list_is_refused_without_its_settings() {
    let folder = tempfile::tempdir().unwrap();
    let list = "console, yuntongxun ,webhook,twilio,tencent,aliyun";
    let environment = [("SMS_PROVIDER", list), ("SMS_TOTAL_PER_HOUR", "0")];
    let finished = Process::run(folder.path(), &environment, &[]).await;
    let told: Vec<_> = finished.expect_wrong_settings().lines().map(|line| line.split(' ').next().unwrap()).collect();
    let of_each: [(&str, &[&str]); 5] = [
        ("YUNTONGXUN", &["ACCOUNT_SID", "AUTH_TOKEN", "APP_ID", "TEMPLATE_ID"]),
        ("SMS_WEBHOOK", &["URL"]),
        ("TWILIO", &["ACCOUNT_SID", "AUTH_TOKEN", "FROM"]),
        ("TENCENT", &["SECRET_ID", "SECRET_KEY", "SMS_APP_ID", "SMS_SIGN_NAME", "SMS_TEMPLATE_ID"]),
        ("ALIYUN", &["ACCESS_KEY_ID", "ACCESS_KEY_SECRET", "SMS_SIGN_NAME", "SMS_TEMPLATE_CODE"]),
    ];
    let expected =
        of_each.iter().flat_map(|(provider, names)| names.iter().map(move |name| format!("{provider}_{name}")));
    assert_eq!(told, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_list_of_providers_has_no_empty_unknown_or_repeated_name() {
    let folder = tempfile::tempdir().unwrap();
    let or_several = ", or several of them with commas between";
    for (list, reason) in [
        ("console,,webhook", or_several),
        ("console,", or_several),
        (",", or_several),
        (" ", or_several),
        ("console,pigeon", or_several),
        ("webhook,console, webhook", ": webhook is listed twice"),
    ] {
        let environment = [("SMS_PROVIDER", list), ("SMS_CODE_LENGTH", "9")];
        let finished = Process::run(folder.path(), &environment, &[]).await;
        let told: Vec<_> = finished.expect_wrong_settings().lines().collect();
        let [provider, length] = told.as_slice() else { panic!("{told:?}") };
        assert!(provider.starts_with(&format!("SMS_PROVIDER={list}: ")) && provider.ends_with(reason), "{provider}");
        assert!(length.starts_with("SMS_CODE_LENGTH=9: "), "{length}");
    }
}

#[tokio::test]
async fn the_console_of_a_list_has_its_page() {
    let folder = tempfile::tempdir().unwrap();
    let environment =
        [("SMS_PROVIDER", "webhook, console"), ("SMS_WEBHOOK_URL", "http://127.0.0.1:1"), ("SMS_TOTAL_PER_HOUR", "0")];
    let process = Process::serve(folder.path(), &environment, &[]).await;
    process.sign_in(MOBILE).await;
    process.running.signal("TERM");
    assert!(process.finished().await.expect_success().contains("/dev/sms"));
}

#[tokio::test]
async fn keys_that_cannot_sign_stop_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let finished = Process::run(folder.path(), &[("JWT_ALG", "RS256")], &[]).await;
    let told = finished.expect_wrong_settings();
    assert!(told.contains("JWT_ALG=RS256") && told.contains("JWT_KEYS_DIR"), "{told}");

    let keys = folder.path().join("keys");
    fs::create_dir(&keys).unwrap();
    fs::write(keys.join("20260101.pem"), "-----BEGIN PRIVATE KEY-----\nb29wcw==\n-----END PRIVATE KEY-----\n").unwrap();
    let finished = Process::run(folder.path(), &[("JWT_KEYS_DIR", "keys")], &[]).await;
    let told = finished.expect_wrong_settings();
    assert!(told.contains("keys/20260101.pem") && !told.contains("b29wcw"), "{told}");
}

#[tokio::test]
async fn an_empty_variable_is_the_same_as_none() {
    let folder = tempfile::tempdir().unwrap();
    let variables = variables();
    let (in_file, in_environment) = variables.split_at(variables.len() / 2);
    let lines: Vec<_> = in_file.iter().map(|(name, _)| format!("{name}=\n")).collect();
    fs::write(folder.path().join(".env"), lines.concat()).unwrap();
    let empty: Vec<_> = in_environment.iter().map(|(name, _)| (name.as_str(), "")).collect();
    let process = Process::serve(folder.path(), &empty, &[]).await;
    process.sign_in(MOBILE).await;
    assert!(folder.path().join("data/phonepass.db").exists());
}

#[tokio::test]
async fn flags_win_over_the_environment_and_the_environment_over_dot_env() {
    let folder = tempfile::tempdir().unwrap();
    let file = "# a comment\nSMS_CODE_LENGTH=11\nJWT_ALG=from-file\nexport LOG_LEVEL='from-file'\n";
    fs::write(folder.path().join(".env"), file).unwrap();
    let environment = [("JWT_ALG", "from-environment"), ("LOG_LEVEL", "from-environment")];
    let finished = Process::run(folder.path(), &environment, &["--log-level=from-flag"]).await;
    let told: Vec<_> = finished.expect_wrong_settings().lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(told, ["JWT_ALG=from-environment", "SMS_CODE_LENGTH=11", "LOG_LEVEL=from-flag"]);
}

#[tokio::test]
async fn help_lists_every_variable() {
    let folder = tempfile::tempdir().unwrap();
    let finished = Process::run(folder.path(), &[("SECRET_KEY", SECRET)], &["--help"]).await;
    let help = finished.expect_success().replace('"', "");
    for (name, default) in variables() {
        assert!(help.contains(&format!("[env: {name}")), "{name} is missing:\n{help}");
        let shown = default.is_none_or(|default| help.contains(&format!("[default: {default}]")));
        assert!(shown, "the default of {name} is missing:\n{help}");
    }
    assert!(!help.contains(SECRET), "{help}");
}

#[test]
fn the_example_of_an_env_file_lists_every_variable_with_its_default() {
    let example = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example")).unwrap();
    // Without the comment signs it is what it is an example of.
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let settings = example.lines().map(|line| line.trim_start_matches("# "));
    let settings: Vec<_> =
        settings.filter(|line| line.split_once('=').is_some_and(|(name, _)| is_name(name))).collect();
    let settings = env_file::as_dotenvy_takes_it(&settings.join("\n"));
    let settings: Vec<_> = dotenvy::from_read_iter(settings.as_bytes()).map(Result::unwrap).collect();

    let names = |settings: &mut dyn Iterator<Item = String>| settings.collect::<Vec<_>>().join("\n");
    let expected = variables();
    assert_eq!(
        names(&mut settings.iter().map(|(name, _)| name.clone())),
        names(&mut expected.iter().map(|(name, _)| name.clone())),
        ".env.example (left) does not list the settings of src/config.rs (right) in their order"
    );
    for ((name, value), (_, default)) in settings.into_iter().zip(expected) {
        assert!(default.as_ref().is_none_or(|default| *default == value), "{name}={value}: the default is {default:?}");
    }
}

#[tokio::test]
async fn what_is_secret_is_readable_by_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    Process::run(folder.path(), &[], &["keys", "generate"]).await.expect_success();
    let process = Process::serve(folder.path(), &[], &[]).await;
    process.sign_in(MOBILE).await;

    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("keys")), 0o700);
    for file in ["secret.key", "phonepass.db", "phonepass.db-wal"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
    let mut keys = fs::read_dir(data.join("keys")).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(mode(&keys.next().unwrap()), 0o600);
    assert!(keys.next().is_none());
}

#[tokio::test]
async fn another_secret_is_taken_only_on_demand_and_ends_every_session() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [("SECRET_KEY", SECRET)];
    let process = Process::serve(folder.path(), &environment, &[]).await;
    let tokens = process.sign_in(MOBILE).await;
    drop(process);

    let other = [("SECRET_KEY", OTHER_SECRET)];
    let finished = Process::run(folder.path(), &other, &[]).await;
    assert!(finished.expect_wrong_settings().contains("--accept-new-secret"));
    let process = Process::serve(folder.path(), &environment, &[]).await;
    let tokens = process.refresh(&tokens.refresh).await.expect(201)["data"]["refresh_token"].clone();
    drop(process);

    let process = Process::serve(folder.path(), &other, &["serve", "--accept-new-secret"]).await;
    // To the new secret, tokens under the former one are forgeries.
    process.refresh(tokens.as_str().unwrap()).await.expect_error(401, "refresh_token_invalid");
    let newer = process.sign_in(MOBILE).await;
    drop(process);

    let process = Process::serve(folder.path(), &other, &[]).await;
    process.refresh(&newer.refresh).await.expect(201);
    drop(process);

    // Going back wakes no session up.
    let process = Process::serve(folder.path(), &environment, &["--accept-new-secret"]).await;
    process.refresh(tokens.as_str().unwrap()).await.expect_error(401, "session_revoked");
}

#[tokio::test]
async fn a_secret_is_generated_once() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::serve(folder.path(), &[], &[]).await;
    let tokens = process.sign_in(MOBILE).await;
    drop(process);

    let process = Process::serve(folder.path(), &[], &[]).await;
    process.refresh(&tokens.refresh).await.expect(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrate_succeeds_whatever_the_secret() {
    for backends in [Backends::SQLITE_AND_IN_PROCESS, Backends::POSTGRESQL_AND_IN_PROCESS] {
        let stores = Stores::empty(backends).await;
        let (folder, url) = (stores.folder.path(), stores.database_url());
        let environment = |secret| [("SECRET_KEY", secret), ("DATABASE_URL", url.as_str())];
        Process::run(folder, &environment(OTHER_SECRET), &["migrate"]).await.expect_success();
        let process = Process::serve(folder, &environment(SECRET), &[]).await;
        Process::run(folder, &environment(OTHER_SECRET), &["migrate"]).await.expect_success();
        process.sign_in(MOBILE).await;
    }
}

#[tokio::test]
async fn the_document_is_printed_without_touching_anything() {
    let folder = tempfile::tempdir().unwrap();
    let environment =
        [("DATABASE_URL", "postgres://127.0.0.1:1/none"), ("REDIS_URL", "redis://127.0.0.1:1"), ("JWT_ALG", "RS256")];
    let finished = Process::run(folder.path(), &environment, &["openapi"]).await;
    let document: Value = serde_json::from_str(finished.expect_success()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."), "{document}");
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[tokio::test]
async fn generated_keys_are_listed_with_the_newest_last() {
    let folder = tempfile::tempdir().unwrap();
    let list = async || Process::run(folder.path(), &[], &["keys", "list"]).await.expect_success().to_owned();
    assert_eq!(list().await, "");
    let mut expected = String::new();
    for algorithm in ["RS256", "ES256", "EdDSA", "ES256", "RS256", "EdDSA"] {
        let finished = Process::run(folder.path(), &[("JWT_ALG", algorithm)], &["keys", "generate"]).await;
        let path = Path::new(finished.expect_success().trim()).to_owned();
        assert_eq!(path.parent().unwrap(), Path::new("data/keys"));
        expected += &format!("{} {algorithm}\n", path.file_stem().unwrap().to_str().unwrap());
        assert_eq!(list().await, expected);
    }
    let mut sorted: Vec<_> = expected.lines().collect();
    sorted.sort_unstable();
    assert_eq!(sorted, expected.lines().collect::<Vec<_>>());

    let finished = Process::run(folder.path(), &[("JWT_ALG", "HS256")], &["keys", "generate"]).await;
    assert_ne!(finished.code, 0);
    assert!(finished.stderr.contains("HS256"), "{finished:?}");
    Process::serve(folder.path(), &[("JWT_ALG", "RS256")], &[]).await;
}

/// Reads what a server sends until it contains some text.
async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(text) {
        let length = stream.read_buf(&mut read).await.unwrap();
        assert_ne!(length, 0, "closed after {}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn a_service_that_stops_answers_while_balancers_notice() {
    join_all(["TERM", "INT", "HUP"].map(async |signal| {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::serve(folder.path(), &[("SHUTDOWN_DELAY", "600")], &[]).await;
        process.running.signal(signal);
        until("/readyz answers 503", Duration::from_secs(60), async || {
            let answer = process.get("/readyz").await;
            answer.status == 503 && answer.json()["status"] == "stopping" && !answer.header("retry-after").is_empty()
        })
        .await;
        process.send(process.request(Method::GET, "/healthz").header("connection", "close")).await.expect(200);
        process.get(&format!("/app/v1_0/sms/codes/{MOBILE}1")).await.expect_error(400, "mobile_invalid");
    }))
    .await;
}

#[tokio::test]
async fn a_service_that_stops_lets_requests_finish() {
    join_all(["TERM", "INT", "HUP"].map(async |signal| {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::serve(folder.path(), &[("SHUTDOWN_DELAY", "0")], &[]).await;
        let address = process.url.strip_prefix("http://").unwrap().to_owned();
        let body = r#"{"mobile":"13800138000"}"#;
        let head = format!(
            "POST /app/v1_0/sms/codes HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let mut in_flight = TcpStream::connect(&address).await.unwrap();
        in_flight.write_all(head.as_bytes()).await.unwrap();
        // The request is being served: its body is asked for.
        read_until(&mut in_flight, "100 Continue\r\n\r\n").await;

        process.running.signal(signal);
        until("the listener is closed", Duration::from_secs(30), async || TcpStream::connect(&address).await.is_err())
            .await;
        in_flight.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        in_flight.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        process.finished().await.expect_success();
    }))
    .await;
}

#[tokio::test]
async fn a_kill_right_after_a_sign_in_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::serve(folder.path(), &[], &[]).await;
    let tokens = process.sign_in(MOBILE).await;
    process.running.kill();

    let process = Process::serve(folder.path(), &[], &[]).await;
    process.refresh(&tokens.refresh).await.expect(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_start_at_once_share_one_fresh_database() {
    let stores = Stores::create(Backends::POSTGRESQL_AND_IN_PROCESS).await;
    let url = stores.database_url();
    let environment = [("SECRET_KEY", SECRET), ("DATABASE_URL", url.as_str())];
    let folders = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let mut processes: Vec<_> = folders.iter().map(|folder| Process::start(folder.path(), &environment, &[])).collect();
    join_all(processes.iter_mut().map(Process::ready)).await;
    let tokens = processes[0].sign_in(MOBILE).await;
    processes[3].refresh(&tokens.refresh).await.expect(201);
}

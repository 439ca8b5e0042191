//! Is every wrong setting refused at the start by its name, with what is accepted, and without a piece of a secret?

use std::{fs, os::unix::ffi::OsStrExt};

use phonepass::{auth::limits::FraudPolicy, config::Cli, model::challenge::ChallengeKind};

use crate::support::process::Process;

/// Pieces of the passwords below.
const PIECES: [&str; 6] = ["7M+r", "M+r", "E:dHz", "dHz", "hunter2", "Sesam"];

#[track_caller]
fn expect_no_piece(told: &str) {
    for piece in PIECES {
        assert!(!told.contains(piece), "{piece} in {told}");
    }
}

/// Refused by its name, hidden, in one line with a reason that says this.
async fn expect_refused(name: &str, value: &str, reason: &str) {
    let folder = tempfile::tempdir().unwrap();
    let finished = Process::run(folder.path(), &[(name, value)], &[]).await;
    let told = finished.expect_wrong_settings();
    expect_no_piece(told);
    assert_eq!(told.lines().count(), 1, "{value}: {told}");
    let told = told.strip_prefix(&format!("{name}=(hidden): ")).unwrap_or_else(|| panic!("{value}: {told}"));
    assert!(told.contains(reason), "{value}: {told}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{value} left something behind");
}

#[tokio::test]
async fn a_url_of_postgresql_that_cannot_be_right_is_a_wrong_setting() {
    let encoded = "percent-encoded";
    for (value, reason) in [
        ("postgres://sys:7M+r?E:dHz@h/d", encoded),
        ("postgres://sys:7?Sesam@h/d", "unknown parameter"),
        ("postgres://sys:7/M+r@h/d", encoded),
        ("postgres://sys:7#M+r@h/d", encoded),
        ("postgres://sys:hunter2@h:port/d", "invalid port number"),
        ("postgres://sys:hunter2@h:70000/d", "invalid port number"),
        ("postgres://sys:hunter2@h:0/d", "1 to 65535"),
        ("postgres://sys:hunter2@h/d?port=x", "1 to 65535"),
        ("postgres://sys:hunter2@h/d?sslmode=bogus", "verify-full"),
        ("postgres://sys:hunter2@h/d?ssl-mode=", "verify-full"),
        ("postgres://sys:hunter2@h/d?sslrootcert=/nowhere/hunter2.pem", "sslrootcert: the file cannot be read"),
        ("postgres://sys:hunter2@h/d?sslrootcert=/dev/null", "sslrootcert: expected a file in PEM"),
        ("postgres://sys:hunter2@h/d?conect_timeout=hunter2", "unknown parameter"),
        ("postgres://sys:hunter2@h/d?hostaddr=hunter2", "does not make sense"),
        ("postgres://sys:hunter2@h/d?statement-cache-capacity=hunter2", "does not make sense"),
        ("postgres://sys:hunter2@h1,h2/d", "several hosts"),
        ("postgres://sys:hunter2@/d", "empty host"),
        ("postgres:///d", "names no host"),
        ("postgres://", "names no host"),
        ("postgres:h/d", "names no host"),
        ("postgresql:/h/d", "names no host"),
        ("postgres://sys:%FF@h/d", "does not make sense"),
        ("mysql://sys:hunter2@h/d", "postgres:"),
    ] {
        expect_refused("DATABASE_URL", value, reason).await;
    }
}

#[tokio::test]
async fn a_url_of_sqlite_that_cannot_be_right_is_a_wrong_setting() {
    for (value, reason) in [
        ("sqlite://x?bogus=1", "unknown parameter"),
        ("sqlite://x?mode=bogus", "unknown parameter"),
        ("sqlite://x?mode=ro", "write"),
        ("sqlite://x?immutable=1", "write"),
        ("sqlite://x?vfs=bogus", "unix-dotfile"),
        ("sqlite://", "names no file"),
        ("sqlite:?mode=rwc", "names no file"),
        ("sqlite:///", "found a folder"),
        ("sqlite:///etc/passwd/x.db", "file"),
    ] {
        expect_refused("DATABASE_URL", value, reason).await;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("letter"), "Dear Sesam, this is a letter and no database. ".repeat(100)).unwrap();
    let finished = Process::run(folder.path(), &[("DATABASE_URL", "sqlite:letter")], &[]).await;
    assert!(finished.expect_wrong_settings().contains("DATABASE_URL=(hidden): the file is no SQLite database"));
}

#[tokio::test]
async fn a_url_of_redis_that_cannot_be_right_is_a_wrong_setting() {
    for (value, reason) in [
        ("redis://h:port", "invalid port number"),
        ("redis://:hunter2@h:port", "invalid port number"),
        ("redis://h:0", "1 to 65535"),
        ("redis://:7M+r?E:dHz@h:6379", "redis:"),
        ("redis://u:7?Sesam@h:6379", "unknown parameter"),
        ("redis://u:7#Sesam@h:6379", "percent-encoded"),
        ("redis://u:7/Sesam@h:6379", "number of a database"),
        ("redis://h/300", "number of a database"),
        ("redis://h/0/1", "number of a database"),
        ("redis://h?db=1", "unknown parameter"),
        ("redis://", "redis:"),
        ("redis-cluster://h:6379?node=h2", "node: expected host:port"),
        ("redis-cluster://h:6379?node=h2:hunter2", "node: expected host:port"),
        ("redis-cluster://h:6379/1", "none for a cluster"),
        ("redis-sentinel://h:26379", "sentinelServiceName"),
        ("redis-sentinel://h:26379?sentinelServiceName=", "sentinelServiceName"),
        ("rediss-sentinel://h?sentinelServiceName=m&sentinelPasword=hunter2", "unknown parameter"),
        ("memcached://:hunter2@h", "redis:"),
    ] {
        expect_refused("REDIS_URL", value, reason).await;
    }
}

#[tokio::test]
async fn a_hidden_value_is_never_quoted() {
    for (name, value) in [
        ("SECRET_KEY", "hunter2"),
        ("SMS_WEBHOOK_URL", "ftp://u:hunter2@h/?token=Sesam"),
        ("SMS_WEBHOOK_URL", "https://u:hunter2@h/#Sesam"),
        ("SMS_WEBHOOK_SECRET", "whsec_hunter2!"),
        ("SMS_TEST_CODES", "13600000000=hunter2"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:hunter2@h:4318/?token=Sesam"),
    ] {
        expect_refused(name, value, "").await;
    }
}

#[tokio::test]
async fn urls_are_shown_without_what_may_be_secret_in_them() {
    let folder = tempfile::tempdir().unwrap();
    for (value, shown) in [
        ("https://u:hunter2@id.example.com", "https://***@id.example.com"),
        ("https://u:7M+r?E:dHz@id.example.com", "https://***@id.example.com"),
        ("https://id.example.com/?token=hunter2", "https://id.example.com/?***"),
        ("https://id.example.com/#hunter2", "https://id.example.com/#***"),
        ("https://id.example.com/?", "https://id.example.com/?"),
        ("u:hunter2@id.example.com", "***@id.example.com"),
        ("ftp://id.example.com", "ftp://id.example.com"),
    ] {
        for name in ["PUBLIC_URL", "SMS_BASE_URL_TWILIO", "SMS_BASE_URL_ALIYUN"] {
            let finished = Process::run(folder.path(), &[(name, value)], &[]).await;
            let told = finished.expect_wrong_settings();
            assert!(told.starts_with(&format!("{name}={shown}: expected an http: or https: URL")), "{told}");
            expect_no_piece(told);
        }
    }
    for name in ["HTTP_ADDR", "TRUSTED_PROXIES", "CORS_ORIGINS", "SMS_TEXT_DOMAIN"] {
        let finished = Process::run(folder.path(), &[(name, "https://u:hunter2@10.0.0.1")], &[]).await;
        expect_no_piece(finished.expect_wrong_settings());
    }
}

#[tokio::test]
async fn a_value_that_is_no_text_is_refused_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["SECRET_KEY", "DATABASE_URL", "PUBLIC_URL"] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_phonepass"));
        command.current_dir(folder.path()).env_clear().env(name, std::ffi::OsStr::from_bytes(b"hunter2\xFF"));
        let output = command.output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.starts_with(name) && (name == "PUBLIC_URL" || !told.contains("hunter2")), "{told}");
    }
}

#[tokio::test]
async fn the_domain_of_messages_is_the_name_of_a_host_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for value in [
        "https://example.com",
        "example.com/login",
        "example.com:443",
        "@example.com",
        "example.com ",
        " example.com",
        "a b.example.com",
        "例子.中国",
        "192.0.2.1",
        "[::1]",
        ".example.com",
        "example.com.",
        "example..com",
    ] {
        let finished = Process::run(folder.path(), &[("SMS_TEXT_DOMAIN", value)], &[]).await;
        let told = finished.expect_wrong_settings();
        assert!(told.starts_with("SMS_TEXT_DOMAIN=") && told.contains("the name of a host alone"), "{value}: {told}");
    }
    for value in ["example.com", "Login.Example.com", "localhost", "xn--fsqu00a.xn--fiqs8s"] {
        let flag = format!("--sms-text-domain={value}");
        let config = Cli::from_flags(["phonepass", &flag]).unwrap().config;
        assert_eq!(config.sms_text_domain, Some(value.to_lowercase()));
    }
}

#[tokio::test]
async fn what_contradicts_is_told_together_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let environment = [
        ("HTTP_ADDR", "0.0.0.0:8000"),
        ("METRICS_ADDR", "127.0.0.1:8000"),
        ("PUBLIC_URL", "ftp://h"),
        ("DATA_DIR", "file"),
        ("JWT_KEYS_DIR", "file/keys"),
        ("DATABASE_URL", "sqlite:file/phonepass.db"),
        ("SMS_PROVIDER", "console,twilio,webhook"),
        ("SMS_WEBHOOK_URL", "hunter2"),
        ("SMS_WEBHOOK_SECRET", "hunter2!"),
        ("TWILIO_AUTH_TOKEN", "hunter2"),
        ("SMS_CODE_LENGTH", "4"),
        ("SMS_TEST_CODES", "13600000000=246810"),
    ];
    let finished = Process::run(folder.path(), &environment, &[]).await;
    let told = finished.expect_wrong_settings();
    expect_no_piece(told);
    let mut named: Vec<_> = told.lines().map(|line| line.split(['=', ':', ' ']).next().unwrap()).collect();
    named.sort_unstable();
    let expected = [
        "DATABASE_URL",
        "DATA_DIR",
        "JWT_KEYS_DIR",
        "METRICS_ADDR",
        "PUBLIC_URL",
        "SMS_PROVIDER",
        "SMS_TEST_CODES",
        "SMS_TOTAL_PER_HOUR",
        "SMS_WEBHOOK_SECRET",
        "SMS_WEBHOOK_URL",
        "TWILIO_ACCOUNT_SID",
        "TWILIO_FROM",
    ];
    assert_eq!(named, expected, "{told}");
}

/// The settings of a provider that costs money.
const PAID: [(&str, &str); 2] = [("SMS_PROVIDER", "console,webhook"), ("SMS_WEBHOOK_URL", "https://example.com")];

#[tokio::test]
async fn the_total_of_messages_has_to_be_said_where_they_cost_money() {
    let folder = tempfile::tempdir().unwrap();
    let finished = Process::run(folder.path(), &PAID, &[]).await;
    let told = finished.expect_wrong_settings();
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.starts_with("SMS_TOTAL_PER_HOUR is not set: ") && told.contains("0 for any number"), "{told}");
    // An empty one is not said either.
    let finished = Process::run(folder.path(), &[&PAID[..], &[("SMS_TOTAL_PER_HOUR", "")]].concat(), &["serve"]).await;
    assert!(finished.expect_wrong_settings().starts_with("SMS_TOTAL_PER_HOUR is not set: "));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    for command in [&["openapi"][..], &["keys", "list"], &["migrate"]] {
        Process::run(folder.path(), &PAID, command).await.expect_success();
    }
    for total in ["0", "1", "1000000"] {
        let flags = PAID.map(|(name, value)| format!("--{}={value}", name.to_lowercase().replace('_', "-")));
        let flags = ["phonepass".to_owned(), format!("--sms-total-per-hour={total}")].into_iter().chain(flags);
        assert!(Cli::from_flags(flags).is_ok(), "{total}");
    }
    assert_eq!(Cli::from_flags(["phonepass", "--sms-provider=console"]).unwrap().config.sms_total_per_hour, None);
}

#[tokio::test]
async fn a_list_of_challenges_has_no_empty_unknown_or_repeated_kind() {
    let folder = tempfile::tempdir().unwrap();
    let or_several = "expected picture, pow, aliyun, tencent, turnstile, or several of them with commas between";
    for (list, reason) in [
        ("picture,,pow", or_several),
        ("pow,", or_several),
        (" ", or_several),
        ("Picture", or_several),
        ("picture,geetest", or_several),
        ("pow, picture ,pow", "pow is listed twice"),
    ] {
        let finished = Process::run(folder.path(), &[("CHALLENGES", list)], &[]).await;
        assert_eq!(finished.expect_wrong_settings(), format!("CHALLENGES={list}: {reason}\n"));
    }
    let config = Cli::from_flags(["phonepass", "--challenges=pow, picture"]).unwrap().config;
    assert_eq!(config.challenges, [ChallengeKind::Pow, ChallengeKind::Picture]);
    assert_eq!(Cli::from_flags(["phonepass"]).unwrap().config.challenges, [ChallengeKind::Picture]);
}

#[tokio::test]
async fn a_kind_of_challenge_without_its_keys_is_refused_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [
        ("CHALLENGES", "turnstile,picture,tencent,pow,aliyun"),
        ("CAPTCHA_TENCENT_SECRET_ID", "an-id"),
        ("CAPTCHA_ALIYUN_ACCESS_KEY_SECRET", "hunter2"),
        ("SMS_PROVIDER", "webhook"),
    ];
    let finished = Process::run(folder.path(), &environment, &[]).await;
    let told = finished.expect_wrong_settings();
    expect_no_piece(told);
    let named: Vec<_> = told.lines().map(|line| line.split_once(" is not set: ").unwrap()).collect();
    let of_challenge = |kind: &str| format!("{kind} in CHALLENGES needs it");
    let expected = [
        ("SMS_WEBHOOK_URL", "webhook in SMS_PROVIDER needs it".to_owned()),
        ("TURNSTILE_SITE_KEY", of_challenge("turnstile")),
        ("TURNSTILE_SECRET", of_challenge("turnstile")),
        ("CAPTCHA_TENCENT_SECRET_KEY", of_challenge("tencent")),
        ("CAPTCHA_TENCENT_APP_ID", of_challenge("tencent")),
        ("CAPTCHA_TENCENT_APP_SECRET_KEY", of_challenge("tencent")),
        ("CAPTCHA_ALIYUN_ACCESS_KEY_ID", of_challenge("aliyun")),
        ("CAPTCHA_ALIYUN_SCENE_ID", of_challenge("aliyun")),
    ];
    let [needed @ .., (total, reason)] = named.as_slice() else { panic!("{told}") };
    assert_eq!(needed, expected.each_ref().map(|(name, reason)| (*name, reason.as_str())), "{told}");
    assert!(*total == "SMS_TOTAL_PER_HOUR" && reason.contains("cost money"), "{told}");

    let finished = Process::run(folder.path(), &[("CAPTCHA_TENCENT_APP_ID", "an-app")], &[]).await;
    assert!(finished.expect_wrong_settings().starts_with("CAPTCHA_TENCENT_APP_ID=an-app: "));
}

#[tokio::test]
async fn prefixes_of_blocked_mobiles_are_those_of_mobiles() {
    let folder = tempfile::tempdir().unwrap();
    let expected = "expected the first 3 to 11 digits of mobile numbers";
    for value in ["17", "270", "120", "1a0", "170;171", "138001380000", "+86170", "170,,171", "１７０"] {
        let finished = Process::run(folder.path(), &[("MOBILE_BLOCK", value)], &[]).await;
        assert_eq!(finished.expect_wrong_settings(), format!("MOBILE_BLOCK={value}: {expected}\n"));
    }
    let config = Cli::from_flags(["phonepass", "--mobile-block=170, 1410,13800138000"]).unwrap().config;
    assert_eq!(config.mobile_block, ["170", "1410", "13800138000"]);
    assert!(Cli::from_flags(["phonepass"]).unwrap().config.mobile_block.is_empty());
}

#[tokio::test]
async fn networks_without_limits_are_networks_and_fraud_has_three_answers() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value, reason) in [
        ("LIMIT_EXEMPT", "10.0.0.0/33", "address"),
        ("LIMIT_EXEMPT", "10.0.0.0/8,office", "address"),
        ("FRAUD", "allow", "expected challenge, record, deny"),
        ("FRAUD", "Deny", "expected challenge, record, deny"),
    ] {
        let finished = Process::run(folder.path(), &[(name, value)], &[]).await;
        let told = finished.expect_wrong_settings();
        assert!(told.starts_with(&format!("{name}={value}: ")) && told.contains(reason), "{told}");
    }
    let config =
        Cli::from_flags(["phonepass", "--limit-exempt=10.0.0.0/8, 2001:db8::/48", "--fraud=deny"]).unwrap().config;
    assert_eq!(config.limit_exempt, ["10.0.0.0/8", "2001:db8::/48"].map(|network| network.parse().unwrap()));
    assert_eq!(config.fraud, FraudPolicy::Deny);
    let config = Cli::from_flags(["phonepass"]).unwrap().config;
    assert!(config.limit_exempt.is_empty() && config.fraud == FraudPolicy::Challenge);
}

#[tokio::test]
async fn listeners_that_want_the_same_address_are_a_wrong_setting() {
    let clash = |http: &str, metrics: &str| {
        let flags = [format!("--http-addr={http}"), format!("--metrics-addr={metrics}"), "--dev".to_owned()];
        Cli::from_flags(["phonepass".to_owned()].into_iter().chain(flags)).is_err()
    };
    for (http, metrics, clashing) in [
        ("127.0.0.1:8000", "127.0.0.1:8000", true),
        ("0.0.0.0:8000", "127.0.0.1:8000", true),
        ("[::]:8000", "0.0.0.0:8000", true),
        ("[::ffff:127.0.0.1]:8000", "127.0.0.1:8000", true),
        ("0.0.0.0:8000", "[::1]:8000", false),
        ("127.0.0.1:8000", "127.0.0.2:8000", false),
        ("127.0.0.1:8000", "127.0.0.1:8001", false),
        ("127.0.0.1:0", "127.0.0.1:0", false),
    ] {
        assert_eq!((clash(http, metrics), clash(metrics, http)), (clashing, clashing), "{http} {metrics}");
    }
}

#[test]
fn settings_show_no_secret_when_they_are_printed_for_debugging() {
    let flags = [
        "phonepass",
        "--database-url=postgres://sys:hunter2@h/d",
        "--redis-url=redis://:hunter2@h",
        "--secret-key=c2hhcmVkIHNlY3JldCBzaGFyZWQgc2VjcmV0IDMyYiE=",
        "--sms-webhook-url=https://u:hunter2@h/?token=Sesam",
        "--sms-webhook-secret=whsec_aHVudGVyMg==",
        "--sms-total-per-hour=0",
        "--twilio-auth-token=hunter2",
        "--captcha-aliyun-access-key-secret=hunter2",
        "--captcha-tencent-secret-key=hunter2",
        "--captcha-tencent-app-secret-key=hunter2",
        "--turnstile-secret=hunter2",
        "--otel-exporter-otlp-endpoint=http://u:hunter2@h:4318",
    ];
    let shown = format!("{:?}", Cli::from_flags(flags).unwrap().config);
    expect_no_piece(&shown);
    assert!(!shown.contains("c2hhcmVk") && !shown.contains("aHVudGVyMg"), "{shown}");
}

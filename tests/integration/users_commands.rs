//! Can an operator look at users and change what they may do?

use std::time::Duration;

use phonepass::{
    auth::{guess_subjects::GuessSubjects, master_key::MasterKey},
    model::mobile::Mobile,
    store::users::{self, Guess, Guesser, Statements},
};
use serde_json::{Value, json};

use crate::support::{
    MOBILE, PASSWORD, TestApp, WIDE,
    backends::{Backends, Stores},
    command::run,
    on_every_backend,
    process::until,
};

const OTHER: &str = "13900139000";

/// The value behind a name that `users show` prints.
fn shown<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim()
}

async fn show(stores: &Stores, mobile: &str) -> String {
    run(stores, &["users", "show", mobile], "").await.expect_success().to_owned()
}

on_every_backend! {
    async fn a_user_is_shown(backends: Backends) {
        let app = TestApp::start(backends).await;
        let registered = app.register(MOBILE, PASSWORD).await.expect_errno(0);
        app.sign_in(OTHER).await;
        app.sign_in_with(OTHER, "000000").await.expect_error(400, "sms_code_expired");

        let text = show(&app.stores, "+86 138-0013-8000").await;
        assert_eq!(shown(&text, "id"), registered["data"]["user_id"].as_str().unwrap());
        assert_eq!(shown(&text, "mobile"), MOBILE);
        assert_eq!(shown(&text, "name"), MOBILE);
        assert_eq!(shown(&text, "status"), "active");
        assert_eq!(shown(&text, "has_password"), "yes");
        assert_eq!(shown(&text, "sessions"), "1");
        assert!(shown(&text, "created_at").ends_with('Z') && shown(&text, "last_login").ends_with('Z'), "{text}");
        assert!(!text.contains("argon2"), "{text}");
        assert_eq!(shown(&show(&app.stores, OTHER).await, "has_password"), "no");

        let finished = run(&app.stores, &["users", "show", "13700137000"], "").await;
        assert_eq!((finished.code, finished.stdout.as_str()), (1, ""));
        assert!(finished.stderr.contains("no user") && finished.stderr.contains("13700137000"), "{finished:?}");
    }
}

on_every_backend! {
    async fn a_disabled_user_is_out_within_a_second_until_enabled(backends: Backends) {
        // No moving of the clock, which would be the service's own: the command has the machine's.
        let app = TestApp::start_with(backends, &["--sms-resend-seconds=0"]).await;
        app.register(MOBILE, PASSWORD).await.expect_errno(0);
        let tokens = app.sign_in(MOBILE).await;
        let other = app.sign_in(OTHER).await;

        let finished = run(&app.stores, &["users", "disable", MOBILE], "y\n").await;
        assert_eq!(finished.expect_success(), format!("{MOBILE} ({MOBILE}) is disabled. Sessions ended: 2.\n"));
        assert!(finished.stderr.contains(MOBILE) && finished.stderr.contains("disable? [y/N] \n"), "{finished:?}");
        let refused = async || app.user(&tokens.access).await.status == 401;
        until("the token is refused", Duration::from_secs(1), refused).await;
        app.refresh(&tokens.refresh).await.expect_error(403, "account_disabled");
        let body = json!({ "mobile": MOBILE, "password": PASSWORD });
        app.post("/app/v1_0/authorizations/password", body.clone()).await.expect_error(403, "account_disabled");
        app.user(&other.access).await.expect(200);
        assert_eq!(shown(&show(&app.stores, MOBILE).await, "status"), "disabled");

        let again = run(&app.stores, &["users", "disable", "--yes", MOBILE], "").await;
        assert_eq!(again.expect_success(), format!("{MOBILE} ({MOBILE}) is disabled already. Sessions ended: 0.\n"));

        let finished = run(&app.stores, &["users", "enable", MOBILE, "--yes"], "").await;
        assert_eq!(finished.expect_success(), format!("{MOBILE} ({MOBILE}) is active. Sessions ended: 0.\n"));
        app.post("/app/v1_0/authorizations/password", body).await.expect(201);
        until("the former token stays refused", Duration::from_secs(1), refused).await;
        let again = run(&app.stores, &["users", "enable", MOBILE, "--yes"], "").await;
        assert!(again.expect_success().contains("is active already"), "{again:?}");
    }
}

on_every_backend! {
    async fn a_user_is_signed_out_everywhere(backends: Backends) {
        let app = TestApp::start(backends).await;
        let tokens = app.sign_in(MOBILE).await;
        app.sign_in(OTHER).await;
        let finished = run(&app.stores, &["users", "sign-out", MOBILE], " YES \n").await;
        assert_eq!(finished.expect_success(), format!("{MOBILE} ({MOBILE}) is signed out. Sessions ended: 1.\n"));
        app.refresh(&tokens.refresh).await.expect_error(401, "session_revoked");
        let refused = async || app.user(&tokens.access).await.status == 401;
        until("the token is refused", Duration::from_secs(1), refused).await;
        assert_eq!(shown(&show(&app.stores, MOBILE).await, "sessions"), "0");
        assert_eq!(shown(&show(&app.stores, OTHER).await, "sessions"), "1");
        app.advance(60).await;
        app.sign_in(MOBILE).await;
    }
}

on_every_backend! {
    async fn a_deleted_user_is_gone_and_the_number_free(backends: Backends) {
        let app = TestApp::start(backends).await;
        let registered = app.register(MOBILE, PASSWORD).await.expect_errno(0);
        let finished = run(&app.stores, &["users", "delete", MOBILE], "y").await;
        assert_eq!(finished.expect_success(), format!("{MOBILE} ({MOBILE}) is deleted. Sessions ended: 1.\n"));
        assert_eq!(run(&app.stores, &["users", "delete", "--yes", MOBILE], "").await.code, 1);
        assert_eq!(run(&app.stores, &["users", "show", MOBILE], "").await.code, 1);

        app.advance(60).await;
        let tokens = app.sign_in(MOBILE).await;
        let user = app.user(&tokens.access).await.expect(200);
        assert_ne!(user["data"]["user_id"], registered["data"]["user_id"]);
        assert_eq!(user["data"]["has_password"], false);
    }
}

on_every_backend! {
    async fn nothing_changes_without_a_yes(backends: Backends) {
        let app = TestApp::start(backends).await;
        let tokens = app.sign_in(MOBILE).await;
        for command in ["disable", "enable", "unlock", "sign-out", "delete"] {
            for answer in [b"".as_slice(), b"\n", b"n\n", b"no\n", b"yeah\n", b"\xff\n", b"\ny\n"] {
                let finished = run(&app.stores, &["users", command, MOBILE], answer).await;
                assert_eq!((finished.code, finished.stdout.as_str()), (1, ""), "{finished:?}");
                assert!(finished.stderr.contains("[y/N]"), "{finished:?}");
                assert!(finished.stderr.ends_with("Nothing was changed.\n"), "{finished:?}");
            }
            let unknown = run(&app.stores, &["users", command, OTHER], "y\n").await;
            assert_eq!(unknown.code, 1, "{unknown:?}");
            assert!(unknown.stderr.contains("no user") && !unknown.stderr.contains("[y/N]"), "{unknown:?}");
            assert_eq!(run(&app.stores, &["users", command, "12345"], "y\n").await.code, 2);
        }
        app.user(&tokens.access).await.expect(200);
        let text = show(&app.stores, MOBILE).await;
        assert_eq!((shown(&text, "status"), shown(&text, "sessions")), ("active", "1"));
    }
}

on_every_backend! {
    async fn users_are_listed_in_three_ways(backends: Backends) {
        let stores = Stores::create(backends).await;
        let list = async |arguments: &[&str]| {
            let arguments = [&["users", "list"], arguments].concat();
            run(&stores, &arguments, "").await.expect_success().to_owned()
        };
        assert_eq!(list(&[]).await.lines().count(), 1);
        assert_eq!(list(&["--format", "csv"]).await, "id,mobile,name,status,has_password,created_at,last_login\n");
        assert_eq!(serde_json::from_str::<Value>(&list(&["--format", "json"]).await).unwrap(), json!([]));

        // More than a page, the last three of them newer than the others.
        let mut file = "mobile,name,password_hash,created_at\n".to_owned();
        for index in 0..2500 {
            let year = if index < 2497 { 2020 } else { 2024 };
            file += &format!("138{index:08},\"{index}, \"\"名\"\"\",sha1$s${},{year}-01-31\n", "ab".repeat(20));
        }
        run(&stores, &["users", "import", "-"], file).await.expect_success();
        run(&stores, &["users", "disable", "--yes", "13800002499"], "").await.expect_success();

        let json: Value = serde_json::from_str(&list(&["--format=json"]).await).unwrap();
        assert_eq!(json.as_array().unwrap().len(), 2500);
        let mut last = json[2499].clone();
        assert_eq!(last["id"].take().as_str().unwrap().len(), 36);
        let expected = json!({
            "id": null, "mobile": "13800002499", "name": "2499, \"名\"", "status": "disabled", "has_password": true,
            "created_at": "2024-01-31T00:00:00Z", "last_login": "2024-01-31T00:00:00Z",
        });
        assert_eq!(last, expected);

        let table = list(&[]).await;
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 2501);
        for (column, value) in
            [("MOBILE", "13800002499"), ("STATUS", "disabled"), ("PASSWORD", "yes"), ("NAME", "2499,")]
        {
            assert!(lines[2500][lines[0].find(column).unwrap()..].starts_with(value), "{}", lines[2500]);
        }

        for (time, count) in
            [("2024-01-31", 3), ("2024-01-31T00:00:00Z", 3), ("2024-01-31T00:00:01Z", 0), ("2020-01-31", 2500)]
        {
            let csv = list(&["--format=csv", "--created-after", time]).await;
            let mut reader = csv::Reader::from_reader(csv.as_bytes());
            assert_eq!(reader.records().map(Result::unwrap).filter(|row| row.len() == 7).count(), count, "{time}");
        }
        let everything = list(&["--format=csv"]).await + &table + &json.to_string();
        assert!(!everything.contains("sha1"), "no hash is ever printed");
        assert_eq!(run(&stores, &["users", "list", "--created-after", "soon"], "").await.code, 2);
        assert_eq!(run(&stores, &["users", "list", "--format", "xml"], "").await.code, 2);
    }
}

on_every_backend! {
    async fn wrong_guesses_are_forgotten_by_unlocking_and_enabling(backends: Backends) {
        let app = TestApp::start(backends).await;
        app.sign_in(MOBILE).await;
        let secret = std::fs::read_to_string(app.stores.folder.path().join("secret.key")).unwrap();
        let subjects = GuessSubjects::new(&MasterKey::from_base64(&secret).unwrap());
        let url = app.stores.database_url().parse().unwrap();
        let users = users::connect(&url, Statements::Named, 2, WIDE).await.unwrap();
        for command in ["unlock", "enable"] {
            for subject in subjects.all(&Mobile::parse(MOBILE).unwrap()) {
                for expected in [Guess::Taken, Guess::Exhausted] {
                    let guess = users.take_guess(&subject, Guesser::Stranger, 1, app.clock.now()).await.unwrap();
                    assert_eq!(guess, expected);
                }
            }
            assert_eq!(app.stores.count("wrong_guesses").await, 2);
            run(&app.stores, &["users", command, "--yes", MOBILE], "").await.expect_success();
            assert_eq!(app.stores.count("wrong_guesses").await, 0, "{command}");
        }
        // Another secret names other counts.
        let other = format!("--secret-key={}", MasterKey::generate());
        let refused = run(&app.stores, &["users", "unlock", "--yes", MOBILE, &other], "").await;
        assert!(refused.code != 0 && refused.stderr.contains("SECRET_KEY"), "{refused:?}");
        let enabled = run(&app.stores, &["users", "enable", "--yes", MOBILE, &other], "").await;
        enabled.expect_success();
        assert!(enabled.stderr.contains("stay counted"), "{enabled:?}");
    }
}

#[tokio::test]
async fn a_name_cannot_command_a_terminal() {
    let app = TestApp::start(Backends::SQLITE_AND_IN_PROCESS).await;
    app.sign_in(MOBILE).await;
    app.stores.execute("UPDATE users SET name = 'a' || char(27) || '[2J' || char(10) || 'b'").await;
    for arguments in [["users", "show", MOBILE].as_slice(), &["users", "list"], &["users", "disable", "--yes", MOBILE]]
    {
        let text = run(&app.stores, arguments, "").await.expect_success().to_owned();
        assert!(text.contains("a\u{fffd}[2J\u{fffd}b") && !text.contains('\u{1b}'), "{text}");
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_told() {
    let stores = Stores::create(Backends::SQLITE_AND_IN_PROCESS).await;
    let url = "--database-url=postgres://127.0.0.1:1/none";
    for arguments in [["users", "show", MOBILE].as_slice(), &["users", "list"], &["users", "delete", "--yes", MOBILE]] {
        let finished = run(&stores, &[arguments, &[url]].concat(), "").await;
        assert_eq!((finished.code, finished.stdout.as_str()), (1, ""), "{finished:?}");
        assert!(finished.stderr.contains("postgresql is unavailable"), "{finished:?}");
    }
}

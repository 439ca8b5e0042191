//! Can an operator take over the users of another service, whatever the file looks like?

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Read},
    process::Stdio,
    time::Duration,
};

use chrono::{DateTime, Utc};
use csv::ByteRecord;
use phonepass::{
    auth::import::{Columns, ImportError, parse_time},
    model::user::ImportedUser,
};
use proptest::prelude::*;

use crate::support::{
    backends::{Backends, Stores},
    command::{phonepass, run},
    process::{Running, until},
};

const DATABASES: [Backends; 2] = [Backends::SQLITE_AND_IN_PROCESS, Backends::POSTGRESQL_AND_IN_PROCESS];

const HASH: &str = "sha1$Xq3fT9aZ$bf5782f16a55b8ad8510b897621111ed35f6f8c9";

fn now() -> DateTime<Utc> {
    parse_time("2026-06-01T12:00:00Z").unwrap()
}

/// What a line says under a header.
fn read(header: &[&str], line: &[&[u8]]) -> Result<ImportedUser, ImportError> {
    Columns::from_header(&ByteRecord::from(header))?.user(&ByteRecord::from(line), now())
}

fn time(text: &str) -> Result<DateTime<Utc>, ImportError> {
    read(&["mobile", "created_at"], &[b"13800138000", text.as_bytes()]).map(|user| user.created_at)
}

#[test]
fn columns_may_come_in_any_order_with_others_between() {
    let header = [" Created_At", "id", "PASSWORD_HASH", "name", "mobile ", "email"];
    let line: [&[u8]; 6] = [b"2020-01-31", b"7", HASH.as_bytes(), " 李 雷 ".as_bytes(), b" +86 138-0013-8000", b"\xff"];
    let user = read(&header, &line).unwrap();
    assert_eq!(user.mobile.as_str(), "13800138000");
    assert_eq!(user.name, "李 雷");
    assert_eq!(user.password_hash.as_deref(), Some(HASH));
    assert_eq!(user.created_at.to_rfc3339(), "2020-01-31T00:00:00+00:00");
}

#[test]
fn all_but_the_mobile_may_be_missing_or_empty() {
    let empty: [&[u8]; 4] = [b"13800138000", b" ", b"", b" "];
    let users = [
        read(&["mobile"], &[b"13800138000"]),
        read(&["mobile", "name", "password_hash", "created_at"], &empty),
        // Django's mark for no password.
        read(&["mobile", "password_hash"], &[b"13800138000", b"!Xq3fT9aZ0000"]),
    ];
    for user in users.map(Result::unwrap) {
        assert_eq!((user.name.as_str(), user.password_hash, user.created_at), ("13800138000", None, now()));
    }
}

#[test]
fn a_time_is_read_as_people_and_databases_write_it() {
    for (text, expected) in [
        ("2026-01-31T12:30:15Z", "2026-01-31T12:30:15Z"),
        ("2026-01-31T12:30:15.5+08:00", "2026-01-31T04:30:15.500Z"),
        ("2026-01-31 12:30:15", "2026-01-31T12:30:15Z"),
        ("2026-01-31T12:30:15", "2026-01-31T12:30:15Z"),
        ("2026-01-31 12:30:15.123456789", "2026-01-31T12:30:15.123456Z"),
        ("2026-01-31 12:30:15.123456+00:00", "2026-01-31T12:30:15.123456Z"),
        ("2026-01-31 12:30:15+00", "2026-01-31T12:30:15Z"),
        ("2026-01-31 12:30:15+0800", "2026-01-31T04:30:15Z"),
        ("2026-01-31", "2026-01-31T00:00:00Z"),
        ("1970-01-01", "1970-01-01T00:00:00Z"),
    ] {
        let expected: DateTime<Utc> = expected.parse().unwrap();
        assert_eq!(time(text).unwrap(), expected, "{text}");
    }
    for text in ["yesterday", "1600000000", "2026-02-30", "31.01.2026", "2026-01-31T25:00:00Z", "2026-01-31 12:30"] {
        assert!(time(text).unwrap_err().to_string().contains("is not a time"), "{text}");
    }
    assert_eq!(time("1969-12-31T23:59:59Z").unwrap_err().to_string(), "created_at lies before 1970");
    assert_eq!(time("2026-06-01T12:00:01Z").unwrap_err().to_string(), "created_at lies in the future");
    assert_eq!(time("2026-06-01T12:00:00Z").unwrap(), now());
}

#[test]
fn what_is_wrong_is_named_but_not_quoted() {
    let header = ["mobile", "name", "password_hash", "created_at"];
    let long = "长".repeat(33);
    let damaged = format!("{HASH}00");
    let mobile: &[u8] = b"13800138000";
    for (line, told) in [
        ([b"12345678901".as_slice(), b"", b"", b""], "mobile is not a mobile number"),
        ([b"", b"", b"", b""], "mobile is not a mobile number"),
        ([b"138\xff", b"", b"", b""], "mobile is not UTF-8"),
        ([mobile, long.as_bytes(), b"", b""], "name must have 1 to 32 characters"),
        ([mobile, b"a\0b", b"", b""], "name must have 1 to 32 characters"),
        ([mobile, b"\xe6\x9d", b"", b""], "name is not UTF-8"),
        ([mobile, b"", b"hunter2", b""], "password_hash is in no known format"),
        ([mobile, b"", damaged.as_bytes(), b""], "password_hash is damaged"),
        ([mobile, b"", b"$2b$31$abcdefghijklmnopqrstuu3lmkme6xVExSSYqiD1545l6I/X7/cDu", b""], "too much time"),
        ([mobile, b"", b"", b"soon"], "created_at is not a time"),
    ] {
        let error = read(&header, &line).unwrap_err().to_string();
        assert!(error.contains(told), "{error}: {told}");
        for quoted in ["12345678901", "13800138000", "hunter2", "bf5782f1", "lmkme6x", "soon"] {
            assert!(!error.contains(quoted), "{error}");
        }
    }
    assert_eq!(read(&header, &[mobile, "长".repeat(32).as_bytes(), b"", b""]).unwrap().name.chars().count(), 32);
    assert_eq!(read(&header, &[mobile, b""]).unwrap_err(), ImportError::FieldCount(2, 4));
    assert_eq!(read(&header, &[mobile, b"", b"", b"", b""]).unwrap_err(), ImportError::FieldCount(5, 4));
    assert_eq!(read(&["name"], &[b"x"]).unwrap_err(), ImportError::NoColumn("mobile"));
    assert_eq!(read(&["mobile", "Mobile"], &[b"x", b"y"]).unwrap_err(), ImportError::ColumnTwice("mobile"));
}

proptest! {
    #[test]
    fn no_line_is_too_much(
        header in prop::collection::vec("mobile|name|password_hash|created_at|.*", 0..6),
        line in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..80),
                "1[3-9][0-9]{9}".prop_map(String::into_bytes),
                "(scrypt|pbkdf2|sha1|\\$2b|\\$argon2id)?([:$][0-9a-f=,vmtp]{0,70}){0,5}".prop_map(String::into_bytes),
                "[0-9+]{1,6}-[0-9]{1,2}-[0-9]{1,2}.[0-9:.+Z-]{0,20}".prop_map(String::into_bytes),
            ],
            0..6,
        ),
    ) {
        let record = ByteRecord::from_iter(&line);
        if let Ok(columns) = Columns::from_header(&ByteRecord::from_iter(&header))
            && let Ok(user) = columns.user(&record, now())
        {
            prop_assert!((1..=32).contains(&user.name.chars().count()));
            prop_assert!(user.created_at <= now() && user.created_at >= DateTime::UNIX_EPOCH);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_lines_are_imported_and_bad_ones_are_told_with_their_numbers() {
    // A byte order mark, CR LF, quotes, blank lines, a line break in a name, no line break at the end.
    let file = [
        b"\xef\xbb\xbfmobile,\"name\",password_hash,created_at,email\r\n".as_slice(),
        b"13900000002,\"Li, \"\"Lei\"\"\",,2020-01-31,a@example.com\r\n",
        b"\r\n",
        b"\r\n",
        b"139,too short,,,\r\n",
        b"13900000006,\"two\r\nlines\",,,\r\n",
        b"13900000008,a comma, too many,,,\r\n",
        b"13900000009,not a hash,hunter2,,\r\n",
        b"13900000010,dated,,2999-01-01,\r\n",
        b"13900000002,a duplicate,,,\r\n",
        b"13900000012,\xff\xfe,,,\r\n",
        b"   \r\n",
        b"+86 139 0000 0014,no email,,\r\n",
        b"13900000015,Han Meimei,!,2020-01-31 10:00:00+08:00,\"\"",
    ]
    .concat();
    for backends in DATABASES {
        let stores = Stores::create(backends).await;
        let path = stores.folder.path().join("users.csv");
        fs::write(&path, &file).unwrap();
        let finished = run(&stores, &["users", "import", path.to_str().unwrap()], "").await;
        assert_eq!(finished.expect_success(), "imported 2, already there 1, refused 7\n");
        let told: Vec<_> = finished.told().iter().map(|line| line.split_once(": ").unwrap()).collect();
        let numbers: Vec<_> = told.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, ["line 5", "line 6", "line 8", "line 9", "line 10", "line 12", "line 14"]);
        for ((_, reason), named) in
            told.iter().zip(["mobile", "name", "6 fields", "hash", "future", "UTF-8", "4 fields"])
        {
            assert!(reason.contains(named), "{reason}: {named}");
        }
        assert!(!finished.stderr.contains("hunter2") && !finished.stderr.contains("139000"), "{finished:?}");

        let list = run(&stores, &["users", "list", "--format=csv"], "").await;
        let lines: Vec<_> = list.expect_success().lines().skip(1).map(|line| line.split_once(',').unwrap().1).collect();
        assert_eq!(
            lines,
            [
                r#"13900000002,"Li, ""Lei""",active,false,2020-01-31T00:00:00Z,2020-01-31T00:00:00Z"#,
                "13900000015,Han Meimei,active,false,2020-01-31T02:00:00Z,2020-01-31T02:00:00Z",
            ]
        );
    }
}

#[tokio::test]
async fn a_file_that_is_no_import_file_stops_it() {
    let stores = Stores::empty(Backends::SQLITE_AND_IN_PROCESS).await;
    for (content, told) in [
        ("", "first line"),
        ("\n\n", "first line"),
        ("13800138000,Li Lei\n13800138001,Han Meimei\n", "mobile"),
        ("mobile,name,mobile\n", "twice"),
    ] {
        let finished = run(&stores, &["users", "import", "-"], content).await;
        assert_eq!(finished.code, 1, "{finished:?}");
        assert!(finished.stderr.contains(told) && finished.stdout.is_empty(), "{finished:?}");
    }
    for path in ["nowhere.csv", "."] {
        let finished = run(&stores, &["users", "import", path], "").await;
        assert_eq!(finished.code, 1, "{finished:?}");
        assert!(finished.stderr.contains(path), "{finished:?}");
    }
    assert_eq!(run(&stores, &["users", "import"], "").await.code, 2);
    assert!(!stores.folder.path().join("phonepass.db").exists(), "a refused import leaves nothing behind");

    let finished = run(&stores, &["users", "import", "-"], "mobile\n").await;
    assert_eq!(finished.expect_success(), "imported 0, already there 0, refused 0\n");
}

fn many(users: u32) -> String {
    let mut file = "mobile,name,password_hash\n".to_owned();
    for index in 0..users {
        writeln!(file, "138{index:08},User {index},{HASH}").unwrap();
    }
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_users_are_imported_once() {
    let file = many(100_000);
    for backends in DATABASES {
        let stores = Stores::create(backends).await;
        let finished = run(&stores, &["users", "import", "-"], file.clone()).await;
        assert_eq!(finished.expect_success(), "imported 100000, already there 0, refused 0\n");
        assert!(finished.told().is_empty(), "a progress bar without a terminal: {finished:?}");
        assert_eq!(stores.count("users").await, 100_000);

        let finished = run(&stores, &["users", "import", "-"], file.clone()).await;
        assert_eq!(finished.expect_success(), "imported 0, already there 100000, refused 0\n");
        assert_eq!(stores.count("users").await, 100_000);

        let list = run(&stores, &["users", "list", "--format=json"], "").await;
        let list: Vec<serde_json::Value> = serde_json::from_str(list.expect_success()).unwrap();
        assert_eq!(list.len(), 100_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_was_killed_goes_on_where_it_was() {
    for backends in DATABASES {
        let stores = Stores::create(backends).await;
        let path = stores.folder.path().join("users.csv");
        fs::write(&path, many(30_000)).unwrap();
        let arguments = ["users", "import", path.to_str().unwrap()];
        run(&stores, &["migrate"], "").await.expect_success();

        let mut command = phonepass(&stores, &arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = Running::start(&mut command);
        until("some users are imported", Duration::from_secs(30), async || stores.count("users").await > 0).await;
        running.kill();
        // The database may still be at the last statement of the one that was killed.
        let there_at_least = stores.count("users").await;

        let finished = run(&stores, &arguments, "").await;
        let told = finished.expect_success().split(|c: char| !c.is_ascii_digit());
        let told: Vec<i64> = told.filter_map(|number| number.parse().ok()).collect();
        let [imported, there, refused] = told[..] else { panic!("{finished:?}") };
        assert_eq!((imported + there, there % 1000, refused), (30_000, 0, 0), "{finished:?}");
        assert!((there_at_least..30_000).contains(&there), "{finished:?}");
        assert_eq!(stores.count("users").await, 30_000);
    }
}

#[tokio::test]
async fn an_import_goes_on_when_nobody_reads_its_complaints() {
    let stores = Stores::create(Backends::SQLITE_AND_IN_PROCESS).await;
    let path = stores.folder.path().join("users.csv");
    fs::write(&path, format!("mobile\n{}13800138000\n", "x\n".repeat(50_000))).unwrap();
    let mut child = phonepass(&stores, &["users", "import", path.to_str().unwrap()]).spawn().unwrap();
    drop(child.stderr.take());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "imported 1, already there 0, refused 50000\n");
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_whose_reader_has_gone_ends_quietly() {
    let stores = Stores::create(Backends::SQLITE_AND_IN_PROCESS).await;
    run(&stores, &["users", "import", "-"], many(20_000)).await.expect_success();
    for (arguments, first) in [
        (["users", "list"].as_slice(), "ID "),
        (&["users", "list", "--format=json"], "["),
        (&["users", "list", "--format=csv"], "id,"),
        (&["openapi"], "{"),
    ] {
        let mut child = phonepass(&stores, arguments).stdin(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with(first), "{line}");
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        let ended = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
        assert_eq!((ended.code(), told.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

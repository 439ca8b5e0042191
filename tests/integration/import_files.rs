//! Does an import say what is wrong with a file, and where, whatever program wrote it?

use std::fmt::Write as _;

use crate::support::{
    backends::{Backends, Stores},
    command::run,
    process::Finished,
};

const DATABASES: [Backends; 2] = [Backends::SQLITE_AND_IN_PROCESS, Backends::POSTGRESQL_AND_IN_PROCESS];

async fn import(stores: &Stores, file: impl Into<Vec<u8>>) -> Finished {
    run(stores, &["users", "import", "-"], file).await
}

/// The lines that were refused.
fn refused(finished: &Finished) -> Vec<u32> {
    let numbers = finished.stderr.lines().filter_map(|line| line.strip_prefix("line ")?.split_once(": "));
    numbers.map(|(number, _)| number.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_are_read_and_counted_however_they_end() {
    // Blank lines, a line break in quotes, a refused line before, between and at the end.
    let lines =
        "mobile,name\n\n\n139,a\n13900000004,Li Lei\n\n13900000006,\"two\nlines\"\n\n139,b\n13900000010,Han\n139,c";
    for backends in DATABASES {
        for line_end in ["\n", "\r\n", "\r"] {
            let stores = Stores::create(backends).await;
            let counts = ["imported 2, already there 0, refused 4\n", "imported 0, already there 2, refused 4\n"];
            for (before, after, counts) in [("", "", counts[0]), ("\u{feff}", &line_end.repeat(3), counts[1])] {
                let finished = import(&stores, format!("{before}{}{after}", lines.replace('\n', line_end))).await;
                assert_eq!(finished.expect_success(), counts, "{line_end:?}");
                assert_eq!(refused(&finished), [4, 7, 10, 12], "{line_end:?} {after:?}: {finished:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_last_line_is_reported_with_its_own_number() {
    let stores = Stores::create(Backends::SQLITE_AND_IN_PROCESS).await;
    for last in ["139,x", "139,\"x\ny\"", "139,\"a quote\nleft open", "139,\"a quote left open\n\n"] {
        for line_end in ["\n", "\r\n", "\r"] {
            for blank in 0..3 {
                let file = format!("mobile,name\n13900000001,Li Lei\n{}{last}", "\n".repeat(blank));
                let finished = import(&stores, file.replace('\n', line_end)).await;
                assert_eq!(finished.code, 0, "{finished:?}");
                assert_eq!(refused(&finished), [u32::try_from(3 + blank).unwrap()], "{last:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_carriage_return_within_a_line_of_another_file_is_damage_and_ends_no_line() {
    let stores = Stores::create(Backends::SQLITE_AND_IN_PROCESS).await;
    let finished = import(&stores, "mobile,name\n13900000001,Li\rLei\n13900000002,Han\n").await;
    assert_eq!(finished.expect_success(), "imported 1, already there 0, refused 1\n");
    assert_eq!(refused(&finished), [2]);
}

#[tokio::test]
async fn a_file_in_another_format_is_recognised_and_nothing_is_imported() {
    let stores = Stores::empty(Backends::SQLITE_AND_IN_PROCESS).await;
    let text = "mobile,name\r\n13900000001,Li Lei\r\n";
    let quoted = "\"name\",\"mobile\"\n\"Li Lei\",\"13900000001\"\n";
    let le = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let be = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let with = |separator: &str| quoted.replace(',', separator).into_bytes();
    for (file, told) in [
        (le(&format!("\u{feff}{text}")), "UTF-16"),
        (be(&format!("\u{feff}{text}")), "UTF-16"),
        (le(text), "UTF-16"),
        (be(text), "UTF-16"),
        (le(quoted), "UTF-16"),
        (be(quoted), "UTF-16"),
        // What Excel calls Unicode text.
        (le(&format!("\u{feff}{}", text.replace(',', "\t"))), "UTF-16"),
        (b"mobile;name\n13900000001;Li Lei\n".to_vec(), "semicolon"),
        (b"\xef\xbb\xbfmobile;name\r\n".to_vec(), "semicolon"),
        (b"name, first;mobile".to_vec(), "semicolon"),
        (with(";"), "semicolon"),
        (b"id\tMobile\r13900000001\r".to_vec(), "tab"),
        (with("\t"), "tab"),
        (with("|"), "pipe"),
        (b"PK\x03\x04\x14\x00\x06\x00mobile,name\n".to_vec(), "Excel"),
        (b"number,name\n13900000001,Li Lei\n".to_vec(), "mobile must be one of them"),
    ] {
        let finished = import(&stores, file).await;
        assert_eq!((finished.code, finished.stdout.as_str()), (1, ""), "{finished:?}");
        assert!(finished.stderr.contains(told) && finished.stderr.lines().count() == 1, "{told}: {finished:?}");
    }
    assert!(!stores.folder.path().join("phonepass.db").exists(), "a refused import leaves nothing behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_in_another_encoding_is_named() {
    for backends in DATABASES {
        let stores = Stores::create(backends).await;
        // 李雷 in GBK.
        let file = b"mobile,name\n13900000001,Han\n13900000002,\xc0\xee\xc0\xd7\n".to_vec();
        let finished = import(&stores, file).await;
        assert_eq!(finished.expect_success(), "imported 1, already there 0, refused 1\n");
        assert_eq!(finished.told(), ["line 3: name is not UTF-8"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_databases_write_for_nothing_is_none_and_times_may_have_small_letters() {
    for backends in DATABASES {
        let stores = Stores::create(backends).await;
        let mut file = "mobile,name,password_hash,created_at\n".to_owned();
        for (number, none) in ["", "NULL", "null", "\\N", "\"NULL\"", " NULL "].iter().enumerate() {
            writeln!(file, "1390000000{number},{none},{none},2020-01-31t10:00:00.5z").unwrap();
        }
        // A name like another.
        file += "13900000007,Null,\\N,2020-01-31t10:00:00+08:00\n13900000008,x,,NULL\n";
        let finished = import(&stores, file).await;
        assert_eq!(finished.expect_success(), "imported 8, already there 0, refused 0\n");

        let list = run(&stores, &["users", "list", "--format=csv"], "").await;
        let rows: Vec<Vec<_>> =
            list.expect_success().lines().skip(1).map(|line| line.split(',').skip(1).collect()).collect();
        for (number, row) in rows[..6].iter().enumerate() {
            let mobile = format!("1390000000{number}");
            assert_eq!(row[..4], [&mobile, &mobile, "active", "false"], "{row:?}");
            assert_eq!(row[4], "2020-01-31T10:00:00Z");
        }
        assert_eq!((rows[6][1], rows[6][4]), ("Null", "2020-01-31T02:00:00Z"));

        let list = run(&stores, &["users", "list", "--format=csv", "--created-after=2020-01-31t10:00:00z"], "").await;
        assert_eq!(list.expect_success().lines().count(), 8, "all but one, and the header");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_of_which_no_line_was_good_fails() {
    for backends in DATABASES {
        let stores = Stores::create(backends).await;
        for (file, code, counts) in [
            ("mobile\n", 0, "imported 0, already there 0, refused 0\n"),
            ("mobile\n\n\n", 0, "imported 0, already there 0, refused 0\n"),
            ("mobile\n139\n", 1, "imported 0, already there 0, refused 1\n"),
            ("mobile\n139\nx\n", 1, "imported 0, already there 0, refused 2\n"),
            ("mobile\n139\n13900000001\n", 0, "imported 1, already there 0, refused 1\n"),
            ("mobile\n139\n13900000001\n", 0, "imported 0, already there 1, refused 1\n"),
            ("mobile\n13900000001\n", 0, "imported 0, already there 1, refused 0\n"),
        ] {
            let finished = import(&stores, file).await;
            assert_eq!((finished.code, finished.stdout.as_str()), (code, counts), "{file:?}: {finished:?}");
            assert_eq!(finished.stderr.contains("no line could be imported"), code == 1, "{finished:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_spreadsheet_runs_a_name_of_the_list_and_the_list_can_be_imported() {
    let names = ["=1+1", "+1", "-1", "@SUM(A1)", "＝1", "＋1", "'=1", "''@x", "'x", "O'Brien", "=\"a,b\"", "小明"];
    for backends in DATABASES {
        let (first, second) = (Stores::create(backends).await, Stores::create(backends).await);
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["mobile", "name"]).unwrap();
        // Written as `list` writes it where it cannot be told from that.
        for (number, name) in names.iter().enumerate() {
            let name = if name.trim_start_matches('\'').starts_with(['=', '@']) {
                format!("'{name}")
            } else {
                (*name).to_owned()
            };
            writer.write_record([format!("139000000{number:02}"), name]).unwrap();
        }
        let file = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        assert_eq!(import(&first, file).await.expect_success(), "imported 12, already there 0, refused 0\n");

        let list = run(&first, &["users", "list", "--format=csv"], "").await.expect_success().to_owned();
        let mut written: Vec<String> = Vec::new();
        for row in csv::Reader::from_reader(list.as_bytes()).records() {
            let row = row.unwrap();
            assert!(row.iter().all(|cell| !cell.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])), "{row:?}");
            written.push(row[2].to_owned());
        }
        assert_eq!(written[0], "'=1+1");
        assert_eq!((&*written[8], &*written[9]), ("'x", "O'Brien"));
        assert_eq!(import(&second, list).await.expect_success(), "imported 12, already there 0, refused 0\n");
        let list = run(&second, &["users", "list", "--format=json"], "").await;
        let users: Vec<serde_json::Value> = serde_json::from_str(list.expect_success()).unwrap();
        let again: Vec<_> = users.iter().map(|user| user["name"].as_str().unwrap()).collect();
        assert_eq!(again, names);
    }
}

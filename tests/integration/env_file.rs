//! Is `.env` read as people write it, and is none of its secrets printed?

use std::{collections::BTreeMap, fs};

use proptest::prelude::*;

use crate::support::process::Process;

/// What a file sets, as a program that is started with it sees it: each value is refused, and shown.
async fn values_of(file: &str) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".env"), file).unwrap();
    let finished = Process::run(folder.path(), &[], &[]).await;
    let told = finished.expect_wrong_settings();
    let shown = told.lines().filter_map(|line| {
        let (assignment, _) = line.split_once(": expected ")?;
        let (name, value) = assignment.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    shown.collect()
}

#[tokio::test]
async fn a_dollar_is_a_dollar() {
    let values = values_of(
        "PUBLIC_URL=pa$word\nTRUSTED_PROXIES=\"$HOME ${PATH}\"\nSMS_TEXT='$5 \\$'\nSMS_TEXT_DOMAIN=a\\$b$\n\
         JWT_ALG=$$\nIMAGE_CODE=${PUBLIC_URL}\nLOG_LEVEL=\"a\\$b\"",
    )
    .await;
    let expected = [
        ("PUBLIC_URL", "pa$word"),
        ("TRUSTED_PROXIES", "$HOME ${PATH}"),
        ("SMS_TEXT", "$5 \\$"),
        ("SMS_TEXT_DOMAIN", "a$b$"),
        ("JWT_ALG", "$$"),
        ("IMAGE_CODE", "${PUBLIC_URL}"),
        ("LOG_LEVEL", "a$b"),
    ];
    assert_eq!(values, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[tokio::test]
async fn quotes_comments_and_line_ends_are_those_of_dotenv() {
    let values = values_of(
        "\u{feff}# a comment, it's \"$1\"\r\n  export PUBLIC_URL = a # it's\r\n\r\nTRUSTED_PROXIES='a # \"b\" \\'  \nSMS_TEXT=\"it's #1\"\n\
         SMS_TEXT_DOMAIN=a#b\nJWT_ALG=a\\ b\nIMAGE_CODE=\"a\\\"\\\\\"\nLOG_LEVEL=a'b'\"c\"",
    )
    .await;
    let expected = [
        ("PUBLIC_URL", "a"),
        ("TRUSTED_PROXIES", "a # \"b\" \\"),
        ("SMS_TEXT", "it's #1"),
        ("SMS_TEXT_DOMAIN", "a#b"),
        ("JWT_ALG", "a b"),
        ("IMAGE_CODE", "a\"\\"),
        ("LOG_LEVEL", "abc"),
    ];
    assert_eq!(values, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[tokio::test]
async fn a_line_that_does_not_parse_is_told_by_file_number_and_variable_alone() {
    for (file, line, variable) in [
        ("# one\n\nSECRET_KEY='hunter2\nLOG_LEVEL=info\n", 3, "SECRET_KEY"),
        ("SECRET_KEY=\"hunter2", 1, "SECRET_KEY"),
        ("LOG_LEVEL=info\nexport SECRET_KEY=hunter2 Sesam\n", 2, "SECRET_KEY"),
        ("SECRET_KEY=hunter2\\", 1, "SECRET_KEY"),
        ("SECRET_KEY=hunter2\\x\n", 1, "SECRET_KEY"),
        ("SECRET_KEY=hun\0ter2\n", 1, "SECRET_KEY"),
        ("A='x\ny'\nSECRET_KEY=hunter2 Sesam", 3, "SECRET_KEY"),
        ("hunter2 Sesam==\n", 1, ""),
        ("SECRET_KEY hunter2\n", 1, ""),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".env"), file).unwrap();
        let finished = Process::run(folder.path(), &[], &[]).await;
        let told = finished.expect_wrong_settings();
        assert_eq!(told.lines().count(), 1, "{file:?}: {told}");
        let place = if variable.is_empty() { format!(".env:{line}: ") } else { format!(".env:{line}: {variable}: ") };
        assert!(told.starts_with(&place), "{file:?}: {told}");
        for secret in ["hun", "ter2", "Sesam"] {
            assert!(!told.contains(secret), "{file:?}: {told}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".env"), b"LOG_LEVEL=info\nSECRET_KEY=hunter2\xFF\n").unwrap();
    let finished = Process::run(folder.path(), &[], &[]).await;
    assert_eq!(finished.expect_wrong_settings(), ".env:2: SECRET_KEY: not in UTF-8\n");
}

#[tokio::test]
async fn every_line_that_does_not_parse_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".env"), "A=b c\nLOG_LEVEL=info\nB=c d\n").unwrap();
    let finished = Process::run(folder.path(), &[], &[]).await;
    let told: Vec<_> = finished.expect_wrong_settings().lines().map(|line| line.split(": e").next().unwrap()).collect();
    assert_eq!(told, [".env:1: A", ".env:3: B"]);
}

proptest! {
    /// A value in single quotes is read exactly, and so is one in double quotes with backslashes.
    #[test]
    fn what_is_quoted_arrives_unchanged(value in "[ -~\u{4e00}-\u{4e10}\n]{0,24}") {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        let mut quoted = vec![format!("\"{escaped}\"")];
        if !value.contains('\'') {
            quoted.push(format!("'{value}'"));
        }
        for quoted in quoted {
            let text = phonepass::env_file::as_dotenvy_takes_it(&format!("A={quoted} # a comment\nB=c\n"));
            let read: Vec<_> = dotenvy::from_read_iter(text.as_bytes()).collect::<Result<_, _>>().unwrap();
            let expected = [("A".to_owned(), value.clone()), ("B".to_owned(), "c".to_owned())];
            prop_assert_eq!(read, expected);
        }
    }

    /// Without a dollar and a backslash, a file is read as dotenvy itself reads it.
    #[test]
    fn without_a_dollar_it_is_dotenvy(text in "([A-C]=|[a-c]|['\"# \n]){0,24}") {
        let read = |text: &str| dotenvy::from_read_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>().ok();
        // Of two ends of a line at the end of a file, dotenvy minds one.
        let text = format!("{text}\n");
        prop_assert_eq!(read(&phonepass::env_file::as_dotenvy_takes_it(&text)), read(&text));
    }
}

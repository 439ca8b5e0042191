//! Does all that a fuzzer ever tried still hold? Without a fuzzer, so that every change is asked.

use std::{fs, panic, path::Path};

#[path = "../fuzz/checks.rs"]
mod checks;

fn holds_for_the_corpus_of(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        let data = fs::read(&file).unwrap();
        assert!(panic::catch_unwind(|| check(&data)).is_ok(), "{}", file.display());
    }
}

#[test]
fn a_text_is_a_mobile_number_or_refused() {
    holds_for_the_corpus_of("mobile", checks::mobile);
}

#[test]
fn a_refresh_token_is_one_that_was_issued_or_refused() {
    holds_for_the_corpus_of("refresh_token", checks::refresh_token);
}

#[test]
fn an_access_token_is_believed_with_every_reason_or_refused() {
    holds_for_the_corpus_of("access_token", checks::access_token);
}

#[test]
fn no_header_makes_a_client_look_like_another() {
    holds_for_the_corpus_of("client_ip", checks::client_ip);
}

#[test]
fn a_line_of_an_import_file_is_a_user_within_bounds_or_refused_discreetly() {
    holds_for_the_corpus_of("import_line", checks::import_line);
}

//! Servers and programs that a test needs, found or started when the first test asks for them.

use std::{
    collections::HashMap,
    env,
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    sync::{LazyLock, Mutex, PoisonError},
};

/// Finds, installs or starts what a variable names.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../need.sh");

static FOUND: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);

/// The URL of a server that all tests share, or the path of a program that a test starts itself: that of the variable, if
/// it is set, else what `tests/need.sh` finds or starts in the folder `TEST_SERVERS`.
///
/// # Panics
/// If neither is set, or nothing is found.
pub fn need(variable: &str) -> String {
    // A test that panicked here left no half of anything.
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(value) = found.get(variable) {
        return value.clone();
    }
    let value = env::var(variable).unwrap_or_else(|_| find(variable));
    found.insert(variable.to_owned(), value.clone());
    value
}

fn find(variable: &str) -> String {
    let folder = env::var("TEST_SERVERS").unwrap_or_else(|_| {
        panic!("this test needs {variable}: run it by ./test.sh, or after eval \"$(./test.sh up)\"")
    });
    let folder = Path::new(&folder);
    // Tests of other processes may need the same.
    let lock = File::create(folder.join("lock")).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    lock.lock().unwrap();
    let known = fs::read_to_string(folder.join(variable)).unwrap_or_else(|_| {
        let found = Command::new(SCRIPT).arg(variable).stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
        assert!(found.status.success(), "tests/need.sh {variable}: {}", found.status);
        String::from_utf8(found.stdout).unwrap()
    });
    known.trim_end().to_owned()
}

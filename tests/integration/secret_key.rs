//! Is a generated secret made once, by one process, and only where there is none?

use std::{fs, path::Path, time::SystemTime};

use futures_util::future::join_all;

use crate::support::{
    MOBILE,
    backends::{Backends, Stores},
    needs::need,
    on_every_backend,
    process::Process,
};

const KEY: &str = "c2hhcmVkIHNlY3JldCBzaGFyZWQgc2VjcmV0IDMyYiE=\n";

/// What tells that something was written into a folder, even if it is gone again.
fn traces(folder: &Path) -> (SystemTime, Vec<String>) {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    (fs::metadata(folder).unwrap().modified().unwrap(), names.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_with_the_secret_in_it_is_only_read() {
    let stores = Stores::create(Backends::POSTGRESQL_AND_REDIS).await;
    let data = stores.folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("secret.key"), KEY).unwrap();
    let (database, redis) = (stores.database_url(), need("TEST_REDIS_URL"));
    let prefix = stores.redis().unwrap().1.clone();
    let environment = [("DATABASE_URL", &*database), ("REDIS_URL", &redis), ("REDIS_PREFIX", &prefix)];
    let before = traces(&data);
    let mut refresh = None;
    for _ in 0..2 {
        let process = Process::serve(stores.folder.path(), &environment, &[]).await;
        match &refresh {
            None => refresh = Some(process.sign_in(MOBILE).await.refresh),
            Some(refresh) => drop(process.refresh(refresh).await.expect(201)),
        }
        drop(process);
        assert_eq!(traces(&data), before);
    }
    assert_eq!(fs::read_to_string(data.join("secret.key")).unwrap(), KEY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_not_needed_is_not_made() {
    let stores = Stores::create(Backends::POSTGRESQL_AND_IN_PROCESS).await;
    let database = stores.database_url();
    let environment = [("DATABASE_URL", &*database), ("SECRET_KEY", KEY.trim()), ("DATA_DIR", "data")];
    let process = Process::serve(stores.folder.path(), &environment, &[]).await;
    process.sign_in(MOBILE).await;
    assert!(!stores.folder.path().join("data").exists());
}

#[tokio::test]
async fn a_secret_that_is_none_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    for content in ["", "hunter2\n"] {
        fs::write(folder.path().join("data/secret.key"), content).unwrap();
        let finished = Process::run(folder.path(), &[], &[]).await;
        let told = finished.expect_wrong_settings();
        assert!(told.contains("data/secret.key") && !told.contains("hunter2"), "{told}");
        assert_eq!(fs::read_to_string(folder.path().join("data/secret.key")).unwrap(), content);
    }
}

on_every_backend! {
    async fn processes_that_start_at_once_share_one_secret(backends: Backends) {
        let stores = Stores::create(backends).await;
        let flags = stores.flags();
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let mut processes: Vec<_> = (0..4).map(|_| Process::start(stores.folder.path(), &[], &flags)).collect();
        join_all(processes.iter_mut().map(Process::ready)).await;
        let tokens = processes[0].sign_in(MOBILE).await;
        for process in &processes {
            // Whose secret is another calls it a forgery.
            process.refresh(&tokens.refresh).await.expect(201);
        }
        let files = fs::read_dir(stores.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let left_over = files.filter(|name| name.to_string_lossy().starts_with(".tmp"));
        assert_eq!(left_over.count(), 0);
    }
}

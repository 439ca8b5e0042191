//! The disk is full under SQLite while people register.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use reqwest::Method;

use crate::{
    load::Load,
    stack::{Instance, Stack, turn},
    support::process::until,
};

const ENOUGH: usize = 30;

/// Waits until `/readyz` answers with this status.
async fn readyz(instance: &Instance, status: u16) {
    until("readiness changes", Duration::from_secs(30), async || {
        let answer = instance.process.request(Method::GET, "/readyz").send().await;
        answer.is_ok_and(|answer| answer.status() == status)
    })
    .await;
}

/// The disk is full for a while, three times; the service is not restarted.
async fn outlives(stack: Stack, instance: Instance, full: impl Fn(&Instance), room: impl Fn(&Instance)) {
    let load = Load::on(&instance.url(), &stack.phones);
    for _ in 0..3 {
        load.more(ENOUGH).await;
        full(&instance);
        load.trouble().await;
        readyz(&instance, 503).await;
        room(&instance);
        readyz(&instance, 200).await;
    }
    load.more(ENOUGH).await;
    load.end().await.expect_kept(&stack, &instance.url(), None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_sign_in_is_lost_and_nothing_restarted_when_files_may_not_grow_for_a_while() {
    let _turn = turn().await;
    let stack = Stack::on(None, None).await;
    let mut patient = Command::new("sh");
    patient.args(["-c", "trap '' XFSZ; exec \"$0\"", env!("CARGO_BIN_EXE_phonepass")]);
    let instance = stack.instance_by(patient).await;
    let limit = |instance: &Instance, bytes: &str| instance.process.running.limit_file_size(bytes);
    outlives(stack, instance, |instance| limit(instance, "4096"), |instance| limit(instance, "unlimited")).await;
}

/// A file system that is unmounted at the end.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// `None` where mounting is not permitted.
    fn mount(path: &Path) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        mount(&["-t", "tmpfs", "-o", "size=2m", "tmpfs"], path).then(|| Self(path.to_owned()))
    }

    /// Writes until there is no room.
    fn fill(&self) {
        let mut filler = fs::File::options().create(true).append(true).open(self.0.join("filler")).unwrap();
        for size in [4096, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn enlarge(&self) {
        let room = fs::metadata(self.0.join("filler")).unwrap().len() / 1024 + 8 * 1024;
        assert!(mount(&["-o", &format!("remount,size={room}k")], &self.0));
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(options: &[&str], path: &Path) -> bool {
    Command::new("mount").args(options).arg(path).output().is_ok_and(|output| output.status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_sign_in_is_lost_and_nothing_restarted_when_a_full_disk_is_enlarged() {
    let _turn = turn().await;
    let stack = Stack::on(None, None).await;
    let Some(tmpfs) = Tmpfs::mount(&stack.data()) else {
        writeln!(std::io::stderr(), "NOT TESTED: a full disk that is enlarged, as only root may mount one").unwrap();
        return;
    };
    let instance = stack.instance().await;
    outlives(stack, instance, |_| tmpfs.fill(), |_| tmpfs.enlarge()).await;
}

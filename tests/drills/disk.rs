//! The disk is full under SQLite while people register.

use std::process::Command;

use crate::{
    load::Load,
    stack::{Stack, turn},
};

const ENOUGH: usize = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_when_the_disk_is_full() {
    let _turn = turn().await;
    let stack = Stack::on(None, None).await;
    let mut instance = stack.instance().await;
    let load = Load::on(&instance.url(), &stack.phones);
    load.more(ENOUGH).await;
    instance.process.running.kill();

    // No file may grow any more, as on a disk that has no room left. The shell's unit is 512 bytes or 1 KiB.
    let mut cramped = Command::new("sh");
    cramped.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\"", env!("CARGO_BIN_EXE_phonepass")]);
    instance.process = stack.start_by(cramped, &instance.address).await;
    load.trouble().await;

    instance.process.running.kill();
    stack.restart(&mut instance).await;
    load.more(ENOUGH).await;
    load.end().await.expect_kept(&stack, &instance.url(), None).await;
}

//! How does a test run a command of the program to its end, with something on its standard input?

use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::{
    backends::Stores,
    process::{Finished, program},
};

/// `phonepass` with some arguments and the settings of some stores.
pub fn phonepass(stores: &Stores, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).args(stores.flags()).current_dir(stores.folder.path()).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command that reads `input`.
pub async fn run(stores: &Stores, arguments: &[&str], input: impl Into<Vec<u8>>) -> Finished {
    let (mut command, input) = (phonepass(stores, arguments), input.into());
    let run = move || {
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command need not read what it is told. From another thread: it may also print before it reads.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        Finished { code: output.status.code().unwrap_or(-1), stdout, stderr }
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

//! When does a line of the log reach standard error?
//!
//! A line for each request is a system call for each request. Lines therefore wait for a moment and go out together;
//! what needs attention goes out at once, after those that wait.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line may wait.
const WAIT: Duration = Duration::from_millis(10);

/// How many bytes may wait: whoever writes more writes them out.
const WAITING: usize = 64 * 1024;

/// The lines that wait. Clones share them.
#[derive(Clone, Default)]
pub struct Lines(Arc<Waiting>);

#[derive(Default)]
struct Waiting {
    bytes: Mutex<Vec<u8>>,
    some: Condvar,
}

impl Lines {
    /// Writes out what waits, again and again, on a thread of its own.
    pub fn write_in_background(&self) {
        let lines = self.clone();
        thread::spawn(move || {
            loop {
                let empty = lines.locked();
                drop(lines.0.some.wait_while(empty, |bytes| bytes.is_empty()));
                thread::sleep(WAIT);
                lines.write_out(&mut lines.locked());
            }
        });
    }

    /// Writes out what waits.
    pub fn flush(&self) {
        self.write_out(&mut self.locked());
    }

    fn locked(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.bytes.lock().expect("no panic while the lines are held")
    }

    fn write_out(&self, bytes: &mut Vec<u8>) {
        // A log that nobody can read any more is no reason to stop.
        let _ = io::stderr().write_all(bytes);
        bytes.clear();
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, at_once: true }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line { lines: self, at_once: *metadata.level() <= Level::WARN }
    }
}

/// One line, which comes in one piece.
pub struct Line<'a> {
    lines: &'a Lines,
    at_once: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut bytes = self.lines.locked();
        let first = bytes.is_empty();
        bytes.extend_from_slice(line);
        if self.at_once || bytes.len() > WAITING {
            self.lines.write_out(&mut bytes);
        } else if first {
            self.lines.0.some.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! The lines of a text file, whatever system they come from.

use std::io::{self, Cursor, Read};

/// How much of a file is looked at to see how its lines end: more than any first line has.
const START: u64 = 64 * 1024;

/// The bytes of a file whose lines end in LF or CR LF. If they end in CR alone, as on old Macs, each CR becomes a LF.
pub struct Lines {
    input: Box<dyn Read>,
    end_in_cr: bool,
    ended: bool,
}

impl Lines {
    /// The lines of `input`.
    pub fn of(mut input: Box<dyn Read>) -> io::Result<Self> {
        let mut start = Vec::new();
        input.by_ref().take(START).read_to_end(&mut start)?;
        // Only the first end counts: in other files, a CR between two letters is damage and no end of a line.
        let first_end = start.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let end_in_cr = first_end.is_some_and(|end| start[end] == b'\r' && start.get(end + 1) != Some(&b'\n'));
        Ok(Self { input: Box::new(Cursor::new(start).chain(input)), end_in_cr, ended: false })
    }

    /// Has a reader come to the end of the file?
    pub fn ended(&self) -> bool {
        self.ended
    }
}

impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.ended = length == 0;
        if self.end_in_cr {
            buffer[..length].iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b'\n');
        }
        Ok(length)
    }
}

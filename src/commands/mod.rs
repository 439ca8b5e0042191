//! How does a command print, and how does it fail?

mod import;
mod lines;
mod list;
pub mod users;

use std::{
    fmt::Display,
    io::{self, Write},
};

use phonepass::{app::StartError, store::StoreError};

/// Why a command did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Settings, stores or files are not as they should be.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It was told something impossible, or not to do it after all.
    #[error("{0}")]
    Refused(String),
    /// Nobody reads on (`| head`): no reason to complain.
    #[error("standard output is closed")]
    ReaderGone,
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::Start(error.into())
    }
}

/// Prints to standard output, at once. Unlike `print!`, it does not panic when nobody reads on.
pub fn print(text: impl Display) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    write!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => CommandError::ReaderGone,
        _ => CommandError::Start(StartError::Io(format!("standard output: {error}"))),
    })
}

/// Tells something on standard error. If nobody reads that, the work goes on all the same.
pub fn tell(text: impl Display) {
    let _ = write!(io::stderr(), "{text}");
}

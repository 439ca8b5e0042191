//! What is written to the log, what is measured and traced, and when is the process told to stop?

mod json_lines;
mod lines;
pub mod metrics;
pub mod sampling;
pub mod signals;
pub mod traces;

use std::io::IsTerminal;

use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use json_lines::JsonLines;
use lines::Lines;

use crate::config::{LogFormat, LogLevel};

/// The log of this process; what is still to be written is written when this is dropped.
pub struct Log(Lines);

impl Drop for Log {
    fn drop(&mut self) {
        sampling::finish();
        self.0.flush();
    }
}

/// Writes the log to standard error from now on.
#[must_use]
pub fn init(format: Option<LogFormat>, level: LogLevel) -> Log {
    let format =
        format.unwrap_or_else(|| if std::io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json });
    let lines = Lines::default();
    lines.write_in_background();
    let layer = fmt::layer().with_writer(lines.clone());
    let layer = match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.fmt_fields(JsonLines).event_format(JsonLines).boxed(),
    };
    let level = filter(level);
    // Libraries print what they handle, keys and headers with numbers and tokens included: never below a warning.
    let targets =
        Targets::new().with_target("phonepass", level).with_default(level.min(LevelFilter::from(Level::WARN)));
    // For the whole registry, not for the one layer: a library that asks whether it may log would else, by its
    // question, have the layer drop the next line of the same thread.
    tracing_subscriber::registry().with(targets).with(layer).init();
    Log(lines)
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

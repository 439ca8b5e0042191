//! What is written to the log, and when is the process told to stop?

use std::io::IsTerminal;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{LogFormat, LogLevel};

/// Writes the log to standard error from now on.
pub fn init(format: Option<LogFormat>, level: LogLevel) {
    let format =
        format.unwrap_or_else(|| if std::io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json });
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
    };
    let level = filter(level);
    // Libraries print what they handle, keys and headers with numbers and tokens included: never below a warning.
    let targets =
        Targets::new().with_target("phonepass", level).with_default(level.min(LevelFilter::from(Level::WARN)));
    // For the whole registry, not for the one layer: a library that asks whether it may log would else, by its
    // question, have the layer drop the next line of the same thread.
    tracing_subscriber::registry().with(targets).with(lines).init();
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

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// When the process may not listen for signals.
pub async fn stop_signal() -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

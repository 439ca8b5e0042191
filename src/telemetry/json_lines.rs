//! How is an event written as one line of JSON?
//!
//! Own code in place of tracing-subscriber's: that one builds a tree of values for each line and reads the span's fields
//! back from their text, which takes longer than a request that needs no store.

use std::fmt::{self, Debug, Write};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

/// The format: `timestamp`, `level`, the event's own fields, `target`, and the innermost `span` with its fields.
pub struct JsonLines;

impl<S: Subscriber + for<'a> LookupSpan<'a>> FormatEvent<S, Self> for JsonLines {
    fn format_event(
        &self,
        context: &FmtContext<'_, S, Self>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        write!(writer, "\",\"level\":\"{}\"", metadata.level())?;
        write_members(writer.by_ref(), event)?;
        write!(writer, ",\"target\":\"{}\"", metadata.target())?;
        if let Some(span) = context.lookup_current() {
            writer.write_str(",\"span\":{")?;
            write!(writer, "\"name\":\"{}\"", span.name())?;
            if let Some(fields) = span.extensions().get::<FormattedFields<Self>>() {
                writer.write_str(&fields.fields)?;
            }
            writer.write_char('}')?;
        }
        writer.write_str("}\n")
    }
}

/// The fields of a span, kept as the text that its events repeat.
impl<'writer> FormatFields<'writer> for JsonLines {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        write_members(writer, fields)
    }
}

fn write_members(writer: Writer<'_>, fields: impl RecordFields) -> fmt::Result {
    let mut members = Members { writer, outcome: Ok(()) };
    fields.record(&mut members);
    members.outcome
}

/// Writes each field with a comma before it.
struct Members<'a> {
    writer: Writer<'a>,
    outcome: fmt::Result,
}

impl Members<'_> {
    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.outcome = self.outcome.and_then(|()| write!(self.writer, ",\"{}\":{value}", field.name()));
    }

    fn text(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.outcome = self.outcome.and_then(|()| {
            write!(self.writer, ",\"{}\":\"", field.name())?;
            Escaped(&mut self.writer).write_fmt(value)?;
            self.writer.write_char('"')
        });
    }
}

impl Visit for Members<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity.
        if value.is_finite() { self.plain(field, value) } else { self.text(field, format_args!("{value}")) }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, format_args!("{value:?}"));
    }
}

/// Escapes what may not stand in a JSON text (RFC 8259, 7).
struct Escaped<'a, 'b>(&'a mut Writer<'b>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1F)) {
            let (plain, special) = rest.split_at(at);
            self.0.write_str(plain)?;
            write!(self.0, "\\u{:04x}", special.as_bytes()[0])?;
            rest = &special[1..];
        }
        self.0.write_str(rest)
    }
}

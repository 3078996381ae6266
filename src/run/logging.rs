//! Formats the log of stayd itself: one line per event on stderr, as text, JSON, or for the systemd journal.

use super::stderr_writer::{self, Form};
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Time, level (except info), service, message.
    Text,
    /// One JSON object per line.
    Json,
    /// `<3>` to `<7>` before the message (sd-daemon(3)), without a time: the journal records it.
    Journal,
}

/// Waits, for a bounded time, until the last lines have been written. Call it before the process ends.
pub fn flush() {
    stderr_writer::flush();
}

/// Installs the logger; later calls have no effect.
pub fn start(format: Format, verbosity: i8, colour: bool) {
    stderr_writer::start();
    let level = match verbosity {
        ..=-2 => LevelFilter::ERROR,
        -1 => LevelFilter::WARN,
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        2.. => LevelFilter::TRACE,
    };
    let form = match format {
        Format::Text | Format::Journal => Form::Text,
        Format::Json => Form::Json,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        // Otherwise the logger reports a failed write with eprintln!, which panics if stderr is closed (`| head`, a
        // restarted journald), and the panic would end stayd.
        .log_internal_errors(false)
        .with_writer(move || stderr_writer::writer(form))
        .with_ansi(colour);
    // In tests a second logger in the same process is an error, and the first one stays.
    let _ = match format {
        Format::Text => builder
            .event_format(TextLine { with_time: true })
            .try_init(),
        Format::Journal => builder
            .event_format(TextLine { with_time: false })
            .try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Formats a text line, for people or for the journal.
struct TextLine {
    with_time: bool,
}

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        let mut fields = Fields::default();
        event.record(&mut fields);
        if self.with_time {
            let now = humantime::format_rfc3339_seconds(crate::sys::clock::sample().wall);
            write!(out, "{now} ")?;
            if let Some(name) = level_name(level) {
                write!(out, "{name}: ")?;
            }
        } else {
            write!(out, "<{}>", priority(level))?;
        }
        if let Some(service) = &fields.service {
            write!(out, "{service}: ")?;
        }
        writeln!(out, "{}{}", fields.message, fields.rest)
    }
}

/// The name of a level in a text line; `None` for info.
fn level_name(level: Level) -> Option<&'static str> {
    match level {
        Level::ERROR => Some("error"),
        Level::WARN => Some("warning"),
        Level::DEBUG => Some("debug"),
        Level::TRACE => Some("trace"),
        _ => None,
    }
}

/// syslog(3) priorities.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[derive(Default)]
struct Fields {
    service: Option<String>,
    message: String,
    rest: String,
}

impl Fields {
    fn put(&mut self, name: &str, value: String) {
        match name {
            "message" => self.message = value,
            "service" => self.service = Some(value),
            _ => self.rest.push_str(&format!(" {name}={value}")),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}"));
    }
}

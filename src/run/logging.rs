//! What stayd itself says: one line each on stderr, in the form its reader wants.

use super::voice;
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Time, level where it matters, service, sentence.
    Text,
    /// One JSON object a line.
    Json,
    /// `<3>` … `<7>` before the sentence (sd-daemon(3)); the journal stamps by itself.
    Journal,
}

/// Waits a moment for the last lines to be taken; to be called before the process ends.
pub fn flush() {
    voice::flush();
}

/// Installs the logger, once; later calls change nothing.
pub fn start(format: Format, verbosity: i8, colour: bool) {
    voice::start();
    let level = match verbosity {
        ..=-2 => LevelFilter::ERROR,
        -1 => LevelFilter::WARN,
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        2.. => LevelFilter::TRACE,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        // A line that stderr refuses would be complained of on stderr with eprintln!, whose panic ends us: a reader
        // that has gone (`| head`, a restarted journald) must not.
        .log_internal_errors(false)
        .with_writer(voice::writer)
        .with_ansi(colour);
    // A second logger in the same process (tests) is refused; the first goes on.
    let _ = match format {
        Format::Text => builder.event_format(Line { stamped: true }).try_init(),
        Format::Journal => builder.event_format(Line { stamped: false }).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// A line for a person, or for the journal.
struct Line {
    stamped: bool,
}

impl<S, N> FormatEvent<S, N> for Line
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
        let mut words = Words::default();
        event.record(&mut words);
        if self.stamped {
            let now = humantime::format_rfc3339_seconds(crate::sys::clock::sample().wall);
            write!(out, "{now} ")?;
            if let Some(name) = loud(level) {
                write!(out, "{name}: ")?;
            }
        } else {
            write!(out, "<{}>", priority(level))?;
        }
        if let Some(service) = &words.service {
            write!(out, "{service}: ")?;
        }
        // One event, one line: what a service said may hold anything.
        let sentence: String = words
            .sentence
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        writeln!(out, "{sentence}{}", words.rest)
    }
}

/// Levels that are named; the others speak for themselves.
fn loud(level: Level) -> Option<&'static str> {
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
struct Words {
    service: Option<String>,
    sentence: String,
    rest: String,
}

impl Words {
    fn put(&mut self, name: &str, value: String) {
        match name {
            "message" => self.sentence = value,
            "service" => self.service = Some(value),
            _ => self.rest.push_str(&format!(" {name}={value}")),
        }
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}"));
    }
}

//! Writes to stdout and stderr: plain text in pipes, colors on a terminal, JSON on request.

use super::exit::{Exit, Failure};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// What the color of a word conveys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// All is well.
    Good,
    /// Needs attention.
    Warning,
    /// Broken.
    Bad,
    /// Less important than the rest.
    Dim,
    /// More important than the rest.
    Bold,
}

impl Style {
    /// Its SGR parameter (ECMA-48, 8.3.117).
    const fn sgr(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Warning => "33",
            Self::Bad => "31",
            Self::Dim => "2",
            Self::Bold => "1",
        }
    }
}

/// stdout, and whether it takes colors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Console {
    color: bool,
    terminal: bool,
}

impl Console {
    /// stdout of this process. It gets colors on a terminal only, and not if NO_COLOR is set (no-color.org) or TERM is
    /// `dumb`.
    pub(super) fn stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        Self {
            color: terminal && may_draw(),
            terminal,
        }
    }

    /// Without colors, for tests.
    #[cfg(test)]
    pub(super) const fn plain() -> Self {
        Self {
            color: false,
            terminal: false,
        }
    }

    /// Whether stdout is a terminal.
    pub(super) const fn is_terminal(self) -> bool {
        self.terminal
    }

    /// Returns `text` in this style, or unchanged if there are no colors.
    pub(super) fn style(self, style: Style, text: &str) -> String {
        if self.color {
            format!("\x1b[{}m{text}\x1b[0m", style.sgr())
        } else {
            text.to_owned()
        }
    }

    /// Writes `text` as it is and flushes. A closed pipe is [`Failure::reader_gone`].
    pub(super) fn print(self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                Failure::reader_gone()
            } else {
                Failure::system("write to stdout", &error)
            }
        })
    }

    /// Writes `text` and a line end.
    pub(super) fn line(self, text: &str) -> Result<(), Failure> {
        self.print(&format!("{text}\n"))
    }

    /// Writes a value as indented JSON.
    pub(super) fn json<T: Serialize>(self, value: &T) -> Result<(), Failure> {
        self.json_text(serde_json::to_string_pretty(value))
    }

    /// Writes a value as JSON on one line, for output that is a stream of values.
    pub(super) fn json_line<T: Serialize>(self, value: &T) -> Result<(), Failure> {
        self.json_text(serde_json::to_string(value))
    }

    fn json_text(self, text: serde_json::Result<String>) -> Result<(), Failure> {
        let text =
            text.map_err(|error| Failure::new(Exit::Bug, format!("cannot write JSON: {error}")))?;
        self.line(&text)
    }
}

/// Whether the environment allows colors and cursor movement: NO_COLOR is unset or empty, and TERM is not `dumb`.
pub(super) fn may_draw() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !no_color && !dumb
}

/// Writes `text` and a line end to stderr. A closed stderr is ignored: the exit status still tells the result.
pub(super) fn print_stderr(text: &str) {
    let _reader_gone = writeln!(io::stderr(), "{text}");
}

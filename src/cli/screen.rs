//! Writing for people and for pipes.

use super::exit::{Exit, Failure};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// What a word is to convey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    /// All is well.
    Good,
    /// Worth a look.
    Odd,
    /// Broken.
    Bad,
    /// Of less weight.
    Faint,
    /// Of more weight.
    Strong,
}

impl Paint {
    /// Its SGR parameter (ECMA-48, 8.3.117).
    const fn sgr(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Odd => "33",
            Self::Bad => "31",
            Self::Faint => "2",
            Self::Strong => "1",
        }
    }
}

/// stdout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    colour: bool,
    terminal: bool,
}

impl Screen {
    /// Colour only on a terminal, and not with NO_COLOR (no-color.org) or a dumb one.
    pub(super) fn stdout() -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = io::stdout().is_terminal();
        Self {
            colour: terminal && !is_set("NO_COLOR") && !dumb,
            terminal,
        }
    }

    /// Without colour; for tests and pipes.
    #[cfg(test)]
    pub(super) const fn plain() -> Self {
        Self {
            colour: false,
            terminal: false,
        }
    }

    /// Whether a person is looking.
    pub(super) const fn is_terminal(self) -> bool {
        self.terminal
    }

    /// `text` in this paint.
    pub(super) fn paint(self, paint: Paint, text: &str) -> String {
        if self.colour {
            format!("\x1b[{}m{text}\x1b[0m", paint.sgr())
        } else {
            text.to_owned()
        }
    }

    /// Writes `text` as it is.
    pub(super) fn print(self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                Failure::nobody_reads()
            } else {
                Failure::system("write to stdout", &error)
            }
        })
    }

    /// Writes `text` and a line end.
    pub(super) fn line(self, text: &str) -> Result<(), Failure> {
        self.print(&format!("{text}\n"))
    }

    /// Writes a value as JSON, indented where a person reads it, one line where it is one of many.
    pub(super) fn json<T: Serialize>(self, value: &T, one_of_many: bool) -> Result<(), Failure> {
        let text = if one_of_many {
            serde_json::to_string(value)
        } else {
            serde_json::to_string_pretty(value)
        };
        let text =
            text.map_err(|error| Failure::new(Exit::Bug, format!("cannot write JSON: {error}")))?;
        self.line(&text)
    }
}

/// Tells stderr; a stderr that nobody reads is no reason to stumble.
pub(super) fn tell(text: &str) {
    let _nobody_reads = writeln!(io::stderr(), "{text}");
}

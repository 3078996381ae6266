//! Decides where a service's output goes: what `log.to = "auto"` means, given what reads stayd's own stdout.

use super::journald;
use crate::config::LogTo;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};

/// What reads stayd's own stdout, as far as `log.to = "auto"` depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StdoutReader {
    /// stdout is a terminal.
    pub terminal: bool,
    /// A container runtime collects stdout, and the log files are deleted with the container.
    pub container: bool,
    /// journald reads stdout or stderr.
    pub journal: bool,
}

impl StdoutReader {
    /// Examines our own stdout and stderr. The caller passes whether this is a container, and `$JOURNAL_STREAM`.
    #[must_use]
    pub fn detect(container: bool, journal_stream: Option<&str>) -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            container,
            journal: journal_stream.is_some_and(journald::is_our_output),
        }
    }
}

/// Where a service's output goes, after `auto` is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogDestination {
    /// The log file.
    File,
    /// The log file, and stayd's stdout with the service's name before each line.
    FileAndStdout,
    /// stayd's own stdout and stderr, which the service inherits.
    Inherit,
    /// A journald stream with the service's name.
    Journal,
}

impl LogDestination {
    /// The destination for the setting `to`, given what reads stayd's stdout.
    #[must_use]
    pub const fn resolve(to: LogTo, reader: StdoutReader) -> Self {
        match to {
            LogTo::File => Self::File,
            LogTo::Both => Self::FileAndStdout,
            LogTo::Inherit if reader.journal => Self::Journal,
            LogTo::Inherit => Self::Inherit,
            LogTo::Auto if reader.terminal || reader.container => Self::FileAndStdout,
            LogTo::Auto if reader.journal => Self::Journal,
            LogTo::Auto => Self::File,
        }
    }
}

/// Duplicates of our own stdout and stderr.
pub(super) fn inherited_ends() -> io::Result<(OwnedFd, OwnedFd)> {
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    Ok((stdout, io::stderr().as_fd().try_clone_to_owned()?))
}

/// Two journald streams with the service's name, for its stdout and stderr.
pub(super) fn journald_ends(service: &str) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok((journald::connect(service)?, journald::connect(service)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_depends_on_what_reads_stdout() {
        let none = StdoutReader {
            terminal: false,
            container: false,
            journal: false,
        };
        let terminal = StdoutReader {
            terminal: true,
            ..none
        };
        let container = StdoutReader {
            container: true,
            ..none
        };
        let journal = StdoutReader {
            journal: true,
            ..none
        };
        for (to, reader, expected) in [
            (LogTo::Auto, none, LogDestination::File),
            (LogTo::Auto, terminal, LogDestination::FileAndStdout),
            (LogTo::Auto, container, LogDestination::FileAndStdout),
            (LogTo::Auto, journal, LogDestination::Journal),
            (LogTo::Inherit, journal, LogDestination::Journal),
            (LogTo::Inherit, terminal, LogDestination::Inherit),
            (LogTo::File, terminal, LogDestination::File),
        ] {
            assert_eq!(LogDestination::resolve(to, reader), expected);
        }
    }
}

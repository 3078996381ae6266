//! Where output goes, and what `auto` means.

use super::journald;
use crate::config::LogTo;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};

/// Who reads our stdout, as far as `log.to = "auto"` depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audience {
    /// A person sees our stdout.
    pub terminal: bool,
    /// Somebody collects our stdout, and the files go with the container.
    pub container: bool,
    /// journald reads us.
    pub journal: bool,
}

impl Audience {
    /// Looks at our own stdout and stderr. Whether this is a container is for the caller to know, and so is
    /// `$JOURNAL_STREAM`.
    #[must_use]
    pub fn look(container: bool, journal_stream: Option<&str>) -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            container,
            journal: journal_stream.is_some_and(journald::reads_us),
        }
    }
}

/// Where a service's output goes, once `auto` is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// The file.
    File,
    /// The file, and our stdout with the service's name before each line.
    Both,
    /// Our own stdout and stderr.
    Ours,
    /// A journald stream of the service's own.
    Journal,
}

impl Sink {
    /// What `to` means here.
    #[must_use]
    pub const fn settle(to: LogTo, around: Audience) -> Self {
        match to {
            LogTo::File => Self::File,
            LogTo::Both => Self::Both,
            LogTo::Inherit if around.journal => Self::Journal,
            LogTo::Inherit => Self::Ours,
            LogTo::Auto if around.terminal || around.container => Self::Both,
            LogTo::Auto if around.journal => Self::Journal,
            LogTo::Auto => Self::File,
        }
    }
}

/// Our own stdout and stderr.
pub(super) fn our_ends() -> io::Result<(OwnedFd, OwnedFd)> {
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    Ok((stdout, io::stderr().as_fd().try_clone_to_owned()?))
}

/// Two journald streams that carry the service's name.
pub(super) fn journal_ends(service: &str) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok((journald::connect(service)?, journald::connect(service)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_goes_where_somebody_reads() {
        let nobody = Audience {
            terminal: false,
            container: false,
            journal: false,
        };
        let person = Audience {
            terminal: true,
            ..nobody
        };
        let runtime = Audience {
            container: true,
            ..nobody
        };
        let journal = Audience {
            journal: true,
            ..nobody
        };
        assert_eq!(Sink::settle(LogTo::Auto, nobody), Sink::File);
        assert_eq!(Sink::settle(LogTo::Auto, person), Sink::Both);
        assert_eq!(Sink::settle(LogTo::Auto, runtime), Sink::Both);
        assert_eq!(Sink::settle(LogTo::Auto, journal), Sink::Journal);
        assert_eq!(Sink::settle(LogTo::Inherit, journal), Sink::Journal);
        assert_eq!(Sink::settle(LogTo::Inherit, person), Sink::Ours);
        assert_eq!(Sink::settle(LogTo::File, person), Sink::File);
    }
}

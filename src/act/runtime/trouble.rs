//! Why a tree cannot be read or made.

use super::text::shown;
use std::fmt;
use std::io;
use std::path::Path;

/// A cause, and what kind of cause it is: each has another cure.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Trouble {
    /// The source is not there, or its disk does not answer: another time, perhaps.
    Gone(String),
    /// We may not read it, but somebody else may.
    Denied(String),
    /// It holds what no runtime may hold; the source has to be changed.
    Refused(String),
    /// It was copied, and nothing can be started from the copy.
    Unfit(String),
    /// It changed while it was read.
    Unsteady(String),
    /// There is no room for a copy.
    Full(String),
    /// Anything else that the system says.
    System(String),
}

impl Trouble {
    /// What `error` at `path` means, when `what` was tried with the source.
    #[must_use]
    pub fn of_source(what: &str, path: &Path, error: &io::Error) -> Self {
        let sentence = format!("cannot {what} {}: {error}", shown(path));
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied(sentence),
            io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::StaleNetworkFileHandle
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NotConnected => Self::Gone(sentence),
            _ if is_about_the_disk(error) => Self::Gone(sentence),
            _ => Self::System(sentence),
        }
    }

    /// What `error` at `path` means, when `what` was tried with the copy.
    #[must_use]
    pub fn of_copy(what: &str, path: &Path, error: &io::Error) -> Self {
        let sentence = format!("cannot {what} {}: {error}", shown(path));
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(sentence),
            _ => Self::System(sentence),
        }
    }

    /// The sentence.
    #[must_use]
    pub fn sentence(&self) -> &str {
        match self {
            Self::Gone(sentence)
            | Self::Denied(sentence)
            | Self::Refused(sentence)
            | Self::Unfit(sentence)
            | Self::Unsteady(sentence)
            | Self::Full(sentence)
            | Self::System(sentence) => sentence,
        }
    }
}

/// A disk that was pulled.
fn is_about_the_disk(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::ENXIO | libc::ENODEV | libc::ESHUTDOWN)
    )
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.sentence())
    }
}

impl std::error::Error for Trouble {}

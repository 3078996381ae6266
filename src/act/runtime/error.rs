//! The error type for reading a source and making a copy of it.

use super::display::printable;
use crate::sys::folder::Changeable;
use std::fmt;
use std::io;
use std::path::Path;

/// Why a source cannot be read or copied. Each kind has another remedy; the text is a whole sentence.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum SourceError {
    /// The source does not exist, or its disk does not answer. A later attempt may succeed.
    Unavailable(String),
    /// This process has no permission to read it; another user may have it.
    PermissionDenied(String),
    /// The user of the service, with whose rights root reads the source, has no permission to read it; or root would have to
    /// use its own rights where another user could lead it elsewhere.
    DeniedToUser(String),
    /// There is no user with whose rights the source could be read.
    NoUser(String),
    /// The source contains something that a runtime cannot contain. The user must change the source.
    NotCopyable(String),
    /// It was copied, but the service cannot be started from the copy.
    NotStartable(String),
    /// It changed while it was read.
    Changing(String),
    /// Our own disk has no space for a copy.
    NoSpace(String),
    /// Any other error of the system.
    Other(String),
}

impl SourceError {
    /// Classifies `error`, which happened to the source's file at `path`. `action` completes "cannot ACTION PATH".
    #[must_use]
    pub fn of_source(action: &str, path: &Path, error: &io::Error) -> Self {
        let sentence = format!("cannot {action} {}: {error}", printable(path));
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::PermissionDenied(sentence),
            io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::StaleNetworkFileHandle
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NotConnected => Self::Unavailable(sentence),
            _ if is_disk_error(error) => Self::Unavailable(sentence),
            _ => Self::Other(sentence),
        }
    }

    /// Classifies `error`, which happened to the copy's file at `path`. `action` completes "cannot ACTION PATH".
    #[must_use]
    pub fn of_copy(action: &str, path: &Path, error: &io::Error) -> Self {
        let sentence = format!("cannot {action} {}: {error}", printable(path));
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace(sentence),
            _ => Self::Other(sentence),
        }
    }

    /// The folder at `path`, or one above it, can be changed by a user who could lead root to another folder with it.
    #[must_use]
    pub(super) fn of_changeable(path: &Path, changeable: Changeable) -> Self {
        let user = match changeable {
            Changeable::ByUser(uid) => format!("user {uid}"),
            Changeable::ByOthers => "every user or a group".to_owned(),
        };
        Self::DeniedToUser(format!(
            "cannot read the runtime's source: {user} can change the folder {} or one above it, and could lead root to \
             another folder",
            printable(path)
        ))
    }

    /// The error as a sentence.
    #[must_use]
    pub fn sentence(&self) -> &str {
        match self {
            Self::Unavailable(sentence)
            | Self::PermissionDenied(sentence)
            | Self::DeniedToUser(sentence)
            | Self::NoUser(sentence)
            | Self::NotCopyable(sentence)
            | Self::NotStartable(sentence)
            | Self::Changing(sentence)
            | Self::NoSpace(sentence)
            | Self::Other(sentence) => sentence,
        }
    }
}

/// Whether the disk itself failed, as one that was unplugged does.
fn is_disk_error(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::ENXIO | libc::ENODEV | libc::ESHUTDOWN)
    )
}

impl fmt::Display for SourceError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.sentence())
    }
}

impl std::error::Error for SourceError {}

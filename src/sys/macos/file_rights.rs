//! macOS gives a single thread no user of its own. Never run on a Mac yet.

use super::super::spawn::User;
use std::io;

/// See [`take`].
pub(in super::super) const HAS_FILE_RIGHTS: bool = false;

/// Never exists: [`take`] fails.
pub(in super::super) enum OwnRights {}

/// Fails without a change: see [`HAS_FILE_RIGHTS`].
pub(in super::super) fn take(_user: &User) -> io::Result<OwnRights> {
    Err(io::ErrorKind::Unsupported.into())
}

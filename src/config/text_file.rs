//! Reads the text files of a configuration: with a size limit, without waiting for a pipe, and for root only if no other
//! user could have written them.

use super::value::ValueError;
use crate::sys::guarded_file;
use crate::sys::spawn::User;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The largest accepted file: a larger one is not a configuration, env_file or secret.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Write permission of the group and of others.
const OTHERS_WRITE: u32 = 0o022;
/// In a folder with this bit, only the owner of a file can replace it.
const STICKY: u32 = 0o1000;

/// Whether the owner and the mode of a file are checked before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnerCheck {
    /// No check: stayd runs with the rights of the user who called it.
    Skip,
    /// Only root may be able to write the file: stayd is root, and the file determines what root runs.
    RootOnly,
}

impl OwnerCheck {
    /// The check that a process of this user needs.
    pub(super) fn for_user(euid: u32) -> Self {
        if euid == 0 {
            Self::RootOnly
        } else {
            Self::Skip
        }
    }
}

/// Reads a text file.
///
/// # Errors
/// The file cannot be opened, is not a regular file, is too large, is not UTF-8, or other users can write it.
pub(super) fn read(path: &Path, owner_check: OwnerCheck) -> Result<String, ValueError> {
    let file = only_regular(open(path))?;
    if owner_check == OwnerCheck::RootOnly {
        only_root_writes(&file.metadata().map_err(io_error)?, "the file", false)?;
        let real = path.canonicalize().map_err(io_error)?;
        if let Some(folder) = real.parent() {
            only_root_writes(&folder.metadata().map_err(io_error)?, "its folder", true)?;
        }
    }
    read_text(file)
}

/// Reads a text file whose content goes to a process of `reader`; none: of stayd's own user.
///
/// # Errors
/// As [`read`]; also where another user could lead root to a file that the reader may not read.
pub(super) fn read_for(path: &Path, reader: Option<&User>) -> Result<String, ValueError> {
    read_text(only_regular(guarded_file::open(path, reader))?)
}

fn read_text(file: File) -> Result<String, ValueError> {
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(io_error)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ValueError::new(
            "it is larger than 1 MiB",
            "is it the right file?",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        let cause = format!(
            "line {line} is not UTF-8 (byte {} of the file)",
            good.len() + 1
        );
        ValueError::new(cause, "save it as UTF-8")
    })
}

/// Opens without waiting: the open of a pipe without a writer must not block.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

fn only_regular(opened: io::Result<File>) -> Result<File, ValueError> {
    let file = opened.map_err(io_error)?;
    if !file.metadata().map_err(io_error)?.is_file() {
        return Err(ValueError::new(
            "it is not a regular file",
            "name a regular file",
        ));
    }
    Ok(file)
}

fn only_root_writes(metadata: &Metadata, what: &str, folder: bool) -> Result<(), ValueError> {
    let owner = metadata.uid();
    if owner != 0 {
        let cause = format!("stayd runs as root, and {what} belongs to uid {owner}");
        return Err(ValueError::new(
            cause,
            "chown it to root, or run stayd as that user",
        ));
    }
    let sticky = folder && metadata.mode() & STICKY != 0;
    if metadata.mode() & OTHERS_WRITE != 0 && !sticky {
        let mode = metadata.mode() & 0o7777;
        let cause = format!("stayd runs as root, and other users can write {what} (mode {mode:o})");
        return Err(ValueError::new(cause, "chmod go-w"));
    }
    Ok(())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "map_err requires this signature"
)]
fn io_error(error: io::Error) -> ValueError {
    let advice = if error.kind() == io::ErrorKind::PermissionDenied {
        "check its permissions and the user that runs stayd"
    } else {
        "check the path"
    };
    ValueError::new(super::os_error_text(&error), advice)
}

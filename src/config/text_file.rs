//! Reading the files of a configuration: bounded, never waiting for a pipe, and as root only
//! when nobody else could have written them.

use super::value::ValueError;
use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// A configuration, an env_file or a secret larger than this is none.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Write permission of the group and of others.
const OTHERS_WRITE: u32 = 0o022;
/// In a folder with this bit only its owner may replace a file.
const STICKY: u32 = 0o1000;

/// Who may have written a file that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnerCheck {
    /// Skip: we act with the rights of the person who calls.
    Skip,
    /// Root alone: we are root, and the file says what root runs.
    RootOnly,
}

impl OwnerCheck {
    /// What a process of this user has to ask for.
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
/// It cannot be opened, is no plain file, is too large, is no UTF-8, or others could have written it.
pub(super) fn read(path: &Path, owner_check: OwnerCheck) -> Result<String, ValueError> {
    let file = open(path)?;
    if owner_check == OwnerCheck::RootOnly {
        only_root_writes(&file.metadata().map_err(refused)?, "the file", false)?;
        let real = path.canonicalize().map_err(refused)?;
        if let Some(folder) = real.parent() {
            only_root_writes(&folder.metadata().map_err(refused)?, "its folder", true)?;
        }
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(refused)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(ValueError::new(
            "it is larger than 1 MiB",
            "is it the right file?",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        let cause = format!(
            "line {line} is no UTF-8 (byte {} of the file)",
            good.len() + 1
        );
        ValueError::new(cause, "save it as UTF-8")
    })
}

/// Opens without waiting: a pipe nobody writes to must not hold us.
fn open(path: &Path) -> Result<File, ValueError> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(refused)?;
    if !file.metadata().map_err(refused)?.is_file() {
        return Err(ValueError::new("it is no plain file", "name a file"));
    }
    Ok(file)
}

fn only_root_writes(seen: &Metadata, what: &str, folder: bool) -> Result<(), ValueError> {
    let owner = seen.uid();
    if owner != 0 {
        let cause = format!("stayd runs as root, and {what} belongs to uid {owner}");
        return Err(ValueError::new(
            cause,
            "chown it to root, or run stayd as that user",
        ));
    }
    let sticky = folder && seen.mode() & STICKY != 0;
    if seen.mode() & OTHERS_WRITE != 0 && !sticky {
        let mode = seen.mode() & 0o7777;
        let cause = format!("stayd runs as root, and others can write {what} (mode {mode:o})");
        return Err(ValueError::new(cause, "chmod go-w"));
    }
    Ok(())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn refused(error: std::io::Error) -> ValueError {
    let cure = if error.kind() == std::io::ErrorKind::PermissionDenied {
        "check its permissions, and whose stayd this is"
    } else {
        "check the path"
    };
    ValueError::new(super::os_error_text(&error), cure)
}

//! Sizes, counts and file names as text for messages.

use crate::sys::terminal::escape_bytes;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Paths that [`list_paths`] names.
const PATHS_NAMED_MAX: usize = 3;

/// A number of bytes as text: `340 MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let steps = bytes.checked_ilog2().unwrap_or(0) as usize / 10;
    let steps = steps.min(UNITS.len() - 1);
    let shown = bytes as f64 / f64::powi(1024.0, i32::try_from(steps).unwrap_or(0));
    let digits = usize::from(steps > 0 && shown < 10.0);
    format!("{shown:.digits$} {}", UNITS[steps])
}

/// How much was copied or read, as text: `120 files, 340 MiB`.
#[must_use]
pub fn files_and_bytes(files: usize, bytes: u64) -> String {
    format!("{}, {}", file_count(files), size(bytes))
}

/// A number of files as text: `1 file`, `120 files`.
#[must_use]
pub fn file_count(files: usize) -> String {
    let word = if files == 1 { "file" } else { "files" };
    format!("{files} {word}")
}

/// The first [`PATHS_NAMED_MAX`] paths, and how many more there are: `a, b, c, and 2 more`.
#[must_use]
pub fn list_paths(paths: &[PathBuf]) -> String {
    let named = paths.iter().take(PATHS_NAMED_MAX);
    let mut names: Vec<String> = named.map(|path| printable(path)).collect();
    if paths.len() > PATHS_NAMED_MAX {
        names.push(format!("and {} more", paths.len() - PATHS_NAMED_MAX));
    }
    names.join(", ")
}

/// A path for a message.
pub(super) fn printable(path: &Path) -> String {
    escape_bytes(path.as_os_str().as_bytes()).into_owned()
}

/// Appends `path` to `text`, so that it can be read back. Control characters, backslashes and bytes that are not UTF-8 are written as `\xNN`.
pub(super) fn escape(path: &Path, text: &mut String) {
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' {
                let mut bytes = [0; 4];
                append_escaped(c.encode_utf8(&mut bytes).as_bytes(), text);
            } else {
                text.push(c);
            }
        }
        append_escaped(chunk.invalid(), text);
    }
}

fn append_escaped(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "\\x{byte:02x}");
    }
}

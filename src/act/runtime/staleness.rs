//! Is what runs still what a new life would be started from?
//!
//! Nothing is remembered for it, so that it can be told of an adopted life as well. Everything may hang with the disk it
//! touches: not for the loop.

use crate::act::preflight::Look;
use crate::act::spawn::launch::candidates;
use crate::sys::clock;
use crate::sys::process::{self, Process};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file that was changed so long after the birth of a process is not what it was started from: stamps of files and of
/// births come from clocks of different grain.
pub(crate) const SURELY_LATER: Duration = Duration::from_secs(2);
/// Begins the stamp of a file that was changed since then.
pub(crate) const CHANGED_SINCE: &str = "changed ";
/// File systems stamp with the clock of the last timer tick.
const STAMPS_LAG: Duration = Duration::from_millis(10);
/// What the kernel puts behind the name of a file that is gone (proc(5), exe).
const GONE: &str = " (deleted)";

/// The file that a new life would be started from, where that is not what `process` was started from.
///
/// Another file is found by its number, and a script, whose process runs its interpreter, by its time of modification.
/// None where nothing is proven: a program that has executed another one runs that one's file.
#[must_use]
pub(crate) fn replaced(process: Process, look: &Look) -> Option<PathBuf> {
    let file = file_of(look)?;
    let there = fs::metadata(&file).ok()?;
    if process::stat(process.pid).ok()?.process != process {
        return None;
    }
    let modified = there.modified().ok()?;
    // A time to come says nothing.
    if modified > process::started_at(process) + SURELY_LATER && modified <= clock::sample().wall {
        return Some(file);
    }
    let is_the_same = process::executes(process.pid, there.dev(), there.ino()).ok()?;
    if is_the_same || is_script(&file) {
        return None;
    }
    let runs = process::executable(process.pid).ok()?;
    let runs = runs.file_name()?.to_string_lossy();
    let resolved = file.canonicalize().ok()?;
    let is_its_successor = resolved.file_name()?.to_string_lossy() == runs.trim_end_matches(GONE);
    is_its_successor.then_some(file)
}

/// By what the file that a new life would be started from is known at a glance: another one is known by something else.
/// Begins with [`CHANGED_SINCE`] where it was changed later than `since`.
#[must_use]
pub(crate) fn stamp(look: &Look, since: Option<SystemTime>) -> Option<String> {
    let file = file_of(look)?;
    let there = fs::metadata(&file).ok()?;
    let seconds = Duration::from_secs(there.ctime().try_into().ok()?);
    let changed = UNIX_EPOCH + seconds + Duration::from_nanos(there.ctime_nsec().try_into().ok()?);
    let is_newer = since.is_some_and(|since| changed + STAMPS_LAG > since);
    Some(format!(
        "{}{} {}:{} {} {}.{:09} {:o}",
        if is_newer { CHANGED_SINCE } else { "" },
        file.display(),
        there.dev(),
        there.ino(),
        there.size(),
        there.mtime(),
        there.mtime_nsec(),
        there.mode()
    ))
}

fn file_of(look: &Look) -> Option<PathBuf> {
    let path = look.path.as_ref().map(OsString::from);
    let places = candidates(OsStr::new(&look.program), path.as_ref(), &look.cwd);
    places.into_iter().find(|place| place.is_file())
}

fn is_script(file: &Path) -> bool {
    let mut head = [0; 2];
    let read = File::open(file).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head == *b"#!"
}

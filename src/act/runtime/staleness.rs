//! Staleness: compares the running program with the file that a new instance would be started from.
//!
//! The comparison needs no data from the start of the process, so it also works for an adopted instance. It can hang with the
//! disk that it reads, so it runs in a helper.

use crate::act::helper::{HelperRequest, Reporter};
use crate::act::preflight::ProgramLookup;
use crate::act::spawn::launch::candidates;
use crate::sys::clock;
use crate::sys::process::{self, Process};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file that was changed this long after the start of a process is certainly not what the process was started from. Time
/// stamps of files and of processes come from clocks of different resolution.
pub(crate) const CERTAINLY_LATER: Duration = Duration::from_secs(2);
/// File systems stamp with the clock of the last timer tick.
const STAMPS_LAG: Duration = Duration::from_millis(10);
/// The kernel appends this to the name of a file that is gone (proc(5), exe).
const GONE: &str = " (deleted)";

/// Asks for the path of the file that a new instance would be started from, where a process was started from another one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReplacedProgram {
    pid: i32,
    start_time: u64,
    lookup: ProgramLookup,
}

impl ReplacedProgram {
    /// Compares `process` with what `lookup` would start.
    pub(crate) const fn new(process: Process, lookup: ProgramLookup) -> Self {
        Self {
            pid: process.pid,
            start_time: process.start_time,
            lookup,
        }
    }
}

impl HelperRequest for ReplacedProgram {
    const NAME: &'static str = "replaced-program";
    type Reply = Option<String>;

    fn carry_out(self, _reporter: &Reporter<'_>) -> Result<Option<String>, String> {
        let (pid, start_time) = (self.pid, self.start_time);
        let file = replaced(Process { pid, start_time }, &self.lookup);
        Ok(file.map(|file| file.display().to_string()))
    }
}

/// Returns the file that a new instance would be started from, where `process` was started from another one.
///
/// A replaced file has another inode number. A changed script has a newer time of modification; its process runs the
/// interpreter, so the inode cannot be compared. None where nothing is proven, for example because the program has executed
/// another one.
fn replaced(process: Process, lookup: &ProgramLookup) -> Option<PathBuf> {
    let file = file_of(lookup)?;
    let there = fs::metadata(&file).ok()?;
    if process::stat(process.pid).ok()?.process != process {
        return None;
    }
    let modified = there.modified().ok()?;
    // A time in the future proves nothing.
    if modified > process::started_at(process) + CERTAINLY_LATER && modified <= clock::sample().wall
    {
        return Some(file);
    }
    let is_the_same = process::executes(process.pid, there.dev(), there.ino()).ok()?;
    if is_the_same || is_script(&file) {
        return None;
    }
    let runs = process::executable(process.pid).ok()?;
    let runs = runs.file_name()?.to_string_lossy();
    let resolved = file.canonicalize().ok()?;
    let has_same_name = resolved.file_name()?.to_string_lossy() == runs.trim_end_matches(GONE);
    has_same_name.then_some(file)
}

/// Asks for the stamp of the file that a new instance would be started from; none: there is no such file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProgramStamp {
    /// What would be started.
    pub(crate) lookup: ProgramLookup,
    /// The result says whether the file was changed later than this.
    pub(crate) since: Option<SystemTime>,
}

/// Identifies a version of a program file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// Path, device, inode, size, time of modification and mode. Another version has another text.
    pub(crate) text: String,
    /// The file was changed later than [`ProgramStamp::since`].
    pub(crate) is_newer: bool,
}

impl HelperRequest for ProgramStamp {
    const NAME: &'static str = "program-stamp";
    type Reply = Option<Stamp>;

    fn carry_out(self, _reporter: &Reporter<'_>) -> Result<Option<Stamp>, String> {
        Ok(stamp(&self.lookup, self.since))
    }
}

fn stamp(lookup: &ProgramLookup, since: Option<SystemTime>) -> Option<Stamp> {
    let file = file_of(lookup)?;
    let there = fs::metadata(&file).ok()?;
    let seconds = Duration::from_secs(there.ctime().try_into().ok()?);
    let changed = UNIX_EPOCH + seconds + Duration::from_nanos(there.ctime_nsec().try_into().ok()?);
    let text = format!(
        "{} {}:{} {} {}.{:09} {:o}",
        file.display(),
        there.dev(),
        there.ino(),
        there.size(),
        there.mtime(),
        there.mtime_nsec(),
        there.mode()
    );
    let is_newer = since.is_some_and(|since| changed + STAMPS_LAG > since);
    Some(Stamp { text, is_newer })
}

fn file_of(lookup: &ProgramLookup) -> Option<PathBuf> {
    let path = lookup.path.as_ref().map(OsString::from);
    let places = candidates(OsStr::new(&lookup.program), path.as_ref(), &lookup.cwd);
    places.into_iter().find(|place| place.is_file())
}

fn is_script(file: &Path) -> bool {
    let mut head = [0; 2];
    let read = File::open(file).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head == *b"#!"
}

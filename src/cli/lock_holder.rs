//! The stayd that holds the lock of a state folder: it runs even where nothing answers on its control socket.

use super::exit::{Exit, Failure};
use super::paths::InstanceCandidate;
use crate::sys::process;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// The pid is a line of at most this many bytes.
const PID_BYTES_MAX: u64 = 16;

/// The failure of a request to the stayd of `candidate`, if it runs and nothing answers on its control socket.
pub(super) fn unreachable(candidate: &InstanceCandidate) -> Option<Failure> {
    let holder = holders(candidate).find(LockHolder::has_lock_open)?;
    let message = format!(
        "cannot ask stayd: pid {} holds {}, but nothing answers on its control socket; a deleted socket comes back within \
         seconds: try again, and otherwise see stayd's own log",
        holder.pid,
        holder.lock.display()
    );
    Some(Failure::new(Exit::System, message))
}

/// A process that a lock file names.
struct LockHolder {
    pid: i32,
    lock: PathBuf,
}

impl LockHolder {
    /// Whether the process has the lock file open. A later process with its pid has not. False if this user may not look.
    fn has_lock_open(&self) -> bool {
        let file = fs::metadata(&self.lock);
        file.and_then(|file| process::holds_file(self.pid, file.dev(), file.ino()))
            .unwrap_or(false)
    }
}

/// The processes that the lock files of the candidate's state folders name.
fn holders(candidate: &InstanceCandidate) -> impl Iterator<Item = LockHolder> {
    candidate.states.iter().filter_map(|state| {
        let lock = state.join("lock");
        let mut text = String::new();
        let file = fs::File::open(&lock).ok()?;
        file.take(PID_BYTES_MAX).read_to_string(&mut text).ok()?;
        let pid = text.trim().parse().ok()?;
        Some(LockHolder { pid, lock })
    })
}

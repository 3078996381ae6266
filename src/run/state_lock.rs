//! Locks the state folder for as long as stayd runs, and notices when the folder is deleted or replaced.

use super::{ExitReason, Options, stable_hash};
use crate::act::dirs::runtime_dir;
use crate::act::dirs::state_dir::{StateDir, StateDirError};
use crate::decide::clock::{Duration, Instant};
use crate::sys::{lock, process};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// The time between two checks of stayd's own files. A check happens only when an event wakes the loop: a deleted file, or
/// anything else. An idle stayd does not wake for it.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// The time from a deleted file to the check. stayd deletes files itself at the end of each instance, so a service that ends
/// again and again causes one check in this time.
const REQUESTED_CHECK_AFTER: Duration = Duration::from_secs(1);

/// Why the daemon cannot start.
pub(super) struct StartError {
    pub(super) reason: ExitReason,
    /// "cannot …: cause; what to do"
    pub(super) message: String,
    /// The stayd that holds the lock has ended, so that the kernel is about to release the lock.
    pub(super) holder_has_ended: bool,
}

/// The locked state folder. Dropping it lets another stayd start.
pub(super) struct StateLock {
    state: StateDir,
    lock: File,
    /// A lock for the same folder in the runtime folder. It keeps another stayd out even after the state folder, and the
    /// lock in it, has been deleted. `None` if the runtime folder cannot be used.
    second: Option<SecondLock>,
    next_check: Instant,
    is_check_requested: bool,
}

/// Both locks, for an in-place upgrade.
#[derive(Debug)]
pub(super) struct InheritedLocks {
    pub(super) lock: OwnedFd,
    pub(super) second: Option<OwnedFd>,
}

/// The lock in the runtime folder, and the path of its file.
struct SecondLock {
    path: PathBuf,
    lock: File,
    /// The next version of stayd holds it too, and uses its file.
    is_handed_over: bool,
}

impl Drop for SecondLock {
    fn drop(&mut self) {
        if self.is_handed_over {
            return;
        }
        if !lock::is_still_at(&self.lock, &self.path).is_ok_and(|there| there) {
            return;
        }
        // The file is still locked here. A process that has opened it in the meantime finds that the path no longer leads
        // to it. The folder is removed only if it is empty.
        if fs::remove_file(&self.path).is_ok()
            && let Some(folder) = self.path.parent()
        {
            let _in_use = fs::remove_dir(folder);
        }
    }
}

impl StateLock {
    /// Creates the state folder if it is missing, and takes both locks.
    pub(super) fn take(options: &Options) -> Result<Self, StartError> {
        let state = open(options)?;
        let lock = take_lock(&state)?;
        let second = take_second_lock(options, &state)?;
        Ok(Self {
            state,
            lock,
            second,
            next_check: Instant::START,
            is_check_requested: false,
        })
    }

    /// Uses the locks that the previous version handed over.
    pub(super) fn resume(options: &Options, inherited: InheritedLocks) -> Result<Self, StartError> {
        let state = open(options)?;
        let second = inherited.second.map(|lock| SecondLock {
            path: second_lock_path(options, &state),
            lock: lock.into(),
            is_handed_over: false,
        });
        Ok(Self {
            state,
            lock: inherited.lock.into(),
            second,
            next_check: Instant::START,
            is_check_requested: false,
        })
    }

    /// Duplicates of both locks, for the next version. A lock is held as long as one of its descriptors is open.
    pub(super) fn duplicates(&self) -> io::Result<InheritedLocks> {
        let second = self.second.as_ref();
        let second = second.map(|second| second.lock.try_clone()).transpose()?;
        Ok(InheritedLocks {
            lock: self.lock.try_clone()?.into(),
            second: second.map(Into::into),
        })
    }

    /// Closes the locks and keeps their files, for the next version, which has the duplicates.
    pub(super) fn hand_over(mut self) {
        if let Some(second) = &mut self.second {
            second.is_handed_over = true;
        }
    }

    /// The state folder.
    pub(super) const fn state(&self) -> &StateDir {
        &self.state
    }

    /// Whether it is time for a check of stayd's own files; if so, schedules the next one.
    pub(super) fn is_check_due(&mut self, now: Instant) -> bool {
        let due = now >= self.next_check;
        if due {
            self.next_check = now.after(CHECK_EVERY);
            self.is_check_requested = false;
        }
        due
    }

    /// A file was deleted: schedules a check, which happens even if no other event wakes the loop.
    pub(super) fn request_check(&mut self, now: Instant) {
        self.is_check_requested = true;
        self.next_check = self.next_check.min(now.after(REQUESTED_CHECK_AFTER));
    }

    /// The check has failed: it is repeated when the next one is due, even if no event wakes the loop.
    pub(super) const fn repeat_check(&mut self) {
        self.is_check_requested = true;
    }

    /// The time until the requested check; none if no check was requested.
    pub(super) fn requested_check(&self, now: Instant) -> Option<Duration> {
        self.is_check_requested.then(|| self.next_check.since(now))
    }

    /// Takes the lock in the runtime folder again if its file was deleted or replaced. Returns whether that was so.
    pub(super) fn restore_second(&mut self, options: &Options) -> bool {
        let is_lost = self.second.as_ref().is_some_and(|second| {
            lock::is_still_at(&second.lock, &second.path).is_ok_and(|there| !there)
        });
        if !is_lost {
            return false;
        }
        // A lock that another stayd holds now, or that cannot be taken, is tried again with the next check.
        let retaken = take_second_lock(options, &self.state);
        let retaken = retaken.unwrap_or_default();
        let is_restored = retaken.is_some();
        if is_restored {
            self.second = retaken;
        }
        is_restored
    }

    /// Whether the folder was deleted or replaced: the path of the lock no longer leads to the locked file. If the path
    /// cannot be checked, the folder does not count as lost.
    pub(super) fn is_lost(&self) -> bool {
        lock::is_still_at(&self.lock, &self.state.lock()).is_ok_and(|there| !there)
    }

    /// Creates the folder again and takes the lock in it.
    pub(super) fn retake(&mut self, options: &Options) -> Result<(), StartError> {
        self.state = open(options)?;
        self.lock = take_lock(&self.state)?;
        Ok(())
    }
}

fn open(options: &Options) -> Result<StateDir, StartError> {
    StateDir::open(&options.state_dir, Some(&options.runtime_dir)).map_err(|error| {
        let reason = match &error {
            StateDirError::System(_, _, cause)
                if cause.kind() != io::ErrorKind::PermissionDenied =>
            {
                ExitReason::SystemError
            }
            StateDirError::System(..)
            | StateDirError::Foreign { .. }
            | StateDirError::OthersMayWrite(_)
            | StateDirError::Redirectable(_)
            | StateDirError::Runtime(_) => ExitReason::PermissionDenied,
        };
        StartError {
            reason,
            message: error.to_string(),
            holder_has_ended: false,
        }
    })
}

fn take_lock(state: &StateDir) -> Result<File, StartError> {
    match lock::take(&state.lock()) {
        Ok(Ok(file)) => Ok(file),
        Ok(Err(holder)) => Err(StartError {
            reason: ExitReason::AlreadyRunning,
            message: format!(
                "another stayd (pid {holder}) holds this instance ({}); look at it with `stayd status`",
                state.root().display()
            ),
            holder_has_ended: has_ended(holder),
        }),
        Err(error) => Err(system_error(
            &format!("take the lock {}", state.lock().display()),
            &error,
        )),
    }
}

fn take_second_lock(options: &Options, state: &StateDir) -> Result<Option<SecondLock>, StartError> {
    let path = second_lock_path(options, state);
    match runtime_dir::open(&options.runtime_dir, None).and_then(|()| lock::take(&path)) {
        Ok(Ok(lock)) => Ok(Some(SecondLock {
            path,
            lock,
            is_handed_over: false,
        })),
        Ok(Err(holder)) => Err(StartError {
            reason: ExitReason::AlreadyRunning,
            message: format!(
                "another stayd (pid {holder}) holds this instance, but its state folder {} was deleted or replaced; its \
                 services keep running: stop them with `kill {holder}` and start stayd again",
                state.root().display()
            ),
            holder_has_ended: has_ended(holder),
        }),
        Err(error) => {
            tracing::debug!("cannot take a second lock at {}: {error}", path.display());
            Ok(None)
        }
    }
}

/// The same path for every stayd that uses this state folder, by whatever path it reaches the folder.
fn second_lock_path(options: &Options, state: &StateDir) -> PathBuf {
    let root = fs::canonicalize(state.root()).unwrap_or_else(|_| state.root().to_owned());
    let name = format!("{:016x}.lock", stable_hash(&root.to_string_lossy()));
    options.runtime_dir.join(name)
}

/// The error of a system call: "cannot `action`: `error`".
pub(super) fn system_error(action: &str, error: &io::Error) -> StartError {
    let reason = if error.kind() == io::ErrorKind::PermissionDenied {
        ExitReason::PermissionDenied
    } else {
        ExitReason::SystemError
    };
    StartError {
        reason,
        message: format!("cannot {action}: {error}"),
        holder_has_ended: false,
    }
}

/// Whether no process with this pid runs.
fn has_ended(pid: i32) -> bool {
    match process::stat(pid) {
        Ok(stat) => !stat.is_alive(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

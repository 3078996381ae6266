//! The state folder and its lock: taken at the start, held for life, and looked after while somebody may delete them.

use super::{Ending, Options, salt};
use crate::act::dirs::runtime_dir;
use crate::act::dirs::state_dir::{StateDir, StateDirError};
use crate::decide::clock::{Duration, Instant};
use crate::sys::lock;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Between two looks at the lock. Only when something else has woken the loop: an idle stayd wakes for nothing.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why there is no running yet.
pub(super) struct Refusal {
    pub(super) ending: Ending,
    pub(super) sentence: String,
}

/// Our state folder. Dropping it lets the next stayd in.
pub(super) struct Home {
    state: StateDir,
    lock: File,
    /// A second lock for the same folder, in the runtime folder: it keeps another stayd out when the state folder and
    /// the lock in it were deleted. None where there is no runtime folder to be had.
    deputy: Option<Deputy>,
    next_look: Instant,
}

/// Both locks, on their way from one version to the next.
#[derive(Debug)]
pub(super) struct LeftLocks {
    pub(super) lock: OwnedFd,
    pub(super) deputy: Option<OwnedFd>,
}

/// The second lock, and where its file is.
struct Deputy {
    path: PathBuf,
    lock: File,
    /// Somebody else has it as well.
    is_left: bool,
}

impl Drop for Deputy {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        // Still locked: whoever opened it meanwhile finds that it is no longer there. A folder with more in it stays.
        if fs::remove_file(&self.path).is_ok()
            && let Some(folder) = self.path.parent()
        {
            let _in_use = fs::remove_dir(folder);
        }
    }
}

impl Home {
    /// Makes the folder where it is missing, and takes it.
    pub(super) fn take(options: &Options) -> Result<Self, Refusal> {
        let state = open(options)?;
        let lock = take_lock(&state)?;
        let deputy = take_deputy(options, &state)?;
        Ok(Self {
            state,
            lock,
            deputy,
            next_look: Instant::START,
        })
    }

    /// Goes on with the locks that the version before has left.
    pub(super) fn resume(options: &Options, left: LeftLocks) -> Result<Self, Refusal> {
        let state = open(options)?;
        let deputy = left.deputy.map(|lock| Deputy {
            path: deputy_path(options, &state),
            lock: lock.into(),
            is_left: false,
        });
        Ok(Self {
            state,
            lock: left.lock.into(),
            deputy,
            next_look: Instant::START,
        })
    }

    /// The locks once more, for whoever takes our place: they are held as long as either is there.
    pub(super) fn copies(&self) -> io::Result<LeftLocks> {
        let deputy = self.deputy.as_ref();
        let deputy = deputy.map(|deputy| deputy.lock.try_clone()).transpose()?;
        Ok(LeftLocks {
            lock: self.lock.try_clone()?.into(),
            deputy: deputy.map(Into::into),
        })
    }

    /// Lets go of the locks, and leaves their files to whoever has the copies.
    pub(super) fn leave(mut self) {
        if let Some(deputy) = &mut self.deputy {
            deputy.is_left = true;
        }
    }

    /// The folder.
    pub(super) const fn state(&self) -> &StateDir {
        &self.state
    }

    /// Whether it is time for another look.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.next_look;
        if due {
            self.next_look = now.after(LOOK_EVERY);
        }
        due
    }

    /// Whether the folder is gone or another one: the lock's path no longer leads to our lock.
    pub(super) fn is_lost(&self) -> bool {
        // What cannot be looked at is not known to be lost.
        lock::is_still_at(&self.lock, &self.state.lock()).is_ok_and(|there| !there)
    }

    /// Makes the folder anew and takes the lock in it.
    pub(super) fn regain(&mut self, options: &Options) -> Result<(), Refusal> {
        self.state = open(options)?;
        self.lock = take_lock(&self.state)?;
        Ok(())
    }
}

fn open(options: &Options) -> Result<StateDir, Refusal> {
    StateDir::open(&options.state_dir, Some(&options.runtime_dir)).map_err(|error| {
        let ending = match &error {
            StateDirError::System(_, _, cause)
                if cause.kind() != io::ErrorKind::PermissionDenied =>
            {
                Ending::Refused
            }
            StateDirError::System(..)
            | StateDirError::Foreign { .. }
            | StateDirError::OthersMayWrite(_)
            | StateDirError::Runtime(_) => Ending::Forbidden,
        };
        Refusal {
            ending,
            sentence: error.to_string(),
        }
    })
}

fn take_lock(state: &StateDir) -> Result<File, Refusal> {
    match lock::take(&state.lock()) {
        Ok(Ok(file)) => Ok(file),
        Ok(Err(holder)) => Err(Refusal {
            ending: Ending::Held,
            sentence: format!(
                "another stayd (pid {holder}) holds this instance ({}); look at it with `stayd status`",
                state.root().display()
            ),
        }),
        Err(error) => Err(system(
            &format!("take the lock {}", state.lock().display()),
            &error,
        )),
    }
}

fn take_deputy(options: &Options, state: &StateDir) -> Result<Option<Deputy>, Refusal> {
    let path = deputy_path(options, state);
    match runtime_dir::open(&options.runtime_dir, None).and_then(|()| lock::take(&path)) {
        Ok(Ok(lock)) => Ok(Some(Deputy {
            path,
            lock,
            is_left: false,
        })),
        Ok(Err(holder)) => Err(Refusal {
            ending: Ending::Held,
            sentence: format!(
                "another stayd (pid {holder}) holds this instance, but its state folder {} was deleted or replaced; its \
                 services run on: end them with `kill {holder}` and start again",
                state.root().display()
            ),
        }),
        Err(error) => {
            tracing::debug!("cannot take a second lock at {}: {error}", path.display());
            Ok(None)
        }
    }
}

/// The same for everybody who means this folder, by whatever path.
fn deputy_path(options: &Options, state: &StateDir) -> PathBuf {
    let root = fs::canonicalize(state.root()).unwrap_or_else(|_| state.root().to_owned());
    let name = format!("{:016x}.lock", salt(&root.to_string_lossy()));
    options.runtime_dir.join(name)
}

/// A step that the system refused.
pub(super) fn system(step: &str, error: &io::Error) -> Refusal {
    let ending = if error.kind() == io::ErrorKind::PermissionDenied {
        Ending::Forbidden
    } else {
        Ending::Refused
    };
    Refusal {
        ending,
        sentence: format!("cannot {step}: {error}"),
    }
}

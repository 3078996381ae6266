//! A reserve of file descriptors: enough to read the state of processes and to kill them when stayd has no other
//! descriptor left.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many descriptors are kept: a walk of a process tree has three open at most, and two threads may look at once.
const DESCRIPTORS: usize = 8;

static RESERVE: Mutex<Reserve> = Mutex::new(Reserve {
    original: None,
    copies: Vec::new(),
    users: 0,
});

struct Reserve {
    /// Stays open, so that the copies can be made again without a file.
    original: Option<OwnedFd>,
    copies: Vec<OwnedFd>,
    /// How many threads use the reserve now.
    users: usize,
}

impl Reserve {
    /// Makes the missing copies, as far as there are descriptors.
    fn refill(&mut self) {
        if let Some(original) = &self.original {
            while self.copies.len() < DESCRIPTORS {
                match original.try_clone() {
                    Ok(copy) => self.copies.push(copy),
                    Err(_) => break, // the next refill tries again
                }
            }
        }
    }
}

/// Fills the reserve. Called at the start, when the lowest numbers are free: a limit that is lowered later hits higher ones.
///
/// # Errors
/// The system's error; then there is no reserve.
pub fn fill() -> io::Result<()> {
    let original = File::open("/dev/null")?.into();
    let mut reserve = locked();
    reserve.original = Some(original);
    reserve.refill();
    Ok(())
}

/// Frees the reserved descriptors for `work`, and reserves them again afterwards. Another thread may take one of them
/// meanwhile.
pub fn with<T>(work: impl FnOnce() -> T) -> T {
    let mut reserve = locked();
    reserve.users += 1;
    reserve.copies.clear();
    drop(reserve);
    let result = work();
    let mut reserve = locked();
    reserve.users -= 1;
    if reserve.users == 0 {
        reserve.refill();
    }
    result
}

fn locked() -> MutexGuard<'static, Reserve> {
    RESERVE.lock().unwrap_or_else(PoisonError::into_inner)
}

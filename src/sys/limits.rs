//! The limit of open files (getrlimit(2), RLIMIT_NOFILE): stayd raises its own, and gives its children the one it was given.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use std::io;
use std::sync::OnceLock;

/// The highest soft limit that stayd takes for itself. Higher ones serve no purpose, and a hard limit may be a billion.
const OWN_MAX: u64 = 65_536;
/// The highest soft limit that every macOS accepts (OPEN_MAX, setrlimit(2)).
const ACCEPTED_EVERYWHERE: u64 = 10_240;

/// What this process was given, before it raised its own limit.
static GIVEN: OnceLock<OpenFilesLimit> = OnceLock::new();

/// A limit of open files. A process may raise its soft limit up to the hard one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFilesLimit {
    /// The limit that applies.
    pub soft: u64,
    /// The highest soft limit.
    pub hard: u64,
}

impl OpenFilesLimit {
    /// No limit.
    pub const INFINITY: u64 = RLIM_INFINITY;

    /// The limit of this process now.
    ///
    /// # Errors
    /// The system's error.
    pub fn present() -> io::Result<Self> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        Ok(Self { soft, hard })
    }

    /// The limit that this process was given by its starter, if it has raised its own since.
    pub fn given() -> Option<Self> {
        GIVEN.get().copied()
    }
}

/// Raises the soft limit of this process to its hard limit, within reason. `given` is the limit that this process was given,
/// where an earlier program in it has raised the limit; none: the present one.
///
/// # Errors
/// The system's error; then the limit is the present one.
pub fn raise_open_files(given: Option<OpenFilesLimit>) -> io::Result<()> {
    if let Some(given) = given {
        remember(given);
    }
    let present = OpenFilesLimit::present()?;
    let wanted = present.hard.min(OWN_MAX);
    if wanted <= present.soft {
        return Ok(());
    }
    let raise = |soft| setrlimit(Resource::RLIMIT_NOFILE, soft, present.hard);
    match raise(wanted) {
        Err(_) if present.soft < ACCEPTED_EVERYWHERE => raise(ACCEPTED_EVERYWHERE.min(wanted))?,
        outcome => outcome?,
    }
    remember(present);
    Ok(())
}

/// Stores what this process was given. Only the first call has an effect.
fn remember(given: OpenFilesLimit) {
    let _ = GIVEN.set(given);
}

//! Waiting for a condition with a deadline; folders and ports of a test's own.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Deadline for what an idle machine does at once; generous, because many tests share a busy one.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// Pause between two checks of a condition.
const CHECK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `condition` holds. Fails the test, naming `what`, when it does not hold within `deadline`.
#[track_caller]
pub(crate) fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, deadline, || condition().then_some(()));
}

/// Waits until `look` finds something, and returns it.
#[track_caller]
pub(crate) fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        thread::sleep(CHECK_EVERY);
    }
}

/// Deletes `folder`. Tries again when a running stayd has created a file in it meanwhile.
#[track_caller]
pub(crate) fn delete_folder(folder: &Path) {
    wait_until("the folder is deleted", SOON, || {
        fs::remove_dir_all(folder).is_ok()
    });
}

/// Deletes `folder` and creates a file with its name. Tries again when a running stayd has created the folder in between.
#[track_caller]
pub(crate) fn replace_folder_with_file(folder: &Path) {
    wait_until("a file has the folder's name", SOON, || {
        fs::remove_dir_all(folder).is_ok() && fs::write(folder, "in the way").is_ok()
    });
}

/// Sets a flag when it is dropped, so that a thread that looks at the flag ends also when the test fails.
pub(crate) struct SetOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A TCP port of 127.0.0.1 on which no process listened just now.
pub(crate) fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("cannot bind any port");
    socket.local_addr().expect("a bound address").port()
}

/// A folder of the test's own, removed when dropped.
#[derive(Debug)]
pub(crate) struct TempDir(tempfile::TempDir);

impl TempDir {
    /// Makes it.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("cannot make a folder"))
    }

    /// Makes it in `folder`.
    pub(crate) fn in_folder(folder: &Path) -> std::io::Result<Self> {
        tempfile::tempdir_in(folder).map(Self)
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of `name` in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

//! The file rights of another user, for a single thread of a process of root.
//!
//! With them root opens, creates and removes by a path that the user can redirect only what the user could open, create and
//! remove too.

use super::platform;
use super::spawn::User;
use std::io;

/// A single thread can have the file rights of another user. macOS does not offer that.
pub const HAS_FILE_RIGHTS: bool = platform::file_rights::HAS_FILE_RIGHTS;

/// Size of the stack of a thread of [`on_own_thread`]. It is never deep in calls.
const STACK_BYTES: usize = 256 * 1024;

/// Runs `work` on a thread of its own with the file rights of `user`: its uid, its gid and its supplementary groups. The
/// calling thread, which may be that of the loop, keeps its rights.
///
/// # Errors
/// The kernel refuses a thread or the rights; then `work` does not run. `Unsupported` without [`HAS_FILE_RIGHTS`].
pub fn on_own_thread<T: Send>(
    user: &User,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("file-rights".into())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || borrow(user, work)?)?;
        thread
            .join()
            .unwrap_or_else(|_panic| Err(io::ErrorKind::Other.into()))
    })
}

/// Runs `work` on this thread with the file rights of `user`, and gives the thread its own rights back.
///
/// For work that takes the rights of many threads often, such as to open each file of a tree: a few system calls instead of
/// a thread. The capabilities that override file permissions go and come with the uid.
///
/// # Errors
/// The kernel refuses the rights; then `work` does not run. `Unsupported` without [`HAS_FILE_RIGHTS`].
pub fn borrow<T>(user: &User, work: impl FnOnce() -> T) -> io::Result<T> {
    let _own_rights_afterwards = platform::file_rights::take(user)?;
    Ok(work())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::{User, borrow};
    use crate::sys::identity::{ROOT, euid};
    use std::fs::{self, Permissions};
    use std::io;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    use std::sync::mpsc;

    const OTHER: u32 = 65534;
    const GROUP: u32 = 54321;

    /// The lines of /proc/PID/status (proc(5)) with the ids and the capabilities.
    fn ids(status: &str) -> Vec<String> {
        let wanted = ["Uid:", "Gid:", "Groups:", "CapEff:"];
        let lines = status.lines();
        let lines = lines.filter(|line| wanted.iter().any(|name| line.starts_with(name)));
        lines.map(str::to_owned).collect()
    }

    #[test]
    #[ignore = "needs root"]
    fn a_thread_has_the_rights_of_the_user_and_afterwards_its_own() {
        assert_eq!(euid(), ROOT, "run as root");
        let user = User {
            uid: OTHER,
            gid: OTHER,
            groups: vec![GROUP],
        };
        let folder = tempfile::tempdir().expect("a folder");
        let of_root = folder.path().join("of-root");
        fs::write(&of_root, "secret").expect("written");
        fs::set_permissions(&of_root, Permissions::from_mode(0o600)).expect("set");
        let read = || fs::read_to_string(&of_root);
        let status = || fs::read_to_string("/proc/thread-self/status").expect("its status");
        let before = ids(&status());
        let (ask, asked) = mpsc::channel();
        std::thread::scope(|scope| {
            let other_thread = scope.spawn(move || asked.recv().map(|()| read()));
            let refused = borrow(&user, || {
                ask.send(()).expect("it waits");
                let elsewhere = other_thread.join().expect("no panic").expect("asked");
                assert_eq!(elsewhere.expect("its own rights"), "secret");
                read()
            });
            let refused = refused.expect("the rights").expect_err("a file of root");
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        });
        assert_eq!(read().expect("its own rights again"), "secret");
        fs::set_permissions(&of_root, Permissions::from_mode(0o640)).expect("set");
        chown(&of_root, None, Some(GROUP)).expect("given");
        let by_group = borrow(&user, read).expect("the rights");
        assert_eq!(by_group.expect("by a supplementary group"), "secret");
        assert_eq!(ids(&status()), before);
        let made = folder.path().join("made");
        fs::write(&made, "").expect("written");
        let made = fs::metadata(made).expect("there");
        assert_eq!((made.uid(), made.gid()), (ROOT, ROOT));
    }
}

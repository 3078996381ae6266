//! File rights of another user for one thread: setfsuid(2), setfsgid(2) and setgroups(2).
#![expect(unsafe_code, reason = "setgroups(2) for one thread")]

use super::super::spawn::User;
use nix::unistd::{Gid, Uid, getegid, geteuid, getgroups, setfsgid, setfsuid};
use std::io;
use std::marker::PhantomData;

/// A thread can have the file rights of another user: [`take`].
pub(in super::super) const HAS_FILE_RIGHTS: bool = true;

/// Gives the thread its own file rights back when it is dropped.
pub(in super::super) struct OwnRights {
    groups: Vec<libc::gid_t>,
    /// The rights belong to one thread, so this stays there.
    _on_this_thread: PhantomData<*const ()>,
}

/// Gives this thread the file rights of `user`: its uid, its gid and its supplementary groups.
///
/// The three belong to a thread: setfsuid(2), and the system call setgroups, which only the C library applies to all threads.
/// With the uid the kernel takes the capabilities that override file permissions from the thread (capabilities(7), "Effect of
/// user ID changes on capabilities").
pub(in super::super) fn take(user: &User) -> io::Result<OwnRights> {
    let groups = getgroups()?.into_iter().map(Gid::as_raw).collect();
    set_groups(&user.groups)?;
    // From here on an error restores what was changed.
    let own = OwnRights {
        groups,
        _on_this_thread: PhantomData,
    };
    set_ids(Uid::from_raw(user.uid), Gid::from_raw(user.gid))?;
    Ok(own)
}

impl Drop for OwnRights {
    fn drop(&mut self) {
        // The effective ids may always become those for files (setfsuid(2)). Supplementary groups take no rights from root,
        // so it does not matter if the kernel has no memory to restore them.
        let _ = set_ids(geteuid(), getegid());
        let _ = set_groups(&self.groups);
    }
}

fn set_ids(uid: Uid, gid: Gid) -> io::Result<()> {
    setfsgid(gid);
    setfsuid(uid);
    // Both calls return the id before, and report no error: ask again whether they have worked.
    if setfsgid(gid) != gid || setfsuid(uid) != uid {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

fn set_groups(groups: &[libc::gid_t]) -> io::Result<()> {
    // SAFETY: the list of groups has the given length; the raw system call changes only the calling thread.
    let set = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

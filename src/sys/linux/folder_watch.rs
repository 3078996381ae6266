//! Deleted files by inotify(7).
#![expect(unsafe_code, reason = "a descriptor is registered with the runtime")]

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::path::Path;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

#[derive(Debug)]
pub(in super::super) struct FolderWatch(AsyncFd<Instance>);

/// An inotify instance, whose descriptor tokio can wait for.
#[derive(Debug)]
struct Instance(Inotify);

impl AsRawFd for Instance {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl FolderWatch {
    pub(in super::super) fn new() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let instance = Instance(inotify);
        // SAFETY: the instance owns its descriptor, which is the same at each call, and closes it when it is dropped.
        let watched = unsafe { AsyncFd::register_with_interest(instance, Interest::READABLE) }?;
        Ok(Self(watched))
    }

    pub(in super::super) fn add(&self, folder: &Path) -> io::Result<()> {
        // Without IN_MOVED_FROM: stayd exchanges a claim with its spare file at each write.
        let reported = AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        self.0.get_ref().0.add_watch(folder, reported)?;
        Ok(())
    }

    pub(in super::super) async fn deleted(&self) {
        let read = |instance: &Instance| instance.0.read_events().map_err(io::Error::from);
        // Fails only if the kernel has no memory; the deletion is reported all the same.
        let _events = self.0.async_io(Interest::READABLE, read).await;
    }
}

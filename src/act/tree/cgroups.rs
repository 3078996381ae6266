//! A cgroup for each instance, where the parent supervisor has delegated its own cgroup to stayd.
//!
//! A process cannot leave its cgroup by starting a session or by closing descriptors, and one write kills every process
//! in it. stayd never enables controllers, so stayd and its helper stay where they were put (the kernel's rule against
//! processes in inner cgroups does not apply), and limits on the unit hold for all. Without cgroups everything else works.
//!
//! Creation and removal take locks of the whole machine, so they run off the loop.

use crate::decide::event::Life;
use crate::sys::cgroup::{self, is_empty, remove};
use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// The most time to create a cgroup. If the kernel does not answer within this time, stayd makes no more cgroups.
const MAKE_TIMEOUT: Duration = Duration::from_secs(1);

/// Creates cgroups for instances; creates none if stayd has no permission, or after the kernel has refused one.
#[derive(Debug, Default)]
pub struct Cgroups(RefCell<Option<DelegatedCgroup>>);

/// The cgroup that is delegated to this stayd.
#[derive(Clone, Debug)]
struct DelegatedCgroup {
    parent: PathBuf,
    /// The name of this stayd.
    name: String,
}

/// The name of an instance's cgroup.
pub(crate) fn name(stayd: &str, service: &str, life: Life) -> String {
    format!("{}{service}-{}", prefix(stayd), life.0)
}

/// The beginning of the names of all cgroups that the stayd of this name makes.
fn prefix(stayd: &str) -> String {
    format!("stayd-{stayd}-")
}

/// A new cgroup, without processes.
struct NewCgroup {
    path: PathBuf,
    directory: OwnedFd,
}

impl Cgroups {
    /// Finds the cgroup that is delegated to the stayd called `name`: the kernel marks it so, or `unit_says_so`. Removes
    /// empty cgroups of earlier instances. Where the kernel does not answer within a second, no cgroups are made.
    pub async fn find(name: &str, unit_says_so: bool) -> Self {
        let name = name.to_owned();
        let found = tokio::task::spawn_blocking(move || {
            let parent = cgroup::own()?;
            let delegated = DelegatedCgroup { parent, name };
            (unit_says_so || cgroup::is_delegated(&delegated.parent)).then(|| {
                delegated.sweep();
                delegated
            })
        });
        let found = tokio::time::timeout(MAKE_TIMEOUT, found).await;
        let found = found.ok().and_then(Result::ok).flatten();
        Self(RefCell::new(found))
    }

    /// The existing cgroup of an instance.
    #[must_use]
    pub fn of(&self, service: &str, life: Life) -> Option<PathBuf> {
        let path = self.0.borrow().as_ref()?.path(service, life);
        path.is_dir().then_some(path)
    }

    /// Makes a cgroup for an instance and stores it in `cgroup`. Where that fails, the instance starts in stayd's own
    /// cgroup, and no more cgroups are made.
    pub(crate) async fn make(&self, service: &str, life: Life, cgroup: &InstanceCgroup) {
        let Some(delegated) = self.0.borrow().clone() else {
            return;
        };
        let service = service.to_owned();
        let making = tokio::task::spawn_blocking(move || delegated.make(&service, life));
        match tokio::time::timeout(MAKE_TIMEOUT, making).await {
            Ok(Ok(Ok(fresh))) => {
                cgroup.path.replace(Some(fresh.path));
                cgroup.directory.replace(Some(fresh.directory));
            }
            Ok(Ok(Err(error))) => self.give_up(&error.to_string()),
            Ok(Err(_)) | Err(_) => self.give_up("no answer from the kernel"),
        }
    }

    fn give_up(&self, cause: &str) {
        if self.0.take().is_some() {
            tracing::warn!(
                "cannot make a cgroup for a service: {cause}; stayd continues without cgroups and finds trees by other evidence"
            );
        }
    }
}

impl DelegatedCgroup {
    fn sweep(&self) {
        let prefix = prefix(&self.name);
        for entry in fs::read_dir(&self.parent).into_iter().flatten().flatten() {
            let is_ours = entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with(&prefix));
            if is_ours && is_empty(&entry.path()) {
                remove(&entry.path());
            }
        }
    }

    fn path(&self, service: &str, life: Life) -> PathBuf {
        self.parent.join(name(&self.name, service, life))
    }

    /// Creates the cgroup of an instance. A cgroup of that name with running processes is an error, because these may
    /// belong to another program.
    fn make(&self, service: &str, life: Life) -> io::Result<NewCgroup> {
        let path = self.path(service, life);
        if path.exists() {
            remove(&path);
        }
        fs::create_dir(&path)?;
        let directory = File::open(&path)?.into();
        Ok(NewCgroup { path, directory })
    }
}

/// The cgroup of one instance, where it has one.
#[derive(Debug, Default)]
pub(crate) struct InstanceCgroup {
    path: RefCell<Option<PathBuf>>,
    directory: RefCell<Option<OwnedFd>>,
}

impl InstanceCgroup {
    /// The cgroup at `path`, which an earlier stayd made for the instance.
    pub(crate) fn existing(path: Option<PathBuf>) -> Self {
        Self {
            path: RefCell::new(path),
            directory: RefCell::default(),
        }
    }

    /// Its directory.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.path.borrow().clone()
    }

    /// Its open directory, for the spawn; none the second time.
    pub(crate) fn take_directory(&self) -> Option<OwnedFd> {
        self.directory.take()
    }

    /// Removes it. A cgroup that still has processes stays; the next start of stayd removes it when it is empty.
    pub(crate) fn remove(&self) {
        self.directory.take();
        if let Some(path) = self.path.take() {
            tokio::task::spawn_blocking(move || remove(&path));
        }
    }
}

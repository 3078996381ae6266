//! A cgroup for each life, where the OS supervisor has delegated us our own.
//!
//! A process leaves its cgroup neither by a session of its own nor by closing what it holds, and one write kills all that
//! is in it. Controllers are never enabled, so stayd and its helper stay where they were put (the rule against inner
//! processes does not apply), and limits on the unit hold for all. Everything works without.
//!
//! Creation and removal take locks of the whole machine's: they run beside the loop.

use crate::act::context::SharedContext;
use crate::act::context::{Instance, ServiceContext};
use crate::decide::event::Life;
use crate::sys::cgroup::{self, is_empty, remove};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// A kernel that has not made a cgroup by then is not asked again.
const MAKE_DEADLINE: Duration = Duration::from_secs(1);

/// Where lives get their cgroups.
#[derive(Clone, Debug)]
pub struct Cgroups {
    parent: PathBuf,
    instance: String,
}

/// What the cgroup of a life is called.
pub(crate) fn name(instance: &str, service: &str, life: Life) -> String {
    format!("{}{service}-{}", prefix(instance), life.0)
}

/// How the names of an instance's cgroups begin.
fn prefix(instance: &str) -> String {
    format!("stayd-{instance}-")
}

/// A life's own cgroup, nobody in it yet.
struct Fresh {
    path: PathBuf,
    directory: OwnedFd,
}

impl Cgroups {
    /// Those of the instance `name`, if our own cgroup is delegated to us: it is marked so, or `unit_says_so`. Empty ones
    /// that earlier lives have left are removed. None as well where the kernel does not answer within a second.
    pub async fn find(name: &str, unit_says_so: bool) -> Option<Self> {
        let instance = name.to_owned();
        let found = tokio::task::spawn_blocking(move || {
            let parent = cgroup::own()?;
            let cgroups = Self { parent, instance };
            (unit_says_so || cgroup::is_delegated(&cgroups.parent)).then(|| {
                cgroups.sweep();
                cgroups
            })
        });
        let found = tokio::time::timeout(MAKE_DEADLINE, found).await;
        found.ok()?.ok()?
    }

    fn sweep(&self) {
        let prefix = prefix(&self.instance);
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

    /// That of a life, if it is there.
    #[must_use]
    pub fn of(&self, service: &str, life: Life) -> Option<PathBuf> {
        let path = self.path(service, life);
        path.is_dir().then_some(path)
    }

    fn path(&self, service: &str, life: Life) -> PathBuf {
        self.parent.join(name(&self.instance, service, life))
    }

    /// Makes the one of a life. A name that is taken by living processes is an error, for they may be anybody's.
    fn make(&self, service: &str, life: Life) -> io::Result<Fresh> {
        let path = self.path(service, life);
        if path.exists() {
            remove(&path);
        }
        fs::create_dir(&path)?;
        let directory = File::open(&path)?.into();
        Ok(Fresh { path, directory })
    }
}

/// Gives `instance` a cgroup to be born in; where that cannot be, it is born in ours.
pub(crate) async fn give(shared: &SharedContext, context: &ServiceContext, instance: &Instance) {
    let Some(cgroups) = shared.cgroups.borrow().clone() else {
        return;
    };
    let (name, life) = (context.config.name.clone(), instance.life);
    let making = tokio::task::spawn_blocking(move || cgroups.make(&name, life));
    match tokio::time::timeout(MAKE_DEADLINE, making).await {
        Ok(Ok(Ok(fresh))) => {
            instance.cgroup.replace(Some(fresh.path));
            instance.birthplace.replace(Some(fresh.directory));
        }
        Ok(Ok(Err(error))) => go_without(shared, &error.to_string()),
        Ok(Err(_)) | Err(_) => go_without(shared, "no answer from the kernel"),
    }
}

/// From now on; said once.
fn go_without(shared: &SharedContext, cause: &str) {
    if shared.cgroups.take().is_some() {
        tracing::warn!(
            "cannot make a cgroup for a service: {cause}; going on without, trees are found by other proofs"
        );
    }
}

/// Removes what [`give`] has given. What is not empty stays for the next start to look at.
pub(crate) fn take_back(instance: &Instance) {
    instance.birthplace.replace(None);
    if let Some(path) = instance.cgroup.take() {
        tokio::task::spawn_blocking(move || remove(&path));
    }
}

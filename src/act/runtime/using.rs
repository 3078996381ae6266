//! The processes that keep a copy, because they use files of it.
//!
//! A process of any user keeps the copy that it runs from, or of which it has mapped a file. A working directory takes no more
//! than one chdir(2), so it counts only for the processes that may have a reason to be there: those of root, of stayd's user
//! and of the user of a service that has used the copy, and those of an instance. Otherwise a local user could keep every old
//! copy for ever.

use super::cache::Cache;
use super::listing::Fingerprint;
use super::{record, walk};
use crate::act::claims::{self, Claim, ClaimOnDisk};
use crate::act::dirs::state_dir::StateDir;
use crate::sys::identity::{self, ROOT};
use crate::sys::process::{self, Process, Stat, UsedFile};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The most parents of a process that are examined. A longer line of descent counts as none.
const PARENTS_MAX: usize = 64;
/// The first process of the system or of a container: every process descends from it.
const INIT: i32 = 1;

/// Which processes use which copies.
#[derive(Debug, Default)]
pub(super) struct UsingProcesses {
    /// Paths below the folder of the copies, each with a process that uses it.
    below: Vec<(PathBuf, Using)>,
    /// Processes by device and inode: in a container or another mount namespace, the same file has another path.
    files: BTreeMap<(u64, u64), Vec<Using>>,
    users: CopyUsers,
}

/// A process that uses a file.
#[derive(Clone, Copy, Debug)]
struct Using {
    pid: i32,
    /// It is only in a folder, and counts only for copies that a service of this user has used.
    only_for: Option<u32>,
}

impl UsingProcesses {
    /// Finds all processes that use a file in `cache`, which is in the state folder `state`.
    ///
    /// # Errors
    /// The records or the processes cannot be listed.
    pub(super) fn find(cache: &Cache, state: &Path) -> io::Result<Self> {
        let resolved = cache.dir.canonicalize()?;
        let instances = Instances::of(state);
        let mut found = Self {
            users: CopyUsers::of(cache)?,
            ..Self::default()
        };
        for pid in process::all()? {
            // A process that has ended uses nothing. A process that cannot be read belongs to another user, who has no
            // access to this folder.
            let runs_from = process::files_run(pid).unwrap_or_default();
            let only_for = None;
            found.note(&cache.dir, &resolved, runs_from, Using { pid, only_for });
            if let Some(only_for) = found.users.whose_folder_counts(pid, &instances) {
                let folders = process::folders_entered(pid).unwrap_or_default();
                found.note(&cache.dir, &resolved, folders, Using { pid, only_for });
            }
        }
        Ok(found)
    }

    fn note(&mut self, dir: &Path, resolved: &Path, files: Vec<UsedFile>, using: Using) {
        for file in files {
            if let Some(id) = file.id {
                self.files.entry(id).or_default().push(using);
            }
            if let Ok(inside) = file.path.strip_prefix(resolved) {
                self.below.push((dir.join(inside), using));
            }
        }
    }

    /// The processes that use a file in `place`, the copy with this fingerprint; none for one that was altered.
    pub(super) fn of(&self, place: &Path, fingerprint: Option<&Fingerprint>) -> Vec<i32> {
        let users = self.users.of_copy(fingerprint);
        let inside = self.below.iter();
        let inside = inside.filter(|(path, _)| path.starts_with(place));
        let inside = inside.map(|(_, using)| *using);
        let files = files_in(place);
        let elsewhere = files.iter().filter_map(|id| self.files.get(id)).flatten();
        let all = inside.chain(elsewhere.copied());
        let counts = |using: &Using| using.only_for.is_none_or(|uid| users.contains(&uid));
        let mut pids: Vec<i32> = all.filter(counts).map(|using| using.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }
}

/// Device and inode of every entry in `place` and of the folder itself; empty where it cannot be read.
fn files_in(place: &Path) -> Vec<(u64, u64)> {
    let Ok(folder) = walk::open_folder(place) else {
        return Vec::new();
    };
    let Ok(metadata) = folder.metadata() else {
        return Vec::new();
    };
    let listing = walk::walk(&folder, place).unwrap_or_default();
    let inside = listing.entries.into_iter().map(|entry| entry.stamp.inode);
    inside
        .chain([metadata.ino()])
        .map(|inode| (metadata.dev(), inode))
        .collect()
}

/// The users of the services that have used the copies.
#[derive(Debug, Default)]
struct CopyUsers {
    all: BTreeSet<u32>,
    by_copy: BTreeMap<Fingerprint, BTreeSet<u32>>,
}

impl CopyUsers {
    fn of(cache: &Cache) -> io::Result<Self> {
        let mut found = Self::default();
        for service in record::services(&cache.services())? {
            let record = cache.record(&service);
            let Some(uid) = record.uid else {
                continue; // stayd's user
            };
            found.all.insert(uid);
            for one in record.known() {
                found.by_copy.entry(one.clone()).or_default().insert(uid);
            }
        }
        Ok(found)
    }

    /// The users of the services that have used this copy; of all services where no record names it.
    fn of_copy(&self, fingerprint: Option<&Fingerprint>) -> &BTreeSet<u32> {
        let known = fingerprint.and_then(|one| self.by_copy.get(one));
        known.unwrap_or(&self.all)
    }

    /// Whether the working directory of this process counts: none if not, `Some(Some(uid))` if only for the copies that
    /// services of this user have used.
    fn whose_folder_counts(&self, pid: i32, instances: &Instances) -> Option<Option<u32>> {
        let uid = match process::uid(pid) {
            Ok(uid) => uid,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            // Unknown is not foreign.
            Err(_) => return Some(None),
        };
        if uid == ROOT || uid == identity::euid() || instances.may_contain(pid) {
            return Some(None);
        }
        self.all.contains(&uid).then_some(Some(uid))
    }
}

/// The instances of a stayd, as its claims show them, and the stayd itself.
struct Instances {
    /// Processes whose descendants may belong to an instance.
    processes: BTreeSet<(i32, u64)>,
    /// The first processes of the instances, which lead the sessions.
    first: BTreeMap<i32, u64>,
    /// The stayd that the lock file names. Orphans of its services are reparented to it.
    stayd: Option<i32>,
}

impl Instances {
    fn of(state: &Path) -> Self {
        let claims = claims::read_all(state).unwrap_or_default().into_iter();
        let claims = claims.filter_map(|(_, on_disk)| match on_disk {
            ClaimOnDisk::Valid(claim) => Some(claim),
            ClaimOnDisk::Absent | ClaimOnDisk::Unverifiable(_) => None,
        });
        let mut found = Self {
            processes: BTreeSet::new(),
            first: BTreeMap::new(),
            stayd: holder_of_the_lock(state),
        };
        for claim in claims {
            found.add(&claim);
        }
        found
    }

    fn add(&mut self, claim: &Claim) {
        let recorded = claim.first.iter().chain(&claim.members);
        let recorded = recorded.map(|&member| Process::from(member));
        for process in recorded.chain(claim.main()) {
            self.processes.insert((process.pid, process.start_time));
        }
        let first = claim.first.map(Process::from).or_else(|| claim.main());
        self.first
            .extend(first.map(|first| (first.pid, first.start_time)));
    }

    /// Whether the process is in the session of an instance, or descends from one or from stayd. It may be no member all the
    /// same; a copy that is kept too long does less harm than one that is removed too early.
    fn may_contain(&self, pid: i32) -> bool {
        let is_in_session = |stat: &Stat| {
            let started_at = self.first.get(&stat.sid);
            started_at.is_some_and(|&started_at| stat.process.start_time >= started_at)
        };
        let mut next = pid;
        for _ in 0..PARENTS_MAX {
            if next <= INIT {
                return false;
            }
            let Ok(stat) = process::stat(next) else {
                return false;
            };
            let Process { pid, start_time } = stat.process;
            if self.processes.contains(&(pid, start_time))
                || self.stayd == Some(pid)
                || is_in_session(&stat)
            {
                return true;
            }
            next = stat.ppid;
        }
        false
    }
}

/// The pid in the lock file. A stale one only makes some working directories count.
fn holder_of_the_lock(state: &Path) -> Option<i32> {
    let text = fs::read_to_string(StateDir::lock_below(state)).ok()?;
    text.trim().parse().ok()
}

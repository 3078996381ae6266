//! Unattributed orphans: processes that were reparented to stayd and belong to no known instance. Each is reported once, shown
//! in `status`, and left alone.
//!
//! When the parent of a process ends, the kernel reparents the process to the subreaper. If the process has closed all its
//! descriptors and cleared its environment, and several services run, any of them may have started it.

use super::reported::{ReportedProcess, ReportedProcesses};
use crate::act::helper::Helpers;
use crate::act::journal::Journal;
use crate::act::off_loop::off_loop;
use crate::act::process_exit::still_runs;
use crate::act::process_info::ProcessInspector;
use crate::act::tree::{CommandToken, Tree};
use crate::decide::action::RecordKind;
use crate::decide::clock::Instant;
use crate::sys::process::{self, Process};
use crate::sys::{reaper, spawn};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// The interval between two searches that come with probe attempts.
const SEARCH_INTERVAL: Duration = Duration::from_secs(2);
/// The delay from the end of a child to the search for its orphans. Processes that are being killed have ended by then.
pub(crate) const SEARCH_DELAY: Duration = Duration::from_secs(1);
/// The largest number of running orphans that are tracked. While there are so many, others are not examined.
const CLASSIFIED_MAX: usize = 256;
/// The largest number of orphans that one stayd reports, so that a service that leaves one orphan after another does not
/// fill the journal.
const NAMED_MAX: u32 = 256;
/// The most time to describe one orphan.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(1);
/// The most time to read environments. They are in the processes' own memory, and reading that can hang.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Finds unattributed orphans. Classifies each orphan once.
#[derive(Debug, Default)]
pub struct UnattributedOrphans {
    classified: RefCell<HashSet<Process>>,
    named: Cell<u32>,
    searched_at: Cell<Option<Instant>>,
    is_searching: Cell<bool>,
    /// How many recovery scans run: they search for instances that some of the orphans may belong to.
    suspended: Cell<usize>,
}

impl UnattributedOrphans {
    /// Whether a search that comes with a probe attempt is due at `now`. If so, the caller begins it.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let last = self.searched_at.get();
        last.is_none_or(|last| now.since(last) >= SEARCH_INTERVAL) && self.begin(now)
    }

    /// Whether no search is under way yet. If so, the caller begins it.
    pub(crate) fn begin(&self, now: Instant) -> bool {
        self.searched_at.set(Some(now));
        !self.is_searching.replace(true)
    }

    /// Suspends orphan classification while `work`, a recovery scan, runs.
    pub(crate) async fn suspend_during<T>(&self, work: impl Future<Output = T>) -> T {
        self.suspended.set(self.suspended.get() + 1);
        let done = work.await;
        self.suspended.set(self.suspended.get() - 1);
        done
    }

    /// Searches for orphans that belong to none of `trees`, and reports each. Returns those that belong to one, with its index.
    /// The caller has called [`UnattributedOrphans::begin`].
    pub(crate) async fn search(
        &self,
        trees: Vec<Tree>,
        helpers: &Helpers,
        journal: &Journal,
        reported: &ReportedProcesses,
    ) -> Vec<(usize, Process)> {
        let mut members = Vec::new();
        if self.suspended.get() == 0 && reaper::adopts_orphans() {
            let classified = self.classified.borrow().clone();
            let search = move || search(classified, &trees);
            // If the environments could not be read in time, the next search classifies these orphans.
            if let Ok(found) = off_loop("orphans", READ_TIMEOUT, search).await {
                self.classified.replace(found.classified);
                members = found.proven;
                for orphan in found.unproven {
                    self.report(orphan, helpers, journal, reported).await;
                }
            }
        }
        self.is_searching.set(false);
        members
    }

    async fn report(
        &self,
        orphan: Process,
        helpers: &Helpers,
        journal: &Journal,
        reported: &ReportedProcesses,
    ) {
        let named = self.named.get();
        if named == NAMED_MAX {
            return;
        }
        let mut inspector = ProcessInspector::new(helpers, DESCRIBE_TIMEOUT);
        let info = inspector.describe(orphan.pid).await;
        let Some(info) = info.filter(|info| info.stat.process == orphan) else {
            return; // it has ended
        };
        let pid = orphan.pid;
        let mut message = format!(
            "pid {pid} ({}) of user {}, started {}, became a child of stayd when its parent ended, and nothing proves which \
             service it belongs to: stayd leaves it alone; stop it with `kill {pid}` if you know what it is",
            info.command(),
            info.user(),
            info.started_at(),
        );
        self.named.set(named + 1);
        if named + 1 == NAMED_MAX {
            message.push_str("; there were so many of these that this stayd reports no more");
        }
        let process = ReportedProcess {
            process: orphan,
            of: None,
            message,
        };
        reported.report(journal, RecordKind::UnattributedOrphan, process);
    }
}

/// What a search has found.
struct Found {
    /// All orphans that still exist and are classified now.
    classified: HashSet<Process>,
    /// New ones that belong to an instance, each with the index of its tree.
    proven: Vec<(usize, Process)>,
    /// New ones that belong to no instance.
    unproven: Vec<Process>,
}

/// Classifies the orphans that are not in `classified`. How long that takes depends on how many processes the services have
/// left, and it can hang.
fn search(mut classified: HashSet<Process>, trees: &[Tree]) -> Found {
    let new = unclassified(&mut classified);
    let (proven, unproven) = if new.is_empty() {
        (Vec::new(), Vec::new())
    } else {
        classify(new, trees)
    };
    classified.extend(proven.iter().map(|(_, process)| process).chain(&unproven));
    Found {
        classified,
        proven,
        unproven,
    }
}

/// The orphans among stayd's children that are not in `classified`. Removes those that do not exist any more from there.
fn unclassified(classified: &mut HashSet<Process>) -> Vec<Process> {
    let children = reaper::own_children().unwrap_or_default();
    let existing: HashSet<i32> = children.iter().copied().collect();
    classified.retain(|known| existing.contains(&known.pid));
    let room = CLASSIFIED_MAX.saturating_sub(classified.len());
    let orphans = children.into_iter().filter(|&pid| !spawn::is_spawned(pid));
    let orphans = orphans.filter_map(|pid| process::stat(pid).ok());
    let orphans = orphans.filter(|stat| stat.is_alive() && !stat.before_exec);
    let orphans = orphans.map(|stat| stat.process);
    let new = orphans.filter(|process| !classified.contains(process));
    new.take(room).collect()
}

/// Separates the orphans that belong to one of `trees`, each with the index of its tree, from those that belong to no
/// instance. An orphan of a probe, of `before` or of an evidence command is in neither list, because stayd kills it with its
/// command.
fn classify(orphans: Vec<Process>, trees: &[Tree]) -> (Vec<(usize, Process)>, Vec<Process>) {
    let mut tree_of = HashMap::new();
    for (index, tree) in trees.iter().enumerate() {
        let members = tree.members_full_scan().into_iter();
        tree_of.extend(members.map(|member| (member.process, index)));
    }
    let (proven, others): (Vec<_>, Vec<_>) = orphans
        .into_iter()
        .partition(|each| tree_of.contains_key(each));
    let proven = proven
        .into_iter()
        .filter_map(|each| Some((*tree_of.get(&each)?, each)))
        .collect();
    let is_unattributed = |each: &Process| {
        still_runs(*each) && !spawn::is_spawned(each.pid) && !CommandToken::is_carried_by(each.pid)
    };
    let unproven = others.into_iter().filter(is_unattributed).collect();
    (proven, unproven)
}

//! Orphans that landed with stayd and that no service can be proven to own: each is named once, shown, and left alone.
//!
//! A process that has closed all its descriptors and cleared its environment lands with the subreaper when its parent
//! ends. Where several services run, any of them may have started it.

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
use std::collections::HashSet;
use std::time::Duration;

/// Between two searches that come with probe attempts.
const SEARCH_EVERY: Duration = Duration::from_secs(2);
/// From the end of a child to the search for what it has left. Processes that are being killed have ended by then.
pub(crate) const SEARCH_AFTER: Duration = Duration::from_secs(1);
/// Running orphans that are kept in mind. While there are so many, others are not looked at.
const JUDGED_MAX: usize = 256;
/// One stayd names at most so many: a service that leaves one orphan after another does not fill the journal.
const NAMED_MAX: u32 = 256;
/// Finding out about one orphan may not take longer.
const NAMING_DEADLINE: Duration = Duration::from_secs(1);
/// Environments are read from the processes' own memory, which a sick process may not show.
const READ_DEADLINE: Duration = Duration::from_secs(5);

/// Finds orphans that belong to no service. Each orphan is judged once.
#[derive(Debug, Default)]
pub struct UnattributedOrphans {
    judged: RefCell<HashSet<Process>>,
    named: Cell<u32>,
    searched_at: Cell<Option<Instant>>,
    is_searching: Cell<bool>,
    /// How many recovery scans run: they look for instances that some of the orphans may belong to.
    suspended: Cell<usize>,
}

impl UnattributedOrphans {
    /// Whether a search that comes with a probe attempt is due at `now`. Then the caller begins it.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let last = self.searched_at.get();
        last.is_none_or(|last| now.since(last) >= SEARCH_EVERY) && self.begin(now)
    }

    /// Whether no search is under way yet. Then the caller begins it.
    pub(crate) fn begin(&self, now: Instant) -> bool {
        self.searched_at.set(Some(now));
        !self.is_searching.replace(true)
    }

    /// Suspends the judgment of orphans while `work`, a recovery scan, runs.
    pub(crate) async fn suspend_during<T>(&self, work: impl Future<Output = T>) -> T {
        self.suspended.set(self.suspended.get() + 1);
        let done = work.await;
        self.suspended.set(self.suspended.get() - 1);
        done
    }

    /// Searches for orphans that belong to none of `trees`, and reports each of them. The caller has called
    /// [`UnattributedOrphans::begin`].
    pub(crate) async fn search(
        &self,
        trees: Vec<Tree>,
        helpers: &Helpers,
        journal: &Journal,
        reported: &ReportedProcesses,
    ) {
        let new = self.unjudged();
        let may_judge = self.suspended.get() == 0 && reaper::adopts_orphans();
        if may_judge && !new.is_empty() {
            let sorted = off_loop("orphans", READ_DEADLINE, move || sort(new, &trees)).await;
            // Orphans whose environment did not come in time are judged by the next search.
            if let Ok((proven, unproven)) = sorted {
                let judged = proven.iter().chain(&unproven).copied();
                self.judged.borrow_mut().extend(judged);
                for orphan in unproven {
                    self.report(orphan, helpers, journal, reported).await;
                }
            }
        }
        self.is_searching.set(false);
    }

    /// The orphans among stayd's children that were not judged yet.
    fn unjudged(&self) -> Vec<Process> {
        let children = reaper::own_children().unwrap_or_default();
        let mut judged = self.judged.borrow_mut();
        judged.retain(|known| children.contains(&known.pid));
        let room = JUDGED_MAX.saturating_sub(judged.len());
        let orphans = children.into_iter().filter(|&pid| !spawn::is_spawned(pid));
        let orphans = orphans.filter_map(|pid| process::stat(pid).ok());
        let orphans = orphans.filter(|stat| stat.is_alive() && !stat.before_exec);
        let orphans = orphans.map(|stat| stat.process);
        let new = orphans.filter(|process| !judged.contains(process));
        new.take(room).collect()
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
        let mut inspector = ProcessInspector::new(helpers, NAMING_DEADLINE);
        let info = inspector.describe(orphan.pid).await;
        let Some(info) = info.filter(|info| info.stat.process == orphan) else {
            return; // it has ended
        };
        let pid = orphan.pid;
        let mut message = format!(
            "pid {pid} ({}) of user {}, started {}, landed with stayd when its parent ended, and nothing proves which \
             service it is of: it is left alone; stop it with `kill {pid}` if you know it",
            info.command(),
            info.user(),
            info.started_at(),
        );
        self.named.set(named + 1);
        if named + 1 == NAMED_MAX {
            message.push_str("; there were so many that this stayd names no more");
        }
        let process = ReportedProcess {
            process: orphan,
            of: None,
            message,
        };
        reported.report(journal, RecordKind::UnattributedOrphan, process);
    }
}

/// Separates the orphans that belong to the trees from those that belong to no instance. An orphan of a probe, of `before`
/// or of an evidence command is in neither list: it is killed with its command.
fn sort(orphans: Vec<Process>, trees: &[Tree]) -> (Vec<Process>, Vec<Process>) {
    let members = trees.iter().flat_map(Tree::members_full_scan);
    let members: HashSet<Process> = members.map(|member| member.process).collect();
    let (proven, others): (Vec<_>, Vec<_>) =
        orphans.into_iter().partition(|each| members.contains(each));
    let is_unattributed = |each: &Process| {
        still_runs(*each) && !spawn::is_spawned(each.pid) && !CommandToken::is_carried_by(each.pid)
    };
    let unproven = others.into_iter().filter(is_unattributed).collect();
    (proven, unproven)
}

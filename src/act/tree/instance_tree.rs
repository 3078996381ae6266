//! The process tree of a service's present instance, shared by the effects that read and update it.

use super::{Member, Tree, Usage};
use crate::decide::clock::{Duration, Instant};
use crate::sys::process::{self, InheritedFile, Process};
use std::cell::{Cell, RefCell};
use tokio::sync::Notify;

/// The interval between two searches for members that have left the tree. A search comes with a probe attempt.
const SEARCH_INTERVAL: Duration = Duration::from_secs(2);
/// The same for an adopted instance: its orphans are not reparented to stayd, so a search reads all processes.
const SEARCH_ALL_INTERVAL: Duration = Duration::from_secs(30);

/// The tree of one instance; none before its spawn, and for a foreign process.
#[derive(Debug, Default)]
pub(crate) struct InstanceTree {
    tree: RefCell<Option<Tree>>,
    /// The claim fd's file.
    claim_file: Cell<Option<InheritedFile>>,
    /// The process that the service has named as its main process (MAINPID=).
    named_main: Cell<Option<Process>>,
    /// The stop signal went to the whole tree; each reaped orphan may have been its last process.
    is_ending: Cell<bool>,
    searched_at: Cell<Option<Instant>>,
    /// Notified when the tree is set.
    set: Notify,
}

impl InstanceTree {
    /// Supervises `tree` from now on.
    pub(crate) fn set(&self, tree: Tree) {
        self.tree.replace(Some(tree));
        self.set.notify_waiters();
    }

    /// A copy of the tree.
    pub(crate) fn get(&self) -> Option<Tree> {
        self.tree.borrow().clone()
    }

    /// Whether there is a tree: the instance was spawned or adopted.
    pub(crate) fn is_known(&self) -> bool {
        self.tree.borrow().is_some()
    }

    /// Returns when the tree is known.
    pub(crate) async fn known(&self) {
        while !self.is_known() {
            self.set.notified().await;
        }
    }

    /// Whether an earlier stayd spawned it.
    pub(crate) fn is_adopted(&self) -> bool {
        self.tree.borrow().as_ref().is_some_and(|tree| tree.adopted)
    }

    /// Whether the exits of its orphans are reported to stayd.
    pub(crate) fn orphans_come_to_us(&self) -> bool {
        let tree = self.tree.borrow();
        tree.as_ref().is_some_and(Tree::orphans_come_to_us)
    }

    /// The claim fd's file.
    pub(crate) fn claim_file(&self) -> Option<InheritedFile> {
        self.claim_file.get()
    }

    /// Stores the claim fd's file, for a tree that is created later.
    pub(crate) fn set_claim_file(&self, file: Option<InheritedFile>) {
        self.claim_file.set(file);
    }

    /// Makes `successor`, a descendant of the main process, the new main process.
    pub(crate) fn set_successor(&self, successor: Process) {
        if let Some(tree) = self.tree.borrow_mut().as_mut() {
            tree.members.push(tree.main);
            tree.main = successor;
        }
    }

    /// The members of the tree, including zombies.
    pub(crate) fn members(&self) -> Vec<Member> {
        let tree = self.tree.borrow();
        tree.as_ref().map(Tree::members).unwrap_or_default()
    }

    /// Whether the process with this number belongs to the tree.
    pub(crate) fn has_member(&self, pid: i32) -> bool {
        self.members()
            .iter()
            .any(|member| member.process.pid == pid)
    }

    /// What the tree has used so far.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.tree.borrow().as_ref().map(Tree::usage)
    }

    /// Calls `read` with the tree, where it is known.
    pub(crate) fn with<T>(&self, read: impl FnOnce(Option<&Tree>) -> T) -> T {
        read(self.tree.borrow().as_ref())
    }

    /// Records members that have left the tree, while there is evidence for them. Returns all recorded members if they have
    /// changed, so that the claim must be written again.
    pub(crate) fn update_members(&self) -> Option<Vec<Process>> {
        let mut tree = self.tree.borrow_mut();
        let tree = tree.as_mut()?;
        tree.update_members().then(|| tree.members.clone())
    }

    /// The service names its main process. Whether that belongs to the tree is not examined before it is used.
    pub(crate) fn name_main(&self, pid: i32) {
        if let Ok(stat) = process::stat(pid) {
            self.named_main.set(Some(stat.process));
        }
    }

    /// The process that the service has named as its main process. It may not belong to the tree.
    pub(crate) fn named_main(&self) -> Option<Process> {
        self.named_main.get()
    }

    /// Records a member outside the session. Returns false if it is recorded already, or if there is no room.
    pub(crate) fn add_member(&self, member: Process) -> bool {
        let mut tree = self.tree.borrow_mut();
        tree.as_mut().is_some_and(|tree| tree.add_member(member))
    }

    /// Whether a search for members that have left the tree is due. If so, the caller searches.
    pub(crate) fn search_is_due(&self, now: Instant) -> bool {
        let every = if self.is_adopted() {
            SEARCH_ALL_INTERVAL
        } else {
            SEARCH_INTERVAL
        };
        let last = self.searched_at.get();
        let is_due = last.is_none_or(|last| now.since(last) >= every);
        if is_due {
            self.searched_at.set(Some(now));
        }
        is_due
    }

    /// Sends each of `signals` to every process of the tree, and notes that the tree is to end.
    pub(crate) fn terminate(&self, signals: &[i32]) {
        self.is_ending.set(true);
        if let Some(tree) = self.tree.borrow().as_ref() {
            for signal in signals {
                tree.terminate(*signal);
            }
        }
    }

    /// Whether the tree is not ending any more: [`Self::has_just_ended`] has returned true.
    pub(crate) fn has_reported_its_end(&self) -> bool {
        !self.is_ending.get()
    }

    /// Whether the tree is ending and has no running member any more. Returns true only once.
    pub(crate) fn has_just_ended(&self) -> bool {
        if !self.is_ending.get() || self.members().iter().any(Member::is_alive) {
            return false;
        }
        self.is_ending.set(false);
        true
    }
}

//! The process tree of a service's present instance, shared by the effects that read and update it.

use super::{MEMBERS_MAX, Member, Tree};
use crate::act::off_loop::off_loop;
use crate::decide::clock::{Duration, Instant};
use crate::sys::process::{self, InheritedFile, Process};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use tokio::sync::{Mutex, Notify};

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
    /// Held by the thread that reads the processes of the tree.
    reader: Arc<Mutex<()>>,
    /// Something waits for the end of the tree, and a process of it may have ended since the last look.
    look_is_wanted: Cell<bool>,
    is_looking: Cell<bool>,
    /// Notified when the tree is set.
    set: Notify,
}

/// What a thread has read of a tree.
#[derive(Debug)]
pub(crate) struct TreeReading<T> {
    /// What the caller's function has returned.
    pub(crate) value: T,
    /// All recorded members outside the session if they have changed, so that the claim must be written again.
    pub(crate) changed_members: Option<Vec<Process>>,
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

    /// Calls `read` with the tree, where it is known. `read` runs on the loop, so it must not scan.
    pub(crate) fn with<T>(&self, read: impl FnOnce(Option<&Tree>) -> T) -> T {
        read(self.tree.borrow().as_ref())
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

    /// Calls `read` with a copy of the tree, on a thread of its own: how long that takes depends on how many processes the
    /// service has. There is one such thread at a time, also where one does not return in time. Keeps the members outside the
    /// session that `read` has recorded in the copy. None if the thread before it, or its own, takes longer than `within`.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        within: Duration,
        read: impl FnOnce(Option<&mut Tree>) -> T + Send + 'static,
    ) -> Option<TreeReading<T>> {
        let turn = Arc::clone(&self.reader).lock_owned();
        let turn = tokio::time::timeout(within, turn).await.ok()?;
        let mut copy = self.get();
        let before = copy.as_ref().map(|tree| tree.members.clone());
        let work = move || {
            let _turn = turn;
            let value = read(copy.as_mut());
            (value, copy)
        };
        let (value, copy) = off_loop("processes", within, work).await.ok()?;
        let changed_members = copy
            .zip(before)
            .and_then(|(copy, before)| self.keep_members(copy, &before));
        Some(TreeReading {
            value,
            changed_members,
        })
    }

    /// Takes over the members that were recorded in a copy of the tree, which had the members `before`. Returns all recorded
    /// members if they have changed.
    fn keep_members(&self, copy: Tree, before: &[Process]) -> Option<Vec<Process>> {
        let mut tree = self.tree.borrow_mut();
        let tree = tree.as_mut()?;
        let mut members = copy.members;
        let added = tree.members.iter().copied();
        let added = added.filter(|member| !before.contains(member));
        let added: Vec<_> = added.filter(|member| !members.contains(member)).collect();
        members.extend(added);
        members.truncate(MEMBERS_MAX);
        if tree.adopted && copy.session == 0 {
            tree.session = 0;
        }
        let has_changed = members != tree.members;
        tree.members = members;
        has_changed.then(|| tree.members.clone())
    }

    /// Whether the process with this number belongs to the tree, as far as its own state and that of its nearest ancestors
    /// show. False is no statement.
    pub(crate) fn has_evident_member(&self, pid: i32) -> bool {
        let tree = self.tree.borrow();
        let (Some(tree), Ok(stat)) = (tree.as_ref(), process::stat(pid)) else {
            return false;
        };
        tree.proof_without_scan(&stat).is_some()
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

    /// Notes that the tree is to end.
    pub(crate) fn begin_ending(&self) {
        self.is_ending.set(true);
    }

    /// Whether the tree is not ending any more: [`Self::look_for_end`] has returned true.
    pub(crate) fn has_reported_its_end(&self) -> bool {
        !self.is_ending.get()
    }

    /// Asks for a look whether the tree has ended. Returns whether the caller makes it: the tree is ending, and no look is under
    /// way. A look that is under way is repeated.
    pub(crate) fn begin_look(&self) -> bool {
        if !self.is_ending.get() {
            return false;
        }
        self.look_is_wanted.set(true);
        !self.is_looking.replace(true)
    }

    /// Looks until no look is wanted any more. Returns whether the tree was ending and has no running member; true only once.
    pub(crate) async fn look_for_end(&self, within: Duration) -> bool {
        let mut has_ended = false;
        while !has_ended && self.look_is_wanted.replace(false) {
            let is_gone = |tree: Option<&mut Tree>| {
                !tree.is_some_and(|tree| tree.members().iter().any(Member::is_alive))
            };
            let reading = self.read(within, is_gone).await;
            has_ended =
                reading.is_some_and(|reading| reading.value) && self.is_ending.replace(false);
        }
        self.is_looking.set(false);
        has_ended
    }
}

//! Orphans that landed with us and that nothing proves: each is named once, shown, and left alone.
//!
//! A process that has closed every descriptor and cleared its environment lands with the subreaper when its parent ends.
//! Where several services run, any of them may have left it.

use super::reported::ReportedProcess;
use crate::act::context::ServiceContext;
use crate::act::context::SharedContext;
use crate::act::process_info::ProcessInspector;
use crate::act::recovery::scan::{lives, off_the_loop};
use crate::act::spawn::launch::CommandToken;
use crate::act::tree::Tree;
use crate::decide::action::RecordKind;
use crate::decide::clock::Instant;
use crate::sys::process::{self, Process};
use crate::sys::{reaper, spawn};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

/// Between two looks that come with rounds of probes.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// From the end of a child to the look at what it has left; what is being ended has gone by then.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// Instance orphans that are kept in mind; while there are so many, others are not looked at.
const JUDGED_MAX: usize = 256;
/// So many are named by one stayd: a service that leaves one after another does not fill the journal.
const NAMED_MAX: u32 = 256;
/// Naming one may not take longer.
const NAMING_DEADLINE: Duration = Duration::from_secs(1);

/// Which orphans have been looked at.
#[derive(Debug, Default)]
pub struct UnattributedOrphans {
    /// Each is judged once.
    judged: RefCell<HashSet<Process>>,
    named: Cell<u32>,
    looked_at: Cell<Option<Instant>>,
    under_way: Cell<bool>,
    held_off: Cell<usize>,
}

impl UnattributedOrphans {
    /// Whether a look that comes with a round is due at `now`; then it is the caller's to begin it.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let last = self.looked_at.get();
        last.is_none_or(|last| now.since(last) >= LOOK_EVERY) && self.begins(now)
    }

    /// Whether no look is under way yet; then it is the caller's to begin it.
    pub(crate) fn begins(&self, now: Instant) -> bool {
        self.looked_at.set(Some(now));
        !self.under_way.replace(true)
    }

    /// Judges nobody while `work` is under way: it is looked for the lives that some of our children may be of.
    pub(crate) async fn hold_off<T>(&self, work: impl Future<Output = T>) -> T {
        self.held_off.set(self.held_off.get() + 1);
        let done = work.await;
        self.held_off.set(self.held_off.get() - 1);
        done
    }

    /// The orphans among our children that have not been judged.
    fn unjudged(&self) -> Vec<Process> {
        let children = process::own_children().unwrap_or_default();
        let mut judged = self.judged.borrow_mut();
        judged.retain(|known| children.contains(&known.pid));
        let room = JUDGED_MAX.saturating_sub(judged.len());
        let orphans = children.into_iter().filter(|&pid| !spawn::is_ours(pid));
        let orphans = orphans.filter_map(|pid| process::stat(pid).ok());
        let orphans = orphans.filter(|stat| stat.is_alive() && !stat.before_exec);
        let orphans = orphans.map(|stat| stat.process);
        let new = orphans.filter(|process| !judged.contains(process));
        new.take(room).collect()
    }
}

/// Looks with a round of a probe.
pub(crate) async fn look(shared: Rc<SharedContext>, contexts: Vec<Rc<ServiceContext>>) {
    let new = shared.orphans.unjudged();
    let may_judge = shared.orphans.held_off.get() == 0 && reaper::adopts_orphans();
    if may_judge && !new.is_empty() {
        judge(&shared, &contexts, new).await;
    }
    shared.orphans.under_way.set(false);
}

/// Looks after a child has ended.
pub(crate) async fn look_soon(shared: Rc<SharedContext>, contexts: Vec<Rc<ServiceContext>>) {
    tokio::time::sleep(LOOK_AFTER).await;
    look(shared, contexts).await;
}

async fn judge(shared: &SharedContext, contexts: &[Rc<ServiceContext>], new: Vec<Process>) {
    let trees: Vec<Tree> = contexts
        .iter()
        .filter_map(|context| whole_tree(context))
        .collect();
    // Whose environment does not come in time is judged at the next look.
    let Ok((proven, unproven)) = off_the_loop(move || sort(new, &trees)).await else {
        return;
    };
    let judged = proven.iter().chain(&unproven).copied();
    shared.orphans.judged.borrow_mut().extend(judged);
    for orphan in unproven {
        name(shared, orphan).await;
    }
}

/// With all that leave it, also where only its group is to be ended.
fn whole_tree(context: &ServiceContext) -> Option<Tree> {
    let instance = context.life.borrow();
    let mut tree = instance.as_ref()?.tree.borrow().clone()?;
    tree.group_only = false;
    Some(tree)
}

/// The orphans of the lives, and those that are nobody's. What a probe, `before` or an evidence command has left is
/// neither: it ends with that.
fn sort(orphans: Vec<Process>, trees: &[Tree]) -> (Vec<Process>, Vec<Process>) {
    let members = trees.iter().flat_map(Tree::members_by_every_proof);
    let members: HashSet<Process> = members.map(|member| member.process).collect();
    let (proven, others): (Vec<_>, Vec<_>) =
        orphans.into_iter().partition(|each| members.contains(each));
    let is_nobodys = |each: &Process| {
        lives(*each) && !spawn::is_ours(each.pid) && !CommandToken::is_shown_by(each.pid)
    };
    (proven, others.into_iter().filter(is_nobodys).collect())
}

async fn name(shared: &SharedContext, orphan: Process) {
    let named = shared.orphans.named.get();
    if named == NAMED_MAX {
        return;
    }
    let (spawner, program) = (shared.spawner.clone(), shared.program.clone());
    let mut inspector = ProcessInspector::new(spawner, program, NAMING_DEADLINE);
    let process_info = inspector.describe(orphan.pid).await;
    let Some(process_info) =
        process_info.filter(|process_info| process_info.stat.process == orphan)
    else {
        return; // it has ended
    };
    let pid = orphan.pid;
    let mut message = format!(
        "pid {pid} ({}) of user {}, started {}, landed with stayd when its parent ended, and nothing proves which service \
         it is of: it is left alone; stop it with `kill {pid}` if you know it",
        process_info.command(),
        process_info.user(),
        process_info.started_at(),
    );
    shared.orphans.named.set(named + 1);
    if named + 1 == NAMED_MAX {
        message.push_str("; there were so many that this stayd names no more");
    }
    let reported = ReportedProcess {
        process: orphan,
        of: None,
        message,
    };
    shared.report_process(RecordKind::UnattributedOrphan, reported);
}

//! Whether somebody else keeps a service from working: a debugger, or the freezer.
//!
//! It may be any process of the tree: where a main process only looks after its workers, they are who has to answer.
//! Reads no process's memory, so it cannot hang.

use crate::act::tree::{Member, Tree};
use crate::sys::process::{self, Process, Stat, State};
use std::collections::HashSet;

/// So many members are asked; one that is held behind so many others is not seen.
const MEMBERS_ASKED_MAX: usize = 2048;

/// Who keeps it from working.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StopState {
    /// Somebody traces it.
    pub(crate) traced: bool,
    /// Its cgroup is frozen.
    pub(crate) frozen: bool,
}

impl StopState {
    /// What holds `main`, or any other of its tree, where that is known.
    pub(crate) fn of(main: Process, tree: Option<&Tree>) -> Self {
        let members = tree.map(Tree::members).unwrap_or_default();
        let mut asked: Vec<Stat> = process::stat(main.pid).into_iter().collect();
        let others = members.into_iter().filter(Member::is_alive);
        let others = others.filter(|member| member.process != main);
        asked.extend(others.map(|member| member.stat).take(MEMBERS_ASKED_MAX));
        let pids: Vec<i32> = asked.iter().map(|stat| stat.process.pid).collect();
        let own = pids.iter().copied().collect();
        let is_traced = |stat: &Stat| is_traced(stat, stat.process == main, &own);
        Self {
            traced: asked.iter().any(is_traced),
            frozen: process::is_any_frozen(&pids).unwrap_or(false),
        }
    }
}

/// Whether somebody traces it. One of the tree's `own` who does (`strace PROGRAM` as the service, a sandbox) is at its
/// usual work, and would excuse every wedge for ever; but who traces the main process has always held all.
fn is_traced(stat: &Stat, is_main: bool, own: &HashSet<i32>) -> bool {
    match process::tracer(stat.process.pid) {
        Ok(Some(tracer)) => is_main || !own.contains(&tracer),
        // A tracer in another pid namespace is hidden; that it has stopped it is not.
        Ok(None) => stat.state == State::Traced,
        Err(_) => false, // it has gone
    }
}

//! Whether a debugger or the cgroup freezer holds a process of a tree.
//!
//! Every process of the tree counts: where the main process only manages workers, the workers have to answer. Reads no
//! process's memory, so it cannot hang.

use super::{Member, Tree};
use crate::sys::process::{self, Process, Stat, State};
use std::collections::HashSet;

/// The largest number of members that are examined; a held member after these is not found.
const MEMBERS_MAX: usize = 2048;

/// What holds the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StopState {
    /// A debugger traces a process.
    pub(crate) traced: bool,
    /// The cgroup of a process is frozen.
    pub(crate) frozen: bool,
}

impl StopState {
    /// What holds `main` or, where the tree is known, any other process of it.
    pub(crate) fn of(main: Process, tree: Option<&Tree>) -> Self {
        let members = tree.map(Tree::members).unwrap_or_default();
        let mut stats: Vec<Stat> = process::stat(main.pid).into_iter().collect();
        let others = members.into_iter().filter(Member::is_alive);
        let others = others.filter(|member| member.process != main);
        stats.extend(others.map(|member| member.stat).take(MEMBERS_MAX));
        let pids: Vec<i32> = stats.iter().map(|stat| stat.process.pid).collect();
        let own = pids.iter().copied().collect();
        let is_traced = |stat: &Stat| is_traced(stat, stat.process == main, &own);
        Self {
            traced: stats.iter().any(is_traced),
            frozen: process::is_any_frozen(&pids).unwrap_or(false),
        }
    }
}

/// Whether a tracer can keep the process from working. A tracer in the tree itself (`strace PROGRAM` as the service, a
/// sandbox) does not count, because it is part of the service and would suppress every verdict forever. But any tracer of
/// the main process counts, because it can stop the whole service.
fn is_traced(stat: &Stat, is_main: bool, own: &HashSet<i32>) -> bool {
    match process::tracer(stat.process.pid) {
        Ok(Some(tracer)) => is_main || !own.contains(&tracer),
        // The kernel hides a tracer in another pid namespace, but not that it has stopped the process.
        Ok(None) => stat.state == State::Traced,
        Err(_) => false, // the process has ended
    }
}

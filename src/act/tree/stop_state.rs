//! Whether a debugger or the cgroup freezer holds a process of a tree.
//!
//! Every process of the tree counts: where the main process only manages workers, the workers have to answer. Reads no
//! process's memory, so it cannot hang.

use super::{Member, Tree};
use crate::sys::process::{self, Process, Stat, State};
use std::collections::HashSet;
use std::io;

/// The largest number of members that are examined; a held member after these is not found.
const MEMBERS_MAX: usize = 2048;

/// What holds the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StopState {
    /// A debugger traces a process.
    pub(crate) traced: bool,
    /// The cgroup of a process is frozen.
    pub(crate) frozen: bool,
    /// The state of a process cannot be read, so one more may be held.
    pub(crate) unknown: bool,
}

impl StopState {
    /// What holds `main` or, where the tree is known, any other process of it.
    pub(crate) fn of(main: Process, tree: Option<&Tree>) -> Self {
        let (members, is_complete) =
            tree.map_or_else(|| (Vec::new(), true), Tree::members_if_readable);
        let main_stat = process::stat(main.pid);
        let mut state = Self {
            unknown: !is_complete || main_stat.is_err(),
            ..Self::default()
        };
        let mut stats: Vec<Stat> = main_stat.into_iter().collect();
        let others = members.into_iter().filter(Member::is_alive);
        let others = others.filter(|member| member.process != main);
        stats.extend(others.map(|member| member.stat).take(MEMBERS_MAX));
        let pids: Vec<i32> = stats.iter().map(|stat| stat.process.pid).collect();
        let own = pids.iter().copied().collect();
        for stat in &stats {
            match is_traced(stat, stat.process == main, &own) {
                Ok(traced) => state.traced |= traced,
                Err(error) => state.unknown |= error.kind() != io::ErrorKind::NotFound,
            }
        }
        match process::is_any_frozen(&pids) {
            Ok(frozen) => state.frozen = frozen,
            Err(_) => state.unknown = true,
        }
        state
    }
}

/// Whether a tracer can keep the process from working. A tracer in the tree itself (`strace PROGRAM` as the service, a
/// sandbox) does not count, because it is part of the service and would suppress every verdict forever. But any tracer of
/// the main process counts, because it can stop the whole service.
fn is_traced(stat: &Stat, is_main: bool, own: &HashSet<i32>) -> io::Result<bool> {
    let tracer = process::tracer(stat.process.pid)?;
    // The kernel hides a tracer in another pid namespace, but not that it has stopped the process.
    Ok(tracer.map_or(stat.state == State::Traced, |tracer| {
        is_main || !own.contains(&tracer)
    }))
}

//! Evidence: what the threads of a process tree wait for.

use super::{Deadline, EvidenceTarget, Section, existing, number, state_in_words};
use crate::decide::action::RecordValue;
use crate::sys::process::{self, State, Thread};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

/// How many threads of one process are read.
const THREADS_MAX: usize = 1024;
/// How many threads of a group are named.
const NAMED_MAX: usize = 8;
/// How many kernel stacks are shown: those of stuck threads and of the main thread.
const STACKS_MAX: usize = 8;
/// How many functions of each stack are shown.
const STACK_DEPTH_MAX: usize = 16;

#[derive(Debug, Default)]
struct ThreadSample {
    threads: Vec<Thread>,
    /// Kernel stacks of some threads, by thread id.
    stacks: Vec<(i32, Vec<String>)>,
    /// Number of processes for which no time was left.
    skipped: usize,
}

/// The kernel function or system call in which a thread waits, or else its state. Displayed after "11 of them".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum WaitPoint {
    Function(String),
    State(&'static str),
}

impl fmt::Display for WaitPoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(function) => write!(out, "in {function}"),
            Self::State(state) => out.write_str(state),
        }
    }
}

pub(super) fn section(target: &EvidenceTarget, deadline: &Deadline) -> Section {
    render(&sample(target, deadline))
}

fn sample(target: &EvidenceTarget, deadline: &Deadline) -> ThreadSample {
    let mut found = ThreadSample::default();
    for one in existing(target) {
        if deadline.is_over() {
            found.skipped += 1;
            continue;
        }
        let pid = one.process.pid;
        let threads = process::threads(pid, THREADS_MAX).unwrap_or_default();
        found.stacks.extend(stacks(target, pid, &threads));
        found.threads.extend(threads);
    }
    found.stacks.truncate(STACKS_MAX);
    found
}

fn stacks(target: &EvidenceTarget, pid: i32, threads: &[Thread]) -> Vec<(i32, Vec<String>)> {
    threads
        .iter()
        .filter(|thread| thread.tid == target.main.pid || thread.state == State::Uninterruptible)
        .take(STACKS_MAX)
        .map(|thread| {
            let stack = process::kernel_stack(pid, thread.tid, STACK_DEPTH_MAX);
            (thread.tid, stack)
        })
        .filter(|(_, stack)| !stack.is_empty())
        .collect()
}

/// The kernel function in which the thread sleeps, else its system call, else its state.
fn wait_point(thread: &Thread) -> WaitPoint {
    let asleep = matches!(thread.state, State::Sleeping | State::Uninterruptible);
    thread
        .wchan
        .clone()
        .or_else(|| system_call(thread))
        .filter(|_| asleep)
        .map_or(
            WaitPoint::State(state_in_words(thread.state)),
            WaitPoint::Function,
        )
}

/// Describes what the main thread of `pid` waits for, as part of a sentence; `None` where it cannot be read.
#[must_use]
pub fn describe_main_thread(pid: i32) -> Option<String> {
    let threads = process::threads(pid, THREADS_MAX).ok()?;
    let main = threads.iter().find(|thread| thread.tid == pid)?;
    let call = system_call(main).map_or_else(String::new, |call| format!(", system call {call}"));
    let state = state_in_words(main.state);
    Some(match wait_point(main) {
        WaitPoint::Function(function) => format!("in {function} ({state}{call})"),
        WaitPoint::State(state) => format!("{state}{call}"),
    })
}

fn system_call(thread: &Thread) -> Option<String> {
    let number = thread.syscall?;
    let name = process::system_call_name(number);
    Some(name.map_or_else(|| format!("system call {number}"), str::to_owned))
}

fn render(found: &ThreadSample) -> Section {
    let mut lines = groups(&found.threads);
    for (tid, stack) in &found.stacks {
        lines.push(format!("kernel stack of {tid}: {}", stack.join(" < ")));
    }
    if found.skipped > 0 {
        lines.push(format!("no time was left for {} processes", found.skipped));
    }
    Section {
        summary: summary(&found.threads),
        lines,
        facts: facts(&found.threads),
    }
}

/// One line for each group of threads that wait for the same, the largest group first.
fn groups(threads: &[Thread]) -> Vec<String> {
    let mut groups: BTreeMap<_, Vec<&Thread>> = BTreeMap::new();
    for thread in threads {
        let state = (
            wait_point(thread),
            state_in_words(thread.state),
            system_call(thread),
        );
        groups.entry(state).or_default().push(thread);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, members)| Reverse(members.len()));
    groups
        .iter()
        .map(|((place, state, call), members)| {
            let call = call.as_deref().unwrap_or("unknown");
            format!(
                "{} {place} ({state}, system call: {call}): {}",
                members.len(),
                names(members)
            )
        })
        .collect()
}

fn names(threads: &[&Thread]) -> String {
    let named = threads.iter().take(NAMED_MAX);
    let names: Vec<String> = named
        .map(|thread| format!("{} [{}]", thread.comm, thread.tid))
        .collect();
    let more = if threads.len() > NAMED_MAX {
        ", …"
    } else {
        ""
    };
    format!("{}{more}", names.join(", "))
}

/// "12 threads, 11 of them in futex_wait".
fn summary(threads: &[Thread]) -> Option<String> {
    let mut counts: BTreeMap<WaitPoint, usize> = BTreeMap::new();
    for thread in threads {
        *counts.entry(wait_point(thread)).or_default() += 1;
    }
    let (place, most) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    let total = threads.len();
    Some(match total {
        1 => format!("1 thread, {place}"),
        _ if most == total => format!("{total} threads, all {place}"),
        _ => format!("{total} threads, {most} of them {place}"),
    })
}

fn facts(threads: &[Thread]) -> Vec<(&'static str, RecordValue)> {
    let count = |state: State| {
        let in_state = threads.iter().filter(|thread| thread.state == state);
        number(in_state.count())
    };
    vec![
        ("threads", number(threads.len())),
        ("threads_running", count(State::Running)),
        ("threads_stuck", count(State::Uninterruptible)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(tid: i32, state: State, wchan: Option<&str>, syscall: Option<i64>) -> Thread {
        Thread {
            tid,
            comm: "worker".into(),
            state,
            wchan: wchan.map(str::to_owned),
            syscall,
        }
    }

    #[test]
    fn the_largest_group_is_named_first() {
        let mut threads: Vec<Thread> = (2..13)
            .map(|tid| thread(tid, State::Sleeping, Some("futex_wait_queue"), None))
            .collect();
        threads.push(thread(1, State::Running, None, None));
        let section = render(&ThreadSample {
            threads,
            stacks: vec![(1, vec!["a".into(), "b".into()])],
            skipped: 0,
        });
        assert_eq!(
            section.summary.as_deref(),
            Some("12 threads, 11 of them in futex_wait_queue")
        );
        assert!(section.lines[0].starts_with("11 in futex_wait_queue (sleeping, system call"));
        assert!(
            section.lines[0].ends_with("worker [9], …"),
            "{}",
            section.lines[0]
        );
        assert_eq!(section.lines[2], "kernel stack of 1: a < b");
        assert_eq!(
            section.facts[1],
            ("threads_running", RecordValue::Number(1))
        );
    }

    #[test]
    fn a_thread_without_a_wait_channel_is_in_its_system_call_or_its_state() {
        let unnamed = thread(1, State::Sleeping, None, Some(99_999));
        assert_eq!(wait_point(&unnamed).to_string(), "in system call 99999");
        let unknown = thread(1, State::Uninterruptible, None, None);
        assert_eq!(
            wait_point(&unknown).to_string(),
            "stuck in the kernel (state D)"
        );
        let stopped = thread(1, State::Stopped, Some("do_signal_stop"), None);
        assert_eq!(
            summary(&[stopped]).as_deref(),
            Some("1 thread, stopped by a signal")
        );
        assert_eq!(summary(&[]), None);
    }
}

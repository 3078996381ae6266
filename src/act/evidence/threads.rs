//! Where the threads of a tree wait.

use super::{Section, Subject, Time, number, present, state_in_words};
use crate::decide::action::RecordValue;
use crate::sys::process::{self, State, Thread};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

/// Threads of one process that are looked at.
const THREADS_MAX: usize = 1024;
/// Threads of a group that are named.
const NAMED_MAX: usize = 8;
/// Kernel stacks that are shown: those of stuck threads, and the main one's.
const STACKS_MAX: usize = 8;
/// Functions of each.
const STACK_DEPTH_MAX: usize = 16;

#[derive(Debug, Default)]
struct Seen {
    threads: Vec<Thread>,
    /// Of these threads, what they do in the kernel.
    stacks: Vec<(i32, Vec<String>)>,
    /// Processes that there was no time for.
    unseen: usize,
}

/// What a thread waits in, or else what it does; said after "11 of them".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    In(String),
    Is(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(function) => write!(out, "in {function}"),
            Self::Is(state) => out.write_str(state),
        }
    }
}

pub(super) fn section(subject: &Subject, time: &Time) -> Section {
    tell(&look(subject, time))
}

fn look(subject: &Subject, time: &Time) -> Seen {
    let mut seen = Seen::default();
    for one in present(subject) {
        if time.is_over() {
            seen.unseen += 1;
            continue;
        }
        let pid = one.process.pid;
        let threads = process::threads(pid, THREADS_MAX).unwrap_or_default();
        seen.stacks.extend(stacks(subject, pid, &threads));
        seen.threads.extend(threads);
    }
    seen.stacks.truncate(STACKS_MAX);
    seen
}

fn stacks(subject: &Subject, pid: i32, threads: &[Thread]) -> Vec<(i32, Vec<String>)> {
    threads
        .iter()
        .filter(|thread| thread.tid == subject.main.pid || thread.state == State::Uninterruptible)
        .take(STACKS_MAX)
        .map(|thread| {
            let stack = process::kernel_stack(pid, thread.tid, STACK_DEPTH_MAX);
            (thread.tid, stack)
        })
        .filter(|(_, stack)| !stack.is_empty())
        .collect()
}

/// The kernel function it sleeps in, else the system call it is in, else its state.
fn place(thread: &Thread) -> Place {
    let asleep = matches!(thread.state, State::Sleeping | State::Uninterruptible);
    thread
        .wchan
        .clone()
        .or_else(|| system_call(thread))
        .filter(|_| asleep)
        .map_or(Place::Is(state_in_words(thread.state)), Place::In)
}

/// Where the main thread of `pid` is, as said after "it stands still, "; none when it cannot be seen.
#[must_use]
pub fn whereabouts(pid: i32) -> Option<String> {
    let threads = process::threads(pid, THREADS_MAX).ok()?;
    let main = threads.iter().find(|thread| thread.tid == pid)?;
    let call = system_call(main).map_or_else(String::new, |call| format!(", system call {call}"));
    let state = state_in_words(main.state);
    Some(match place(main) {
        Place::In(function) => format!("in {function} ({state}{call})"),
        Place::Is(state) => format!("{state}{call}"),
    })
}

fn system_call(thread: &Thread) -> Option<String> {
    let number = thread.syscall?;
    let name = process::system_call_name(number);
    Some(name.map_or_else(|| format!("system call {number}"), str::to_owned))
}

fn tell(seen: &Seen) -> Section {
    let mut lines = groups(&seen.threads);
    for (tid, stack) in &seen.stacks {
        lines.push(format!("kernel stack of {tid}: {}", stack.join(" < ")));
    }
    if seen.unseen > 0 {
        lines.push(format!("no time was left for {} processes", seen.unseen));
    }
    Section {
        brief: brief(&seen.threads),
        lines,
        facts: facts(&seen.threads),
    }
}

/// One line for all threads that do the same, the largest group first.
fn groups(threads: &[Thread]) -> Vec<String> {
    let mut groups: BTreeMap<_, Vec<&Thread>> = BTreeMap::new();
    for thread in threads {
        let doing = (
            place(thread),
            state_in_words(thread.state),
            system_call(thread),
        );
        groups.entry(doing).or_default().push(thread);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, members)| Reverse(members.len()));
    groups
        .iter()
        .map(|((place, state, call), members)| {
            let call = call.as_deref().unwrap_or("none told");
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
fn brief(threads: &[Thread]) -> Option<String> {
    let mut counts: BTreeMap<Place, usize> = BTreeMap::new();
    for thread in threads {
        *counts.entry(place(thread)).or_default() += 1;
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
        let doing_so = threads.iter().filter(|thread| thread.state == state);
        number(doing_so.count())
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
        let section = tell(&Seen {
            threads,
            stacks: vec![(1, vec!["a".into(), "b".into()])],
            unseen: 0,
        });
        assert_eq!(
            section.brief.as_deref(),
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
        assert_eq!(place(&unnamed).to_string(), "in system call 99999");
        let nothing_told = thread(1, State::Uninterruptible, None, None);
        assert_eq!(
            place(&nothing_told).to_string(),
            "stuck in the kernel (state D)"
        );
        let stopped = thread(1, State::Stopped, Some("do_signal_stop"), None);
        assert_eq!(
            brief(&[stopped]).as_deref(),
            Some("1 thread, stopped by a signal")
        );
        assert_eq!(brief(&[]), None);
    }
}

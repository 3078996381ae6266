//! Effects: carries out the actions that `decide` returns, and sends each outcome to the loop as an event.
//!
//! Each module may import only the modules above it in this table (`tests/house` checks that):
//!
//! | module | what it does |
//! |---|---|
//! | [`failpoint`] | the places at which a debug build can kill itself, for tests |
//! | `off_loop` | runs work that can block on a thread of its own, with a timeout |
//! | `listeners` | lists listening sockets off the loop |
//! | [`dirs`] | the state directory and the runtime directory |
//! | [`journal`] | the SQLite journal of events, verdicts and incidents, written on a thread of its own |
//! | [`claims`] | the claims on disk, by which the next stayd proves that a running instance is its own |
//! | [`tree`] | the process tree of an instance: its members, its resource use, its cgroup, its kill |
//! | `process_exit` | whether a process still runs, and how it ended |
//! | [`spawn`] | starts child processes and reports their exits |
//! | [`helper`] | sends requests that can hang in the kernel to a helper process |
//! | [`process_info`] | describes a process for a sentence |
//! | [`output`] | captures what services write |
//! | [`notify`] | sd_notify, from services and to the parent supervisor; detects the parent supervisor |
//! | [`sockets`] | the sockets that stayd holds for services |
//! | [`preflight`] | finds out why a program cannot start |
//! | [`runtime`] | the cache of materialized runtimes, and whether the running code is stale |
//! | [`probe`] | probes a service, one file for each protocol |
//! | [`evidence`] | collects evidence about a process tree |
//! | [`foreign`] | foreign processes, and `explain` |
//! | `context` | the state kept for a service, for its instance, and for all services |
//! | `lifecycle` | one instance: prepares it, starts it, ends it, cleans up after it |
//! | [`recovery`] | finds and adopts the instances of an earlier stayd, and hands them over to another version |
//! | `watchdog` | one probe attempt of an instance, and the evidence before a kill |
//! | [`executor`] | carries out each action by calling the modules above |
//! | `helper_process` | the main function of a helper process |

pub mod claims;
mod context;
pub mod dirs;
pub mod evidence;
pub mod executor;
pub mod failpoint;
pub mod foreign;
pub mod helper;
mod helper_process;
pub mod journal;
mod lifecycle;
mod listeners;
pub mod notify;
pub(crate) mod off_loop;
pub mod output;
pub mod preflight;
pub mod probe;
mod process_exit;
pub mod process_info;
pub mod recovery;
pub mod runtime;
pub mod sockets;
pub mod spawn;
pub mod tree;
mod watchdog;

pub use context::SharedContext;
pub use helper_process::helper_main;

//! Effects: carries out the actions that `decide` has chosen, and reports each outcome as an event.
//!
//! Each folder is one topic. A folder may import only what stands above it in this table (`tests/house` checks that):
//!
//! | module | what it does |
//! |---|---|
//! | [`failpoint`] | names the places at which a debug build can be made to die |
//! | `off_loop` | runs a look that can block on a thread of its own, with a deadline |
//! | [`dirs`] | the state directory and the runtime directory |
//! | [`journal`] | the SQLite journal of events, verdicts and incidents, written on a thread of its own |
//! | [`claims`] | the claims on disk: what the next stayd has to know about a running instance |
//! | [`tree`] | the process tree of an instance: its members, its use of resources, its cgroup, its end |
//! | `process_exit` | whether a process still runs, and how it ended |
//! | [`spawn`] | starts child processes and reports how they ended |
//! | [`helper`] | sends what can hang in the kernel to a helper process |
//! | [`process_info`] | describes a process for a sentence |
//! | [`output`] | captures what services write |
//! | [`notify`] | sd_notify, from services and to the parent supervisor; detects the parent supervisor |
//! | [`sockets`] | the sockets that stayd holds for services |
//! | [`preflight`] | finds out why a program cannot start |
//! | [`runtime`] | the cache of materialized runtimes, and whether what runs is still what would be started |
//! | [`probe`] | asks a service, one file for each protocol |
//! | [`evidence`] | collects evidence about a process tree |
//! | [`foreign`] | processes that are not ours, and `explain` |
//! | `context` | the state kept for a service, for its instance, and for all services |
//! | `lifecycle` | one instance: prepares it, starts it, ends it, cleans up after it |
//! | [`recovery`] | finds what an earlier stayd has left, adopts it, hands over to another version |
//! | `watchdog` | one probe attempt of an instance, and the evidence before a kill |
//! | [`executor`] | carries out each action by calling the others |
//! | `helper_process` | the other end of [`helper`]: which requests a helper process carries out |

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
pub mod notify;
mod off_loop;
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

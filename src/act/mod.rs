//! Effects: carries out the actions that `decide` has chosen, and reports each outcome as an event.

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

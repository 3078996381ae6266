//! Effects: one file for each kind of doing. Each does what it is told and reports it as a fact; none decides.

pub mod child;
pub mod claim;
pub mod evidence;
pub mod helper;
pub mod launch;
pub mod notify_socket;
pub mod output;
pub mod probe;
pub mod state_dir;
pub mod supervisor;
pub mod tree;
pub mod upward;

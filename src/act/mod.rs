//! Effects: one file for each kind of doing. Each does what it is told and reports it as a fact; none decides.

pub mod cgroup;
pub mod child;
pub mod claim;
pub mod evidence;
mod heir;
pub mod helper;
pub mod launch;
mod life;
pub mod needs;
pub mod notify_socket;
pub mod output;
pub mod performer;
mod prepare;
pub mod probe;
mod rounds;
pub mod runtime_dir;
pub mod state_dir;
pub mod step;
pub mod store;
pub mod supervisor;
mod survey;
mod testimony;
mod told;
pub mod tree;
pub mod undertaker;
pub mod upward;
mod ward;

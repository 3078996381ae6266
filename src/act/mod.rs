//! Effects: one file for each kind of doing. Each does what it is told and reports it as a fact; none decides.

pub mod claim;
pub mod state_dir;

//! Starts child processes and tells how each one ended.

pub mod launch;
pub mod spawner;
pub mod trial;

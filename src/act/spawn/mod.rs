//! Starts child processes and reports how each one ended.

pub mod launch;
pub mod short_command;
pub mod spawner;

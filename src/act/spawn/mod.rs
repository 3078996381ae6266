//! Starts child processes and reports how each one ended.

pub(crate) mod environment;
pub mod launch;
pub(crate) mod run_as;
pub mod short_command;
pub mod spawner;

//! What an earlier stayd left behind: finds it by its claims, proves what belongs to a service, and goes on with it.

mod adoptable;
pub mod handover;
pub mod orphaned_services;
mod probe_commands;
pub(crate) mod scan;

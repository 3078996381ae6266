//! What an earlier stayd left behind: finds it by its claims, proves what belongs to a service, and goes on with it.

mod adopt;
mod adoptable;
mod claimed;
pub mod handover;
mod inherited;
mod inherited_child;
pub mod orphaned_services;
mod probe_commands;
mod scan;

pub use inherited::InheritedInstance;
pub(crate) use inherited::InheritedInstances;
pub(crate) use scan::scan;

//! Recovery at the start of stayd: finds the instances of an earlier stayd by its claims, proves them, and adopts them; hands
//! instances over in an in-place upgrade.

mod adopt;
mod adoptable;
mod claimed;
pub mod deleted_files;
pub mod handover;
mod inherited;
mod inherited_child;
pub mod orphaned_services;
mod probe_commands;
mod scan;

pub use inherited::InheritedInstance;
pub(crate) use inherited::InheritedInstances;
pub(crate) use scan::scan;

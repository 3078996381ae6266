//! Foreign processes: processes on a service's port, orphans that belong to no known instance, and `explain`.

pub(crate) mod attach;
pub mod explain;
pub mod orphans;
pub mod reported;

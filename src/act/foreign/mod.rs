//! Processes that are not ours: processes on a service's port, orphans that no service can be proven to own, and `explain`.

pub(crate) mod attach;
pub mod explain;
pub mod orphans;
pub mod reported;

//! sd_notify in both directions: what services report to stayd, and what stayd reports to the supervisor that started it.

pub mod parent;
pub(crate) mod receive;
pub mod socket;
pub mod supervisor;

//! sd_notify in both directions: what services report to stayd, and what stayd reports to the supervisor that started it.

mod messages;
pub mod parent;
pub mod socket;
pub mod supervisor;

pub(crate) use messages::ServiceMessages;

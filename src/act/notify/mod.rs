//! sd_notify in both directions: what services report to stayd, and what stayd reports to the supervisor that started it.

pub mod parent;
mod receiver;
pub mod socket;
pub mod supervisor;

pub(crate) use receiver::MessageReceiver;

//! sd_notify in both directions: what services report to stayd, and what stayd reports to the supervisor that started it.

mod budget;
mod message;
pub mod parent;
mod receiver;
mod senders;
pub mod socket;
pub mod supervisor;

pub(crate) use budget::{Budget, Burst};
pub(crate) use message::Message;

pub(crate) use receiver::MessageReceiver;
pub(crate) use senders::{Judgement, Senders, Standing};

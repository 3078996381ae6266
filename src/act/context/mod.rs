//! The state that the effects keep: for all services together, for one service, and for one instance of it.
//!
//! Each part has a type of its own in another folder; the contexts only combine the parts.

mod instance;
mod main_process;
mod preparation;
mod service;
mod shared;

pub(crate) use instance::Instance;
pub(crate) use main_process::MainProcess;
pub(crate) use preparation::{Preparation, Variables};
pub(crate) use service::ServiceContext;
pub use shared::SharedContext;

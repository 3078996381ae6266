//! What effects work with: the state kept for all services together, for one service, and for one instance of it.
//!
//! Each part is a type of the folder that owns it; the contexts only hold one of each.

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

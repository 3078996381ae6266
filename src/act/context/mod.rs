//! What effects work with: the state kept for each service, for its present instance, and for all services together.

mod service;
mod shared;

pub(crate) use service::*;
pub use shared::SharedContext;

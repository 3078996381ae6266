//! The state directory and the runtime directory of this stayd.

pub mod runtime_dir;
pub mod state_dir;

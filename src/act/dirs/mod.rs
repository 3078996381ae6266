//! The state directory and the runtime directory of this stayd: their layout, creation and access checks.

pub mod runtime_dir;
pub mod state_dir;

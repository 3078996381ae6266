//! The state directory and the runtime directory of this stayd: their layout, creation, access checks and removal.

pub mod removal;
pub mod runtime_dir;
pub mod state_dir;

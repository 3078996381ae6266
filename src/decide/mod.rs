//! decide
pub mod action;
pub mod clock;
pub mod event;
pub mod policy;
pub mod snapshot;

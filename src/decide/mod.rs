//! Every decision of stayd, as pure functions: no I/O, no clock, no randomness, no import of another module.
//!
//! [`fleet::Machine::step`] takes the time and one [`event::Event`], and returns [`action::Action`]s. The same input always
//! gives the same output; `why` and `replay` rely on that. [`state`] is the state machine of one service, `verdict` decides
//! whether silence is a wedge, `restart` decides when to start again, and [`ownership`] decides whether a process is ours.
//!
//! The module compiles alone. Only the types that an in-place upgrade hands over derive serde traits, unless
//! `cfg(decide_alone)` is set.

// A new event or state must be handled by name wherever events or states are matched.
#![deny(clippy::wildcard_enum_match_arm)]

pub mod action;
pub mod clock;
mod common_cause;
pub mod event;
pub mod explain;
pub mod fleet;
pub mod handover;
mod hints;
pub mod ownership;
pub mod policy;
pub mod process;
mod restart;
pub mod runtime;
pub mod snapshot;
pub mod state;
pub mod terms;
pub mod unjudged;
mod verdict;

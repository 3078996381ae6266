//! Every judgement of stayd. PURE: no I/O, no clock, no runtime, no randomness; compiles alone.
//!
//! [`fleet::Machine::step`] takes the time and one [`event::Event`], and returns [`action::Action`]s. The same input
//! gives the same output, for ever: that is what `why` shows and what a replay relies on. A service's life is
//! [`state`]; whether silence is a wedge is [`verdict`]; when to start again is [`restart`]; whose process it is,
//! [`ownership`].

// A new fact or state must be answered by every handler, by name.
#![deny(clippy::wildcard_enum_match_arm)]

pub mod action;
pub mod clock;
pub mod cure;
pub mod event;
pub mod explain;
pub mod fleet;
mod former;
pub mod ownership;
pub mod policy;
pub mod process;
pub mod restart;
pub mod runtime;
pub mod snapshot;
pub mod state;
pub mod verdict;

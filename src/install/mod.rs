//! Renders the launchd property lists and systemd units that run stayd.
//!
//! `launchd/` and `systemd/` contain the rendered [`RenderInputs::sample`] for review. A test compares them.

mod inputs;
mod launchd;
mod systemd;

pub use inputs::{RenderError, RenderInputs, Scope};
pub use launchd::render_launchd;
pub use systemd::render_systemd;

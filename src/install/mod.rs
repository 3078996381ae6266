//! Plists and units: what launchd or systemd is told about stayd.
//!
//! The reviewable results stand in `launchd/` and `systemd/`; a test holds that rendering
//! [`RenderInputs::sample`] gives exactly those files.

mod inputs;
mod launchd;
mod systemd;

pub use inputs::{RenderError, RenderInputs, Scope};
pub use launchd::render_launchd;
pub use systemd::render_systemd;

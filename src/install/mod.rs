//! Renders the launchd property lists and systemd units that run stayd, and installs and removes them.
//!
//! Installing changes the machine only through [`Host`] and the one file of the job. `systemctl` and `launchctl` hold the steps
//! for the two supervisors.
//!
//! `launchd/` and `systemd/` contain the rendered [`RenderInputs::sample`] for review. A test compares them.

mod config_file;
mod file;
mod host;
mod inputs;
mod launchctl;
#[cfg(test)]
mod launchctl_tests;
mod launchd;
#[cfg(test)]
mod scripted_host;
mod systemctl;
mod systemd;

pub use config_file::{remove_config, render_config, write_config};
pub use host::{Host, Plan, Ran, Running, StepError, StepErrorKind};
pub use inputs::{RenderError, RenderInputs, Scope};
pub use launchctl::Job;
pub use launchd::render_launchd;
pub use systemctl::{Installed, Unit};
pub use systemd::render_systemd;

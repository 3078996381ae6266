//! Lingering: whether a user's systemd, and its services, outlive the last logout (loginctl(1), enable-linger).

use super::host::ThisHost;
use crate::cli::exit::{Exit, Failure};
use crate::config::paths::System;
use crate::install::Host as _;
use crate::sys::{identity, user};
use std::path::Path;
use std::time::Duration;

/// Where systemd records the users with lingering.
const LINGERING: &str = "/var/lib/systemd/linger";
/// loginctl asks a daemon over D-Bus.
const LOGINCTL_WITHIN: Duration = Duration::from_secs(30);

/// The most time until the user's systemd answers after that.
pub(super) const START_MAX: Duration = Duration::from_secs(15);

/// Whether a user's services outlive the last logout.
pub(super) struct Lingering {
    user: String,
}

impl Lingering {
    /// Of the calling user; none where there is no systemd, or the user has no name.
    pub(super) fn of_this_user() -> Option<Self> {
        let found = user::look_up(&identity::euid().to_string()).ok()??;
        (System::here() == System::Linux).then_some(Self { user: found.name })
    }

    pub(super) fn is_on(&self) -> bool {
        Path::new(LINGERING).join(&self.user).exists()
    }

    pub(super) fn command(&self) -> [&str; 3] {
        ["loginctl", "enable-linger", &self.user]
    }

    /// Turns it on. systemd then starts the user's own one, if it does not run, within [`START_MAX`].
    pub(super) fn turn_on(&self, host: &mut ThisHost) -> Result<(), Failure> {
        let command = self.command();
        let shown = command.join(" ");
        let ran = host.run(&command, LOGINCTL_WITHIN);
        let ran = ran.map_err(|error| Failure::system(&format!("run `{shown}`"), &error))?;
        if !ran.succeeded() {
            return Err(Failure::new(
                Exit::System,
                format!(
                    "cannot carry out `{shown}`: {}; run it with sudo",
                    ran.output.replace('\n', " / ")
                ),
            ));
        }
        host.say(&shown);
        Ok(())
    }
}

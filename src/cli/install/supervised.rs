//! The plist or unit of an instance, for the supervisor of this machine.

use super::host::ThisHost;
use crate::cli::exit::{Exit, Failure};
use crate::cli::paths::{home, variable};
use crate::config::paths::System;
use crate::install::{Installed, Job, Plan, RenderInputs, Scope, StepError, Unit};
use crate::sys::identity;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A plist or unit on this machine.
pub(super) enum Supervised {
    Launchd(Job),
    Systemd(Unit),
}

impl Supervised {
    /// The job of the instance that is configured.
    pub(super) fn new(inputs: &RenderInputs, scope: Scope) -> Result<Self, Failure> {
        let folder = folder(scope)?;
        Ok(match System::here() {
            System::MacOs => Self::Launchd(Job::new(inputs, &folder, identity::euid())),
            System::Linux => Self::Systemd(Unit::new(inputs, &folder)),
        })
    }

    /// The job of the instance `name`, to be removed.
    pub(super) fn to_remove(
        name: &str,
        scope: Scope,
        label: Option<&str>,
    ) -> Result<Self, Failure> {
        let folder = folder(scope)?;
        let of_name = format!("stayd.{name}");
        let label = label.unwrap_or(&of_name);
        Ok(match System::here() {
            System::MacOs => Self::Launchd(Job::to_remove(label, scope, &folder, identity::euid())),
            System::Linux => Self::Systemd(Unit::to_remove(name, scope, &folder)),
        })
    }

    /// The name of the unit, or the label.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Launchd(job) => job.label(),
            Self::Systemd(unit) => unit.name(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Launchd(job) => job.path(),
            Self::Systemd(unit) => unit.path(),
        }
    }

    pub(super) fn plan(&self) -> Plan {
        match self {
            Self::Launchd(job) => job.plan(),
            Self::Systemd(unit) => unit.plan(),
        }
    }

    pub(super) fn removal_plan(&self) -> Plan {
        match self {
            Self::Launchd(job) => job.removal_plan(),
            Self::Systemd(unit) => unit.removal_plan(),
        }
    }

    /// Checks whether it can be installed, and changes nothing. `patience` is how long a systemd that is starting may take.
    pub(super) fn check(&self, host: &mut ThisHost, patience: Duration) -> Result<(), StepError> {
        match self {
            Self::Launchd(job) => job.check(host),
            Self::Systemd(unit) => unit.check(host, patience),
        }
    }

    pub(super) fn install(&self, host: &mut ThisHost) -> Result<Installed, StepError> {
        match self {
            Self::Launchd(job) => job.install(host),
            Self::Systemd(unit) => unit.install(host),
        }
    }

    pub(super) fn uninstall(&self, host: &mut ThisHost) -> Result<bool, StepError> {
        match self {
            Self::Launchd(job) => job.uninstall(host),
            Self::Systemd(unit) => unit.uninstall(host),
        }
    }

    /// Refuses in a process of the job itself: launchd ends it with the job, in the middle of the steps.
    pub(super) fn refuse_from_inside(&self) -> Result<(), Failure> {
        let is_inside = matches!(self, Self::Launchd(_))
            && variable("XPC_SERVICE_NAME").as_deref() == Some(self.name());
        if !is_inside {
            return Ok(());
        }
        Err(Failure::new(
            Exit::No,
            format!(
                "cannot change {} from a process of this job: launchd would end it with the job; run it in a terminal",
                self.name()
            ),
        ))
    }
}

/// Where the supervisor of this machine looks for the files of jobs.
fn folder(scope: Scope) -> Result<PathBuf, Failure> {
    Ok(match (System::here(), scope) {
        (System::MacOs, Scope::System) => "/Library/LaunchDaemons".into(),
        (System::MacOs, Scope::User) => home()?.join("Library/LaunchAgents"),
        (System::Linux, Scope::System) => "/etc/systemd/system".into(),
        (System::Linux, Scope::User) => {
            let configured = variable("XDG_CONFIG_HOME").map(PathBuf::from);
            let configured = configured.filter(|path| path.is_absolute());
            configured
                .map_or_else(|| home().map(|home| home.join(".config")), Ok)?
                .join("systemd/user")
        }
    })
}

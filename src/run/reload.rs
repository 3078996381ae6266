//! Reloads the configuration on SIGHUP: adds new services, and reports changes that need a restart of stayd.

use super::config_reader::start_reading;
use super::daemon::{Daemon, description_of};
use super::status::WarningTopic;
use crate::config::{Config, Finding, Loaded, Service};
use std::collections::BTreeMap;

impl Daemon {
    /// Starts to read the configuration, off the loop.
    pub(super) fn start_reload(&mut self) {
        if self.config_reader.is_some() {
            tracing::warn!(
                "cannot reload the configuration: a reload is in progress; send SIGHUP again when it has ended"
            );
            return;
        }
        match self.parts.config.file.clone() {
            Some(file) => {
                self.config_reader = Some(start_reading(file));
            }
            None => tracing::warn!(
                "cannot reload the configuration: there is no file, the service came from the command line; restart stayd to \
                 change it"
            ),
        }
    }

    /// Applies the part of the new configuration that can be applied now, and reports the rest.
    pub(super) fn on_config_read(&mut self, read: Result<Loaded, Vec<Finding>>) {
        if self.shutting_down {
            return;
        }
        let warning = match read {
            Err(findings) => Some(report_findings(&findings)),
            Ok(Loaded {
                config, warnings, ..
            }) => {
                for warning in &warnings {
                    tracing::warn!("{warning}");
                }
                self.apply(config)
            }
        };
        self.parts
            .status
            .warn(WarningTopic::Configuration, warning.as_deref());
    }

    /// Returns what needs a restart of stayd, if anything does.
    fn apply(&mut self, new: Config) -> Option<String> {
        let ConfigDiff {
            added,
            needs_restart,
        } = ConfigDiff::between(&self.parts.config, new);
        for change in &needs_restart {
            tracing::warn!("reloaded the configuration: {change}");
        }
        if added.is_empty() && needs_restart.is_empty() {
            tracing::info!("reloaded the configuration: nothing has changed");
        }
        for service in added {
            tracing::info!("reloaded the configuration: `{}` is new", service.name);
            self.add(service);
        }
        (!needs_restart.is_empty()).then(|| needs_restart.join("; "))
    }

    /// Appends a service to the state machine, the executor, the status and the configuration.
    fn add(&mut self, service: Service) {
        let id = self
            .machine
            .borrow_mut()
            .add(service.policy, description_of(&service));
        self.parts.status.add(&service);
        self.parts.executor.add(service.clone());
        self.parts.config.services.push(service);
        self.configure(id);
    }
}

/// Logs why a configuration is invalid, and returns the warning for `status`.
fn report_findings(findings: &[Finding]) -> String {
    for finding in findings {
        tracing::error!("{finding}");
    }
    tracing::error!(
        "cannot reload the configuration: it has {} errors; stayd keeps the previous one",
        findings.len()
    );
    let first = findings.first().map(|finding| format!("{finding}; "));
    format!(
        "{}stayd keeps the previous configuration; correct the file and send SIGHUP to pid {}",
        first.unwrap_or_default(),
        crate::sys::identity::pid()
    )
}

/// How a new configuration differs from the present one.
struct ConfigDiff {
    added: Vec<Service>,
    /// Changes that take effect only when stayd restarts, as sentences.
    needs_restart: Vec<String>,
}

impl ConfigDiff {
    fn between(old: &Config, new: Config) -> Self {
        let mut needs_restart = Vec::new();
        if (&old.name, &old.control_group) != (&new.name, &new.control_group) {
            needs_restart.push(
                "`name` or [control] has changed; the old values stay in use until stayd is restarted"
                    .into(),
            );
        }
        let mut added = Vec::new();
        let mut removed: BTreeMap<&str, &Service> = old
            .services
            .iter()
            .map(|service| (service.name.as_str(), service))
            .collect();
        for service in new.services {
            match removed.remove(service.name.as_str()) {
                None => added.push(service),
                Some(before) if *before == service => {}
                Some(_) => needs_restart.push(format!(
                    "`{}` has changed; it runs with the old values until stayd is restarted",
                    service.name
                )),
            }
        }
        needs_restart.extend(removed.keys().map(|name| {
            format!("`{name}` is no longer in the file; it runs until stayd is restarted, or until `stayd stop {name}`")
        }));
        Self {
            added,
            needs_restart,
        }
    }
}

//! What the loop does for stayd itself: its state folder is looked after, its configuration read again on SIGHUP, its
//! supervisor told how it is.

use super::daemon::{Daemon, identity_of};
use super::desk::{self, About};
use super::home::{Refusal, system};
use crate::config::{self, Config, Finding, Loaded, Service};
use crate::decide::action::{Record, RecordKind};
use crate::decide::clock::Instant;
use crate::decide::fleet::Machine;
use crate::decide::snapshot::Phase;
use std::path::Path;
use std::rc::Rc;
use tokio::task::JoinHandle;

/// A configuration on its way from the disk.
pub(super) type Reading = JoinHandle<Result<Loaded, Vec<Finding>>>;

/// Waits for what is being read; for ever when nothing is.
pub(super) async fn is_read(reading: &mut Option<Reading>) -> Result<Loaded, Vec<Finding>> {
    let Some(under_way) = reading else {
        return std::future::pending().await;
    };
    let read = under_way.await;
    *reading = None;
    // The thread panics with us or not at all.
    read.unwrap_or_else(|_aborted| Err(Vec::new()))
}

impl Daemon {
    /// Makes the state folder anew when somebody has deleted it, with everything in it that is known.
    pub(super) async fn look_after_home(&mut self, now: Instant) {
        if !self.parts.home.is_due(now) || !(self.parts.home.is_lost() || self.counter.is_closed())
        {
            return;
        }
        let regained = self.regain_home().await;
        let root = self.parts.options.state_dir.display();
        let sentence = match &regained {
            Ok(()) => format!(
                "the state folder {root} was deleted or replaced while stayd ran; it is made again, but the journal begins \
                 anew, and what runs writes its output into deleted files until `stayd restart SERVICE`; find out who \
                 deletes it"
            ),
            Err(refusal) => format!(
                "the state folder {root} was deleted or replaced while stayd ran: {}; the services run on, and it is tried \
                 again",
                refusal.sentence
            ),
        };
        let is_news = self.parts.identity.warn(About::State, Some(&sentence));
        if is_news || regained.is_ok() {
            tracing::error!("{sentence}");
            let record = Record {
                kind: RecordKind::StateLost,
                life: None,
                sentence,
                facts: Vec::new(),
            };
            self.parts.store.record(None, &record);
        }
    }

    async fn regain_home(&mut self) -> Result<(), Refusal> {
        if self.parts.home.is_lost() {
            self.parts.home.regain(&self.parts.options)?;
        }
        // What the disk does not take is in memory and tried again.
        let _all_written = self.parts.executor.shared().claims.borrow_mut().rewrite();
        self.counter.close().await;
        self.counter = desk::open(&self.parts, Rc::clone(&self.machine))
            .await
            .map_err(|error| system("open the control socket", &error))?;
        Ok(())
    }

    /// Begins to read the configuration again, off the loop: its disk may hang.
    pub(super) fn read_again(&mut self) {
        if self.reading.is_some() {
            tracing::warn!(
                "the configuration is being read already; send SIGHUP again when that is done"
            );
            return;
        }
        match self.parts.config.file.clone() {
            Some(file) => self.reading = Some(tokio::task::spawn_blocking(move || load(&file))),
            None => tracing::warn!(
                "there is no configuration to read again: everything came from the command line; restart stayd to change it"
            ),
        }
    }

    /// Takes over what can be taken over while everything runs, and says what cannot.
    pub(super) fn on_read(&mut self, read: Result<Loaded, Vec<Finding>>) {
        if self.leaving {
            return;
        }
        let warning = match read {
            Err(findings) => Some(self.keep_old(&findings)),
            Ok(Loaded {
                config, warnings, ..
            }) => {
                for warning in &warnings {
                    tracing::warn!("{warning}");
                }
                self.take_over(config)
            }
        };
        self.parts
            .identity
            .warn(About::Configuration, warning.as_deref());
    }

    fn keep_old(&self, findings: &[Finding]) -> String {
        for finding in findings {
            tracing::error!("{finding}");
        }
        let first = findings.first().map(|finding| format!("{finding}; "));
        let warning = format!(
            "{}the configuration of before goes on; correct it and send SIGHUP to pid {}",
            first.unwrap_or_default(),
            crate::sys::identity::pid()
        );
        tracing::error!(
            "cannot take over the configuration: {} wrong; the one of before goes on",
            findings.len()
        );
        warning
    }

    /// What is still to come at the next start, if anything is.
    fn take_over(&mut self, new: Config) -> Option<String> {
        let Difference { added, waiting } = Difference::between(&self.parts.config, new);
        for remark in &waiting {
            tracing::warn!("the configuration was read again: {remark}");
        }
        if added.is_empty() && waiting.is_empty() {
            tracing::info!("the configuration was read again: nothing has changed");
        }
        for service in added {
            tracing::info!(
                "the configuration was read again: `{}` is new",
                service.name
            );
            self.add(service);
        }
        (!waiting.is_empty()).then(|| waiting.join("; "))
    }

    /// One more service, behind the others, in everything that counts them.
    fn add(&mut self, service: Service) {
        let id = self
            .machine
            .borrow_mut()
            .add(service.policy, identity_of(&service));
        self.parts.identity.add(&service);
        self.parts.executor.add(service.clone());
        self.parts.config.services.push(service);
        self.configure(id);
    }
}

fn load(file: &Path) -> Result<Loaded, Vec<Finding>> {
    config::load(file, &|name| std::env::var(name).ok())
}

/// What a new configuration has that the old one has not.
struct Difference {
    added: Vec<Service>,
    /// What only a restart of stayd brings, in sentences.
    waiting: Vec<String>,
}

impl Difference {
    fn between(old: &Config, new: Config) -> Self {
        let mut waiting = Vec::new();
        if (&old.name, &old.control_group) != (&new.name, &new.control_group) {
            waiting.push(
                "`name` or [control] has changed; it stays as before until stayd is restarted"
                    .into(),
            );
        }
        let mut added = Vec::new();
        let mut gone: std::collections::BTreeMap<&str, &Service> = old
            .services
            .iter()
            .map(|service| (service.name.as_str(), service))
            .collect();
        for service in new.services {
            match gone.remove(service.name.as_str()) {
                None => added.push(service),
                Some(before) if *before == service => {}
                Some(_) => waiting.push(format!(
                    "`{}` has changed; it goes on as before until stayd is restarted",
                    service.name
                )),
            }
        }
        waiting.extend(gone.keys().map(|name| {
            format!("`{name}` is no longer in it; it goes on until stayd is restarted, or `stayd stop {name}`")
        }));
        Self { added, waiting }
    }
}

/// One line for the supervisor: how many are up, and what is wrong with the rest.
pub(super) fn summary(machine: &Machine, config: &Config, now: Instant) -> String {
    let mut wrong = Vec::new();
    for (service, known) in machine.services().iter().zip(&config.services) {
        let phase = service.phase();
        let is_fine =
            phase == Phase::Running || phase == Phase::Attached && service.is_healthy(now);
        if !is_fine {
            wrong.push(format!("{} {}", known.name, phase.name()));
        }
    }
    let total = config.services.len();
    let running = total - wrong.len();
    if wrong.is_empty() {
        format!("{running} of {total} answering")
    } else {
        format!("{running} of {total} answering; {}", wrong.join(", "))
    }
}

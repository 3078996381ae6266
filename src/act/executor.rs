//! Carries out the actions that `decide` returns. Never waits for an outcome: each outcome is sent to the loop as an event.

use super::context::{ServiceContext, SharedContext};
use super::foreign::orphans::SEARCH_DELAY;
use super::lifecycle::{
    attach, claim, materialize, prepare, program_change, retire, start, stop, successor,
};
use super::recovery::deleted_files::{self, DeletedFiles};
use super::recovery::handover::{self, InstanceHandover, SocketHandover};
use super::recovery::{self, InheritedInstance, InheritedInstances};
use super::watchdog::{attempt, evidence};
use crate::config;
use crate::decide::action::{Record, RecordKind, ServiceAction};
use crate::decide::event::ServiceId;
use crate::sys::reaper::Reaped;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

/// Carries out the actions for all services.
pub struct Executor {
    shared: Rc<SharedContext>,
    /// In the order of the machine's ids.
    services: Vec<Rc<ServiceContext>>,
    /// The instances that the version before an upgrade handed over in this process.
    inherited: Rc<InheritedInstances>,
    /// Another version is about to take over. No probe attempt begins, because its answer might come after the upgrade.
    is_quiescing: Cell<bool>,
}

impl Executor {
    /// An executor for these services, in the order of the machine's ids. `inherited` are the instances that the version
    /// before an upgrade handed over.
    #[must_use]
    pub fn new(
        shared: SharedContext,
        configs: Vec<config::Service>,
        inherited: BTreeMap<String, InheritedInstance>,
    ) -> Self {
        let mut executor = Self {
            shared: Rc::new(shared),
            services: Vec::new(),
            inherited: Rc::new(InheritedInstances::new(inherited)),
            is_quiescing: Cell::new(false),
        };
        for config in configs {
            executor.add(config);
        }
        executor
    }

    /// Adds a service after the others.
    pub fn add(&mut self, config: config::Service) {
        let id = ServiceId(self.services.len());
        self.shared.environment.hide(&config.secret_variables);
        let service = ServiceContext::new(id, config, &self.shared);
        self.services.push(Rc::new(service));
    }

    /// A service's configuration.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<&config::Service> {
        self.services.get(id.0).map(|service| &service.config)
    }

    /// The state that all services share.
    #[must_use]
    pub fn shared(&self) -> &SharedContext {
        &self.shared
    }

    /// Carries out an action, or begins to carry it out.
    pub fn execute(&self, id: ServiceId, action: ServiceAction) {
        let Some(service) = self.services.get(id.0).map(Rc::clone) else {
            return;
        };
        let shared = Rc::clone(&self.shared);
        match action {
            ServiceAction::RecoveryScan => {
                let inherited = Rc::clone(&self.inherited);
                begin(recovery::scan(shared, service, inherited));
            }
            ServiceAction::Materialize(life) => {
                begin(materialize::materialize(shared, service, life));
            }
            ServiceAction::UseRuntime(id) => materialize::use_runtime(&shared, &service, id),
            ServiceAction::MarkRuntimeGood(id) => {
                begin(materialize::mark_good(shared, service, id));
            }
            ServiceAction::MarkRuntimeBad(id, why) => {
                begin(materialize::mark_bad(shared, service, id, why));
            }
            ServiceAction::Prepare(life) => begin(prepare::prepare(shared, service, life)),
            ServiceAction::Attach { life, foreign } => {
                begin(attach::attach(shared, service, life, foreign));
            }
            ServiceAction::CancelPreparation(life) => prepare::cancel(&service, life),
            ServiceAction::Spawn(life) => begin(start::spawn(shared, service, life)),
            ServiceAction::MarkReady(life) => claim::record_ready(&shared, &service, life),
            ServiceAction::Terminate { life, tree } => {
                stop::terminate(&shared, &service, life, tree);
            }
            ServiceAction::SignalFirst(life) => stop::signal_first(&service, life),
            ServiceAction::KillTree(life) => begin(stop::kill_tree(shared, service, life)),
            ServiceAction::SuperviseSuccessor { life, successor } => {
                successor::supervise(&shared, &service, life, successor);
            }
            // If no other version takes over, the attempt ends without a verdict at its deadline.
            ServiceAction::Probe { .. } if self.is_quiescing.get() => {}
            ServiceAction::Probe {
                life,
                check,
                deadline,
            } => {
                if shared.orphans.is_due((shared.now)()) {
                    self.search_orphans(Duration::ZERO);
                }
                begin(attempt::attempt(shared, service, life, check, deadline));
            }
            ServiceAction::CollectEvidence { life, within } => {
                begin(evidence::collect(shared, service, life, within));
            }
            ServiceAction::AwaitChange(awaited) => {
                program_change::watch(&shared, &service, awaited);
            }
            ServiceAction::CloseSockets => service.sockets.close(),
            ServiceAction::Retire(life) => retire::retire(&shared, &service, life),
            ServiceAction::RetireKeepingClaim(life, exit) => {
                retire::retire_keeping_claim(&shared, &service, life, exit);
            }
            ServiceAction::Record(record) => {
                log(service.name(), &record);
                shared.journal.record(Some(service.name()), &record);
            }
            ServiceAction::Persist(keep) => {
                let proof_key = service.config.proof_key();
                shared.journal.persist(service.name(), &proof_key, &keep);
            }
        }
    }

    /// Handles reaped processes. An orphan may be a main process that stayd did not spawn, or the last member of a tree
    /// that stayd is ending.
    pub fn reaped(&self, reaped: impl IntoIterator<Item = Reaped>) {
        let (mut orphans, mut any) = (false, false);
        for one in reaped {
            any = true;
            let orphan = self.shared.spawner.reaped(one);
            orphans |= orphan.is_some_and(|orphan| !self.was_main(&orphan));
        }
        if orphans {
            for service in &self.services {
                stop::kill_tree_if_ended(&self.shared, service);
            }
        }
        if any && self.shared.orphans.begin((self.shared.now)()) {
            self.search_orphans(SEARCH_DELAY);
        }
    }

    fn was_main(&self, orphan: &Reaped) -> bool {
        let is_its_main =
            |service: &Rc<ServiceContext>| successor::reaped(&self.shared, service, orphan);
        self.services.iter().any(is_its_main)
    }

    /// Searches for unattributed orphans after `pause`.
    fn search_orphans(&self, pause: Duration) {
        let (shared, services) = (Rc::clone(&self.shared), self.services.clone());
        begin(async move {
            tokio::time::sleep(pause).await;
            let with_tree = |service: &Rc<ServiceContext>| {
                Some((
                    service.current()?,
                    service.whole_tree()?,
                    Rc::clone(service),
                ))
            };
            let instances: Vec<_> = services.iter().filter_map(with_tree).collect();
            let trees = instances.iter().map(|(_, tree, _)| tree.clone()).collect();
            let (helpers, journal) = (&shared.helpers, &shared.journal);
            let (orphans, reported) = (&shared.orphans, &shared.reported);
            for (index, orphan) in orphans.search(trees, helpers, journal, reported).await {
                if let Some((instance, _, service)) = instances.get(index) {
                    claim::record_member(&shared, service, instance, orphan);
                }
            }
        });
    }

    /// Sends a service's reload signal to its main process.
    ///
    /// # Errors
    /// The service does not run, or the system refuses.
    pub fn reload(&self, id: ServiceId) -> Result<(), String> {
        let service = self.services.get(id.0);
        stop::reload(service.ok_or("cannot reload: no such service")?)
    }

    /// Restores what was deleted of the files of running instances.
    #[must_use]
    pub fn restore_deleted_files(&self) -> DeletedFiles {
        deleted_files::restore(&self.shared, &self.services)
    }

    /// Closes the sockets at the end of stayd, unless the parent supervisor keeps them for the next stayd, and waits until
    /// their files are removed.
    pub async fn close_sockets(&self) {
        if self.shared.received.is_kept_by_parent() {
            return;
        }
        for service in &self.services {
            service.sockets.close();
        }
        for service in &self.services {
            service.sockets.closed().await;
        }
    }

    /// Suspends probe attempts, and returns what is still under way that a takeover by another version would interrupt; none
    /// if nothing is. Call this repeatedly until it returns none, or call [`Executor::resume_probes`].
    #[must_use]
    pub fn quiesce(&self) -> Option<String> {
        self.is_quiescing.set(true);
        handover::obstacle(&self.shared, &self.services)
    }

    /// Resumes probe attempts, because no other version takes over.
    pub fn resume_probes(&self) {
        self.is_quiescing.set(false);
    }

    /// Hands every instance over to the next version and appends their descriptors to `fds`. Call it when
    /// [`Executor::quiesce`] has returned none, and execute no action afterwards.
    #[must_use]
    pub fn hand_over_instances(
        &self,
        fds: &mut Vec<OwnedFd>,
    ) -> BTreeMap<String, InstanceHandover> {
        handover::hand_over_instances(&self.shared, &self.services, fds)
    }

    /// Hands over the sockets that stayd holds, also between instances, and appends them to `fds`.
    #[must_use]
    pub fn hand_over_sockets(&self, fds: &mut Vec<OwnedFd>) -> Vec<SocketHandover> {
        handover::hand_over_sockets(&self.shared, &self.services, fds)
    }
}

fn begin(work: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(work);
}

fn log(service: &str, record: &Record) {
    let sentence = &record.sentence;
    match record.kind {
        RecordKind::Killed
        | RecordKind::Wedged
        | RecordKind::GaveUp
        | RecordKind::Unkillable
        | RecordKind::Blind
        | RecordKind::CommonCause
        | RecordKind::RolledBack
        | RecordKind::StateLost => {
            tracing::error!(service, "{sentence}");
        }
        RecordKind::Blocked
        | RecordKind::Daemonized
        | RecordKind::Degraded
        | RecordKind::Suppressed
        | RecordKind::FallbackRuntime
        | RecordKind::Verdict
        | RecordKind::OrphanedService
        | RecordKind::UnattributedOrphan
        | RecordKind::Exited
        | RecordKind::Crashed => {
            tracing::warn!(service, "{sentence}");
        }
        RecordKind::Started
        | RecordKind::Adopted
        | RecordKind::Attached
        | RecordKind::Detached
        | RecordKind::Ready
        | RecordKind::Requested
        | RecordKind::Backoff
        | RecordKind::Runtime
        | RecordKind::Slept
        | RecordKind::Upgraded
        | RecordKind::Stopped => {
            tracing::info!(service, "{sentence}");
        }
    }
}

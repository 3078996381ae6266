//! Turns orders into deeds. Never waits for an outcome: each comes back as a fact.

use crate::act::context::ServiceContext;
use crate::act::context::SharedContext;
use crate::config;
use crate::decide::action::ServiceAction;
use crate::decide::event::ServiceId;
use crate::sys::reaper::Reaped;
use std::rc::Rc;

/// All services' wards.
pub struct Executor {
    pub(crate) shared: Rc<SharedContext>,
    pub(crate) contexts: Vec<Rc<ServiceContext>>,
}

impl Executor {
    /// Opens a ward for each service; their order is that of the machine's ids.
    #[must_use]
    pub fn new(shared: SharedContext, services: Vec<config::Service>) -> Self {
        let contexts = services.into_iter().enumerate();
        let contexts = contexts
            .map(|(index, service)| Rc::new(ServiceContext::new(ServiceId(index), service)))
            .collect();
        Self {
            shared: Rc::new(shared),
            contexts,
        }
    }

    /// Opens a ward for one more service, behind the others.
    pub fn add(&mut self, service: config::Service) {
        let id = ServiceId(self.contexts.len());
        self.contexts
            .push(Rc::new(ServiceContext::new(id, service)));
    }

    /// A service's configuration.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<&config::Service> {
        self.contexts.get(id.0).map(|context| &context.config)
    }

    /// What is shared.
    #[must_use]
    pub fn shared(&self) -> &SharedContext {
        &self.shared
    }

    /// Does it, or begins to.
    pub fn execute(&self, id: ServiceId, order: ServiceAction) {
        let Some(context) = self.contexts.get(id.0).map(Rc::clone) else {
            return;
        };
        let shared = Rc::clone(&self.shared);
        match order {
            ServiceAction::RecoveryScan => {
                begin(crate::act::recovery::scan::survey(shared, context))
            }
            ServiceAction::Materialize(life) => begin(
                crate::act::runtime::materialize::materialize(shared, context, life),
            ),
            ServiceAction::UseRuntime(id) => {
                crate::act::runtime::materialize::use_now(&shared, &context, id)
            }
            ServiceAction::MarkRuntimeGood(id) => begin(crate::act::runtime::materialize::praise(
                shared, context, id,
            )),
            ServiceAction::MarkRuntimeBad(id, why) => {
                begin(crate::act::runtime::materialize::refuse(
                    shared, context, id, why,
                ));
            }
            ServiceAction::Prepare(life) => begin(crate::act::lifecycle::prepare::prepare(
                shared, context, life,
            )),
            ServiceAction::Attach { life, foreign } => {
                begin(crate::act::foreign::attach::attach(
                    shared, context, life, foreign,
                ));
            }
            ServiceAction::CancelPreparation(life) => {
                crate::act::lifecycle::prepare::cancel(&context, life)
            }
            ServiceAction::Spawn(life) => begin(crate::act::lifecycle::instance::spawn(
                shared, context, life,
            )),
            ServiceAction::Terminate { life, tree } => {
                crate::act::lifecycle::instance::terminate(&shared, &context, life, tree)
            }
            ServiceAction::SignalFirst(life) => {
                crate::act::lifecycle::instance::signal_first(&context, life)
            }
            ServiceAction::KillTree(life) => begin(crate::act::lifecycle::instance::kill_tree(
                shared, context, life,
            )),
            ServiceAction::SuperviseSuccessor { life, successor } => {
                crate::act::lifecycle::successor::inherit(&shared, &context, life, successor)
            }
            // Its time runs out without a verdict, if nobody takes our place before.
            ServiceAction::Probe { .. } if shared.settling.get() => {}
            ServiceAction::Probe {
                life,
                check,
                deadline,
            } => {
                if shared.orphans.is_due((shared.now)()) {
                    begin(crate::act::foreign::orphans::look(
                        Rc::clone(&shared),
                        self.contexts.clone(),
                    ));
                }
                begin(crate::act::probe::attempt::attempt(
                    shared, context, life, check, deadline,
                ));
            }
            ServiceAction::CollectEvidence { life, within } => {
                begin(crate::act::lifecycle::instance::take_evidence(
                    shared, context, life, within,
                ));
            }
            ServiceAction::AwaitChange(awaited) => {
                crate::act::runtime::change::set(&shared, &context, awaited)
            }
            ServiceAction::CloseSockets => crate::act::sockets::close(&shared, &context),
            ServiceAction::Retire(life) => {
                crate::act::lifecycle::retire::retire(&shared, &context, life)
            }
            ServiceAction::RetireKeepingClaim(life, exit) => {
                crate::act::lifecycle::retire::conclude(&shared, &context, life, exit)
            }
            ServiceAction::Record(record) => {
                say(&context.config.name, &record);
                shared.store.record(Some(&context.config.name), &record);
            }
            ServiceAction::Persist(keep) => {
                shared
                    .store
                    .keep(&context.config.name, &context.config.proof_key(), &keep);
            }
        }
    }

    /// At the end of stayd: closes what no OS supervisor keeps for the next one, and waits until its files are removed.
    pub async fn close_sockets(&self) {
        if self.shared.reception.outlives_us() {
            return;
        }
        for context in &self.contexts {
            crate::act::sockets::close(&self.shared, context);
        }
        for context in &self.contexts {
            context.sockets.closed().await;
        }
    }

    /// Hears of ended processes; those nobody waits for may be members of a tree that is being ended.
    pub fn reaped(&self, reaped: impl IntoIterator<Item = Reaped>) {
        let (mut orphans, mut any) = (false, false);
        for one in reaped {
            any = true;
            orphans |= self
                .shared
                .spawner
                .reaped(one)
                .is_some_and(|foreign| !self.heir_ended(&foreign));
        }
        if orphans {
            for context in &self.contexts {
                crate::act::lifecycle::instance::look_for_the_end(&self.shared, context);
            }
        }
        if any && self.shared.orphans.begins((self.shared.now)()) {
            let (shared, contexts) = (Rc::clone(&self.shared), self.contexts.clone());
            begin(crate::act::foreign::orphans::look_soon(shared, contexts));
        }
    }

    fn heir_ended(&self, foreign: &Reaped) -> bool {
        self.contexts
            .iter()
            .any(|context| crate::act::lifecycle::successor::ended(&self.shared, context, foreign))
    }

    /// Sends a service's reload signal to its main process.
    ///
    /// # Errors
    /// When there is no main process, or the system refuses.
    pub fn reload(&self, id: ServiceId) -> Result<(), String> {
        let context = self
            .contexts
            .get(id.0)
            .ok_or("cannot reload: no such service")?;
        crate::act::lifecycle::instance::reload(context)
    }
}

fn begin(work: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(work);
}

fn say(service: &str, record: &crate::decide::action::Record) {
    use crate::decide::action::RecordKind;
    let sentence = &record.sentence;
    match record.kind {
        RecordKind::Killed
        | RecordKind::Wedged
        | RecordKind::GaveUp
        | RecordKind::Unkillable
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

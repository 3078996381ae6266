//! Turns orders into deeds. Never waits for an outcome: each comes back as a fact.

use super::shared::Shared;
use super::ward::Ward;
use crate::config;
use crate::decide::action::Order;
use crate::decide::event::ServiceId;
use crate::sys::reaper::Reaped;
use std::rc::Rc;

/// All services' wards.
pub struct Performer {
    pub(super) shared: Rc<Shared>,
    pub(super) wards: Vec<Rc<Ward>>,
}

impl Performer {
    /// Opens a ward for each service; their order is that of the machine's ids.
    #[must_use]
    pub fn new(shared: Shared, services: Vec<config::Service>) -> Self {
        let wards = services.into_iter().enumerate();
        let wards = wards
            .map(|(index, service)| Rc::new(Ward::new(ServiceId(index), service)))
            .collect();
        Self {
            shared: Rc::new(shared),
            wards,
        }
    }

    /// Opens a ward for one more service, behind the others.
    pub fn add(&mut self, service: config::Service) {
        let id = ServiceId(self.wards.len());
        self.wards.push(Rc::new(Ward::new(id, service)));
    }

    /// A service's configuration.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<&config::Service> {
        self.wards.get(id.0).map(|ward| &ward.config)
    }

    /// What is shared.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Does it, or begins to.
    pub fn perform(&self, id: ServiceId, order: Order) {
        let Some(ward) = self.wards.get(id.0).map(Rc::clone) else {
            return;
        };
        let shared = Rc::clone(&self.shared);
        match order {
            Order::Survey => begin(super::survey::survey(shared, ward)),
            Order::Materialize(life) => begin(super::materialize::materialize(shared, ward, life)),
            Order::UseRuntime(id) => super::materialize::use_now(&shared, &ward, id),
            Order::PraiseRuntime(id) => begin(super::materialize::praise(shared, ward, id)),
            Order::RefuseRuntime(id, why) => {
                begin(super::materialize::refuse(shared, ward, id, why));
            }
            Order::Prepare(life) => begin(super::prepare::prepare(shared, ward, life)),
            Order::Attach { life, stranger } => {
                begin(super::stranger::attach(shared, ward, life, stranger));
            }
            Order::CancelPreparation(life) => super::prepare::cancel(&ward, life),
            Order::Spawn(life) => begin(super::life::spawn(shared, ward, life)),
            Order::Terminate { life, tree } => super::life::terminate(&shared, &ward, life, tree),
            Order::SignalFirst(life) => super::life::signal_first(&ward, life),
            Order::KillTree(life) => begin(super::life::kill_tree(shared, ward, life)),
            Order::Inherit { life, heir } => super::heir::inherit(&shared, &ward, life, heir),
            // Its time runs out without a verdict, if nobody takes our place before.
            Order::Probe { .. } if shared.settling.get() => {}
            Order::Probe {
                life,
                check,
                deadline,
            } => {
                if shared.strays.is_due((shared.now)()) {
                    begin(super::strays::look(Rc::clone(&shared), self.wards.clone()));
                }
                begin(super::rounds::round(shared, ward, life, check, deadline));
            }
            Order::TakeEvidence { life, within } => {
                begin(super::life::take_evidence(shared, ward, life, within));
            }
            Order::AwaitChange(awaited) => super::change::set(&shared, &ward, awaited),
            Order::CloseSockets => super::sockets::close(&shared, &ward),
            Order::Retire(life) => super::retire::retire(&shared, &ward, life),
            Order::Conclude(life, exit) => super::retire::conclude(&shared, &ward, life, exit),
            Order::Record(record) => {
                say(&ward.config.name, &record);
                shared.store.record(Some(&ward.config.name), &record);
            }
            Order::Keep(keep) => {
                shared
                    .store
                    .keep(&ward.config.name, &ward.config.proof_key(), &keep);
            }
        }
    }

    /// At the end of stayd: closes what no OS supervisor keeps for the next one, and waits until its files are removed.
    pub async fn close_sockets(&self) {
        if self.shared.reception.outlives_us() {
            return;
        }
        for ward in &self.wards {
            super::sockets::close(&self.shared, ward);
        }
        for ward in &self.wards {
            ward.sockets.closed().await;
        }
    }

    /// Hears of ended processes; those nobody waits for may be members of a tree that is being ended.
    pub fn reaped(&self, reaped: impl IntoIterator<Item = Reaped>) {
        let (mut orphans, mut any) = (false, false);
        for one in reaped {
            any = true;
            orphans |= self
                .shared
                .nursery
                .reaped(one)
                .is_some_and(|stranger| !self.heir_ended(&stranger));
        }
        if orphans {
            for ward in &self.wards {
                super::life::look_for_the_end(&self.shared, ward);
            }
        }
        if any && self.shared.strays.begins((self.shared.now)()) {
            let (shared, wards) = (Rc::clone(&self.shared), self.wards.clone());
            begin(super::strays::look_soon(shared, wards));
        }
    }

    fn heir_ended(&self, stranger: &Reaped) -> bool {
        self.wards
            .iter()
            .any(|ward| super::heir::ended(&self.shared, ward, stranger))
    }

    /// Sends a service's reload signal to its main process.
    ///
    /// # Errors
    /// When there is no main process, or the system refuses.
    pub fn reload(&self, id: ServiceId) -> Result<(), String> {
        let ward = self
            .wards
            .get(id.0)
            .ok_or("cannot reload: no such service")?;
        super::life::reload(ward)
    }
}

fn begin(work: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(work);
}

fn say(service: &str, record: &crate::decide::action::Record) {
    use crate::decide::action::Kind;
    let sentence = &record.sentence;
    match record.kind {
        Kind::Killed
        | Kind::Wedged
        | Kind::GaveUp
        | Kind::Unkillable
        | Kind::CommonCause
        | Kind::RolledBack
        | Kind::StateLost => {
            tracing::error!(service, "{sentence}");
        }
        Kind::Blocked
        | Kind::Daemonized
        | Kind::Degraded
        | Kind::Spared
        | Kind::OldRuntime
        | Kind::Verdict
        | Kind::Forgotten
        | Kind::Orphan
        | Kind::Exited
        | Kind::Crashed => {
            tracing::warn!(service, "{sentence}");
        }
        Kind::Started
        | Kind::Adopted
        | Kind::Attached
        | Kind::Detached
        | Kind::Ready
        | Kind::Wished
        | Kind::Backoff
        | Kind::Runtime
        | Kind::Slept
        | Kind::Upgraded
        | Kind::Stopped => {
            tracing::info!(service, "{sentence}");
        }
    }
}

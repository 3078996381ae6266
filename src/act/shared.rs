//! What all deeds share: the nursery, the output, the journal, the claims, and the way back to the loop.

use super::bystanders::{Bystander, Bystanders};
use super::cgroup::Cgroups;
use super::child::{Environment, Nursery};
use super::claim::Claims;
use super::inheritance::Inherited;
use super::output::Output;
use super::sights::Sights;
use super::sockets::Reception;
use super::store::Store;
use super::strays::Strays;
use crate::decide::action::{Kind, Record, Value};
use crate::decide::clock::Moment;
use crate::decide::event::{Event, Fact, ServiceId};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::SystemTime;
use tokio::sync::mpsc;

/// What all services share.
pub struct Shared {
    /// Starts children, hears of their ends.
    pub nursery: Nursery,
    /// Captures output.
    pub output: RefCell<Output>,
    /// The journal.
    pub store: Store,
    /// Claims on disk.
    pub claims: RefCell<Claims>,
    /// Who is named, shown and left alone.
    pub bystanders: Bystanders,
    /// Which orphans have been looked at.
    pub strays: Strays,
    /// Cgroups for the lives, while they are to be had.
    pub cgroups: RefCell<Option<Cgroups>>,
    /// Sockets that were handed to us.
    pub reception: Reception,
    /// Facts go here; the loop empties it.
    pub inbox: mpsc::Sender<Event>,
    /// This boot, and the pid namespace.
    pub boot: (String, u64),
    /// stayd's own program, for helpers.
    pub program: PathBuf,
    /// What a child inherits of our environment.
    pub environment: Environment,
    /// What is seen of the files that services run from.
    pub sights: Rc<Sights>,
    /// The state folder.
    pub state: PathBuf,
    /// Where notify sockets live.
    pub runtime_dir: PathBuf,
    /// Tells our state folder from others': instances of the same name share the folder of the sockets.
    pub state_key: String,
    /// What the version before has left of each service, until that is taken in hand.
    pub inherited: RefCell<BTreeMap<String, Inherited>>,
    /// A new version is about to take our place: nothing is asked that it could not wait for.
    pub settling: Cell<bool>,
    /// Reads the loop's clock.
    pub now: Box<dyn Fn() -> Moment>,
    /// Stamps for people.
    pub stamp: Box<dyn Fn(Moment) -> SystemTime>,
}

impl Shared {
    /// Tells of a process that is left alone, in the log, in the journal, and in `status` until it ends.
    pub fn name_bystander(&self, kind: Kind, bystander: Bystander) {
        let (service, life) = bystander
            .of
            .as_ref()
            .map_or((None, None), |(service, life)| {
                (Some(service.as_str()), Some(*life))
            });
        tracing::warn!("{}", bystander.message);
        let pid = bystander.process.pid.unsigned_abs();
        let record = Record {
            kind,
            life,
            sentence: bystander.message.clone(),
            facts: vec![("pid", Value::Number(pid.into()))],
        };
        self.store.record(service, &record);
        self.bystanders.add(bystander);
    }

    /// Brings a fact to the loop.
    pub(super) async fn tell(&self, id: ServiceId, fact: Fact) {
        // The loop ends before its tasks do; then nobody wants to know.
        let _ = self.inbox.send(Event::Service(id, fact)).await;
    }
}

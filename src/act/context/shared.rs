//! What all deeds share: the nursery, the output, the journal, the claims, and the way back to the loop.

use crate::act::claims::Claims;
use crate::act::foreign::orphans::UnattributedOrphans;
use crate::act::foreign::reported::{ReportedProcess, ReportedProcesses};
use crate::act::journal::Store;
use crate::act::output::Output;
use crate::act::recovery::handover::InheritedInstance;
use crate::act::runtime::status_board::StatusBoard;
use crate::act::sockets::Reception;
use crate::act::spawn::spawner::{Environment, Spawner};
use crate::act::tree::cgroups::Cgroups;
use crate::decide::action::{Record, RecordKind, RecordValue};
use crate::decide::clock::Instant;
use crate::decide::event::{Event, ServiceEvent, ServiceId};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::SystemTime;
use tokio::sync::mpsc;

/// What all services share.
pub struct SharedContext {
    /// Starts children, hears of their ends.
    pub spawner: Spawner,
    /// Captures output.
    pub output: RefCell<Output>,
    /// The journal.
    pub store: Store,
    /// Claims on disk.
    pub claims: RefCell<Claims>,
    /// Who is named, shown and left alone.
    pub reported: ReportedProcesses,
    /// Which orphans have been looked at.
    pub orphans: UnattributedOrphans,
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
    pub status_board: Rc<StatusBoard>,
    /// The state folder.
    pub state: PathBuf,
    /// Where notify sockets live.
    pub runtime_dir: PathBuf,
    /// Tells our state folder from others': instances of the same name share the folder of the sockets.
    pub state_key: String,
    /// What the version before has left of each service, until that is taken in hand.
    pub inherited: RefCell<BTreeMap<String, InheritedInstance>>,
    /// A new version is about to take our place: nothing is asked that it could not wait for.
    pub settling: Cell<bool>,
    /// Reads the loop's clock.
    pub now: Box<dyn Fn() -> Instant>,
    /// Stamps for people.
    pub stamp: Box<dyn Fn(Instant) -> SystemTime>,
}

impl SharedContext {
    /// Tells of a process that is left alone, in the log, in the journal, and in `status` until it ends.
    pub fn report_process(&self, kind: RecordKind, reported: ReportedProcess) {
        let (service, life) = reported
            .of
            .as_ref()
            .map_or((None, None), |(service, life)| {
                (Some(service.as_str()), Some(*life))
            });
        tracing::warn!("{}", reported.message);
        let pid = reported.process.pid.unsigned_abs();
        let record = Record {
            kind,
            life,
            sentence: reported.message.clone(),
            facts: vec![("pid", RecordValue::Number(pid.into()))],
        };
        self.store.record(service, &record);
        self.reported.add(reported);
    }

    /// Brings a fact to the loop.
    pub(crate) async fn tell(&self, id: ServiceId, fact: ServiceEvent) {
        // The loop ends before its tasks do; then nobody wants to know.
        let _ = self.inbox.send(Event::Service(id, fact)).await;
    }
}

//! The state that the effects of all services share, and the channel on which they send events to the loop.

use crate::act::claims::Claims;
use crate::act::foreign::orphans::UnattributedOrphans;
use crate::act::foreign::reported::ReportedProcesses;
use crate::act::helper::Helpers;
use crate::act::journal::Journal;
use crate::act::output::Output;
use crate::act::runtime::status_board::StatusBoard;
use crate::act::sockets::ReceivedSockets;
use crate::act::spawn::environment::InheritableEnvironment;
use crate::act::spawn::spawner::Spawner;
use crate::act::tree::cgroups::Cgroups;
use crate::decide::clock::Instant;
use crate::decide::event::{Event, ServiceEvent, ServiceId};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::SystemTime;
use tokio::sync::mpsc;

/// The state that the effects of all services share.
pub struct SharedContext {
    /// Starts children and reports their ends.
    pub spawner: Spawner,
    /// Starts helpers.
    pub helpers: Helpers,
    /// Captures output.
    pub output: Output,
    /// The journal.
    pub journal: Journal,
    /// Claims on disk.
    pub claims: Claims,
    /// Processes that stayd reports, shows and leaves alone.
    pub reported: ReportedProcesses,
    /// Orphans that were reparented to stayd and belong to no known instance.
    pub orphans: UnattributedOrphans,
    /// Makes cgroups for instances.
    pub cgroups: Cgroups,
    /// Sockets that stayd received at its start.
    pub received: Rc<ReceivedSockets>,
    /// The queue of events; the loop receives from it.
    pub inbox: mpsc::Sender<Event>,
    /// This boot, and stayd's pid namespace.
    pub boot: (String, u64),
    /// The part of stayd's environment that is not for stayd itself.
    pub environment: InheritableEnvironment,
    /// Changed programs and runtimes, for `status`.
    pub status_board: Rc<StatusBoard>,
    /// The state directory.
    pub state: PathBuf,
    /// The directory of notify sockets.
    pub runtime_dir: PathBuf,
    /// Identifies this state directory in file names, because several stayds of one name share a runtime directory.
    pub state_key: String,
    /// Reads the loop's clock.
    pub now: Box<dyn Fn() -> Instant>,
    /// The wall-clock time of an instant, for records.
    pub stamp: Box<dyn Fn(Instant) -> SystemTime>,
}

impl SharedContext {
    /// Sends an event about a service to the loop.
    pub(crate) async fn send(&self, id: ServiceId, event: ServiceEvent) {
        // Fails only when the loop has ended; its tasks end after it.
        let _ = self.inbox.send(Event::Service(id, event)).await;
    }

    /// The present wall-clock time.
    pub(crate) fn stamp_now(&self) -> SystemTime {
        (self.stamp)((self.now)())
    }
}

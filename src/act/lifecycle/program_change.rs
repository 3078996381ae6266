//! Reports to a parked service that another program, or another runtime, would be started than the one that failed.

use super::materialize::source_holds;
use crate::act::context::{ServiceContext, SharedContext};
use crate::act::helper::Timeouts;
use crate::act::runtime::staleness::{ProgramStamp, Stamp};
use crate::act::runtime::status_board::program_of;
use crate::decide::event::ServiceEvent;
use std::cell::Cell;
use std::ffi::OsStr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

/// Between two looks. A look at a runtime's source reads its metadata.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A program's disk that has not answered within this time hangs.
const TIMEOUTS: Timeouts = Timeouts {
    first_answer: Duration::from_secs(5),
    progress: Duration::from_secs(5),
};

/// Begins to watch for a change, or stops that.
pub(crate) fn watch(shared: &Rc<SharedContext>, service: &Rc<ServiceContext>, awaited: bool) {
    let task = awaited.then(|| {
        let watching = report_change(Rc::clone(shared), Rc::clone(service));
        tokio::task::spawn_local(watching).abort_handle()
    });
    service.program_watch.set_task(task);
}

async fn report_change(shared: Rc<SharedContext>, service: Rc<ServiceContext>) {
    let watch = &service.program_watch;
    let mut failed = service.runtimes.source_held().map(|held| held.0);
    loop {
        // The first look may come after a change: then the file is newer than the last instance.
        let since = watch.started_at().filter(|_| failed.is_none());
        if let Some(seen) = to_be_started(&shared, &service, since).await {
            let first_seen = if seen.is_newer {
                String::new()
            } else {
                seen.text.clone()
            };
            let failed = failed.get_or_insert(first_seen);
            if *failed != seen.text && watch.is_new(&seen.text) {
                return shared.send(service.id, ServiceEvent::Changed).await;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Identifies what would be started now; none where that cannot be told.
async fn to_be_started(
    shared: &SharedContext,
    service: &ServiceContext,
    since: Option<SystemTime>,
) -> Option<Stamp> {
    if service.config.runtime.is_some() {
        let held = source_holds(shared, service).await?;
        return Some(Stamp {
            text: held.0,
            is_newer: false,
        });
    }
    let path = shared.environment.get(OsStr::new("PATH"));
    let path = path.map(|path| path.to_string_lossy().into_owned());
    let look = program_of(&service.config, path)?;
    let request = ProgramStamp { look, since };
    let (helper, progress) = (&service.program_watch.helper, Cell::default());
    let reply = helper.ask_at_length(request, TIMEOUTS, &progress).await;
    reply.ok().flatten()
}

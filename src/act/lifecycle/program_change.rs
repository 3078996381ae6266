//! Watches the program or runtime source of a parked service, and reports a change from the version that failed.

use super::materialize::source_holds;
use crate::act::context::{ServiceContext, SharedContext};
use crate::act::helper::Timeouts;
use crate::act::runtime::staleness::{ProgramStamp, Stamp};
use crate::act::runtime::status_board::program_of;
use crate::decide::event::ServiceEvent;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

/// The interval between two checks. A check of a runtime's source reads its metadata.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// The timeouts for reading the program's disk.
const TIMEOUTS: Timeouts = Timeouts {
    first_answer: Duration::from_secs(5),
    progress: Duration::from_secs(5),
};

/// Begins to watch for a change, or stops watching.
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
        // The file may have changed before the first check. Then it is newer than the last instance.
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
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The stamp of the program, or the fingerprint of the source, that would be started now; none where it cannot be read.
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
    let inherit = &service.config.inherit_env;
    let path = shared.environment.inherited_path(inherit);
    let lookup = program_of(&service.config, path)?;
    let request = ProgramStamp { lookup, since };
    let (helper, progress) = (&service.program_watch.helper, Cell::default());
    let reply = helper.ask_with_progress(request, TIMEOUTS, &progress).await;
    reply.ok().flatten()
}

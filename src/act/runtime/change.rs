//! What a parked service waits for: that another program, or another runtime, is to be started than the one that failed.

use super::materialize::source_holds;
use super::staleness::CHANGED_SINCE;
use super::status_board::program_of;
use crate::act::context::ServiceContext;
use crate::act::context::SharedContext;
use crate::act::helper::client::HelperClient;
use crate::act::helper::{Ask, Patience, Reply};
use crate::decide::event::ServiceEvent;
use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use tokio::task::AbortHandle;

/// Between two looks; one at a runtime's source costs a look at its metadata.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A program's disk that has not answered by then hangs.
const PATIENCE: Patience = Patience {
    knocking: Duration::from_secs(5),
    moving: Duration::from_secs(5),
};

/// Who looks for a change, and what that has come to.
#[derive(Default)]
pub(crate) struct Change {
    looking: RefCell<Option<AbortHandle>>,
    /// When the last life was started.
    begun: Cell<Option<SystemTime>>,
    /// Asks a program's disk.
    envoy: HelperClient,
    /// What was told as a change the last time: it has been tried, and is none when it is seen again.
    told: RefCell<Option<String>>,
}

impl Change {
    /// A life is started, from what is there at `now`.
    pub(crate) fn life_begins(&self, now: SystemTime) {
        self.begun.set(Some(now));
    }
}

/// Begins to look for a change, or ends it.
pub(crate) fn set(shared: &Rc<SharedContext>, context: &Rc<ServiceContext>, awaited: bool) {
    let looking = awaited.then(|| {
        let looking = tell_of_a_change(Rc::clone(shared), Rc::clone(context));
        tokio::task::spawn_local(looking).abort_handle()
    });
    if let Some(before) = context.change.looking.replace(looking) {
        before.abort();
    }
}

async fn tell_of_a_change(shared: Rc<SharedContext>, context: Rc<ServiceContext>) {
    let mut failed = context.runtimes.held().map(|held| held.0);
    loop {
        // The first look may come after a change.
        let since = context.change.begun.get().filter(|_| failed.is_none());
        if let Some(seen) = to_be_started(&shared, &context, since).await {
            let newer = seen.strip_prefix(CHANGED_SINCE).map(str::to_owned);
            let is_newer = newer.is_some();
            let now = newer.unwrap_or(seen);
            let first_seen = if is_newer { String::new() } else { now.clone() };
            let failed = failed.get_or_insert(first_seen);
            let is_tried = context.change.told.borrow().as_ref() == Some(&now);
            if *failed != now && !is_tried {
                context.change.told.replace(Some(now));
                return shared.tell(context.id, ServiceEvent::Changed).await;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// By what it is known what would be started now; none where that cannot be told.
async fn to_be_started(
    shared: &SharedContext,
    context: &ServiceContext,
    since: Option<SystemTime>,
) -> Option<String> {
    if context.config.runtime.is_some() {
        return source_holds(shared, context).await.map(|held| held.0);
    }
    let path = shared.environment.get(OsStr::new("PATH"));
    let path = path.map(|path| path.to_string_lossy().into_owned());
    let question = Ask::Stamp(program_of(&context.config, path)?, since);
    let (envoy, far) = (&context.change.envoy, Cell::default());
    match envoy.question(shared, question, PATIENCE, &far).await {
        Ok(Reply::Text(stamp)) => stamp,
        Ok(_) | Err(_) => None,
    }
}

//! Gets a service's runtime ready for the next instance, and remembers which runtimes were good.

use crate::act::context::{ServiceContext, SharedContext};
use crate::act::helper::{NoReply, Progress, Timeouts};
use crate::act::preflight::ProgramLookup;
use crate::act::runtime::cache::Cache;
use crate::act::runtime::error::SourceError;
use crate::act::runtime::in_use::RuntimeInUse;
use crate::act::runtime::listing::Fingerprint;
use crate::act::runtime::record::RefusedRuntime;
use crate::act::runtime::request::{RuntimeOffer, RuntimeOperation, RuntimeReply, RuntimeRequest};
use crate::act::spawn::launch::temporary;
use crate::config::runtime::RUNTIME_PLACEHOLDER;
use crate::decide::event::{Life, ServiceEvent, SpawnFailure};
use crate::decide::runtime::{Offer, RuntimeId};
use std::cell::Cell;
use std::ffi::OsStr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// A disk that has not answered at all within the first time hangs. A copy that makes no progress for the second has lost
/// its disk.
const TIMEOUTS: Timeouts = Timeouts {
    first_answer: Duration::from_secs(10),
    progress: Duration::from_secs(60),
};

/// Lets the next instance run from `id`.
pub(crate) fn use_runtime(shared: &Rc<SharedContext>, service: &Rc<ServiceContext>, id: RuntimeId) {
    let Some(fingerprint) = Fingerprint::parse(&id.0) else {
        return;
    };
    let root = Cache::of(&shared.state).path(&fingerprint);
    let is_stale = service.runtimes.is_stale(&id);
    shared.status_board.note_stale(service.name(), is_stale);
    run_from(shared, service, RuntimeInUse { id, root });
}

/// Notes that an adopted instance runs from the runtime `fingerprint` at `root`.
pub(crate) fn adopt_runtime(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    fingerprint: Option<&str>,
    root: Option<&Path>,
) {
    if let Some((id, root)) = fingerprint.zip(root) {
        let id = RuntimeId(id.to_owned());
        let root = root.to_owned();
        run_from(shared, service, RuntimeInUse { id, root });
    }
}

fn run_from(shared: &Rc<SharedContext>, service: &Rc<ServiceContext>, runtime: RuntimeInUse) {
    let id = runtime.id.clone();
    if service.runtimes.set_in_use(runtime) {
        let comparing = compare_when_wanted(Rc::clone(shared), Rc::clone(service), id);
        let task = tokio::task::spawn_local(comparing).abort_handle();
        service.runtimes.set_comparing(task);
    }
}

/// For as long as `id` is in use: compares it with what the source holds, when a user wants to know.
async fn compare_when_wanted(
    shared: Rc<SharedContext>,
    service: Rc<ServiceContext>,
    id: RuntimeId,
) {
    let fingerprint = Fingerprint::parse(&id.0);
    let Some((running, runtime)) = fingerprint.zip(service.config.runtime.as_ref()) else {
        return;
    };
    let check = shared.status_board.source_check(service.name());
    loop {
        check.wanted().await;
        if service.current().is_some() {
            let source = runtime.source.clone();
            let running = running.clone();
            let operation = RuntimeOperation::IsStale { source, running };
            // A source that is away is not known to hold anything newer.
            if let Some(RuntimeReply::Stale(stale)) =
                look_at_source(&shared, &service, operation).await
            {
                shared.status_board.note_stale(service.name(), stale);
            }
        }
        check.is_done();
    }
}

/// Asks the source something that no instance waits for. Gives way to an instance that does.
async fn look_at_source(
    shared: &SharedContext,
    service: &ServiceContext,
    operation: RuntimeOperation,
) -> Option<RuntimeReply> {
    let progress = Cell::default();
    let asked = ask_source(shared, service, operation, &progress);
    tokio::select! {
        said = asked => said.ok(),
        () = service.runtimes.instance_waits() => None,
    }
}

/// What the source holds now, as far as that can be told.
pub(super) async fn source_holds(
    shared: &SharedContext,
    service: &ServiceContext,
) -> Option<RuntimeId> {
    let source = service.config.runtime.as_ref()?.source.clone();
    match look_at_source(
        shared,
        service,
        RuntimeOperation::FingerprintSource { source },
    )
    .await?
    {
        RuntimeReply::SourceFingerprint(one) => Some(RuntimeId(one.as_str().to_owned())),
        RuntimeReply::Done | RuntimeReply::Offer(_) | RuntimeReply::Stale(_) => None,
    }
}

/// Looks at the runtimes of the service, copies what its source holds where that is new, and reports what there is.
pub(crate) async fn materialize(
    shared: Rc<SharedContext>,
    service: Rc<ServiceContext>,
    life: Life,
) {
    let progress = service.runtimes.copy_progress();
    progress.set(Progress::default());
    let board = &shared.status_board;
    board.note_copy(service.name(), Some(Rc::clone(progress)));
    let event = tokio::select! {
        offer = offer(&shared, &service) => match offer {
            Ok(offer) => ServiceEvent::Materialized(life, offer),
            Err(failure) => ServiceEvent::NotPrepared(life, failure),
        },
        () = service.runtimes.cancelled() => ServiceEvent::NotPrepared(life, SpawnFailure::cancelled()),
    };
    board.note_copy(service.name(), None);
    shared.send(service.id, event).await;
}

async fn offer(shared: &SharedContext, service: &ServiceContext) -> Result<Offer, SpawnFailure> {
    let Some(runtime) = &service.config.runtime else {
        return Err(temporary("it has no runtime".into()));
    };
    let operation = RuntimeOperation::Materialize {
        source: runtime.source.clone(),
        keep: runtime.keep,
        for_other_user: service.config.user.is_some(),
        program: what_will_start(shared, service),
    };
    service.runtimes.hurry();
    let progress = service.runtimes.copy_progress();
    let mut answer = ask_source(shared, service, operation, progress).await;
    if let Err(NoReply::Silent(how)) = answer {
        let operation = RuntimeOperation::Fallback {
            error: SourceError::Unavailable(format!(
                "cannot read the runtime's source {}: its disk does not answer: {how}",
                runtime.source.display()
            )),
            for_other_user: service.config.user.is_some(),
        };
        answer = ask_cache(shared, service, operation).await;
    }
    match answer {
        Ok(RuntimeReply::Offer(offered)) => {
            // A source that is away is not known to hold anything newer. One that is there and cannot be used is.
            let is_unreadable = !matches!(offered.source, Ok(_) | Err(SourceError::Unavailable(_)));
            let offer = as_offer(offered);
            let holds = offer.source.clone().ok();
            service.runtimes.set_source(holds, is_unreadable);
            Ok(offer)
        }
        Ok(RuntimeReply::Done | RuntimeReply::Stale(_) | RuntimeReply::SourceFingerprint(_)) => {
            Err(cannot_look("the helper answered something else"))
        }
        Err(cause) => Err(cannot_look(&cause.to_string())),
    }
}

/// None where `before` or an env_file decides: what they make and say is not known before they are run and read.
fn what_will_start(shared: &SharedContext, service: &ServiceContext) -> Option<ProgramLookup> {
    let config = &service.config;
    if config.before.is_some() || config.env_file.is_some() {
        return None;
    }
    let own = config.env.get("PATH").cloned();
    let path = own.or_else(|| {
        let given = shared.environment.get(OsStr::new("PATH"));
        given.map(|path| path.to_string_lossy().into_owned())
    });
    Some(ProgramLookup {
        program: config
            .command_in(Some(Path::new(RUNTIME_PLACEHOLDER)))
            .into_iter()
            .next()?,
        cwd: config.cwd.clone(),
        path,
        user: config.user.clone(),
    })
}

fn cannot_look(cause: &str) -> SpawnFailure {
    temporary(format!(
        "cannot look at its runtimes: {cause}; trying again"
    ))
}

fn as_offer(offered: RuntimeOffer) -> Offer {
    let id = |one: Fingerprint| RuntimeId(one.as_str().to_owned());
    Offer {
        source: offered.source.map(id).map_err(|error| failure(&error)),
        fallback: offered.fallback.map(id),
        refused: offered.refused.map(id),
        good: offered.good,
        warnings: offered.warnings,
    }
}

fn failure(error: &SourceError) -> SpawnFailure {
    let (cure, lasting) = match error {
        SourceError::Unavailable(_) => ("is its disk there? trying again", false),
        SourceError::PermissionDenied(_) => (
            "a user who may read it can copy it with `stayd runtime import SERVICE`",
            true,
        ),
        SourceError::NotCopyable(_) => ("nothing is copied", true),
        SourceError::NotStartable(_) => ("trying again", true),
        SourceError::Changing(_) => ("trying again when it is quiet", false),
        SourceError::NoSpace(_) => (
            "what was copied so far is removed; make room, trying again",
            false,
        ),
        SourceError::Other(_) => ("trying again", false),
    };
    SpawnFailure {
        message: format!("{error}; {cure}"),
        lasting,
    }
}

/// Remembers that the service became ready under `id`.
pub(crate) async fn mark_good(
    shared: Rc<SharedContext>,
    service: Rc<ServiceContext>,
    id: RuntimeId,
) {
    if let Some(fingerprint) = Fingerprint::parse(&id.0) {
        note(&shared, &service, RuntimeOperation::MarkGood(fingerprint)).await;
    }
}

/// Remembers that `id` is not used again until the source changes.
pub(crate) async fn mark_bad(
    shared: Rc<SharedContext>,
    service: Rc<ServiceContext>,
    id: RuntimeId,
    why: String,
) {
    if let Some(fingerprint) = Fingerprint::parse(&id.0) {
        let operation = RuntimeOperation::MarkBad(RefusedRuntime { fingerprint, why });
        note(&shared, &service, operation).await;
    }
}

async fn note(shared: &SharedContext, service: &ServiceContext, operation: RuntimeOperation) {
    if let Err(cause) = ask_cache(shared, service, operation).await {
        tracing::warn!(
            service = service.name(),
            "cannot remember what became of its runtime: {cause}; after a restart of stayd it is not known"
        );
    }
}

async fn ask_source(
    shared: &SharedContext,
    service: &ServiceContext,
    operation: RuntimeOperation,
    progress: &Cell<Progress>,
) -> Result<RuntimeReply, NoReply> {
    let request = request(shared, service, operation);
    let helper = &service.runtimes.source_helper;
    helper.ask_at_length(request, TIMEOUTS, progress).await
}

async fn ask_cache(
    shared: &SharedContext,
    service: &ServiceContext,
    operation: RuntimeOperation,
) -> Result<RuntimeReply, NoReply> {
    let request = request(shared, service, operation);
    let (helper, progress) = (&service.runtimes.cache_helper, Cell::default());
    helper.ask_at_length(request, TIMEOUTS, &progress).await
}

fn request(
    shared: &SharedContext,
    service: &ServiceContext,
    operation: RuntimeOperation,
) -> RuntimeRequest {
    RuntimeRequest {
        state: shared.state.clone(),
        service: service.name().to_owned(),
        operation,
    }
}

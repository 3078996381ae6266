//! Materializes a service's runtime for the next instance, and stores which runtimes were good or bad.

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
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// A disk that has not answered at all within `first_answer` hangs. A copy without progress for `progress` has lost its disk.
const TIMEOUTS: Timeouts = Timeouts {
    first_answer: Duration::from_secs(10),
    progress: Duration::from_secs(60),
};

/// Makes `id` the runtime of the next instance.
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
        let comparing = compare_on_request(Rc::clone(shared), Rc::clone(service), id);
        let task = tokio::task::spawn_local(comparing).abort_handle();
        service.runtimes.set_comparing(task);
    }
}

/// Compares the runtime `id` with the content of the source each time `status` requests it. Runs for as long as `id` is in
/// use.
async fn compare_on_request(shared: Rc<SharedContext>, service: Rc<ServiceContext>, id: RuntimeId) {
    let fingerprint = Fingerprint::parse(&id.0);
    let Some((running, runtime)) = fingerprint.zip(service.config.runtime.as_ref()) else {
        return;
    };
    let check = shared.status_board.source_check(service.name());
    loop {
        check.requested().await;
        if service.current().is_some() {
            let source = runtime.source.clone();
            let running = running.clone();
            let operation = RuntimeOperation::IsStale {
                source,
                running,
                user: service.config.user.clone(),
            };
            // A source that cannot be read proves no newer content.
            if let Some(RuntimeReply::Stale(stale)) =
                query_source(&shared, &service, operation).await
            {
                shared.status_board.note_stale(service.name(), stale);
            }
        }
        check.is_done();
    }
}

/// Reads the source for something that no instance waits for. Returns none when an instance needs the source.
async fn query_source(
    shared: &SharedContext,
    service: &ServiceContext,
    operation: RuntimeOperation,
) -> Option<RuntimeReply> {
    let progress = Cell::default();
    let asked = ask_source(shared, service, operation, &progress);
    tokio::select! {
        reply = asked => reply.ok(),
        () = service.runtimes.instance_needs_source() => None,
    }
}

/// The fingerprint of the source's content now; none where it cannot be read.
pub(super) async fn source_holds(
    shared: &SharedContext,
    service: &ServiceContext,
) -> Option<RuntimeId> {
    let operation = RuntimeOperation::FingerprintSource {
        source: service.config.runtime.as_ref()?.source.clone(),
        user: service.config.user.clone(),
    };
    match query_source(shared, service, operation).await? {
        RuntimeReply::SourceFingerprint(one) => Some(RuntimeId(one.as_str().to_owned())),
        RuntimeReply::Done | RuntimeReply::Offer(_) | RuntimeReply::Stale(_) => None,
    }
}

/// Copies the content of the service's source if it is new, and reports which runtimes the instance can start from.
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
        user: service.config.user.clone(),
        program: program_to_start(shared, service),
    };
    service.runtimes.interrupt_comparisons();
    let progress = service.runtimes.copy_progress();
    let mut answer = ask_source(shared, service, operation, progress).await;
    if let Err(NoReply::Silent(how)) = answer {
        let operation = RuntimeOperation::Fallback {
            error: SourceError::Unavailable(format!(
                "cannot read the runtime's source {}: its disk does not answer: {how}",
                runtime.source.display()
            )),
            user: service.config.user.clone(),
        };
        answer = ask_cache(shared, service, operation).await;
    }
    match answer {
        Ok(RuntimeReply::Offer(offered)) => {
            // A source that cannot be read proves no newer content. A source that exists and cannot be used counts as newer.
            let is_unreadable = !matches!(offered.source, Ok(_) | Err(SourceError::Unavailable(_)));
            let offer = as_offer(offered);
            let holds = offer.source.clone().ok();
            service.runtimes.set_source(holds, is_unreadable);
            Ok(offer)
        }
        Ok(RuntimeReply::Done | RuntimeReply::Stale(_) | RuntimeReply::SourceFingerprint(_)) => {
            Err(cannot_read_runtimes(
                "the helper sent another kind of reply",
            ))
        }
        Err(cause) => Err(cannot_read_runtimes(&cause.to_string())),
    }
}

/// The program that will be started. None where `before` may create it or an env_file may change PATH, because neither has
/// been run or read yet.
fn program_to_start(shared: &SharedContext, service: &ServiceContext) -> Option<ProgramLookup> {
    let config = &service.config;
    if config.before.is_some() || config.env_file.is_some() {
        return None;
    }
    let own = config.env.get("PATH").cloned();
    let path = own.or_else(|| shared.environment.inherited_path(&config.inherit_env));
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

fn cannot_read_runtimes(cause: &str) -> SpawnFailure {
    temporary(format!("cannot read its runtimes: {cause}; trying again"))
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
        SourceError::DeniedToUser(_) => (
            "let that user read it and pass through the folders above it, or copy it with root's rights: `stayd runtime import \
             SERVICE` as root",
            true,
        ),
        SourceError::NoUser(_) => ("trying again", true),
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

/// Stores that the service became ready under `id`.
pub(crate) async fn mark_good(
    shared: Rc<SharedContext>,
    service: Rc<ServiceContext>,
    id: RuntimeId,
) {
    if let Some(fingerprint) = Fingerprint::parse(&id.0) {
        note(&shared, &service, RuntimeOperation::MarkGood(fingerprint)).await;
    }
}

/// Stores that `id` is not used again until the source changes.
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
            "cannot store whether its runtime is good or bad: {cause}; a restarted stayd has to find that out again"
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
    helper.ask_with_progress(request, TIMEOUTS, progress).await
}

async fn ask_cache(
    shared: &SharedContext,
    service: &ServiceContext,
    operation: RuntimeOperation,
) -> Result<RuntimeReply, NoReply> {
    let request = request(shared, service, operation);
    let (helper, progress) = (&service.runtimes.cache_helper, Cell::default());
    helper.ask_with_progress(request, TIMEOUTS, &progress).await
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

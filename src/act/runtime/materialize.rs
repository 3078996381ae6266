//! The runtimes of a service, seen from the loop: asked for in a helper, given to the next life, remembered.

use super::cache::Cache;
use super::listing::Fingerprint;
use super::offer::{Deed, Offered, Said};
use super::record::Refusal;
use super::trouble::Trouble;
use crate::act::context::ServiceContext;
use crate::act::context::SharedContext;
use crate::act::helper::client::{HelperClient, NoAnswer};
use crate::act::helper::{Far, Patience};
use crate::act::preflight::Look;
use crate::config::runtime::RUNTIME_PLACEHOLDER;
use crate::decide::event::{Life, ServiceEvent, SpawnFailure};
use crate::decide::runtime::{Offer, RuntimeId};
use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// A disk that has not answered at all by then hangs; a copy that does not go on for so long has lost its disk.
const PATIENCE: Patience = Patience {
    knocking: Duration::from_secs(10),
    moving: Duration::from_secs(60),
};

/// A service's runtimes, while it is supervised.
#[derive(Default)]
pub(crate) struct Runtimes {
    /// What the present life, or the next one, runs from.
    in_use: RefCell<Option<InUse>>,
    /// Asks the source's disk, and copies from there.
    envoy: HelperClient,
    /// Asks our own disk alone, so that it hangs with no source.
    keeper: HelperClient,
    /// A life waits for the source: whoever only looks at it gives way.
    hurry: Notify,
    /// What the source held when it was last looked at.
    offered: RefCell<Option<RuntimeId>>,
    /// The source is there, and could not be copied or used.
    unreadable: Cell<bool>,
    /// Looks at the source as long as the same one runs.
    looking: RefCell<Option<AbortHandle>>,
    cancelled: Notify,
    /// How far a copy is that is under way.
    far: Rc<Cell<Far>>,
}

#[derive(Clone, Debug)]
struct InUse {
    id: RuntimeId,
    root: PathBuf,
}

impl Runtimes {
    /// The root of the present life's runtime.
    pub(crate) fn root(&self) -> Option<PathBuf> {
        self.in_use.borrow().as_ref().map(|one| one.root.clone())
    }

    /// Its fingerprint.
    pub(crate) fn id(&self) -> Option<RuntimeId> {
        self.in_use.borrow().as_ref().map(|one| one.id.clone())
    }

    /// What the source held when it was last looked at for a life. Where it was away: what the last life began with. None
    /// where it was there and could not be used.
    pub(crate) fn held(&self) -> Option<RuntimeId> {
        let offered = self.offered.borrow().clone();
        offered.or_else(|| self.id().filter(|_| !self.unreadable.get()))
    }

    /// Ends a copy that is under way.
    pub(crate) fn cancel(&self) {
        // Nobody waits where nothing is copied, and nothing is to be remembered then.
        self.cancelled.notify_waiters();
    }
}

/// Lets the next life run from `id`.
pub(crate) fn use_now(shared: &Rc<SharedContext>, context: &Rc<ServiceContext>, id: RuntimeId) {
    let Some(fingerprint) = Fingerprint::parse(&id.0) else {
        return;
    };
    let root = Cache::of(&shared.state).path(&fingerprint);
    let offered = context.runtimes.offered.borrow();
    let is_stale =
        offered.as_ref().is_some_and(|held| *held != id) || context.runtimes.unreadable.get();
    drop(offered);
    shared
        .status_board
        .note_stale(&context.config.name, is_stale);
    run_from(shared, context, InUse { id, root });
}

/// An adopted life runs from there.
pub(crate) fn adopt(
    shared: &Rc<SharedContext>,
    context: &Rc<ServiceContext>,
    fingerprint: Option<&str>,
    root: Option<&Path>,
) {
    if let Some((id, root)) = fingerprint.zip(root) {
        let id = RuntimeId(id.to_owned());
        let root = root.to_owned();
        run_from(shared, context, InUse { id, root });
    }
}

fn run_from(shared: &Rc<SharedContext>, context: &Rc<ServiceContext>, in_use: InUse) {
    let before = context.runtimes.in_use.replace(Some(in_use.clone()));
    if before.is_none_or(|before| before.id != in_use.id) {
        let looking = look_when_asked(Rc::clone(shared), Rc::clone(context), in_use.id);
        let looking = tokio::task::spawn_local(looking).abort_handle();
        if let Some(before) = context.runtimes.looking.replace(Some(looking)) {
            before.abort();
        }
    }
}

/// As long as `id` is what runs: does the source hold it still? Looked at when somebody wants to know.
async fn look_when_asked(shared: Rc<SharedContext>, context: Rc<ServiceContext>, id: RuntimeId) {
    let Some((running, runtime)) = Fingerprint::parse(&id.0).zip(context.config.runtime.as_ref())
    else {
        return;
    };
    let bell = shared.status_board.bell(&context.config.name);
    loop {
        bell.rings().await;
        if context.life.borrow().is_some() {
            let source = runtime.source.clone();
            let running = running.clone();
            let deed = Deed::Compare { source, running };
            // A source that is away holds nothing newer, as far as is known.
            if let Some(Said::Stale(stale)) = look(&shared, &context, deed).await {
                shared.status_board.note_stale(&context.config.name, stale);
            }
        }
        bell.is_answered();
    }
}

/// Asks the source what no life waits for; gives way to one that does.
async fn look(shared: &SharedContext, context: &ServiceContext, deed: Deed) -> Option<Said> {
    let far = Cell::default();
    let asked = ask_source(shared, context, deed, &far);
    tokio::select! {
        said = asked => said.ok(),
        () = context.runtimes.hurry.notified() => None,
    }
}

/// What the source holds by now, as far as that can be told.
pub(crate) async fn source_holds(
    shared: &SharedContext,
    context: &ServiceContext,
) -> Option<RuntimeId> {
    let source = context.config.runtime.as_ref()?.source.clone();
    match look(shared, context, Deed::Holds { source }).await? {
        Said::Holds(one) => Some(RuntimeId(one.as_str().to_owned())),
        Said::Done | Said::Offered(_) | Said::Stale(_) => None,
    }
}

/// Looks at the runtimes of the service, copies what its source holds where that is new, and tells what there is.
pub(crate) async fn materialize(
    shared: Rc<SharedContext>,
    context: Rc<ServiceContext>,
    life: Life,
) {
    let far = &context.runtimes.far;
    far.set(Far::default());
    let service = &context.config.name;
    shared.status_board.note_copy(service, Some(Rc::clone(far)));
    let fact = tokio::select! {
        offer = offer(&shared, &context) => match offer {
            Ok(offer) => ServiceEvent::Materialized(life, offer),
            Err(failure) => ServiceEvent::NotPrepared(life, failure),
        },
        () = context.runtimes.cancelled.notified() => ServiceEvent::NotPrepared(life, SpawnFailure::cancelled()),
    };
    shared.status_board.note_copy(service, None);
    shared.tell(context.id, fact).await;
}

async fn offer(shared: &SharedContext, context: &ServiceContext) -> Result<Offer, SpawnFailure> {
    let Some(runtime) = &context.config.runtime else {
        return Err(crate::act::lifecycle::prepare::passing(
            "it has no runtime".into(),
        ));
    };
    let deed = Deed::Offer {
        source: runtime.source.clone(),
        keep: runtime.keep,
        others: context.config.user.is_some(),
        look: what_will_start(shared, context),
    };
    context.runtimes.hurry.notify_waiters();
    let mut answer = ask_source(shared, context, deed, &context.runtimes.far).await;
    if let Err(NoAnswer::Silent(how)) = answer {
        let deed = Deed::Fallback {
            trouble: Trouble::Gone(format!(
                "cannot read the runtime's source {}: its disk does not answer: {how}",
                runtime.source.display()
            )),
            others: context.config.user.is_some(),
        };
        answer = ask_keeper(shared, context, deed).await;
    }
    match answer {
        Ok(Said::Offered(offered)) => {
            // A source that is away holds nothing newer, as far as is known; one that is there and cannot be used does.
            let unreadable = !matches!(offered.source, Ok(_) | Err(Trouble::Gone(_)));
            let offer = as_offer(offered);
            context.runtimes.offered.replace(offer.source.clone().ok());
            context.runtimes.unreadable.set(unreadable);
            Ok(offer)
        }
        Ok(Said::Done | Said::Stale(_) | Said::Holds(_)) => {
            Err(cannot_look("the helper answered something else"))
        }
        Err(cause) => Err(cannot_look(&cause.to_string())),
    }
}

/// What `before` makes and what a file of variables says cannot be known before they are run and read.
fn what_will_start(shared: &SharedContext, context: &ServiceContext) -> Option<Look> {
    let config = &context.config;
    if config.before.is_some() || config.env_file.is_some() {
        return None;
    }
    let own = config.env.get("PATH").cloned();
    let path = own.or_else(|| {
        let given = shared.environment.get(OsStr::new("PATH"));
        given.map(|path| path.to_string_lossy().into_owned())
    });
    Some(Look {
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
    crate::act::lifecycle::prepare::passing(format!(
        "cannot look at its runtimes: {cause}; trying again"
    ))
}

fn as_offer(offered: Offered) -> Offer {
    let id = |one: Fingerprint| RuntimeId(one.as_str().to_owned());
    Offer {
        source: offered.source.map(id).map_err(|trouble| failure(&trouble)),
        fallback: offered.fallback.map(id),
        refused: offered.refused.map(id),
        good: offered.good,
        warnings: offered.warnings,
    }
}

fn failure(trouble: &Trouble) -> SpawnFailure {
    let (cure, lasting) = match trouble {
        Trouble::Gone(_) => ("is its disk there? trying again", false),
        Trouble::Denied(_) => (
            "who may read it can copy it with `stayd runtime import SERVICE`",
            true,
        ),
        Trouble::Refused(_) => ("nothing is copied", true),
        Trouble::Unfit(_) => ("trying again", true),
        Trouble::Unsteady(_) => ("trying again when it is quiet", false),
        Trouble::Full(_) => (
            "what was copied so far is removed; make room, trying again",
            false,
        ),
        Trouble::System(_) => ("trying again", false),
    };
    SpawnFailure {
        message: format!("{trouble}; {cure}"),
        lasting,
    }
}

/// Remembers that the service became ready under `id`.
pub(crate) async fn praise(shared: Rc<SharedContext>, context: Rc<ServiceContext>, id: RuntimeId) {
    if let Some(fingerprint) = Fingerprint::parse(&id.0) {
        note(&shared, &context, Deed::Praise(fingerprint)).await;
    }
}

/// Remembers that `id` is not used again until the source changes.
pub(crate) async fn refuse(
    shared: Rc<SharedContext>,
    context: Rc<ServiceContext>,
    id: RuntimeId,
    why: String,
) {
    if let Some(fingerprint) = Fingerprint::parse(&id.0) {
        note(
            &shared,
            &context,
            Deed::Refuse(Refusal { fingerprint, why }),
        )
        .await;
    }
}

async fn note(shared: &SharedContext, context: &ServiceContext, deed: Deed) {
    if let Err(cause) = ask_keeper(shared, context, deed).await {
        tracing::warn!(
            service = context.config.name,
            "cannot remember what became of its runtime: {cause}; after a restart of stayd it is not known"
        );
    }
}

async fn ask_source(
    shared: &SharedContext,
    context: &ServiceContext,
    deed: Deed,
    far: &Cell<Far>,
) -> Result<Said, NoAnswer> {
    let envoy = &context.runtimes.envoy;
    let service = &context.config.name;
    envoy.ask(shared, service, deed, PATIENCE, far).await
}

async fn ask_keeper(
    shared: &SharedContext,
    context: &ServiceContext,
    deed: Deed,
) -> Result<Said, NoAnswer> {
    let keeper = &context.runtimes.keeper;
    let service = &context.config.name;
    let far = Cell::default();
    keeper.ask(shared, service, deed, PATIENCE, &far).await
}

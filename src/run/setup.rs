//! From a configuration to a running loop: state folder, lock, journal, control socket.

use super::clock::Clock;
use super::daemon::{Daemon, End, Left, Parts};
use super::desk::Identity;
use super::home::{Home, Refusal, system};
use super::signals::Signals;
use super::stall::StallWatch;
use super::upgrade::{self, Inheritance};
use super::{Ending, Options, Outcome};
use crate::act::SharedContext;
use crate::act::claims::Claims;
use crate::act::dirs::state_dir::StateDir;
use crate::act::executor::Executor;
use crate::act::failpoint::{Failpoint, reached};
use crate::act::foreign::orphans::UnattributedOrphans;
use crate::act::foreign::reported::ReportedProcesses;
use crate::act::journal::Store;
use crate::act::notify::parent::{ParentSupervisor, StartContext};
use crate::act::notify::supervisor::SupervisorNotifications;
use crate::act::output::{Audience, News, Output};
use crate::act::runtime::status_board::StatusBoard;
use crate::act::sockets::Reception;
use crate::act::spawn::spawner::{Spawner, clean_environment};
use crate::act::tree::cgroups::Cgroups;
use crate::act::tree::killer::TreeKiller;
use crate::api::wire::Upgrade;
use crate::config::Config;
use crate::sys::reaper::{self, Reaped};
use crate::sys::{identity, memory};
use std::cell::{Cell, RefCell};
use std::os::unix::fs::MetadataExt as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Facts that may wait for the loop.
const INBOX_MAX: usize = 1024;
/// Between two tries for a lock or a state folder that refuses.
const RETRY: Duration = Duration::from_secs(1);
/// What is done once at the start is done by then.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// Who started us, and how we hear and speak.
struct Outside {
    start_context: StartContext,
    supervisor: ParentSupervisor,
    signals: Signals,
    notifications: SupervisorNotifications,
    stall: Arc<StallWatch>,
}

/// Who ends what was started, and the queue of what that has reaped.
pub(super) type Dead = (TreeKiller, mpsc::Receiver<Reaped>);

/// Sets everything up, and runs.
pub(super) async fn run(
    config: Config,
    options: &Options,
    dead: Dead,
    stall: Arc<StallWatch>,
    mut inherited: Option<Inheritance>,
) -> Outcome {
    let signals = match Signals::install() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!("cannot install signal handlers: {error}");
            return Outcome::Ended(Ending::Refused);
        }
    };
    if inherited.is_some() {
        reached(Failpoint::Received);
    }
    let start_context = StartContext::gather(std::env::vars_os());
    let supervisor = start_context.supervisor();
    let mut notifications = SupervisorNotifications::new(&start_context);
    let left = inherited.as_mut().and_then(|left| left.locks.take());
    let home = match left.map(|locks| Home::resume(options, locks)) {
        Some(Ok(home)) => Ok(home),
        Some(Err(_)) | None => {
            wait_for_home(options, supervisor, &signals, &mut notifications).await
        }
    };
    let home = match home {
        Ok(home) => home,
        Err(ending) => return Outcome::Ended(ending),
    };
    let outside = Outside {
        start_context,
        supervisor,
        signals,
        notifications,
        stall,
    };
    match assemble(config, options, outside, dead, home, inherited).await {
        Ok(daemon) => live(daemon).await,
        Err(refusal) => {
            tracing::error!("{}", refusal.sentence);
            Outcome::Ended(refusal.ending)
        }
    }
}

async fn live(mut daemon: Daemon) -> Outcome {
    tokio::task::spawn_local(settle());
    match daemon.live().await {
        End::Over(ending) => Outcome::Ended(ending),
        End::AtRest => {
            let departure = daemon.depart().await;
            departure.map_or(Outcome::Ended(Ending::Bug), |departure| {
                Outcome::HandsOver(Box::new(departure))
            })
        }
    }
}

/// Once everything runs, its memory is that of what goes on. From a disk that may be pulled everything is kept: what is
/// needed at a wedge has to be there.
async fn settle() {
    if memory::is_program_on_root_disk() {
        tokio::time::sleep(SETTLED_AFTER).await;
        memory::release_startup_memory();
    }
}

/// The state folder and its lock; under an OS supervisor for as long as it takes.
async fn wait_for_home(
    options: &Options,
    supervisor: ParentSupervisor,
    signals: &Signals,
    notifications: &mut SupervisorNotifications,
) -> Result<Home, Ending> {
    let mut said = String::new();
    loop {
        let refusal = match Home::take(options) {
            Ok(home) => return Ok(home),
            Err(refusal) => refusal,
        };
        if !supervisor.starts_again() {
            tracing::error!("{}", refusal.sentence);
            return Err(refusal.ending);
        }
        if said != refusal.sentence {
            tracing::error!("{}; waiting", refusal.sentence);
            super::heard(notifications.ready(&format!("waiting: {}", refusal.sentence)));
            said = refusal.sentence;
        }
        let pause = notifications
            .ping_every()
            .map_or(RETRY, |every| every.min(RETRY));
        tokio::select! {
            arrived = signals.arrived() => {
                if arrived.is_ok_and(|arrived| arrived.end > 0) {
                    return Err(Ending::Done);
                }
            }
            () = tokio::time::sleep(pause) => super::heard(notifications.watchdog()),
        }
    }
}

async fn assemble(
    config: Config,
    options: &Options,
    outside: Outside,
    (tree_killer, ended): Dead,
    home: Home,
    mut inherited: Option<Inheritance>,
) -> Result<Daemon, Refusal> {
    let boot_id = identity::boot_id().map_err(|error| system("read the boot id", &error))?;
    match reaper::become_subreaper() {
        Ok(true) => {}
        Ok(false) => {
            tracing::debug!("this system has no subreaper; orphans are found by their marks");
        }
        Err(error) => {
            tracing::warn!("cannot become subreaper: {error}; orphans are found by their marks");
        }
    }
    let program =
        identity::own_program().map_err(|error| system("find its own program", &error))?;
    let clock = inherited
        .as_ref()
        .map_or_else(Clock::start, |left| Clock::resume(left.clock_began));
    let origin = clock.origin();
    let (store, past) = Store::open(home.state(), &boot_id);
    let (inbox, facts) = mpsc::channel(INBOX_MAX);
    let unit_delegates = outside.start_context.unit_delegates();
    let cgroups = Cgroups::find(&config.name, unit_delegates).await;
    let spawner = Spawner::with(tree_killer);
    let status_board = Rc::new(StatusBoard::new(spawner.clone(), program.clone()));
    let lives = inherited.as_mut().map(|left| left.lives(&spawner));
    let reception = Reception::open(&outside.start_context, &config.services);
    for held in inherited.iter_mut().flat_map(|left| left.held.drain(..)) {
        reception.inherit(held, &config.services);
    }
    let shared = SharedContext {
        spawner,
        output: RefCell::new(output(home.state(), &outside)),
        store: store.clone(),
        claims: RefCell::new(Claims::new(home.state())),
        reported: ReportedProcesses::default(),
        orphans: UnattributedOrphans::default(),
        cgroups: RefCell::new(cgroups),
        reception,
        inbox,
        boot: (boot_id, identity::pid_namespace()),
        program,
        environment: clean_environment(std::env::vars_os()),
        status_board: Rc::clone(&status_board),
        state: home.state().root().to_owned(),
        runtime_dir: options.runtime_dir.clone(),
        state_key: state_key(home.state()),
        inherited: RefCell::new(lives.unwrap_or_default()),
        settling: Cell::new(false),
        now: Box::new(move || origin.now()),
        stamp: Box::new(move |moment| origin.stamp(moment)),
    };
    let reported = shared.reported.clone();
    let executor = Executor::new(shared, config.services.clone());
    let Outside {
        supervisor,
        signals,
        notifications,
        stall,
        ..
    } = outside;
    let mut identity = Identity::new(
        &config,
        supervisor,
        home.state(),
        &options.control_socket,
        origin,
        reported,
        status_board,
    );
    let left = inherited.and_then(|left| {
        identity.has_been(&left.started_at, &left.upgrade);
        tell(&store, &left);
        Some(Left {
            socket: left.socket?,
            carried: left.carried,
        })
    });
    let parts = Parts {
        config,
        identity,
        signals,
        notifications,
        stall,
        clock,
        executor,
        store,
        past,
        home,
        options: options.clone(),
        facts,
        ended,
    };
    if left.is_some() {
        reached(Failpoint::TakenOver);
    }
    Daemon::new(parts, supervisor, left)
        .await
        .map_err(|error| system("open the control socket", &error))
}

/// What became of the upgrade, in journal and log.
fn tell(store: &Store, left: &Inheritance) {
    let Upgrade {
        from, to, refused, ..
    } = &left.upgrade;
    let count = left.carried.len();
    match refused {
        None => {
            let sentence = format!(
                "version {to} has taken the place of version {from} in the same process; its services ({count}) go on"
            );
            tracing::info!("{sentence}");
            store.record(None, &upgrade::record(&sentence, true));
        }
        Some(why) => {
            let sentence =
                format!("version {to} could not take over: {why}; version {from} goes on");
            tracing::error!("{sentence}");
            store.record(None, &upgrade::record(&sentence, false));
        }
    }
}

/// The same for as long as the folder is there.
fn state_key(state: &StateDir) -> String {
    std::fs::metadata(state.root())
        .map(|meta| format!("{:x}-{:x}", meta.dev(), meta.ino()))
        .unwrap_or_default()
}

/// Where the services' output goes, and how the pump is heard.
fn output(state: &StateDir, outside: &Outside) -> Output {
    let audience = Audience::look(
        outside.supervisor == ParentSupervisor::Container,
        outside
            .start_context
            .variables
            .get("JOURNAL_STREAM")
            .map(String::as_str),
    );
    Output::new(state.clone(), audience, Arc::new(say))
}

fn say(news: News) {
    match news {
        News::Refused {
            key: (service, _),
            cause,
        } => {
            tracing::error!(
                service,
                "cannot write its output: {cause}; it is counted and thrown away until that works"
            );
        }
        News::Lost {
            key: (service, _),
            bytes,
            cause,
        } => {
            tracing::warn!(service, "{bytes} bytes of its output are lost: {cause}");
        }
        News::HeldOpen {
            key: (service, life),
            holder,
        } => {
            let holder = holder.map_or_else(|| "a process".to_owned(), |pid| format!("pid {pid}"));
            tracing::warn!(
                service,
                "{holder} outside life {} still holds its output open; it is closed",
                life.0
            );
        }
    }
}

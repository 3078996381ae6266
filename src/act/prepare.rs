//! Before a life: is the port free, may it be claimed, does `before` succeed?

use super::child::{Environment, Running};
use super::claim::{Claim, Token};
use super::environment::{self, READ_WITHIN};
use super::launch::{Launch, Mark};
use super::notify_socket::NotifySocket;
use super::output::LifeOutput;
use super::portrait::{Portrait, Portraitist};
use super::shared::Shared;
use super::step::{Step, reached};
use super::tree::Tree;
use super::ward::{Living, Ward};
use crate::decide::event::{Fact, Holder, Life, Proc, SpawnFailure};
use crate::sys::process::{self, Process};
use crate::sys::reaper::Status;
use crate::sys::socket;
use std::rc::Rc;
use std::time::Duration;

/// Starting a program takes no longer than this, or its disk is gone.
pub(super) const EXEC_DEADLINE: Duration = Duration::from_secs(10);
/// Naming the holder of a port may not take longer.
const NAMING_DEADLINE: Duration = Duration::from_secs(1);
/// One port may be open in every worker of a server: no more of them are counted.
const HOLDERS_MAX: usize = 64;
/// A directory service that has not named a user by then is not waited for.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(5);
/// Where to look when `before` fails.
const BEFORE_EXIT_CODES_SHOWN: &str = "its output is in the service's log";

/// Prepares `life` and says how it went.
pub(super) async fn prepare(shared: Rc<Shared>, ward: Rc<Ward>, life: Life) {
    let fact = match try_prepare(&shared, &ward, life).await {
        Ok(living) if living.cancel_asked.get() => {
            Fact::NotPrepared(life, SpawnFailure::cancelled())
        }
        Ok(_) => Fact::Prepared(life),
        Err(Refused::Port(holder)) => Fact::PortHeld(life, holder),
        Err(Refused::Other(failure)) => Fact::NotPrepared(life, failure),
        Err(Refused::Before(failure)) => Fact::BeforeFailed(life, failure),
    };
    if matches!(fact, Fact::NotPrepared(..) | Fact::BeforeFailed(..)) {
        super::retire::retire(&shared, &ward, life);
    }
    shared.tell(ward.id, fact).await;
}

/// Ends a preparation: what waits in it returns.
pub(super) fn cancel(ward: &Ward, life: Life) {
    if let Some(living) = ward.living(life) {
        living.cancel_asked.set(true);
        living.cancelled.notify_one();
    }
    ward.runtimes.cancel();
}

enum Refused {
    Port(Holder),
    Before(SpawnFailure),
    Other(SpawnFailure),
}

impl From<SpawnFailure> for Refused {
    fn from(failure: SpawnFailure) -> Self {
        Self::Other(failure)
    }
}

async fn try_prepare(
    shared: &Rc<Shared>,
    ward: &Rc<Ward>,
    life: Life,
) -> Result<Rc<Living>, Refused> {
    let token = Token::fresh().map_err(|error| {
        passing(format!(
            "cannot make a token for {}: {error}; trying again",
            ward.config.name
        ))
    })?;
    shared.store.life_began(&ward.config.name, life.0);
    let living = Rc::new(Living::new(life, token));
    ward.life.replace(Some(Rc::clone(&living)));
    if let Some(holder) = held_port(shared, ward).await {
        return Err(Refused::Port(holder));
    }
    let owner = output_owner(ward).await?;
    // Before anything is claimed: what hangs here has begun nothing.
    environment::variables(shared, ward, &living, READ_WITHIN).await?;
    super::sockets::open(shared, ward, owner).await?;
    let opened = shared
        .output
        .borrow_mut()
        .open(&ward.config.name, life, &ward.config.log, owner);
    let output = opened.map_err(|error| passing(format!("{error}; trying again")))?;
    claim(shared, ward, &living, &output);
    living
        .claim_file
        .set(Some((output.claim_file.dev, output.claim_file.inode)));
    living.output.replace(Some(output));
    if !ward.config.kill_group_only {
        super::cgroup::give(shared, ward, &living).await;
    }
    if ward.config.offers_notify_socket() {
        listen(shared, ward, &living, owner)?;
    }
    if let Some(argv) = &ward.config.before {
        run_before(shared, ward, &living, argv).await?;
    }
    Ok(living)
}

/// The service's user, who owns its FIFO; asked off the loop, because a directory service may hang.
pub(super) async fn output_owner(ward: &Ward) -> Result<Option<(u32, u32)>, SpawnFailure> {
    let Some(name) = ward.config.user.clone() else {
        return Ok(None);
    };
    let wanted = name.clone();
    let lookup = tokio::task::spawn_blocking(move || nix::unistd::User::from_name(&wanted));
    match tokio::time::timeout(LOOKUP_DEADLINE, lookup).await {
        Ok(Ok(Ok(Some(user)))) => Ok(Some((user.uid.as_raw(), user.gid.as_raw()))),
        Ok(Ok(Ok(None))) => Err(SpawnFailure {
            message: format!("cannot run as {name}: there is no such user"),
            lasting: true,
        }),
        Ok(Ok(Err(error))) => Err(passing(format!(
            "cannot look up the user {name}: {error}; trying again"
        ))),
        Ok(Err(_)) | Err(_) => Err(passing(format!(
            "cannot look up the user {name}: no answer; trying again"
        ))),
    }
}

/// Writes the intent: whatever happens from here on, the next stayd knows what to look for. A disk that refuses does not
/// stop supervision.
fn claim(shared: &Rc<Shared>, ward: &Ward, living: &Living, output: &LifeOutput) {
    let config = &ward.config;
    let root = ward.runtimes.root();
    let command = config.command_in(root.as_deref());
    let claim = Claim {
        pid: None,
        birth: None,
        boot_id: shared.boot.0.clone(),
        pid_ns: shared.boot.1,
        token: living.token.clone(),
        life: living.life.0,
        claim_fd: output.claim_file,
        first: None,
        ending: false,
        ended: None,
        uid: None,
        members: Vec::new(),
        command_key: Some(config.command_key()),
        program: command.first().map(Into::into).unwrap_or_default(),
        user: config.user.clone(),
        env_key: Some(config.env_key()),
        fingerprint: ward.runtimes.id().map(|id| id.0),
        workspace: config.cwd_in(root.as_deref()),
        runtime: root,
        port: config.port,
        started_at: None,
    };
    reached(Step::BeforeIntent);
    let intended = shared.claims.borrow_mut().intend(&config.name, claim);
    reached(Step::AfterIntent);
    super::life::keep_trying(shared, ward, intended);
}

/// Offers the service a notify socket of its own.
pub(super) fn listen(
    shared: &Rc<Shared>,
    ward: &Rc<Ward>,
    living: &Rc<Living>,
    owner: Option<(u32, u32)>,
) -> Result<(), SpawnFailure> {
    let name = format!("{}.{}", ward.config.name, shared.state_key);
    let bound = NotifySocket::bind(&shared.runtime_dir, &name, owner);
    let socket = bound.map_err(|error| {
        passing(format!(
            "cannot offer it a notify socket: {error}; trying again"
        ))
    })?;
    hear(shared, ward, living, socket);
    Ok(())
}

/// Listens to what the life tells about itself.
pub(super) fn hear(
    shared: &Rc<Shared>,
    ward: &Rc<Ward>,
    living: &Rc<Living>,
    socket: NotifySocket,
) {
    let socket = Rc::new(socket);
    living.notify.replace(Some(Rc::clone(&socket)));
    let hearing = super::told::hear(
        Rc::clone(shared),
        Rc::clone(ward),
        Rc::clone(living),
        socket,
    );
    living
        .hearing
        .replace(Some(tokio::task::spawn_local(hearing).abort_handle()));
}

/// Who listens on the service's port, if somebody does: of several that share it, the oldest.
async fn held_port(shared: &Rc<Shared>, ward: &Ward) -> Option<Holder> {
    let port = ward.config.port?;
    let mut listeners = socket::listeners(port).ok()?.into_iter();
    let listener = listeners.find(|listener| !super::sockets::holds(ward, listener))?;
    let holders = socket::find_holders(&listener, HOLDERS_MAX).unwrap_or_default();
    let Some(portrait) = portrait_of_the_oldest(shared, &holders).await else {
        let words = format!(
            "port {port} is held by a process of user {} that cannot be seen from here",
            listener.uid
        );
        return Some(Holder {
            port,
            main: None,
            words,
        });
    };
    let others = match holders.len() - 1 {
        0 => String::new(),
        count => format!(" and {count} more that share it"),
    };
    let Process { pid, birth } = portrait.stat.process;
    let words = format!("port {port} is held by {}{others}", portrait.in_words());
    let main = Some(Proc { pid, birth });
    Some(Holder { port, main, words })
}

/// None when all have gone by now, or there are none.
async fn portrait_of_the_oldest(shared: &Rc<Shared>, holders: &[i32]) -> Option<Portrait> {
    let stats = holders.iter().filter_map(|&pid| process::stat(pid).ok());
    let processes = stats.map(|stat| stat.process);
    let oldest = processes.min_by_key(|process| (process.birth, process.pid))?;
    let mut portraitist = Portraitist::new(
        shared.nursery.clone(),
        shared.program.clone(),
        NAMING_DEADLINE,
    );
    portraitist.describe(oldest.pid).await
}

async fn run_before(
    shared: &Rc<Shared>,
    ward: &Ward,
    living: &Living,
    argv: &[String],
) -> Result<(), Refused> {
    let name = argv.first().cloned().unwrap_or_default();
    let mark = Mark::fresh()
        .map_err(|error| passing(format!("cannot run `before`: {error}; trying again")))?;
    let mark = Some(mark);
    let surroundings = environment::surroundings(shared, ward, living, Environment::new()).await?;
    let launch = {
        let output = living.output.borrow();
        let output = output
            .as_ref()
            .ok_or_else(|| passing("cannot run `before`: no output".into()))?;
        let dup = |fd: &std::os::fd::OwnedFd| {
            fd.try_clone()
                .map_err(|error| passing(format!("cannot run `before`: {error}; trying again")))
        };
        Launch {
            argv: ward.in_place(argv),
            surroundings,
            fds: vec![(1, dup(&output.stdout)?), (2, dup(&output.stderr)?)],
            cgroup: None,
            mark: mark.clone(),
        }
    };
    let started = shared.nursery.start(launch, EXEC_DEADLINE).await;
    let running = started.map_err(|failure| match failure.lasting {
        true => Refused::Before(failure),
        false => Refused::Other(failure),
    })?;
    let Running { process, exit, .. } = running;
    let mut tree = Tree::of_child(process);
    tree.marked(mark);
    let status = tokio::select! {
        status = exit => Some(status.ok()),
        () = living.cancelled.notified() => None,
    };
    // What it leaves behind would be nobody's: it ends with it.
    if status.is_none() || !tree.is_surely_gone() {
        shared.nursery.undertaker().end(tree).await;
    }
    let Some(status) = status else {
        return Err(Refused::Before(SpawnFailure::cancelled()));
    };
    match status {
        Some(Status::Code(0)) => Ok(()),
        Some(Status::Code(code)) => Err(Refused::Before(passing(format!(
            "`before` ({name}) exited with status {code}; {BEFORE_EXIT_CODES_SHOWN}"
        )))),
        Some(Status::Signal(signal)) => Err(Refused::Before(passing(format!(
            "`before` ({name}) was ended by signal {signal}"
        )))),
        None => Err(passing(format!("`before` ({name}) was lost")).into()),
    }
}

pub(super) const fn passing(message: String) -> SpawnFailure {
    SpawnFailure {
        message,
        lasting: false,
    }
}

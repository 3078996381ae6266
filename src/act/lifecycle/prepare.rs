//! Before a life: is the port free, may it be claimed, does `before` succeed?

use super::environment::{self, READ_WITHIN};
use crate::act::claims::{Claim, Token};
use crate::act::context::SharedContext;
use crate::act::context::{Instance, ServiceContext};
use crate::act::failpoint::{Failpoint, reached};
use crate::act::notify::socket::NotifySocket;
use crate::act::output::InstanceOutput;
use crate::act::process_info::{ProcessInfo, ProcessInspector};
use crate::act::spawn::launch::{CommandToken, Launch};
use crate::act::spawn::spawner::{Environment, Running};
use crate::act::tree::Tree;
use crate::decide::event::{Life, PortHolder, ServiceEvent, SpawnFailure};
use crate::sys::process::{self, Process};
use crate::sys::reaper::Status;
use crate::sys::socket;
use std::rc::Rc;
use std::time::Duration;

/// Starting a program takes no longer than this, or its disk is gone.
pub(crate) const EXEC_DEADLINE: Duration = Duration::from_secs(10);
/// Naming the holder of a port may not take longer.
const NAMING_DEADLINE: Duration = Duration::from_secs(1);
/// One port may be open in every worker of a server: no more of them are counted.
const HOLDERS_MAX: usize = 64;
/// A directory service that has not named a user by then is not waited for.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(5);
/// Where to look when `before` fails.
const BEFORE_EXIT_CODES_SHOWN: &str = "its output is in the service's log";

/// Prepares `life` and says how it went.
pub(crate) async fn prepare(shared: Rc<SharedContext>, context: Rc<ServiceContext>, life: Life) {
    let fact = match try_prepare(&shared, &context, life).await {
        Ok(instance) if instance.cancel_asked.get() => {
            ServiceEvent::NotPrepared(life, SpawnFailure::cancelled())
        }
        Ok(_) => ServiceEvent::Prepared(life),
        Err(Refused::Port(holder)) => ServiceEvent::PortHeld(life, holder),
        Err(Refused::Other(failure)) => ServiceEvent::NotPrepared(life, failure),
        Err(Refused::Before(failure)) => ServiceEvent::BeforeFailed(life, failure),
    };
    if matches!(
        fact,
        ServiceEvent::NotPrepared(..) | ServiceEvent::BeforeFailed(..)
    ) {
        super::retire::retire(&shared, &context, life);
    }
    shared.tell(context.id, fact).await;
}

/// Ends a preparation: what waits in it returns.
pub(crate) fn cancel(context: &ServiceContext, life: Life) {
    if let Some(instance) = context.instance(life) {
        instance.cancel_asked.set(true);
        instance.cancelled.notify_one();
    }
    context.runtimes.cancel();
}

enum Refused {
    Port(PortHolder),
    Before(SpawnFailure),
    Other(SpawnFailure),
}

impl From<SpawnFailure> for Refused {
    fn from(failure: SpawnFailure) -> Self {
        Self::Other(failure)
    }
}

async fn try_prepare(
    shared: &Rc<SharedContext>,
    context: &Rc<ServiceContext>,
    life: Life,
) -> Result<Rc<Instance>, Refused> {
    let token = Token::fresh().map_err(|error| {
        passing(format!(
            "cannot make a token for {}: {error}; trying again",
            context.config.name
        ))
    })?;
    shared.store.life_began(&context.config.name, life.0);
    let instance = Rc::new(Instance::new(life, token));
    context.life.replace(Some(Rc::clone(&instance)));
    if let Some(holder) = held_port(shared, context).await {
        return Err(Refused::Port(holder));
    }
    let owner = output_owner(context).await?;
    // Before anything is claimed: what hangs here has begun nothing.
    environment::variables(shared, context, &instance, READ_WITHIN).await?;
    crate::act::sockets::open(shared, context, owner).await?;
    let opened =
        shared
            .output
            .borrow_mut()
            .open(&context.config.name, life, &context.config.log, owner);
    let output = opened.map_err(|error| passing(format!("{error}; trying again")))?;
    claim(shared, context, &instance, &output);
    instance
        .claim_file
        .set(Some((output.claim_file.dev, output.claim_file.inode)));
    instance.output.replace(Some(output));
    if !context.config.kill_group_only {
        crate::act::tree::cgroups::give(shared, context, &instance).await;
    }
    if context.config.offers_notify_socket() {
        listen(shared, context, &instance, owner)?;
    }
    if let Some(argv) = &context.config.before {
        run_before(shared, context, &instance, argv).await?;
    }
    Ok(instance)
}

/// The service's user, who owns its FIFO; asked off the loop, because a directory service may hang.
pub(crate) async fn output_owner(
    context: &ServiceContext,
) -> Result<Option<(u32, u32)>, SpawnFailure> {
    let Some(name) = context.config.user.clone() else {
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
fn claim(
    shared: &Rc<SharedContext>,
    context: &ServiceContext,
    instance: &Instance,
    output: &InstanceOutput,
) {
    let config = &context.config;
    let root = context.runtimes.root();
    let command = config.command_in(root.as_deref());
    let claim = Claim {
        pid: None,
        start_time: None,
        boot_id: shared.boot.0.clone(),
        pid_ns: shared.boot.1,
        token: instance.token.clone(),
        life: instance.life.0,
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
        fingerprint: context.runtimes.id().map(|id| id.0),
        workspace: config.cwd_in(root.as_deref()),
        runtime: root,
        port: config.port,
        started_at: None,
    };
    reached(Failpoint::BeforeIntent);
    let intended = shared.claims.borrow_mut().intend(&config.name, claim);
    reached(Failpoint::AfterIntent);
    super::instance::keep_trying(shared, context, intended);
}

/// Offers the service a notify socket of its own.
pub(crate) fn listen(
    shared: &Rc<SharedContext>,
    context: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
    owner: Option<(u32, u32)>,
) -> Result<(), SpawnFailure> {
    let name = format!("{}.{}", context.config.name, shared.state_key);
    let bound = NotifySocket::bind(&shared.runtime_dir, &name, owner);
    let socket = bound.map_err(|error| {
        passing(format!(
            "cannot offer it a notify socket: {error}; trying again"
        ))
    })?;
    hear(shared, context, instance, socket);
    Ok(())
}

/// Listens to what the life tells about itself.
pub(crate) fn hear(
    shared: &Rc<SharedContext>,
    context: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
    socket: NotifySocket,
) {
    let socket = Rc::new(socket);
    instance.notify.replace(Some(Rc::clone(&socket)));
    let hearing = crate::act::notify::receive::hear(
        Rc::clone(shared),
        Rc::clone(context),
        Rc::clone(instance),
        socket,
    );
    instance
        .hearing
        .replace(Some(tokio::task::spawn_local(hearing).abort_handle()));
}

/// Who listens on the service's port, if somebody does: of several that share it, the oldest.
async fn held_port(shared: &Rc<SharedContext>, context: &ServiceContext) -> Option<PortHolder> {
    let port = context.config.port?;
    let mut listeners = socket::listeners(port).ok()?.into_iter();
    let listener = listeners.find(|listener| !crate::act::sockets::holds(context, listener))?;
    let holders = socket::find_holders(&listener, HOLDERS_MAX).unwrap_or_default();
    let Some(process_info) = portrait_of_the_oldest(shared, &holders).await else {
        let description = format!(
            "port {port} is held by a process of user {} that cannot be seen from here",
            listener.uid
        );
        return Some(PortHolder {
            port,
            main: None,
            description,
        });
    };
    let others = match holders.len() - 1 {
        0 => String::new(),
        count => format!(" and {count} more that share it"),
    };
    let Process { pid, start_time } = process_info.stat.process;
    let description = format!("port {port} is held by {}{others}", process_info.in_words());
    let main = Some(Process { pid, start_time });
    Some(PortHolder {
        port,
        main,
        description,
    })
}

/// None when all have gone by now, or there are none.
async fn portrait_of_the_oldest(
    shared: &Rc<SharedContext>,
    holders: &[i32],
) -> Option<ProcessInfo> {
    let stats = holders.iter().filter_map(|&pid| process::stat(pid).ok());
    let processes = stats.map(|stat| stat.process);
    let oldest = processes.min_by_key(|process| (process.start_time, process.pid))?;
    let mut inspector = ProcessInspector::new(
        shared.spawner.clone(),
        shared.program.clone(),
        NAMING_DEADLINE,
    );
    inspector.describe(oldest.pid).await
}

async fn run_before(
    shared: &Rc<SharedContext>,
    context: &ServiceContext,
    instance: &Instance,
    argv: &[String],
) -> Result<(), Refused> {
    let name = argv.first().cloned().unwrap_or_default();
    let mark = CommandToken::fresh()
        .map_err(|error| passing(format!("cannot run `before`: {error}; trying again")))?;
    let mark = Some(mark);
    let surroundings =
        environment::surroundings(shared, context, instance, Environment::new()).await?;
    let launch = {
        let output = instance.output.borrow();
        let output = output
            .as_ref()
            .ok_or_else(|| passing("cannot run `before`: no output".into()))?;
        let dup = |fd: &std::os::fd::OwnedFd| {
            fd.try_clone()
                .map_err(|error| passing(format!("cannot run `before`: {error}; trying again")))
        };
        Launch {
            argv: context.in_place(argv),
            surroundings,
            fds: vec![(1, dup(&output.stdout)?), (2, dup(&output.stderr)?)],
            cgroup: None,
            mark: mark.clone(),
        }
    };
    let started = shared.spawner.start(launch, EXEC_DEADLINE).await;
    let running = started.map_err(|failure| match failure.lasting {
        true => Refused::Before(failure),
        false => Refused::Other(failure),
    })?;
    let Running { process, exit, .. } = running;
    let mut tree = Tree::of_child(process);
    tree.marked(mark);
    let status = tokio::select! {
        status = exit => Some(status.ok()),
        () = instance.cancelled.notified() => None,
    };
    // What it leaves behind would be nobody's: it ends with it.
    if status.is_none() || !tree.is_surely_gone() {
        shared.spawner.tree_killer().end(tree).await;
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

pub(crate) const fn passing(message: String) -> SpawnFailure {
    SpawnFailure {
        message,
        lasting: false,
    }
}

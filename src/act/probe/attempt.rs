//! One round of a probe: who listens, what came, and what was seen meanwhile.

use crate::act::context::SharedContext;
use crate::act::context::{Asked, Baseline, Instance, ServiceContext};
use crate::act::lifecycle::environment;
use crate::act::probe::{ProbeContext, Prober};
use crate::act::tree::Tree;
use crate::act::tree::stop_state::StopState;
use crate::config::{Endpoint, Target};
use crate::decide::clock::{Duration, Instant};
use crate::decide::event::{Answer, Check, Life, ProbeAttempt, ResourceSample, ServiceEvent};
use crate::sys::process::{self, State};
use crate::sys::socket;
use std::rc::Rc;

/// Between two looks for members that have left the tree; they come with a round, not on their own.
const LEAVERS_EVERY: Duration = Duration::from_secs(2);
/// The same where a look goes through all processes that there are.
const LEAVERS_EVERY_WHERE_ORPHANS_LAND_ELSEWHERE: Duration = Duration::from_secs(30);
/// A baseline older than this many timeouts tells nothing about now.
const BASELINE_TIMEOUTS_MAX: u32 = 10;

/// Asks once and reports.
pub(crate) async fn attempt(
    shared: Rc<SharedContext>,
    context: Rc<ServiceContext>,
    life: Life,
    check: Check,
    deadline: Instant,
) {
    let Some(instance) = context.instance(life) else {
        return;
    };
    let asked_at = (shared.now)();
    let timeout = deadline.since(asked_at);
    let answer = match outsider(&shared, &context, &instance, check) {
        Some(why) => Answer::NoVerdict { why },
        None => ask(&shared, &context, &instance, check, timeout).await,
    };
    let latency = (shared.now)().since(asked_at);
    look_for_leavers(&shared, &context, &instance);
    let sample = look(&shared, &context, &instance, &answer, timeout);
    if check == Check::Liveness {
        context.note_answer(transcript_line(&shared, asked_at, latency, &answer));
    }
    let attempt = ProbeAttempt {
        asked_at,
        deadline,
        answer,
        latency,
        sample,
    };
    shared
        .tell(context.id, ServiceEvent::Probed(life, check, attempt))
        .await;
}

/// Who leaves the tree is remembered while the proof is to be had, which may be gone later.
fn look_for_leavers(shared: &SharedContext, context: &ServiceContext, instance: &Instance) {
    let now = (shared.now)();
    let last = instance.looked_for_leavers_at.get();
    let adopted = instance
        .tree
        .borrow()
        .as_ref()
        .is_some_and(|tree| tree.adopted);
    let every = if adopted {
        LEAVERS_EVERY_WHERE_ORPHANS_LAND_ELSEWHERE
    } else {
        LEAVERS_EVERY
    };
    if last.is_none_or(|last| now.since(last) >= every) {
        instance.looked_for_leavers_at.set(Some(now));
        crate::act::lifecycle::instance::remember(shared, context, instance);
    }
}

/// Asks, and half-way through an unanswered question takes the figures that the end is compared with.
async fn ask(
    shared: &Rc<SharedContext>,
    context: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
    check: Check,
    timeout: Duration,
) -> Answer {
    let began = (shared.now)();
    let mut prober = match take_prober(shared, context, instance, check, timeout).await {
        Ok(prober) => prober,
        Err(why) => return Answer::NoVerdict { why },
    };
    let timeout = timeout.saturating_sub((shared.now)().since(began));
    let answer = {
        let asking = std::pin::pin!(prober.ask(timeout));
        let mut asking = asking;
        tokio::select! {
            biased;
            answer = &mut asking => answer,
            () = instance.over.notified() => return over(),
            () = tokio::time::sleep(timeout / 2) => {
                if baseline_is_stale(instance, (shared.now)(), timeout) {
                    instance.baseline.set(measure(shared, context, instance));
                }
                tokio::select! {
                    biased;
                    answer = &mut asking => answer,
                    () = instance.over.notified() => return over(),
                }
            }
        }
    };
    instance.prober(check).replace(Asked::Ready(prober));
    answer
}

/// The life has ended before the answer: the question is given up, and its processes with it.
fn over() -> Answer {
    Answer::NoVerdict {
        why: "cannot ask any more: the life is over".into(),
    }
}

/// The check's prober, made at its first round; or why there is none for this round.
async fn take_prober(
    shared: &Rc<SharedContext>,
    context: &ServiceContext,
    instance: &Instance,
    check: Check,
    timeout: Duration,
) -> Result<Box<Prober>, String> {
    let asked = instance.prober(check);
    match asked.replace(Asked::UnderWay) {
        Asked::Ready(prober) => Ok(prober),
        Asked::UnderWay => Err("cannot ask: the round before has not returned".into()),
        Asked::Never => match make_prober(shared, context, instance, check, timeout).await {
            Ok(prober) => Ok(Box::new(prober)),
            Err(why) => {
                asked.replace(Asked::Never); // the next round tries again
                Err(why)
            }
        },
    }
}

async fn make_prober(
    shared: &Rc<SharedContext>,
    context: &ServiceContext,
    instance: &Instance,
    check: Check,
    timeout: Duration,
) -> Result<Prober, String> {
    let probe = context
        .probe(check)
        .ok_or("cannot ask: there is no probe")?;
    let surroundings = match &probe.target {
        Target::Exec(_) => {
            let read = environment::of_a_question(shared, context, instance, timeout).await;
            read.map_err(|failure| format!("cannot ask: {}", failure.message))?
        }
        _ => environment::without_env_file(shared, context),
    };
    let context = ProbeContext {
        spawner: shared.spawner.clone(),
        program: shared.program.clone(),
        surroundings,
        heartbeat: instance.heartbeat.clone(),
    };
    Ok(Prober::new(probe, context))
}

/// Why the listener on the probe's port is not to be believed: it is not of the tree.
fn outsider(
    shared: &SharedContext,
    context: &ServiceContext,
    instance: &Instance,
    check: Check,
) -> Option<String> {
    let probe = context.probe(check)?;
    let port = local_port(&probe.target)?;
    if context.config.any_port_owner {
        return None;
    }
    let listener = socket::listeners(port).ok()?.into_iter().next()?;
    if let Some((inode, verdict)) = &*instance.listener.borrow()
        && *inode == listener.inode
    {
        return verdict.clone();
    }
    if crate::act::sockets::holds(context, &listener) {
        return None;
    }
    let owner = instance
        .tree
        .borrow()
        .as_ref()
        .map(|tree| tree.holds_listener(port));
    let verdict = match owner? {
        Ok(Some(_)) => {
            // A new listener means a new shape of the tree: who has left it is seen now, while it can be proven.
            crate::act::lifecycle::instance::remember(shared, context, instance);
            None
        }
        // What cannot be read cannot accuse.
        Err(_) => return None,
        Ok(None) => name_outsider(port, &listener),
    };
    instance
        .listener
        .replace(Some((listener.inode, verdict.clone())));
    verdict
}

/// None where nobody can be seen holding it: a process that hides its descriptors from us may well be the service.
fn name_outsider(port: u16, listener: &socket::Listener) -> Option<String> {
    let pid = socket::find_holder(listener).ok().flatten()?;
    let name = process::stat(pid).map(|stat| stat.comm).unwrap_or_default();
    Some(format!(
        "port {port} is answered by pid {pid} ({name}), which is not of this service's tree; nothing is concluded from \
         it (port_owner = \"any\" believes it)"
    ))
}

/// The port a target listens on here, if it is one of ours to check.
fn local_port(target: &Target) -> Option<u16> {
    match target.endpoint()? {
        Endpoint::Tcp(host, port) if is_loopback(host) => Some(*port),
        Endpoint::Tcp(..) | Endpoint::Unix(_) => None,
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// What the tree and the host were seen doing, for rounds that need it.
fn look(
    shared: &SharedContext,
    context: &ServiceContext,
    instance: &Instance,
    answer: &Answer,
    timeout: Duration,
) -> ResourceSample {
    let main = instance.main.borrow().as_ref().map(|main| main.process);
    let Some(main) = main.or(instance.foreign.get()) else {
        return ResourceSample::default();
    };
    let state = process::stat(main.pid).map(|stat| stat.state);
    let mut sample = ResourceSample {
        stopped: matches!(state, Ok(State::Stopped)),
        ..ResourceSample::default()
    };
    if sample.stopped || counts_as_dead(context, answer) {
        let stop_state = StopState::of(main, instance.tree.borrow().as_ref());
        (sample.traced, sample.frozen) = (stop_state.traced, stop_state.frozen);
    }
    if matches!(answer, Answer::Alive | Answer::Degraded { .. }) {
        instance.baseline.set(None);
        return sample;
    }
    let (before, after) = (instance.baseline.get(), measure(shared, context, instance));
    if let (Some(before), Some(after)) = (before, after)
        && !baseline_is_stale(instance, after.at, timeout)
    {
        compare(&mut sample, &before, &after);
    }
    instance.baseline.set(after);
    sample
}

/// Whether it would be held against the service, if nothing excused it.
fn counts_as_dead(context: &ServiceContext, answer: &Answer) -> bool {
    let degraded_kills = || {
        let rules = context.config.policy.watchdog;
        rules.is_some_and(|rules| rules.degraded_kills)
    };
    match answer {
        Answer::Dead { .. } => true,
        Answer::Degraded { .. } => degraded_kills(),
        Answer::Alive | Answer::NoVerdict { .. } => false,
    }
}

fn compare(sample: &mut ResourceSample, before: &Baseline, after: &Baseline) {
    sample.watched = after.at.since(before.at);
    sample.tree_cpu = after.tree.cpu.saturating_sub(before.tree.cpu);
    sample.tree_io_bytes = after.tree.io_bytes.saturating_sub(before.tree.io_bytes);
    sample.throttled = after.tree.throttled > before.tree.throttled;
    sample.host_cpu = after.host.cpu.saturating_sub(before.host.cpu);
    sample.host_cpus = after.host.cpus;
    sample.host_runnable = after.host.runnable;
}

fn measure(
    shared: &SharedContext,
    context: &ServiceContext,
    instance: &Instance,
) -> Option<Baseline> {
    crate::act::lifecycle::instance::remember(shared, context, instance);
    let tree = instance.tree.borrow();
    let foreign = || {
        instance
            .foreign
            .get()
            .and_then(crate::act::foreign::attach::usage)
    };
    Some(Baseline {
        at: (shared.now)(),
        tree: tree.as_ref().map(Tree::usage).or_else(foreign)?,
        host: process::host().ok()?,
    })
}

fn baseline_is_stale(instance: &Instance, now: Instant, timeout: Duration) -> bool {
    let oldest = timeout.saturating_mul(BASELINE_TIMEOUTS_MAX);
    instance
        .baseline
        .get()
        .is_none_or(|baseline| now.since(baseline.at) > oldest)
}

fn transcript_line(
    shared: &SharedContext,
    asked_at: Instant,
    latency: Duration,
    answer: &Answer,
) -> String {
    let at = humantime::format_rfc3339_millis((shared.stamp)(asked_at));
    let what = match answer {
        Answer::Alive => "alive".to_owned(),
        Answer::Degraded { said, .. } => format!("degraded: {said}"),
        Answer::Dead { how } => format!("dead: {how}"),
        Answer::NoVerdict { why } => format!("no verdict: {why}"),
    };
    format!("{at} after {} ms: {what}", latency.as_millis())
}

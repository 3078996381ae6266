//! One attempt of a probe: asks the service, and samples its tree meanwhile.

use super::{listener, sample};
use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::lifecycle::claim::record_members;
use crate::act::lifecycle::environment;
use crate::act::probe::{ProbeContext, Prober};
use crate::act::recovery::deleted_files::NOTIFY_SOCKET_LOST;
use crate::config::Target;
use crate::decide::clock::{Duration, Instant};
use crate::decide::event::{Answer, Check, Life, ProbeAttempt, ServiceEvent};
use std::rc::Rc;

/// Asks once and reports the answer to the loop.
pub(crate) async fn attempt(
    shared: Rc<SharedContext>,
    service: Rc<ServiceContext>,
    life: Life,
    check: Check,
    deadline: Instant,
) {
    let Some(instance) = service.instance(life) else {
        return;
    };
    let asked_at = (shared.now)();
    let timeout = deadline.since(asked_at);
    let answer = ask(&shared, &service, &instance, check, timeout).await;
    let answer = unless_unheard(&service, &instance, check, answer);
    let latency = (shared.now)().since(asked_at);
    // Record members that leave the tree now, while there is evidence for them. Later it may be gone.
    if instance.tree.search_is_due((shared.now)()) {
        let (shared, service) = (Rc::clone(&shared), Rc::clone(&service));
        let instance = Rc::clone(&instance);
        tokio::task::spawn_local(async move {
            record_members(&shared, &service, &instance).await;
        });
    }
    let sample = sample::after(&shared, &service, &instance, check, &answer, timeout).await;
    if check == Check::Liveness {
        let line = transcript_line(&shared, asked_at, latency, &answer);
        service.transcript.add(line);
    }
    let attempt = ProbeAttempt {
        asked_at,
        deadline,
        answer,
        latency,
        sample,
    };
    let event = ServiceEvent::Probed(life, check, attempt);
    shared.send(service.id, event).await;
}

/// Silence is no verdict on a service that cannot find its notify socket.
fn unless_unheard(
    service: &ServiceContext,
    instance: &Instance,
    check: Check,
    answer: Answer,
) -> Answer {
    let probe = service.probe(check);
    let is_notified = probe.is_some_and(|probe| matches!(probe.target, Target::Notify));
    match answer {
        Answer::Dead { .. } if is_notified && instance.messages.is_file_lost() => {
            let why = format!("cannot ask: {NOTIFY_SOCKET_LOST}");
            Answer::NoVerdict { why }
        }
        answer => answer,
    }
}

/// Asks. Early in an unanswered attempt, measures the resource use of the tree, with which the end is compared.
async fn ask(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
    check: Check,
    timeout: Duration,
) -> Answer {
    let began_at = (shared.now)();
    let mut prober = match take_prober(shared, service, instance, check, timeout).await {
        Ok(prober) => prober,
        Err(why) => return Answer::NoVerdict { why },
    };
    let timeout = timeout.saturating_sub((shared.now)().since(began_at));
    let answer = {
        let mut asking = std::pin::pin!(prober.ask(timeout));
        tokio::select! {
            biased;
            answer = &mut asking => answer,
            () = instance.retired() => return retired(),
            () = instance.checks.ended() => return retired(),
            () = tokio::time::sleep(timeout * 2 / 5) => {
                let mut sampling =
                    std::pin::pin!(sample::begin(shared, service, instance, check, timeout));
                let mut is_sampling = true;
                loop {
                    tokio::select! {
                        biased;
                        answer = &mut asking => break answer,
                        () = &mut sampling, if is_sampling => is_sampling = false,
                        () = instance.retired() => return retired(),
                        () = instance.checks.ended() => return retired(),
                    }
                }
            }
        }
    };
    instance.checks.prober(check).put(prober);
    answer
}

/// The answer of an attempt that is abandoned because its instance has ended or is to stop. Dropping the attempt closes its
/// connection and ends its processes.
fn retired() -> Answer {
    Answer::NoVerdict {
        why: "the instance was ended before it answered".into(),
    }
}

/// Returns the check's prober, which is created for the first attempt; or why this attempt has none.
async fn take_prober(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
    check: Check,
    timeout: Duration,
) -> Result<Box<Prober>, String> {
    let slot = instance.checks.prober(check);
    match slot.take() {
        Ok(Some(prober)) => Ok(prober),
        Ok(None) => match make_prober(shared, service, instance, check, timeout).await {
            Ok(prober) => Ok(Box::new(prober)),
            Err(why) => {
                slot.release();
                Err(why)
            }
        },
        Err(_) => Err("cannot ask: the previous attempt has not returned".into()),
    }
}

async fn make_prober(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
    check: Check,
    timeout: Duration,
) -> Result<Prober, String> {
    let probe = service
        .probe(check)
        .ok_or("cannot ask: there is no probe")?;
    let exec_context = match &probe.target {
        Target::Exec(_) => {
            let read = environment::of_a_command(shared, service, instance, timeout).await;
            read.map_err(|failure| format!("cannot ask: {}", failure.message))?
        }
        _ => environment::without_env_file(shared, service),
    };
    let context = ProbeContext {
        spawner: shared.spawner.clone(),
        program: shared.helpers.program().to_owned(),
        exec_context,
        heartbeat: instance.checks.heartbeat.clone(),
        is_member: {
            let instance = Rc::downgrade(instance);
            Rc::new(move |pid| {
                instance
                    .upgrade()
                    .is_some_and(|instance| instance.tree.has_evident_member(pid))
            })
        },
        listener_judge: listener::judge_of(shared, service, instance),
    };
    Ok(Prober::new(probe, context))
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
        Answer::AliveWithNote { note } => format!("alive: {note}"),
        Answer::Degraded { said, .. } => format!("degraded: {said}"),
        Answer::Dead { how } => format!("dead: {how}"),
        Answer::NoVerdict { why } => format!("no verdict: {why}"),
    };
    format!("{at} after {} ms: {what}", latency.as_millis())
}

//! Ends an instance: sends signals, and kills its tree.

use super::claim::{READ_TIMEOUT, retry_until_written};
use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::failpoint::{Failpoint, reached};
use crate::act::tree::Tree;
use crate::decide::event::{Life, ServiceEvent};
use nix::errno::Errno;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// Sent after the stop signal, so that a stopped process can handle that.
const SIGCONT: i32 = libc::SIGCONT;

/// The interval between two looks at a tree whose exits are not reported to stayd. Each reads all processes of the machine.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Sends the stop signal to the main process or, if `tree`, to all that is left of the tree.
pub(crate) fn terminate(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    life: Life,
    tree: bool,
) {
    let Some(instance) = service.instance(life) else {
        return;
    };
    let signal = service.config.stop_signal.0;
    if tree {
        instance.tree.begin_ending();
        let (shared, service) = (Rc::clone(shared), Rc::clone(service));
        tokio::task::spawn_local(terminate_tree(shared, service, instance, signal));
        return;
    }
    // A server that ends when its last client has left would wait for the probe's connection.
    instance.checks.end();
    let ending = shared.claims.mark_ending(service.name(), life);
    retry_until_written(shared, service, ending);
    // A process that has ended meanwhile needs no signal.
    let _ = instance.main.signal(signal);
    let _ = instance.main.signal(SIGCONT);
    reached(Failpoint::Terminated);
}

/// Sends `signal` to every process of the tree, and watches for the end of the tree.
async fn terminate_tree(
    shared: Rc<SharedContext>,
    service: Rc<ServiceContext>,
    instance: Rc<Instance>,
    signal: i32,
) {
    let send = move |tree: Option<&mut Tree>| {
        tree.map(|tree| tree.terminate(signal));
    };
    // What gets no signal in time is killed after the grace.
    let _ = instance.tree.read(READ_TIMEOUT, send).await;
    reached(Failpoint::Terminated);
    kill_tree_if_ended(&shared, &service);
    if !instance.tree.orphans_come_to_us() {
        watch_until_ended(shared, service, instance).await;
    }
}

/// Sends the watchdog's first signal.
pub(crate) fn signal_first(service: &ServiceContext, life: Life) {
    if let (Some(instance), Some(signal)) = (service.instance(life), service.config.first_signal) {
        // A process that has ended meanwhile needs no signal.
        let _ = instance.main.signal(signal.0);
    }
}

/// Sends the reload signal.
///
/// # Errors
/// The service does not run, or the system refuses.
pub(crate) fn reload(service: &ServiceContext) -> Result<(), String> {
    let name = service.name();
    let instance = service
        .current()
        .ok_or_else(|| format!("cannot reload {name}: it does not run; start it first"))?;
    let signal = service.config.reload_signal.0;
    let sent = instance.main.signal(signal);
    sent.map_err(|error| format!("cannot reload {name}: {error}"))
}

/// Kills the whole tree and reports whether anything is left.
pub(crate) async fn kill_tree(shared: Rc<SharedContext>, service: Rc<ServiceContext>, life: Life) {
    let Some(instance) = service.instance(life) else {
        return;
    };
    let Some(tree) = instance.tree.get() else {
        return;
    };
    let event = match shared.spawner.tree_killer().end(tree).await {
        Some(outcome) if outcome.left == 0 => {
            // The event about the main process's exit must be sent before the one about the empty tree.
            instance.main.ended().await;
            reached(Failpoint::TreeEmpty);
            ServiceEvent::TreeEmptied(life)
        }
        Some(outcome) => ServiceEvent::KillTimedOut {
            life,
            left: outcome.left,
            stuck: outcome.stuck,
            refusal: outcome.refusal.map(refusal),
        },
        None => ServiceEvent::KillTimedOut {
            life,
            left: 1,
            stuck: 0,
            refusal: None,
        },
    };
    shared.send(service.id, event).await;
}

/// Explains an errno of kill(2).
fn refusal(errno: i32) -> String {
    let errno = Errno::from_raw(errno);
    let hint = match errno {
        Errno::EPERM => " (it runs as another user, or a seccomp profile forbids kill(2))",
        _ => "",
    };
    format!("{}{hint}", errno.desc())
}

/// Kills the rest of a tree that stayd is ending, if no member is visible any more. Called after an orphan was reaped.
///
/// Members may be left that only a full scan finds. All others have ended on the stop signal by then, so these are killed.
pub(crate) fn kill_tree_if_ended(shared: &Rc<SharedContext>, service: &Rc<ServiceContext>) {
    let Some(instance) = service.current() else {
        return;
    };
    if !instance.main.has_ended() || !instance.tree.begin_look() {
        return;
    }
    let (shared, service) = (Rc::clone(shared), Rc::clone(service));
    tokio::task::spawn_local(async move {
        if instance.tree.look_for_end(READ_TIMEOUT).await {
            kill_tree(shared, service, instance.life).await;
        }
    });
}

/// Looks again and again whether the tree has ended, because no exit of its processes is reported to stayd: their parent was an
/// earlier stayd, or the system reparents orphans to its init.
async fn watch_until_ended(
    shared: Rc<SharedContext>,
    service: Rc<ServiceContext>,
    instance: Rc<Instance>,
) {
    let mut retired = pin!(instance.retired());
    while !instance.tree.has_reported_its_end() {
        tokio::select! {
            () = &mut retired => return,
            () = tokio::time::sleep(LOOK_INTERVAL) => kill_tree_if_ended(&shared, &service),
        }
    }
}

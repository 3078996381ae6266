//! Samples the resource use of the tree and the host while a probe gets no answer.

use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::foreign::attach;
use crate::act::lifecycle::claim::record_members;
use crate::act::probe::Baseline;
use crate::act::tree::stop_state::StopState;
use crate::decide::clock::{Duration, Instant};
use crate::decide::event::{Answer, Check, ResourceSample};
use crate::sys::process::{self, State};

/// A baseline older than this many timeouts is not comparable with the present.
const BASELINE_TIMEOUTS_MAX: u32 = 10;
/// A window shorter than this share of a timeout tells nothing: 2 is half a timeout.
const WINDOW_SHARE_MIN: u32 = 2;

/// Measures a baseline early in an unanswered attempt, unless the check has a recent one.
pub(super) fn begin(
    shared: &SharedContext,
    service: &ServiceContext,
    instance: &Instance,
    check: Check,
    timeout: Duration,
) {
    let baseline = instance.checks.baseline(check);
    if is_stale(baseline.get(), (shared.now)(), timeout) {
        baseline.set(measure(shared, service, instance));
    }
}

/// Samples the tree and the host after an attempt that ended with `answer`.
pub(super) fn after(
    shared: &SharedContext,
    service: &ServiceContext,
    instance: &Instance,
    check: Check,
    answer: &Answer,
    timeout: Duration,
) -> ResourceSample {
    let Some(main) = instance.watched_process() else {
        return ResourceSample::default();
    };
    let state = process::stat(main.pid).map(|stat| stat.state);
    let mut sample = ResourceSample {
        stopped: matches!(state, Ok(State::Stopped)),
        ..ResourceSample::default()
    };
    if sample.stopped || counts_as_dead(service, answer) {
        let state = instance.tree.with(|tree| StopState::of(main, tree));
        (sample.traced, sample.frozen) = (state.traced, state.frozen);
    }
    let baseline = instance.checks.baseline(check);
    if matches!(answer, Answer::Alive) {
        baseline.set(None);
        return sample;
    }
    let Some(after) = measure(shared, service, instance) else {
        sample.use_unknown = true;
        return sample;
    };
    match baseline
        .get()
        .filter(|before| !is_stale(Some(*before), after.at, timeout))
    {
        // Too short a window tells nothing: it goes on.
        Some(before) if after.at.since(before.at) < timeout / WINDOW_SHARE_MIN => {}
        Some(before) => {
            compare(&mut sample, &before, &after);
            baseline.set(Some(after));
        }
        None => baseline.set(Some(after)),
    }
    sample
}

/// Whether the answer counts as dead if nothing excuses the service.
fn counts_as_dead(service: &ServiceContext, answer: &Answer) -> bool {
    let degraded_kills = || {
        let rules = service.config.policy.watchdog;
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
    sample.tree_io_bytes = after.tree.io_bytes_since(&before.tree);
    sample.use_unknown = before.tree.is_incomplete || after.tree.is_incomplete;
    sample.throttled = after.tree.throttled > before.tree.throttled;
    sample.host_cpu = after.host.cpu.saturating_sub(before.host.cpu);
    sample.host_cpus = after.host.cpus;
    sample.host_runnable = after.host.runnable;
}

fn measure(
    shared: &SharedContext,
    service: &ServiceContext,
    instance: &Instance,
) -> Option<Baseline> {
    record_members(shared, service, instance);
    let foreign = || instance.foreign().and_then(attach::usage);
    Some(Baseline {
        at: (shared.now)(),
        tree: instance.tree.usage().or_else(foreign)?,
        host: process::host().ok()?,
    })
}

fn is_stale(baseline: Option<Baseline>, now: Instant, timeout: Duration) -> bool {
    let oldest = timeout.saturating_mul(BASELINE_TIMEOUTS_MAX);
    baseline.is_none_or(|baseline| now.since(baseline.at) > oldest)
}

//! Samples the resource use of the tree and the host while a probe gets no answer.

use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::foreign::attach;
use crate::act::lifecycle::claim::record_members;
use crate::act::probe::Baseline;
use crate::act::tree::stop_state::StopState;
use crate::decide::clock::{Duration, Instant};
use crate::decide::event::{Answer, Check, ResourceSample, UnknownUse};
use crate::sys::process::{self, State};
use crate::sys::reserve;

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

/// Samples the tree and the host after an attempt that ended with `answer`. Where a descriptor is missing for that, samples
/// once more with the reserve.
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
    let is_dead = counts_as_dead(service, answer);
    let baseline = instance.checks.baseline(check);
    let before = baseline.get();
    let take = || {
        let state = process::stat(main.pid).map(|stat| stat.state);
        let mut sample = ResourceSample {
            stopped: matches!(state, Ok(State::Stopped)),
            ..ResourceSample::default()
        };
        if sample.stopped || is_dead {
            let state = instance.tree.with(|tree| StopState::of(main, tree));
            (sample.traced, sample.frozen) = (state.traced, state.frozen);
            sample.state_unknown = state.unknown;
        }
        if answer.is_answer() && !is_dead {
            baseline.set(None);
        } else if let Some(after) = measure(shared, service, instance) {
            baseline.set(Some(compare(&mut sample, before, after, timeout)));
        } else {
            sample.unknown_use = Some(UnknownUse::Processes);
        }
        sample
    };
    let first = take();
    if first.state_unknown || first.unknown_use == Some(UnknownUse::Processes) {
        reserve::with(take)
    } else {
        first
    }
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
        Answer::Alive | Answer::AliveWithNote { .. } | Answer::NoVerdict { .. } => false,
    }
}

/// Writes the use between the two baselines into `sample`, and returns the baseline for the next attempt.
fn compare(
    sample: &mut ResourceSample,
    before: Option<Baseline>,
    after: Baseline,
    timeout: Duration,
) -> Baseline {
    let Some(before) = before.filter(|before| !is_stale(Some(*before), after.at, timeout)) else {
        sample.unknown_use = Some(UnknownUse::ShortWindow);
        return after;
    };
    let watched = after.at.since(before.at);
    if watched < timeout / WINDOW_SHARE_MIN {
        // The window goes on: the next attempt has a longer one.
        sample.unknown_use = Some(UnknownUse::ShortWindow);
        return before;
    }
    sample.watched = watched;
    sample.tree_cpu = after.tree.cpu_since(&before.tree);
    sample.tree_io_bytes = after.tree.io_bytes_since(&before.tree);
    sample.unknown_use = before.tree.unknown.or(after.tree.unknown);
    sample.throttled = after.tree.throttled > before.tree.throttled;
    sample.host_cpu = after.host.cpu.saturating_sub(before.host.cpu);
    sample.host_cpus = after.host.cpus;
    sample.host_runnable = after.host.runnable;
    sample.host_stalled = after.host.stalled.saturating_sub(before.host.stalled);
    after
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

#[cfg(test)]
mod tests {
    use super::{Baseline, Duration, Instant, ResourceSample, UnknownUse, compare};
    use crate::act::tree::Usage;
    use crate::sys::process::Host;

    const TIMEOUT: Duration = Duration::from_secs(3);

    fn baseline(at_ms: u64) -> Baseline {
        Baseline {
            at: Instant::START.after(Duration::from_millis(at_ms)),
            tree: Usage::default(),
            host: Host::default(),
        }
    }

    #[test]
    fn a_window_that_is_too_short_leaves_the_use_unknown_and_goes_on() {
        let mut sample = ResourceSample::default();
        let kept = compare(&mut sample, Some(baseline(0)), baseline(200), TIMEOUT);
        assert_eq!(sample.unknown_use, Some(UnknownUse::ShortWindow));
        let mut sample = ResourceSample::default();
        let next = compare(&mut sample, Some(kept), baseline(1600), TIMEOUT);
        assert_eq!(sample.watched, Duration::from_millis(1600));
        assert_eq!(sample.unknown_use, None);
        assert_eq!(next.at, baseline(1600).at);
    }
}

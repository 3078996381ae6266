//! Samples the resource use of the tree and the host while a probe gets no answer.

use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::foreign::attach;
use crate::act::lifecycle::claim::{READ_TIMEOUT, record_changed};
use crate::act::probe::Baseline;
use crate::act::tree::stop_state::StopState;
use crate::act::tree::{Tree, Usage};
use crate::decide::clock::{Duration, Instant};
use crate::decide::event::{Answer, Check, ResourceSample, UnknownUse};
use crate::sys::process::{self, Host, Process, State};
use crate::sys::reserve;

/// A baseline older than this many timeouts is not comparable with the present.
const BASELINE_TIMEOUTS_MAX: u32 = 10;
/// A window shorter than this share of a timeout shows nothing: 2 is half a timeout.
const WINDOW_SHARE_MIN: u32 = 2;

/// Measures a baseline early in an unanswered attempt, unless the check has a recent one.
pub(super) async fn begin(
    shared: &SharedContext,
    service: &ServiceContext,
    instance: &Instance,
    check: Check,
    timeout: Duration,
) {
    let baseline = instance.checks.baseline(check);
    if is_stale(baseline.get(), (shared.now)(), timeout) {
        let at = (shared.now)();
        let wants = Wants {
            state_of: None,
            usage: true,
        };
        let reading = read(shared, service, instance, wants).await;
        baseline.set(reading.and_then(|reading| reading.baseline(at)));
    }
}

/// Samples the tree and the host after an attempt that ended with `answer`. An attempt whose tree cannot be read in time
/// has an unknown state, so it is no verdict.
pub(super) async fn after(
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
    let state = process::stat(main.pid).map(|stat| stat.state);
    let mut sample = ResourceSample {
        stopped: matches!(state, Ok(State::Stopped)),
        ..ResourceSample::default()
    };
    let wants = Wants {
        state_of: (sample.stopped || is_dead).then_some(main),
        usage: is_dead || !answer.is_answer(),
    };
    if !wants.usage {
        baseline.set(None);
        if wants.state_of.is_none() {
            return sample;
        }
    }
    let at = (shared.now)();
    let Some(reading) = read(shared, service, instance, wants).await else {
        sample.state_unknown = wants.state_of.is_some();
        sample.unknown_use = wants.usage.then_some(UnknownUse::Processes);
        return sample;
    };
    if let Some(state) = reading.state {
        (sample.traced, sample.frozen) = (state.traced, state.frozen);
        sample.state_unknown = state.unknown;
    }
    if wants.usage {
        match reading.baseline(at) {
            Some(after) => baseline.set(Some(compare(&mut sample, before, after, timeout))),
            None => sample.unknown_use = Some(UnknownUse::Processes),
        }
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

/// What to read of the processes of a service.
#[derive(Clone, Copy, Debug)]
struct Wants {
    /// What holds the tree of this main process.
    state_of: Option<Process>,
    /// What the tree and the host have used.
    usage: bool,
}

/// What was read.
#[derive(Debug, Default)]
struct Reading {
    state: Option<StopState>,
    usage: Option<Usage>,
    host: Option<Host>,
}

impl Reading {
    /// The use at `at`, unless a part of it could not be read.
    fn baseline(&self, at: Instant) -> Option<Baseline> {
        Some(Baseline {
            at,
            tree: self.usage?,
            host: self.host?,
        })
    }

    /// Whether something could not be read for lack of a resource.
    fn is_incomplete(&self, wants: Wants) -> bool {
        let lacks_usage = wants.usage
            && (self.host.is_none()
                || self
                    .usage
                    .is_none_or(|usage| usage.unknown == Some(UnknownUse::Processes)));
        self.state.is_some_and(|state| state.unknown) || lacks_usage
    }
}

/// Reads the processes of the service off the loop, and records members that have left the tree. Where a descriptor is
/// missing for that, reads once more with the reserve. None where the processes could not be read in time.
async fn read(
    shared: &SharedContext,
    service: &ServiceContext,
    instance: &Instance,
    wants: Wants,
) -> Option<Reading> {
    let foreign = instance.foreign();
    let take = move |tree: Option<&mut Tree>| {
        let tree = tree.map(|tree| {
            if wants.usage {
                tree.update_members();
            }
            &*tree
        });
        let once = || Reading {
            state: wants.state_of.map(|main| StopState::of(main, tree)),
            usage: wants
                .usage
                .then(|| tree.map(Tree::usage).or_else(|| attach::usage(foreign?)))
                .flatten(),
            host: wants.usage.then(|| process::host().ok()).flatten(),
        };
        let first = once();
        if first.is_incomplete(wants) {
            reserve::with(once)
        } else {
            first
        }
    };
    let found = instance.tree.read(READ_TIMEOUT, take).await?;
    record_changed(shared, service, instance, found.changed_members);
    Some(found.value)
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

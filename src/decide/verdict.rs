//! The verdict engine: probe attempts come in, and only consecutive dead ones, with nothing that excuses them, are a
//! wedge.
//!
//! Each attempt falls into one of five classes ([`Class`]):
//!
//! | class | means | the failure count |
//! |---|---|---|
//! | alive | a good answer | becomes 0 |
//! | degraded | a well-formed answer that is an error | becomes 0 |
//! | dead | asked, and no answer | grows by one |
//! | no-verdict | stayd could not ask, or was late itself | unchanged |
//! | void | asleep, traced, frozen, held by SIGSTOP | becomes 0 |
//!
//! Only a dead attempt can lead to a kill. Enough consecutive failures still do not kill while the probe has never had an
//! answer, while a hold runs, while the process tree is busy, or while other processes overload the host.

use super::clock::{Duration, Instant};
use super::event::{Answer, ProbeAttempt, ResourceSample, UnknownUse};
use super::policy::{Mode, StoppedIs, Watchdog};
use super::snapshot::Class;

/// If stayd reads an answer later than this after the deadline, it was late itself, and the attempt is no verdict.
pub(super) const LATENESS_MAX: Duration = Duration::from_millis(250);
/// Bytes per second of reading and writing that count as work.
const BUSY_IO_BYTES_PER_S: u64 = 1024 * 1024;
/// This part of a core counts as work: 2 is half a core.
const WORKING_PARTS_OF_A_CORE: u32 = 2;
/// The same while every processor is in use.
const WORKING_PARTS_OF_A_CORE_ON_A_FULL_HOST: u32 = 8;
const NANOS_PER_S: u128 = 1_000_000_000;
/// Overload of the host suppresses a kill for this many times the busy grace.
const OVERLOAD_CEILING: u32 = 5;
/// Runnable threads per processor from which on a busy host is overloaded.
const OVERLOAD_RUNNABLE_PER_CPU: u32 = 2;

/// The consecutive dead attempts of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct ConsecutiveFailures {
    count: u32,
    /// How many of them had an answer, an error that counts as dead.
    answered: u32,
    /// When the first of them was asked.
    first_asked_at: Option<Instant>,
    /// When the first of them ended.
    dead_since: Option<Instant>,
    /// When there were enough of them for a kill.
    due: Option<Instant>,
    /// Silence of attempts asked before this is void: the machine slept, or the tree was held.
    void_before: Instant,
    /// Silence of attempts asked before this is no verdict: stayd was late itself.
    no_verdict_before: Instant,
    /// Why stayd was late.
    late_because: String,
    /// The last suppression that was reported, so that each is reported once.
    last_reported: Option<SuppressionReason>,
}

/// Why enough consecutive failures lead to no kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum SuppressionReason {
    /// The probe has never had an answer, so it may be the wrong probe.
    NeverAnswered,
    /// A user holds the service.
    Held,
    /// The tree uses CPU or disk, or is throttled by its quota.
    Busy,
    /// The host is overloaded, and not by this tree.
    Overloaded,
    /// All services are silent, and the kill of this one is not due yet.
    HostSuspected,
    /// Shadow mode: recorded, not done.
    Shadow,
    /// It is a foreign process: recorded, never done.
    Foreign,
}

/// The verdict after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing to do.
    Fine,
    /// Dead, and not often enough yet; or suppressed for a reason that is reported already.
    Suspect,
    /// Enough failures, but no kill; to be reported once.
    Suppressed(SuppressionReason),
    /// Kill.
    Wedged,
}

/// The conditions, besides the attempts, on which a kill depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KillConditions {
    /// This probe, query and command had an answer once.
    pub proven: bool,
    /// A hold is running.
    pub held: bool,
    /// All services are silent: the host is suspected first.
    pub host_suspected: bool,
    /// It is a foreign process.
    pub foreign: bool,
}

/// Returns the class of an attempt, and the reason in words, which is empty for an answer without a note.
#[must_use]
pub(super) fn classify(
    attempt: &ProbeAttempt,
    failures: &ConsecutiveFailures,
    stopped_is: StoppedIs,
    degraded_kills: bool,
) -> (Class, String) {
    let held = held_by_others(&attempt.sample);
    match &attempt.answer {
        _ if attempt.sample.stopped => held.unwrap_or_else(|| classify_stop(stopped_is)),
        Answer::Alive => (Class::Alive, String::new()),
        Answer::AliveWithNote { note } => (Class::Alive, note.clone()),
        Answer::Degraded { said, .. } if degraded_kills => {
            held.unwrap_or_else(|| classify_silence(attempt, failures, said))
        }
        Answer::Degraded { said, .. } => (Class::Degraded, said.clone()),
        Answer::NoVerdict { why } => (Class::NoVerdict, why.clone()),
        Answer::Dead { how } => held.unwrap_or_else(|| classify_silence(attempt, failures, how)),
    }
}

/// The class that replaces dead while a debugger or the freezer stops the process, or may do so.
fn held_by_others(sample: &ResourceSample) -> Option<(Class, String)> {
    if sample.traced {
        Some((Class::Void, "being debugged".into()))
    } else if sample.frozen {
        Some((Class::Void, "its cgroup is frozen".into()))
    } else if sample.state_unknown {
        let why = "the state of its processes cannot be read: one may be debugged or frozen";
        Some((Class::NoVerdict, why.into()))
    } else {
        None
    }
}

fn classify_stop(stopped_is: StoppedIs) -> (Class, String) {
    match stopped_is {
        StoppedIs::Wedged => (Class::Dead, "its main process is stopped (SIGSTOP)".into()),
        StoppedIs::Held => (Class::Void, "suspended: its main process is stopped".into()),
    }
}

fn classify_silence(
    attempt: &ProbeAttempt,
    failures: &ConsecutiveFailures,
    how: &str,
) -> (Class, String) {
    let finished = attempt.asked_at.after(attempt.latency);
    if attempt.asked_at < failures.void_before {
        (
            Class::Void,
            "asked before the machine slept, or just after it or the service stood still".into(),
        )
    } else if attempt.asked_at < failures.no_verdict_before {
        let cause = &failures.late_because;
        (Class::NoVerdict, format!("stayd itself was late: {cause}"))
    } else if finished.since(attempt.deadline) > LATENESS_MAX {
        let late = finished.since(attempt.deadline);
        let sample = &attempt.sample;
        let host = if is_overloaded(sample) {
            format!(
                " ({} threads are runnable on {} processors)",
                sample.host_runnable, sample.host_cpus
            )
        } else {
            String::new()
        };
        (
            Class::NoVerdict,
            format!("stayd itself was late by {} ms{host}", late.as_millis()),
        )
    } else {
        (Class::Dead, how.to_owned())
    }
}

impl ConsecutiveFailures {
    /// How many dead attempts there are.
    #[must_use]
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// What they had instead of a good answer, for a sentence that goes on with the question.
    #[must_use]
    pub(super) const fn in_words(&self) -> &'static str {
        if self.answered == 0 {
            "no answer to"
        } else if self.answered == self.count {
            "only errors in answer to"
        } else {
            "no good answer to"
        }
    }

    /// When the first of them was asked; `None` if there are none.
    #[must_use]
    pub(super) const fn first_asked_at(&self) -> Option<Instant> {
        self.first_asked_at
    }

    /// When the first of them ended; `None` if there are none.
    #[must_use]
    pub(super) const fn dead_since(&self) -> Option<Instant> {
        self.dead_since
    }

    /// Resets the count: after an answer, a void attempt, or a new phase of the service.
    pub(super) fn clear(&mut self) {
        *self = Self {
            void_before: self.void_before,
            no_verdict_before: self.no_verdict_before,
            late_because: core::mem::take(&mut self.late_because),
            ..Self::default()
        };
    }

    /// Makes silence of attempts asked before `instant` void, and resets the count.
    pub(super) fn void_before(&mut self, instant: Instant) {
        self.clear();
        self.void_before = self.void_before.max(instant);
    }

    /// Makes silence of attempts asked before `instant` no verdict, because stayd was late for this cause. The count stays:
    /// the service was not late.
    pub(super) fn no_verdict_before(&mut self, instant: Instant, cause: String) {
        if instant >= self.no_verdict_before {
            self.no_verdict_before = instant;
            self.late_because = cause;
        }
    }

    /// Takes a classified attempt and returns the verdict.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        class: Class,
        attempt: &ProbeAttempt,
        rules: &Watchdog,
        conditions: KillConditions,
    ) -> Verdict {
        match class {
            Class::Alive | Class::Degraded => {
                self.clear();
                Verdict::Fine
            }
            Class::Void => {
                self.clear();
                if is_stopped_by_others(&attempt.sample) {
                    // It may continue in the middle of the next attempt, whose end would not show that it was stopped.
                    self.void_before(now.after(rules.period()));
                }
                Verdict::Fine
            }
            Class::NoVerdict => {
                if self.count == 0 {
                    Verdict::Fine
                } else {
                    Verdict::Suspect
                }
            }
            Class::Dead => self.judge_dead(now, attempt, rules, conditions),
        }
    }

    fn judge_dead(
        &mut self,
        now: Instant,
        attempt: &ProbeAttempt,
        rules: &Watchdog,
        conditions: KillConditions,
    ) -> Verdict {
        self.count = self.count.saturating_add(1);
        self.answered += u32::from(matches!(attempt.answer, Answer::Degraded { .. }));
        self.first_asked_at.get_or_insert(attempt.asked_at);
        self.dead_since.get_or_insert(now);
        if self.count < rules.failures {
            return Verdict::Suspect;
        }
        let due = *self.due.get_or_insert(now);
        match suppression(now.since(due), &attempt.sample, rules, conditions) {
            None => Verdict::Wedged,
            Some(reason) => self.suppress(reason),
        }
    }

    fn suppress(&mut self, reason: SuppressionReason) -> Verdict {
        if matches!(
            reason,
            SuppressionReason::NeverAnswered | SuppressionReason::Held
        ) {
            // The busy grace is not used up while no kill would follow anyway.
            self.due = None;
        }
        if self.last_reported == Some(reason) {
            return Verdict::Suspect;
        }
        self.last_reported = Some(reason);
        Verdict::Suppressed(reason)
    }
}

/// What suppresses a kill that has been due for `overdue`.
fn suppression(
    overdue: Duration,
    sample: &ResourceSample,
    rules: &Watchdog,
    conditions: KillConditions,
) -> Option<SuppressionReason> {
    if !conditions.proven {
        Some(SuppressionReason::NeverAnswered)
    } else if conditions.held {
        Some(SuppressionReason::Held)
    } else if is_busy(sample) && overdue < rules.busy_grace {
        Some(SuppressionReason::Busy)
    } else if is_overloaded(sample) && overdue < rules.busy_grace * OVERLOAD_CEILING {
        Some(SuppressionReason::Overloaded)
    } else if conditions.host_suspected {
        Some(SuppressionReason::HostSuspected)
    } else if conditions.foreign {
        Some(SuppressionReason::Foreign)
    } else if rules.mode == Mode::Shadow {
        Some(SuppressionReason::Shadow)
    } else {
        None
    }
}

/// Whether SIGSTOP, a debugger or the freezer stops the process.
const fn is_stopped_by_others(sample: &ResourceSample) -> bool {
    sample.stopped || sample.traced || sample.frozen
}

/// Whether the tree is busy: it works, or its use is not known and may be anything. Suppresses a kill for the busy grace.
#[must_use]
pub(super) fn is_busy(sample: &ResourceSample) -> bool {
    (sample.unknown_use.is_some() && !sample.stopped) || is_working(sample)
}

/// Whether the tree provably works: it uses half a core (an eighth where threads wait for processors) or 1 MiB/s, or is
/// throttled by its own quota.
///
/// Only this extends the startup budget, because a use that can never be read would extend it without end.
#[must_use]
pub(super) fn is_working(sample: &ResourceSample) -> bool {
    if sample.stopped || sample.watched.is_zero() {
        return false;
    }
    sample.throttled || uses_much_cpu(sample) || uses_much_io(sample)
}

/// Whether the tree uses half a core. While other processes compete for every processor, less counts as much: a service that
/// does not work uses nothing then, either.
fn uses_much_cpu(sample: &ResourceSample) -> bool {
    let parts = if is_host_full(sample) || threads_wait_often(sample) {
        WORKING_PARTS_OF_A_CORE_ON_A_FULL_HOST
    } else {
        WORKING_PARTS_OF_A_CORE
    };
    sample.tree_cpu * parts >= sample.watched
}

/// Whether threads waited for a processor in half of the time. On a virtual machine whose processors the hypervisor gives to
/// others meanwhile, the CPU time that is used never shows that the host is full.
fn threads_wait_often(sample: &ResourceSample) -> bool {
    sample.host_stalled * 2 >= sample.watched
}

/// Whether at least nine tenths of all CPU time were used.
fn is_host_full(sample: &ResourceSample) -> bool {
    let capacity = sample.watched * sample.host_cpus;
    sample.host_cpus > 0 && sample.host_cpu * 10 >= capacity * 9
}

fn uses_much_io(sample: &ResourceSample) -> bool {
    let io = u128::from(sample.tree_io_bytes) * NANOS_PER_S;
    io >= u128::from(BUSY_IO_BYTES_PER_S) * sample.watched.as_nanos()
}

/// Whether every processor is in use, threads wait for one, and this tree uses less than half of the CPU time. The number of
/// runnable threads is known for one instant only, the waiting time for the whole window.
#[must_use]
fn is_overloaded(sample: &ResourceSample) -> bool {
    // A process stopped by a signal is not slow: no free processor would help it.
    if sample.watched.is_zero() || sample.stopped {
        return false;
    }
    let threads_wait = sample.host_runnable >= sample.host_cpus * OVERLOAD_RUNNABLE_PER_CPU
        || sample.host_stalled * 10 >= sample.watched * 9;
    is_host_full(sample) && threads_wait && sample.tree_cpu * 2 < sample.host_cpu
}

/// What the tree uses, for a sentence: "using 97 % of a core", "using 2 % of a core, reading and writing 8.0 MiB/s".
#[must_use]
pub(super) fn use_in_words(sample: &ResourceSample) -> String {
    if sample.stopped {
        return "stopped by a signal".into();
    }
    let mut words = Vec::new();
    if !sample.watched.is_zero() {
        let percent = sample.tree_cpu.as_nanos() * 100 / sample.watched.as_nanos();
        words.push(match percent {
            0 => "using no CPU".to_owned(),
            percent => format!("using {percent} % of a core"),
        });
        if uses_much_io(sample) {
            let mebibytes = sample.tree_io_bytes as f64 / f64::from(1024 * 1024);
            let rate = mebibytes / sample.watched.as_secs_f64();
            words.push(format!("reading and writing {rate:.1} MiB/s"));
        }
        if sample.throttled {
            words.push("throttled by its own CPU quota".into());
        }
    }
    words.extend(sample.unknown_use.map(|unknown| {
        match unknown {
            UnknownUse::ShortWindow => "its use of CPU and I/O is not measured yet",
            UnknownUse::Io => "its I/O cannot be read",
            UnknownUse::Processes => "its processes cannot be read",
        }
        .to_owned()
    }));
    words.join(", ")
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;

//! The verdict engine: rounds come in, and only a row of dead ones, with nothing that excuses it, is a wedge.
//!
//! Each round falls into one of five classes ([`Class`]):
//!
//! | class | means | the row |
//! |---|---|---|
//! | alive | a good answer | ends |
//! | degraded | a well-formed answer that is an error | ends |
//! | dead | asked, and no answer | grows by one |
//! | no-verdict | we could not ask, or were late ourselves | unchanged |
//! | void | asleep, traced, frozen, held by SIGSTOP | ends |
//!
//! Only a dead round can condemn. A row that is long enough is still spared while the probe has never been
//! answered at all, while a person holds it, while the tree visibly works, or while the host is overloaded by others.

use super::clock::{Duration, Instant};
use super::event::{Answer, ProbeAttempt, ResourceSample};
use super::policy::{Mode, StoppedIs, Watchdog};
use super::snapshot::Class;

/// An observer this much behind its own deadline has nothing to say about somebody else's.
pub const LATENESS_MAX: Duration = Duration::from_millis(250);
/// Bytes per second of reading and writing that count as work.
pub const BUSY_IO_BYTES_PER_S: u64 = 1024 * 1024;
/// Overload excuses a tree for this many times its busy grace.
pub const OVERLOAD_CEILING: u32 = 5;
/// Runnable threads per processor from which on a busy host is overloaded.
const OVERLOAD_RUNNABLE_PER_CPU: u32 = 2;

/// A row of rounds about one life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Row {
    /// Dead rounds in a row.
    failures: u32,
    /// When the first of them was asked.
    began: Option<Instant>,
    /// When the row was first long enough.
    due: Option<Instant>,
    /// Silence from rounds asked before this is void: the machine slept, or the tree was held.
    void_before: Instant,
    /// Silence from rounds asked before this is no verdict: we were late ourselves.
    unsure_before: Instant,
    /// The last spare that was reported, so that each is told once a row.
    told: Option<Spare>,
}

/// What made a long enough row harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spare {
    /// The probe has never been answered: is it the right one?
    Unproven,
    /// A person holds it.
    Held,
    /// The tree uses CPU or disk, or is throttled by its quota.
    Busy,
    /// The host is overloaded, and not by this tree.
    Overloaded,
    /// The whole fleet is silent, and it is not this one's turn.
    HostSuspected,
    /// Shadow mode: recorded, not done.
    Shadow,
    /// It is somebody else's process: recorded, never done.
    Stranger,
}

/// What a round leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing to do.
    Fine,
    /// Dead, and not yet often enough; or spared for a reason that has been told.
    Suspect,
    /// Long enough, but excused; to be told once.
    Suppressed(Spare),
    /// Kill.
    Wedged,
}

/// What is true about the service besides its rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// This probe, query and command had an answer once.
    pub proven: bool,
    /// A hold is running.
    pub held: bool,
    /// All services are silent: the host is suspected first.
    pub host_suspected: bool,
    /// It is somebody else's process.
    pub stranger: bool,
}

/// Puts a round into its class, with the reason in words where it is not alive.
#[must_use]
pub fn classify(
    attempt: &ProbeAttempt,
    row: &Row,
    stopped_is: StoppedIs,
    degraded_kills: bool,
) -> (Class, String) {
    let held = held_by_others(&attempt.sample);
    match &attempt.answer {
        _ if attempt.sample.stopped => held.unwrap_or_else(|| classify_stop(stopped_is)),
        Answer::Alive => (Class::Alive, String::new()),
        Answer::Degraded { said, .. } if degraded_kills => {
            held.unwrap_or_else(|| (Class::Dead, said.clone()))
        }
        Answer::Degraded { said, .. } => (Class::Degraded, said.clone()),
        Answer::NoVerdict { why } => (Class::NoVerdict, why.clone()),
        Answer::Dead { how } => held.unwrap_or_else(|| classify_silence(attempt, row, how)),
    }
}

/// What stands in the place of any dead round while a debugger or the freezer keeps it from working.
fn held_by_others(sample: &ResourceSample) -> Option<(Class, String)> {
    if sample.traced {
        Some((Class::Void, "being debugged".into()))
    } else if sample.frozen {
        Some((Class::Void, "its cgroup is frozen".into()))
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

fn classify_silence(attempt: &ProbeAttempt, row: &Row, how: &str) -> (Class, String) {
    let finished = attempt.asked_at.after(attempt.latency);
    if attempt.asked_at < row.void_before {
        (
            Class::Void,
            "asked before the machine slept, or just after it or the service stood still".into(),
        )
    } else if attempt.asked_at < row.unsure_before {
        (Class::NoVerdict, "stayd itself was late".into())
    } else if finished.since(attempt.deadline) > LATENESS_MAX {
        let late = finished.since(attempt.deadline);
        (
            Class::NoVerdict,
            format!("stayd itself was late by {} ms", late.as_millis()),
        )
    } else {
        (Class::Dead, how.to_owned())
    }
}

impl Row {
    /// Dead rounds in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// When the row's first dead round was asked.
    #[must_use]
    pub const fn began(&self) -> Option<Instant> {
        self.began
    }

    /// Forgets the row: an answer, a void round, a new phase.
    pub fn clear(&mut self) {
        *self = Self {
            void_before: self.void_before,
            unsure_before: self.unsure_before,
            ..Self::default()
        };
    }

    /// Silence from rounds asked before `moment` says nothing, and the row begins anew.
    pub fn distrust_before(&mut self, moment: Instant) {
        self.clear();
        self.void_before = self.void_before.max(moment);
    }

    /// Silence from rounds asked before `moment` says nothing; the row stands (we were late, not the service).
    pub fn distrust_in_flight(&mut self, moment: Instant) {
        self.unsure_before = self.unsure_before.max(moment);
    }

    /// Takes a classified round and says what it leads to.
    pub fn judge(
        &mut self,
        now: Instant,
        class: Class,
        attempt: &ProbeAttempt,
        rules: &Watchdog,
        standing: Standing,
    ) -> Judgement {
        match class {
            Class::Alive | Class::Degraded => {
                self.clear();
                Judgement::Fine
            }
            Class::Void => {
                self.clear();
                if is_halted(&attempt.sample) {
                    // It may go on in the middle of the next round, whose end would not show that it had stood still.
                    self.distrust_before(now.after(rules.period()));
                }
                Judgement::Fine
            }
            Class::NoVerdict => {
                if self.failures == 0 {
                    Judgement::Fine
                } else {
                    Judgement::Suspect
                }
            }
            Class::Dead => self.judge_dead(now, attempt, rules, standing),
        }
    }

    fn judge_dead(
        &mut self,
        now: Instant,
        attempt: &ProbeAttempt,
        rules: &Watchdog,
        standing: Standing,
    ) -> Judgement {
        self.failures = self.failures.saturating_add(1);
        self.began.get_or_insert(attempt.asked_at);
        if self.failures < rules.failures {
            return Judgement::Suspect;
        }
        let due = *self.due.get_or_insert(now);
        match excuse(now.since(due), &attempt.sample, rules, standing) {
            None => Judgement::Wedged,
            Some(spare) => self.spared(spare),
        }
    }

    fn spared(&mut self, spare: Spare) -> Judgement {
        if matches!(spare, Spare::Unproven | Spare::Held) {
            // Its grace is not used up while nobody would kill it anyway.
            self.due = None;
        }
        if self.told == Some(spare) {
            return Judgement::Suspect;
        }
        self.told = Some(spare);
        Judgement::Suppressed(spare)
    }
}

/// What excuses a row that has been long enough for `overdue`.
fn excuse(
    overdue: Duration,
    sample: &ResourceSample,
    rules: &Watchdog,
    standing: Standing,
) -> Option<Spare> {
    if !standing.proven {
        Some(Spare::Unproven)
    } else if standing.held {
        Some(Spare::Held)
    } else if is_busy(sample) && overdue < rules.busy_grace {
        Some(Spare::Busy)
    } else if is_overloaded(sample) && overdue < rules.busy_grace * OVERLOAD_CEILING {
        Some(Spare::Overloaded)
    } else if standing.host_suspected {
        Some(Spare::HostSuspected)
    } else if standing.stranger {
        Some(Spare::Stranger)
    } else if rules.mode == Mode::Shadow {
        Some(Spare::Shadow)
    } else {
        None
    }
}

/// Whether somebody or something keeps it from running.
const fn is_halted(sample: &ResourceSample) -> bool {
    sample.stopped || sample.traced || sample.frozen
}

/// Whether the tree visibly works: half a core, 1 MiB/s, or throttled by its own quota.
#[must_use]
pub fn is_busy(sample: &ResourceSample) -> bool {
    if sample.watched.is_zero() || sample.stopped {
        return false;
    }
    let enough_io = u128::from(BUSY_IO_BYTES_PER_S) * sample.watched.as_millis() / 1000;
    sample.throttled
        || sample.tree_cpu * 2 >= sample.watched
        || u128::from(sample.tree_io_bytes) >= enough_io
}

/// Whether every processor is taken, with more waiting, and mostly by others than this tree.
#[must_use]
pub fn is_overloaded(sample: &ResourceSample) -> bool {
    // What is stopped by a signal is not slow: no free processor would help it.
    if sample.watched.is_zero() || sample.host_cpus == 0 || sample.stopped {
        return false;
    }
    let capacity = sample.watched * sample.host_cpus;
    let saturated = sample.host_cpu * 10 >= capacity * 9
        && sample.host_runnable >= sample.host_cpus * OVERLOAD_RUNNABLE_PER_CPU;
    saturated && sample.tree_cpu * 2 < sample.host_cpu
}

/// The tree's use of CPU, for a person.
#[must_use]
pub fn cpu_in_words(sample: &ResourceSample) -> String {
    if sample.stopped {
        return "stopped by a signal".into();
    }
    if sample.watched.is_zero() {
        return "CPU use unknown".into();
    }
    let percent = sample.tree_cpu.as_nanos() * 100 / sample.watched.as_nanos();
    let throttled = if sample.throttled {
        ", throttled by its own CPU quota"
    } else {
        ""
    };
    if percent == 0 {
        format!("using no CPU{throttled}")
    } else {
        format!("using {percent} % of a core{throttled}")
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;

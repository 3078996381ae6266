//! A main process runs: its readiness, its rounds as they fall due, its end.

use super::super::action::{Kind, ServiceAction, Value};
use super::super::clock::{Duration, Instant, in_words};
use super::super::cure;
use super::super::event::{Answer, Check, Exit, ServiceEvent, ServiceMessage, Survivors};
use super::super::snapshot::Class;
use super::asking::DEGRADED_TOLERANCE;
use super::judging::ANSWERING;
use super::{Actual, Ending, Service, Step, Turn, millis};

/// Rounds of a readiness probe that has no watchdog beside it.
const READINESS_ALONE: Duration = Duration::from_secs(5);

/// A launcher that nobody can ask whether it has served yet takes no longer.
const LAUNCHES_WITHIN: Duration = Duration::from_secs(1);

/// What makes a service ready.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Probe(Check),
    Notified,
    Exec,
}

impl Service {
    fn gate(&self) -> Gate {
        if self.policy.ready_probe {
            Gate::Probe(Check::Readiness)
        } else if self.policy.notifies_ready && !self.adopted && !self.is_attached() {
            // an adopted process may have said so to an earlier stayd, and says it once; a stranger never says it to us
            Gate::Notified
        } else if self.policy.watchdog.is_some() {
            Gate::Probe(Check::Liveness)
        } else {
            Gate::Exec
        }
    }

    fn readiness_timing(&self) -> (Duration, Duration) {
        match &self.policy.watchdog {
            Some(rules) => (rules.period(), rules.timeout),
            None => (READINESS_ALONE, READINESS_ALONE),
        }
    }

    pub(super) fn enter_up(&mut self, step: &mut Turn<'_>) {
        if self.gate() == Gate::Exec {
            self.become_ready(step);
        }
    }

    pub(super) fn time_in_up(&mut self, step: &mut Turn<'_>) {
        self.ask_what_is_due(step);
        let Some(up) = self.actual.watched_mut() else {
            return;
        };
        if up.startup_until.is_some_and(|until| step.now >= until) {
            self.end_startup(step);
        }
        if step.now >= self.parking_ends() {
            self.forgive(step);
        }
        if step.now >= self.runtime_is_good_at() {
            self.praise_runtime(step);
        }
        self.tell_long_degradation(step);
    }

    /// When this life will have run for long enough to be good for something.
    pub(super) fn uptime_counts_at(&self) -> Instant {
        self.parking_ends().min(self.runtime_is_good_at())
    }

    /// When a parked service has proven itself: only stable uptime does, not a successful start.
    pub(super) fn parking_ends(&self) -> Instant {
        let Actual::Up(up) = &self.actual else {
            return Instant::NEVER;
        };
        up.ready_at
            .filter(|_| self.history.is_parked())
            .map_or(Instant::NEVER, |at| {
                at.after(self.policy.backoff.stable_after)
            })
    }

    fn ask_what_is_due(&mut self, step: &mut Turn<'_>) {
        let (life, readiness) = (self.life, self.readiness_timing());
        let Some(up) = self.actual.watched_mut() else {
            return;
        };
        if let Some(rules) = &self.policy.watchdog
            && let Some(deadline) = up.liveness.ask(step.now, rules.period(), rules.timeout)
        {
            step.out.push(ServiceAction::Probe {
                life,
                check: Check::Liveness,
                deadline,
            });
        }
        if self.policy.ready_probe
            && let Some(deadline) = up.readiness.ask(step.now, readiness.0, readiness.1)
        {
            step.out.push(ServiceAction::Probe {
                life,
                check: Check::Readiness,
                deadline,
            });
        }
    }

    /// The budget is over without ready: from now on the watchdog judges, if the probe was ever answered.
    fn end_startup(&mut self, step: &mut Turn<'_>) {
        let proven = self.is_proven();
        let Some(up) = self.actual.watched_mut() else {
            return;
        };
        up.startup_until = None;
        up.row.clear();
        let answered = up.liveness.last_ok_at.is_some();
        let reason = match (&self.policy.watchdog, proven, answered) {
            // What keeps it from being asked has been said, and is no mistake in the probe.
            (Some(_), false, _) if up.liveness.class == Some(Class::NoVerdict) => {
                let why = core::mem::take(&mut self.reason);
                self.never_answered(&why)
            }
            (Some(_), false, _) => self.never_answered(""),
            (Some(_), true, false) => {
                format!(
                    "not ready within {}; the watchdog judges from now on",
                    in_words(self.policy.startup)
                )
            }
            (Some(_), true, true) | (None, ..) => {
                format!("not ready within {}", in_words(self.policy.startup))
            }
        };
        if self.is_attached() || self.policy.watchdog.is_some() && !self.proven {
            self.displace_reason(reason);
        } else {
            self.reason = reason;
        }
        self.since = step.now;
        self.record(Kind::Verdict, self.reason.clone(), Vec::new(), step.out);
    }

    fn become_ready(&mut self, step: &mut Turn<'_>) {
        let Some(up) = self.actual.watched_mut() else {
            return;
        };
        if up.ready_at.is_some() {
            return;
        }
        let has_news = self.last_exit.is_none() || self.reason.is_empty();
        let was_overdue = up.startup_until.is_none();
        up.ready_at = Some(step.now);
        up.startup_until = None;
        up.row.clear();
        let took = step.now.since(up.spawned_at);
        self.since = step.now;
        if (has_news || was_overdue) && !up.keeps_reason {
            self.reason = self.ready_in_words().into();
        }
        let sentence = format!("ready after {}", in_words(took));
        self.record(
            Kind::Ready,
            sentence,
            vec![("startup_ms", millis(took))],
            step.out,
        );
        if self.gate() != Gate::Exec {
            self.praise_runtime(step);
        }
    }

    /// What readiness rests on.
    fn ready_in_words(&self) -> &'static str {
        match self.gate() {
            Gate::Probe(_) => ANSWERING,
            Gate::Notified | Gate::Exec if self.answers() => ANSWERING,
            Gate::Notified => "ready by its own word (READY=1)",
            Gate::Exec => "running; no probe asks whether it answers",
        }
    }

    fn tell_long_degradation(&mut self, step: &mut Turn<'_>) {
        let Some(up) = self.actual.watched_mut() else {
            return;
        };
        let Some(since) = up.degraded_since else {
            return;
        };
        if up.degraded_told || step.now.since(since) < DEGRADED_TOLERANCE {
            return;
        }
        up.degraded_told = true;
        let sentence = format!(
            "unhealthy: it answers with an error for {} minutes: {}",
            DEGRADED_TOLERANCE.as_secs() / 60,
            self.reason
        );
        self.record(Kind::Degraded, sentence, Vec::new(), step.out);
    }

    pub(super) fn open_gate(
        &mut self,
        check: Check,
        class: Class,
        answer: &Answer,
        step: &mut Turn<'_>,
    ) {
        if self.gate() != Gate::Probe(check) {
            return;
        }
        let refused = matches!(
            answer,
            Answer::Degraded {
                starting: false,
                ..
            }
        );
        if class == Class::Alive
            || (check == Check::Liveness && class == Class::Degraded && refused)
        {
            self.become_ready(step);
        }
    }

    pub(super) fn fact_in_up(&mut self, fact: ServiceEvent, step: &mut Turn<'_>) {
        match fact {
            ServiceEvent::Exited(_, exit, survivors) => self.main_exited(exit, &survivors, step),
            ServiceEvent::Probed(_, check, attempt) => self.probed(check, &attempt, step),
            ServiceEvent::ServiceMessage(_, told) => self.told(told, step),
            ServiceEvent::Configured(_)
            | ServiceEvent::Requested(_)
            | ServiceEvent::RecoveryScanned(_)
            | ServiceEvent::Materialized(..)
            | ServiceEvent::Prepared(_)
            | ServiceEvent::NotPrepared(..)
            | ServiceEvent::BeforeFailed(..)
            | ServiceEvent::PortHeld(..)
            | ServiceEvent::ForeignProcessLeft(..)
            | ServiceEvent::Spawned(..)
            | ServiceEvent::NotSpawned(..)
            | ServiceEvent::Emptied(_)
            | ServiceEvent::NotEmptied { .. }
            | ServiceEvent::EvidenceTaken(_)
            | ServiceEvent::Changed => {}
        }
    }

    fn told(&mut self, told: ServiceMessage, step: &mut Turn<'_>) {
        let gate = self.gate();
        let Actual::Up(up) = &mut self.actual else {
            return;
        };
        match told {
            ServiceMessage::Ready if gate == Gate::Notified => self.become_ready(step),
            ServiceMessage::Extend(span) => {
                let later = step.now.after(span);
                up.startup_until = up.startup_until.map(|until| until.max(later));
            }
            ServiceMessage::Trigger => self.asked_for_its_end(step),
            ServiceMessage::Ready | ServiceMessage::Watchdog | ServiceMessage::Stopping => {}
        }
    }

    fn main_exited(&mut self, exit: Exit, survivors: &Survivors, step: &mut Turn<'_>) {
        let has_answered = self.gate() != Gate::Exec;
        let Actual::Up(up) = &mut self.actual else {
            return;
        };
        let uptime = step.now.since(up.spawned_at);
        let young = up.ready_at.is_none() || uptime < self.policy.startup;
        // Who has served and listens no more was no launcher, whatever it leaves behind.
        let has_served = up.ready_at.is_some() && (has_answered || uptime >= LAUNCHES_WITHIN);
        let is_launcher = young && !(has_served && survivors.successor_listens == Some(false));
        if let Some(successor) = survivors
            .successor
            .filter(|_| exit == Exit::Code(0) && is_launcher)
        {
            let listens = survivors.successor_listens == Some(true);
            up.main = Some(successor);
            up.keeps_reason = true;
            self.reason = cure::daemonized(&self.identity.program, uptime, successor, listens);
            self.record(Kind::Daemonized, self.reason.clone(), Vec::new(), step.out);
            step.out.push(ServiceAction::SuperviseSuccessor {
                life: self.life,
                successor,
            });
            return;
        }
        self.reason = format!(
            "{} after {:.1} s{}",
            exit.in_words(),
            uptime.as_secs_f64(),
            cure::out_of_memory(exit, survivors.oom_kills)
        );
        let facts = end_facts(uptime, exit, survivors);
        let ending = Ending {
            main: up.main,
            ready_for: up.ready_for(step.now),
            exit: Some(exit),
            by_watchdog: false,
            by_wish: false,
            step: Step::Kill,
        };
        let kind = if exit.is_crash() {
            Kind::Crashed
        } else {
            Kind::Exited
        };
        self.record(kind, self.reason.clone(), facts, step.out);
        self.since = step.now;
        self.actual = Actual::Ending(ending.clone());
        if survivors.count == 0 {
            self.life_over(&ending, step);
        } else {
            step.out.push(ServiceAction::KillTree(self.life));
        }
    }
}

fn end_facts(uptime: Duration, exit: Exit, survivors: &Survivors) -> Vec<(&'static str, Value)> {
    let number = |number: i32| Value::Number(u64::try_from(number).unwrap_or_default());
    let left = u64::try_from(survivors.count).unwrap_or(u64::MAX);
    let mut facts = vec![
        ("uptime_ms", millis(uptime)),
        ("survivors", Value::Number(left)),
    ];
    match exit {
        Exit::Code(code) => facts.push(("exit_code", number(code))),
        Exit::Signal(signal) => facts.push(("exit_signal", number(signal))),
        Exit::Unknown => {}
    }
    if survivors.oom_kills > 0 {
        facts.push(("oom_kills_on_host", Value::Number(survivors.oom_kills)));
    }
    facts
}

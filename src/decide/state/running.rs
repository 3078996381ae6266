//! A main process runs: readiness, due probes, messages by sd_notify, and its exit.

use super::super::action::{RecordKind, RecordValue, ServiceAction};
use super::super::clock::{Duration, Instant, in_words};
use super::super::event::{Answer, Check, Exit, ServiceMessage, ServingEvidence, Survivors};
use super::super::hints;
use super::super::snapshot::Class;
use super::super::unjudged::BLIND_AFTER;
use super::monitored::DEGRADED_TOLERANCE;
use super::probe_results::ANSWERING;
use super::{Ending, EndingStage, Service, State, StepContext, millis};

/// Period and timeout of a readiness probe that has no watchdog beside it.
const READINESS_ALONE: Duration = Duration::from_secs(5);

/// Without a probe that shows whether it has served, a process that exits later than this is no launcher.
const LAUNCHES_WITHIN: Duration = Duration::from_secs(1);

/// What makes a service ready.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReadinessSource {
    /// A good answer to this probe.
    Probe(Check),
    /// READY=1 from the service (sd_notify(3)).
    Notification,
    /// The exec of its program.
    Exec,
}

impl Service {
    fn readiness_source(&self) -> ReadinessSource {
        if self.policy.ready_probe {
            ReadinessSource::Probe(Check::Readiness)
        } else if self.policy.notifies_ready && !self.adopted && !self.is_attached() {
            // An adopted process may have sent READY=1 to an earlier stayd, and sends it once. A foreign process never
            // sends it to us.
            ReadinessSource::Notification
        } else if self.policy.watchdog.is_some() {
            ReadinessSource::Probe(Check::Liveness)
        } else {
            ReadinessSource::Exec
        }
    }

    fn readiness_timing(&self) -> (Duration, Duration) {
        match &self.policy.watchdog {
            Some(rules) => (rules.period(), rules.timeout),
            None => (READINESS_ALONE, READINESS_ALONE),
        }
    }

    /// The process runs. Where neither a probe nor a notification decides readiness, it is ready now.
    pub(super) fn become_ready_by_exec(&mut self, ctx: &mut StepContext<'_>) {
        if self.readiness_source() == ReadinessSource::Exec {
            self.become_ready(ctx);
        }
    }

    pub(super) fn tick_in_monitored(&mut self, ctx: &mut StepContext<'_>) {
        self.begin_due_attempts(ctx);
        let Some(monitored) = self.state.monitored_mut() else {
            return;
        };
        let is_over = |until: Option<Instant>| until.is_some_and(|until| ctx.now >= until);
        if is_over(monitored.waited_for_until) {
            monitored.waited_for_until = None;
        }
        if is_over(monitored.startup_until) {
            self.end_startup(ctx);
        }
        if ctx.now >= self.parking_ends() {
            self.clear_failure_history(ctx);
        }
        if ctx.now >= self.runtime_is_good_at() {
            self.mark_runtime_good(ctx);
        }
        self.report_long_degradation(ctx);
        self.report_blindness(ctx);
    }

    /// When the uptime is long enough to end the parking or to prove the runtime.
    pub(super) fn stable_uptime_at(&self) -> Instant {
        self.parking_ends().min(self.runtime_is_good_at())
    }

    /// When the parking of the service ends: after stable uptime, not after a successful spawn.
    fn parking_ends(&self) -> Instant {
        let State::Up(monitored) = &self.state else {
            return Instant::NEVER;
        };
        monitored
            .ready_at
            .filter(|_| self.history.is_parked())
            .map_or(Instant::NEVER, |at| {
                at.after(self.policy.backoff.stable_after)
            })
    }

    fn begin_due_attempts(&mut self, ctx: &mut StepContext<'_>) {
        let (life, (period, timeout)) = (self.life, self.readiness_timing());
        let Some(monitored) = self.state.monitored_mut() else {
            return;
        };
        if let Some(rules) = &self.policy.watchdog
            && let Some(deadline) =
                monitored
                    .liveness
                    .begin_attempt(ctx.now, rules.period(), rules.timeout)
        {
            ctx.actions.push(ServiceAction::Probe {
                life,
                check: Check::Liveness,
                deadline,
            });
        }
        if self.policy.ready_probe
            && let Some(deadline) = monitored.readiness.begin_attempt(ctx.now, period, timeout)
        {
            ctx.actions.push(ServiceAction::Probe {
                life,
                check: Check::Readiness,
                deadline,
            });
        }
    }

    /// The startup budget is over and the service is not ready: from now on the watchdog judges, if its probe has ever
    /// had an answer.
    fn end_startup(&mut self, ctx: &mut StepContext<'_>) {
        let proven = self.is_proven();
        let Some(monitored) = self.state.monitored_mut() else {
            return;
        };
        monitored.end_startup();
        monitored.failures.clear();
        let answered = monitored.liveness.last_ok_at.is_some();
        // Why stayd cannot ask is no mistake in the probe, so the sentence about the probe quotes it.
        let could_not_ask = monitored.liveness.class == Some(Class::NoVerdict);
        // An extended budget is longer than the configured one.
        let took = ctx.now.since(monitored.spawned_at);
        let within = in_words(took.max(self.policy.startup));
        let late = match &self.policy.watchdog {
            Some(_) if proven && !answered => {
                format!("not ready within {within}; the watchdog judges from now on")
            }
            Some(_) | None => format!("not ready within {within}"),
        };
        let is_wrong_probe = self.policy.watchdog.is_some() && !proven;
        let wrong_probe = self.never_answered(if could_not_ask {
            self.reason.text()
        } else {
            ""
        });
        if self.is_attached() {
            self.reason.set_problem(late);
        } else {
            self.reason.set_present(late);
        }
        if is_wrong_probe {
            self.reason.set_problem(wrong_probe);
        }
        self.since = ctx.now;
        self.record(
            RecordKind::Verdict,
            self.reason.text().to_owned(),
            Vec::new(),
            ctx.actions,
        );
    }

    fn become_ready(&mut self, ctx: &mut StepContext<'_>) {
        let Some(monitored) = self.state.monitored_mut() else {
            return;
        };
        if monitored.ready_at.is_some() {
            return;
        }
        let reason_is_news = self.last_exit.is_none() || self.reason.lasting().is_empty();
        let was_overdue = monitored.startup_until.is_none();
        monitored.ready_at = Some(ctx.now);
        monitored.end_startup();
        monitored.failures.clear();
        let took = ctx.now.since(monitored.spawned_at);
        self.since = ctx.now;
        self.reason.end_problem();
        if (reason_is_news || was_overdue) && !monitored.keeps_reason {
            self.reason.set_present(self.ready_in_words().into());
        }
        let sentence = format!("ready after {}", in_words(took));
        self.record(
            RecordKind::Ready,
            sentence,
            vec![("startup_ms", millis(took))],
            ctx.actions,
        );
        if self.readiness_source() != ReadinessSource::Exec {
            self.mark_runtime_good(ctx);
            if !self.is_attached() {
                ctx.actions.push(ServiceAction::MarkReady(self.life));
            }
        }
    }

    fn ready_in_words(&self) -> &'static str {
        match self.readiness_source() {
            ReadinessSource::Probe(_) => ANSWERING,
            ReadinessSource::Notification | ReadinessSource::Exec if self.answers() => ANSWERING,
            ReadinessSource::Notification => "it has reported that it is ready (READY=1)",
            ReadinessSource::Exec => "running; no probe asks whether it answers",
        }
    }

    fn report_long_degradation(&mut self, ctx: &mut StepContext<'_>) {
        let Some(monitored) = self.state.monitored_mut() else {
            return;
        };
        let Some(since) = monitored.degraded_since else {
            return;
        };
        if monitored.degradation_reported || ctx.now.since(since) < DEGRADED_TOLERANCE {
            return;
        }
        monitored.degradation_reported = true;
        let sentence = format!(
            "unhealthy: it answers with an error for {} minutes: {}",
            DEGRADED_TOLERANCE.as_secs() / 60,
            self.reason.text()
        );
        self.record(RecordKind::Degraded, sentence, Vec::new(), ctx.actions);
    }

    /// Records that no attempt has given a verdict for a long time.
    fn report_blindness(&mut self, ctx: &mut StepContext<'_>) {
        let Some(monitored) = self.state.monitored_mut() else {
            return;
        };
        let unjudged = &mut monitored.liveness.unjudged;
        if ctx.now < unjudged.blind_at() {
            return;
        }
        unjudged.report();
        let sentence = format!(
            "blind: no probe attempt has given a verdict for {} minutes ({}), so no wedge would be noticed; {}",
            BLIND_AFTER.as_secs() / 60,
            unjudged.in_words(),
            self.reason.text()
        );
        self.record(RecordKind::Blind, sentence, Vec::new(), ctx.actions);
    }

    /// Makes the service ready if readiness waits for this answer to this probe.
    pub(super) fn become_ready_by_answer(
        &mut self,
        check: Check,
        class: Class,
        answer: &Answer,
        ctx: &mut StepContext<'_>,
    ) {
        if self.readiness_source() != ReadinessSource::Probe(check) {
            return;
        }
        let serves_errors = matches!(
            answer,
            Answer::Degraded {
                starting: false,
                ..
            }
        );
        if class == Class::Alive
            || (check == Check::Liveness && class == Class::Degraded && serves_errors)
        {
            self.become_ready(ctx);
        }
    }

    /// The service sent a message by sd_notify(3).
    pub(super) fn on_notified(&mut self, message: ServiceMessage, ctx: &mut StepContext<'_>) {
        let source = self.readiness_source();
        let State::Up(monitored) = &mut self.state else {
            return;
        };
        match message {
            ServiceMessage::Ready if source == ReadinessSource::Notification => {
                self.become_ready(ctx);
            }
            ServiceMessage::Extend(duration) => {
                monitored.extend_unanswered_startup(ctx.now.after(duration), &self.policy);
            }
            ServiceMessage::Trigger => self.kill_requested_by_service(ctx),
            ServiceMessage::Ready | ServiceMessage::Stopping => {}
        }
    }

    pub(super) fn exited_in_up(
        &mut self,
        exit: Exit,
        survivors: &Survivors,
        ctx: &mut StepContext<'_>,
    ) {
        let ready_by_answer = self.readiness_source() != ReadinessSource::Exec;
        let State::Up(monitored) = &mut self.state else {
            return;
        };
        let uptime = ctx.now.since(monitored.spawned_at);
        let young = monitored.ready_at.is_none() || uptime < self.policy.startup;
        let has_served =
            monitored.ready_at.is_some() && (ready_by_answer || uptime >= LAUNCHES_WITHIN);
        let has_successor = match survivors.evidence {
            // A launcher whose child serves, or a server that has replaced its own process.
            ServingEvidence::Named | ServingEvidence::Listens => true,
            // The watchdog ends it if it does not serve.
            ServingEvidence::HasHeldSocket if self.policy.watchdog.is_some() => true,
            // The child may not listen yet. If the main process had served itself, what is left is a leftover.
            ServingEvidence::Nothing => young && !has_served,
            // The probe shows whether the successor serves. Without a probe only the time distinguishes a launcher from a server.
            ServingEvidence::HasHeldSocket | ServingEvidence::Unknown if ready_by_answer => young,
            ServingEvidence::HasHeldSocket | ServingEvidence::Unknown => !has_served,
        };
        if let Some(successor) = survivors
            .successor
            .filter(|_| exit == Exit::Code(0) && has_successor)
        {
            monitored.main = Some(successor);
            monitored.keeps_reason = true;
            let program = &self.description.program;
            let evidence = survivors.evidence;
            // A launcher may wait until its child answers, but not longer than the startup budget.
            self.reason.set_present(if young {
                hints::daemonized(program, uptime, successor, evidence)
            } else {
                hints::replaced(program, uptime, successor, evidence)
            });
            self.record(
                RecordKind::Daemonized,
                self.reason.text().to_owned(),
                Vec::new(),
                ctx.actions,
            );
            ctx.actions.push(ServiceAction::SuperviseSuccessor {
                life: self.life,
                successor,
            });
            return;
        }
        let sentence = format!(
            "{} after {:.1} s{}",
            exit.in_words(),
            uptime.as_secs_f64(),
            hints::out_of_memory(exit, survivors.oom_kills)
        );
        self.reason.set_failure(sentence.clone());
        let facts = exit_facts(uptime, exit, survivors);
        let ending = Ending {
            main: monitored.main,
            ready_for: monitored.ready_for(ctx.now),
            exit: Some(exit),
            by_watchdog: false,
            by_request: false,
            stage: EndingStage::Kill,
        };
        let kind = if exit.is_crash() {
            RecordKind::Crashed
        } else {
            RecordKind::Exited
        };
        self.record(kind, sentence, facts, ctx.actions);
        self.since = ctx.now;
        self.state = State::Ending(ending.clone());
        if survivors.count == 0 {
            self.instance_over(&ending, ctx);
        } else {
            ctx.actions.push(ServiceAction::KillTree(self.life));
        }
    }
}

fn exit_facts(
    uptime: Duration,
    exit: Exit,
    survivors: &Survivors,
) -> Vec<(&'static str, RecordValue)> {
    let number = |number: i32| RecordValue::Number(u64::try_from(number).unwrap_or_default());
    let left = u64::try_from(survivors.count).unwrap_or(u64::MAX);
    let mut facts = vec![
        ("uptime_ms", millis(uptime)),
        ("survivors", RecordValue::Number(left)),
    ];
    match exit {
        Exit::Code(code) => facts.push(("exit_code", number(code))),
        Exit::Signal(signal) => facts.push(("exit_signal", number(signal))),
        Exit::Unknown => {}
    }
    if survivors.oom_kills > 0 {
        facts.push((
            "oom_kills_on_host",
            RecordValue::Number(survivors.oom_kills),
        ));
    }
    facts
}

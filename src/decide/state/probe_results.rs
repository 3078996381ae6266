//! Handles the result of a probe attempt: proves the probe, makes the service ready, updates the reason that users see, and
//! reaches the verdict, which leads to a kill or is suppressed.

use super::super::action::{Persist, RecordKind, RecordValue, ServiceAction};
use super::super::clock::{Duration, Instant, in_words};
use super::super::event::{Answer, Check, ProbeAttempt};
use super::super::policy::{Mode, Watchdog};
use super::super::snapshot::Class;
use super::super::verdict::{
    self, ConsecutiveFailures, KillConditions, SuppressionReason, Verdict,
};
use super::{KillPermit, KillStage, Service, State, StepContext, millis};

/// Evidence is collected for at most this long.
pub(super) const EVIDENCE_MAX: Duration = Duration::from_millis(300);
/// An attempt that was sent later than this share of its timeout left too little time for an answer: 4 is a quarter.
const LATE_SHARE: u32 = 4;
/// The largest number of reasons for attempts without a verdict that are recorded until the next verdict.
const UNJUDGED_REASONS_MAX: usize = 3;
/// A start that takes longer than this is recorded with its cause. Before that, a refused connection is usual.
const SLOW_START: Duration = Duration::from_secs(3);
/// The most causes that are recorded about one start.
const UNREADY_REASONS_MAX: usize = 3;
/// The reason of a service whose last attempt had an answer.
pub(super) const ANSWERING: &str = "answering";

impl Service {
    pub(super) fn on_probed(
        &mut self,
        check: Check,
        attempt: &ProbeAttempt,
        ctx: &mut StepContext<'_>,
    ) {
        let Some(monitored) = self.state.monitored_mut() else {
            return;
        };
        let Some(begun_at) = monitored.schedule(check).close_attempt(attempt) else {
            return;
        };
        let sent_late_by = attempt.asked_at.since(begun_at);
        let timeout = attempt.deadline.since(begun_at);
        if sent_late_by > verdict::LATENESS_MAX.min(timeout / LATE_SHARE) {
            let cause = format!("it asked {} ms late", sent_late_by.as_millis());
            monitored.failures.no_verdict_before(ctx.now, cause);
        }
        let degraded_kills = self
            .policy
            .watchdog
            .is_some_and(|rules| rules.degraded_kills);
        let (class, why) = verdict::classify(
            attempt,
            &monitored.failures,
            self.policy.stopped_is,
            degraded_kills && check == Check::Liveness,
        );
        let before = monitored.schedule(check).class;
        monitored
            .schedule(check)
            .note_result(ctx.now, class, attempt.latency);
        if monitored.startup_until.is_some() && class != Class::Alive {
            monitored.schedule(check).shorten_wait(ctx.now);
            if verdict::is_working(&attempt.sample) {
                let later = ctx.now.after(self.policy.startup);
                // A server that answers that it is starting, as in a crash recovery, may take as long as it works.
                if matches!(attempt.answer, Answer::Degraded { starting: true, .. }) {
                    monitored.extend_startup(later);
                } else {
                    monitored.extend_unanswered_startup(later, &self.policy);
                }
            }
        }
        match check {
            Check::Liveness => {
                self.note_class(before, class, &why, attempt, ctx);
                self.show_problem(class, &why, &attempt.answer);
                self.become_ready_by_answer(check, class, &attempt.answer, ctx);
                self.judge(class, &why, attempt, ctx);
            }
            Check::Readiness => self.become_ready_by_answer(check, class, &attempt.answer, ctx),
        }
    }

    /// Notes that the probe is proven, notes degradation, and records a change of class.
    fn note_class(
        &mut self,
        before: Option<Class>,
        class: Class,
        why: &str,
        attempt: &ProbeAttempt,
        ctx: &mut StepContext<'_>,
    ) {
        let attached = self.is_attached();
        let Some(monitored) = self.state.monitored_mut() else {
            return;
        };
        if attempt.answer.is_answer() && !self.proven && !attached {
            self.proven = true;
            ctx.actions.push(ServiceAction::Persist(Persist::Proven));
        }
        if class == Class::Degraded {
            monitored.degraded_since.get_or_insert(ctx.now);
        } else if class == Class::Alive {
            monitored.degraded_since = None;
            monitored.degradation_reported = false;
        }
        if matches!(class, Class::NoVerdict | Class::Void) {
            return self.record_unjudged(class, why, attempt, ctx);
        }
        monitored.unjudged_because.clear();
        if class == Class::Dead {
            self.record_slow_start(why, attempt, ctx);
        }
        let Some(monitored) = self.state.monitored_mut() else {
            return;
        };
        if before == Some(class) || (before.is_none() && class == Class::Alive) {
            return;
        }
        let starting = monitored.startup_until.is_some();
        match class {
            Class::Alive if starting => {}
            Class::Alive => {
                let facts = vec![("latency_ms", millis(attempt.latency))];
                let note = if why.is_empty() { "" } else { "; " };
                self.record(
                    RecordKind::Verdict,
                    format!("answering again{note}{why}"),
                    facts,
                    ctx.actions,
                );
            }
            Class::Dead if starting => {}
            Class::Degraded | Class::Dead => {
                let sentence = format!("{}: {why}", class.name());
                self.record(
                    RecordKind::Verdict,
                    sentence,
                    sample_facts(attempt),
                    ctx.actions,
                );
            }
            Class::NoVerdict | Class::Void => {}
        }
    }

    /// Records what keeps a service from being ready, in a start that takes long: each cause once, and a few at most.
    fn record_slow_start(&mut self, why: &str, attempt: &ProbeAttempt, ctx: &mut StepContext<'_>) {
        let Some(monitored) = self.state.monitored_mut() else {
            return;
        };
        let is_slow = ctx.now.since(monitored.spawned_at) >= SLOW_START;
        let known = &mut monitored.unready_because;
        let is_known = known.len() >= UNREADY_REASONS_MAX || known.iter().any(|one| one == why);
        if monitored.startup_until.is_none() || !is_slow || is_known {
            return;
        }
        known.push(why.to_owned());
        let sentence = format!("not ready yet: {why}");
        self.record(
            RecordKind::Verdict,
            sentence,
            sample_facts(attempt),
            ctx.actions,
        );
    }

    /// Records why an attempt had no verdict, although nothing follows from it, so that `why` shows why nothing was killed.
    /// Records each reason once, and a few at most until the next verdict.
    fn record_unjudged(
        &mut self,
        class: Class,
        why: &str,
        attempt: &ProbeAttempt,
        ctx: &mut StepContext<'_>,
    ) {
        let Some(monitored) = self.state.monitored_mut() else {
            return;
        };
        let known = &mut monitored.unjudged_because;
        if known.len() >= UNJUDGED_REASONS_MAX || known.iter().any(|one| one == why) {
            return;
        }
        known.push(why.to_owned());
        let sentence = format!("not judged ({}): {why}", class.name());
        self.record(
            RecordKind::Suppressed,
            sentence,
            sample_facts(attempt),
            ctx.actions,
        );
    }

    /// Keeps the reason up to date: it names a problem, or the note of an answer, for as long as that lasts. After that, the
    /// reason that it displaced is shown again.
    fn show_problem(&mut self, class: Class, why: &str, answer: &Answer) {
        let (proven, attached) = (self.is_proven(), self.is_attached());
        let Some(monitored) = self.state.monitored_mut() else {
            return;
        };
        let starting = monitored.startup_until.is_some();
        let is_usual_at_start = match class {
            Class::Alive => {
                monitored.suppressed_because = None;
                if why.is_empty() {
                    return self.end_problem();
                }
                false
            }
            Class::Dead => true,
            Class::Degraded => matches!(answer, Answer::Degraded { starting: true, .. }),
            Class::NoVerdict | Class::Void => false,
        };
        let problem = match class {
            _ if starting && is_usual_at_start => match self.reason.lasting() {
                "" => format!("not ready yet: {why}"),
                before => format!("{before}; not ready yet: {why}"),
            },
            _ if !proven && !starting => self.never_answered(why),
            Class::Alive => format!("{ANSWERING}; {why}"),
            Class::Degraded => format!("degraded: {why}"),
            Class::Dead if attached => format!("no answer: {why}; not ours, and never killed"),
            Class::Dead => match monitored.suppressed_because {
                Some(because) => format!("no answer: {why}; not killed yet: {because}"),
                None => format!("no answer: {why}"),
            },
            Class::NoVerdict | Class::Void => format!("not judged: {why}"),
        };
        self.reason.set_problem(problem);
    }

    /// Shows the reason again that the problem had replaced.
    fn end_problem(&mut self) {
        if !self.reason.end_problem() {
            return;
        }
        let starting = self
            .state
            .monitored()
            .is_some_and(|monitored| monitored.startup_until.is_some());
        if self.reason.lasting().starts_with(ANSWERING) {
            self.reason.set_present(format!("{ANSWERING} again"));
        } else if self.reason.lasting().is_empty() && !starting {
            self.reason.set_present(ANSWERING.into());
        }
    }

    /// The reason of a service whose probe never had an answer.
    pub(super) fn never_answered(&self, why: &str) -> String {
        let last = if why.is_empty() {
            String::new()
        } else {
            format!("; last: {why}")
        };
        format!(
            "its probe has never succeeded ({}): check whether the probe is right; nothing is killed until it has succeeded \
             once{last}",
            self.description.question
        )
    }

    fn judge(
        &mut self,
        class: Class,
        why: &str,
        attempt: &ProbeAttempt,
        ctx: &mut StepContext<'_>,
    ) {
        let Some(rules) = self.policy.watchdog else {
            return;
        };
        let conditions = KillConditions {
            proven: self.is_proven(),
            held: self.hold.is_some(),
            host_suspected: ctx.permit == KillPermit::HostSuspected,
            foreign: self.is_attached(),
        };
        let Some(monitored) = self.state.monitored_mut() else {
            return;
        };
        if monitored.startup_until.is_some() {
            return;
        }
        match monitored
            .failures
            .judge(ctx.now, class, attempt, &rules, conditions)
        {
            Verdict::Fine | Verdict::Suspect => {}
            Verdict::Suppressed(SuppressionReason::Foreign) => {
                self.report_foreign_wedge(attempt, why, ctx);
            }
            Verdict::Suppressed(reason) => self.suppress_kill(reason, &rules, attempt, ctx),
            Verdict::Wedged => {
                let failures = self.failures_in_words(attempt, why, ctx.now);
                let sentence = format!("killed: {failures}");
                self.begin_kill(sentence, &rules, sample_facts(attempt), ctx);
            }
        }
    }

    fn suppress_kill(
        &mut self,
        reason: SuppressionReason,
        rules: &Watchdog,
        attempt: &ProbeAttempt,
        ctx: &mut StepContext<'_>,
    ) {
        let missing = self.missing_answer();
        let question = &self.description.question;
        let sentence = match reason {
            SuppressionReason::NeverAnswered => {
                format!(
                    "not killed: {question} has never succeeded; check whether the probe is right"
                )
            }
            SuppressionReason::Held => format!("not killed: held ({})", self.hold_reason()),
            SuppressionReason::Busy => format!(
                "not killed: {missing}, but busy ({}); waiting up to {} longer",
                verdict::use_in_words(&attempt.sample),
                in_words(rules.busy_grace)
            ),
            SuppressionReason::Overloaded => format!(
                "not killed: {missing}, but the host is overloaded by others ({} runnable on {} \
                 processors)",
                attempt.sample.host_runnable, attempt.sample.host_cpus
            ),
            SuppressionReason::HostSuspected => format!(
                "not killed: {missing}, but all services that were asked fell silent at once: the host is \
                 suspected"
            ),
            SuppressionReason::Shadow => {
                format!("would have killed (shadow mode): {missing}")
            }
            SuppressionReason::Foreign => return, // recorded by `report_foreign_wedge`
        };
        self.record(
            RecordKind::Suppressed,
            sentence,
            sample_facts(attempt),
            ctx.actions,
        );
        let Some(monitored) = self.state.monitored_mut() else {
            return;
        };
        monitored.suppressed_because = match reason {
            SuppressionReason::Held => Some("it is held"),
            SuppressionReason::Busy => Some("it is busy"),
            SuppressionReason::Overloaded => {
                Some("others overload the host (5 times `busy_grace` at most)")
            }
            SuppressionReason::HostSuspected => {
                Some("all services are silent, the host is suspected")
            }
            SuppressionReason::Shadow => Some("shadow mode"),
            // The reason of the service describes these differently.
            SuppressionReason::NeverAnswered | SuppressionReason::Foreign => None,
        };
    }

    /// "no answer to SELECT 1 in 3 probes (3.4 s), using no CPU; last: timed out after 3 s waiting for the answer". `why` is
    /// what the last attempt had instead of a good answer.
    pub(super) fn failures_in_words(
        &self,
        attempt: &ProbeAttempt,
        why: &str,
        now: Instant,
    ) -> String {
        let failures = self.state.monitored().map(|monitored| &monitored.failures);
        let began = failures.and_then(ConsecutiveFailures::first_asked_at);
        let took = began.map_or(Duration::ZERO, |began| now.since(began));
        format!(
            "{} in {} probes ({:.1} s), {}; last: {why}",
            self.missing_answer(),
            failures.map_or(0, ConsecutiveFailures::count),
            took.as_secs_f64(),
            verdict::use_in_words(&attempt.sample)
        )
    }

    /// "no answer to SELECT 1".
    fn missing_answer(&self) -> String {
        let failures = self.state.monitored().map(|monitored| &monitored.failures);
        let missing = failures.map_or("no answer to", ConsecutiveFailures::in_words);
        format!("{missing} {}", self.description.question)
    }

    /// WATCHDOG=trigger: the service itself requests its kill.
    pub(super) fn kill_requested_by_service(&mut self, ctx: &mut StepContext<'_>) {
        const WHY: &str = "it asked for it (WATCHDOG=trigger)";
        let Some(rules) = self.policy.watchdog else {
            return;
        };
        let suppressed = if self.hold.is_some() {
            format!("not killed: {WHY}, but is held ({})", self.hold_reason())
        } else if rules.mode == Mode::Shadow {
            format!("would have killed (shadow mode): {WHY}")
        } else {
            return self.begin_kill(format!("killed: {WHY}"), &rules, Vec::new(), ctx);
        };
        self.record(RecordKind::Suppressed, suppressed, Vec::new(), ctx.actions);
    }

    fn hold_reason(&self) -> &str {
        self.hold.as_ref().map_or("", |hold| hold.reason.as_str())
    }

    fn begin_kill(
        &mut self,
        sentence: String,
        rules: &Watchdog,
        facts: Vec<(&'static str, RecordValue)>,
        ctx: &mut StepContext<'_>,
    ) {
        let State::Up(monitored) = &self.state else {
            return;
        };
        let monitored = monitored.clone();
        let within = EVIDENCE_MAX + rules.evidence_extra;
        self.reason.set_failure(sentence.clone());
        self.since = ctx.now;
        self.record(RecordKind::Killed, sentence, facts, ctx.actions);
        ctx.actions.push(ServiceAction::CollectEvidence {
            life: self.life,
            within,
        });
        let until = ctx.now.after(within);
        self.state = State::KillPending {
            monitored,
            stage: KillStage::Evidence { until },
        };
    }
}

/// The inputs of a verdict, for its record.
pub(super) fn sample_facts(attempt: &ProbeAttempt) -> Vec<(&'static str, RecordValue)> {
    let sample = &attempt.sample;
    vec![
        ("latency_ms", millis(attempt.latency)),
        ("stopped", RecordValue::Flag(sample.stopped)),
        ("traced", RecordValue::Flag(sample.traced)),
        ("frozen", RecordValue::Flag(sample.frozen)),
        ("watched_ms", millis(sample.watched)),
        ("tree_cpu_ms", millis(sample.tree_cpu)),
        ("tree_io_bytes", RecordValue::Number(sample.tree_io_bytes)),
        (
            "use_unknown",
            RecordValue::Flag(sample.unknown_use.is_some()),
        ),
        ("state_unknown", RecordValue::Flag(sample.state_unknown)),
        ("throttled", RecordValue::Flag(sample.throttled)),
        ("host_cpu_ms", millis(sample.host_cpu)),
        ("host_cpus", RecordValue::Number(sample.host_cpus.into())),
        ("host_stalled_ms", millis(sample.host_stalled)),
        (
            "host_runnable",
            RecordValue::Number(sample.host_runnable.into()),
        ),
    ]
}

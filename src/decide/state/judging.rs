//! Rounds become classes, classes become verdicts, and a verdict is spoken or spared.

use super::super::action::{Kind, Persist, ServiceAction, Value};
use super::super::clock::{Duration, Instant, in_words};
use super::super::event::{Answer, Check, ProbeAttempt};
use super::super::policy::{Mode, Watchdog};
use super::super::snapshot::Class;
use super::super::verdict::{self, Judgement, Row, Spare, Standing};
use super::{Actual, KillPending, Permit, Service, Turn, millis};

/// Evidence is taken for this long at most.
pub(super) const EVIDENCE_MAX: Duration = Duration::from_millis(300);
/// The reason of a service whose last round was answered.
pub(super) const ANSWERING: &str = "answering";

impl Service {
    pub(super) fn probed(&mut self, check: Check, attempt: &ProbeAttempt, step: &mut Turn<'_>) {
        let Some(up) = self.actual.watched_mut() else {
            return;
        };
        let Some(ordered_at) = up.asking(check).close(attempt) else {
            return;
        };
        if attempt.asked_at.since(ordered_at) > verdict::LATENESS_MAX {
            up.row.distrust_in_flight(step.now);
        }
        let degraded_kills = self
            .policy
            .watchdog
            .is_some_and(|rules| rules.degraded_kills);
        let (class, why) = verdict::classify(
            attempt,
            &up.row,
            self.policy.stopped_is,
            degraded_kills && check == Check::Liveness,
        );
        let before = up.asking(check).class;
        up.asking(check).note(step.now, class, attempt.latency);
        if up.startup_until.is_some() && class != Class::Alive {
            up.asking(check).hurry(step.now);
            if verdict::is_busy(&attempt.sample) {
                let later = step.now.after(self.policy.startup);
                up.startup_until = up.startup_until.map(|until| until.max(later));
            }
        }
        match check {
            Check::Liveness => {
                self.note_class(before, class, &why, attempt, step);
                self.tell_trouble(class, &why, &attempt.answer);
                self.open_gate(check, class, &attempt.answer, step);
                self.judge(class, attempt, step);
            }
            Check::Readiness => self.open_gate(check, class, &attempt.answer, step),
        }
    }

    /// Proof, degradation and the change of class.
    fn note_class(
        &mut self,
        before: Option<Class>,
        class: Class,
        why: &str,
        attempt: &ProbeAttempt,
        step: &mut Turn<'_>,
    ) {
        let attached = self.is_attached();
        let Some(up) = self.actual.watched_mut() else {
            return;
        };
        let answered = matches!(attempt.answer, Answer::Alive | Answer::Degraded { .. });
        if answered && !self.proven && !attached {
            self.proven = true;
            step.out.push(ServiceAction::Persist(Persist::Proven));
        }
        if class == Class::Degraded {
            up.degraded_since.get_or_insert(step.now);
        } else if class == Class::Alive {
            up.degraded_since = None;
            up.degraded_told = false;
        }
        if before == Some(class) || (before.is_none() && class == Class::Alive) {
            return;
        }
        let starting = up.startup_until.is_some();
        match class {
            Class::Alive if starting => {}
            Class::Alive => {
                let facts = vec![("latency_ms", millis(attempt.latency))];
                self.record(Kind::Verdict, "answering again".into(), facts, step.out);
            }
            Class::Dead if starting => {}
            Class::Degraded | Class::Dead => {
                let sentence = format!("{}: {why}", class.name());
                self.record(Kind::Verdict, sentence, sight_facts(attempt), step.out);
            }
            Class::NoVerdict | Class::Void => {
                // Nothing is concluded from it: whoever asks why nothing is killed finds it.
                let sentence = format!("not judged ({}): {why}", class.name());
                self.record(Kind::Suppressed, sentence, sight_facts(attempt), step.out);
            }
        }
    }

    /// The reason is true at every moment: a trouble stands there for as long as it lasts, and what it displaced comes
    /// back after it.
    fn tell_trouble(&mut self, class: Class, why: &str, answer: &Answer) {
        let (proven, attached) = (self.is_proven(), self.is_attached());
        let Some(up) = self.actual.watched_mut() else {
            return;
        };
        let starting = up.startup_until.is_some();
        let is_usual_at_start = match class {
            Class::Alive => {
                up.spared = None;
                return self.end_trouble();
            }
            Class::Dead => true,
            Class::Degraded => matches!(answer, Answer::Degraded { starting: true, .. }),
            Class::NoVerdict | Class::Void => false,
        };
        if starting && is_usual_at_start {
            return;
        }
        let trouble = match class {
            _ if !proven && !starting => self.never_answered(why),
            Class::Alive | Class::Degraded => format!("answers with an error: {why}"),
            Class::Dead if attached => format!("no answer: {why}; not ours, and never killed"),
            Class::Dead => match up.spared {
                Some(spared) => format!("no answer: {why}; not killed yet: {spared}"),
                None => format!("no answer: {why}"),
            },
            Class::NoVerdict | Class::Void => format!("not judged: {why}"),
        };
        self.displace_reason(trouble);
    }

    pub(super) fn displace_reason(&mut self, trouble: String) {
        let Some(up) = self.actual.watched_mut() else {
            return;
        };
        let displaced = core::mem::replace(&mut self.reason, trouble);
        up.displaced.get_or_insert(displaced);
    }

    fn end_trouble(&mut self) {
        let Some(up) = self.actual.watched_mut() else {
            return;
        };
        let Some(displaced) = up.displaced.take() else {
            return;
        };
        self.reason = if displaced.starts_with(ANSWERING) {
            format!("{ANSWERING} again")
        } else if displaced.is_empty() && up.startup_until.is_none() {
            ANSWERING.into()
        } else {
            displaced
        };
    }

    /// Why a service stays unproven.
    pub(super) fn never_answered(&self, why: &str) -> String {
        let last = if why.is_empty() {
            String::new()
        } else {
            format!("; last: {why}")
        };
        format!(
            "its probe has never been answered ({}): is the probe right? Nothing is killed until it is answered \
             once{last}",
            self.identity.question
        )
    }

    fn judge(&mut self, class: Class, attempt: &ProbeAttempt, step: &mut Turn<'_>) {
        let Some(rules) = self.policy.watchdog else {
            return;
        };
        let standing = Standing {
            proven: self.is_proven(),
            held: self.hold.is_some(),
            host_suspected: step.permit == Permit::HostSuspected,
            stranger: self.is_attached(),
        };
        let Some(up) = self.actual.watched_mut() else {
            return;
        };
        if up.startup_until.is_some() {
            return;
        }
        match up.row.judge(step.now, class, attempt, &rules, standing) {
            Judgement::Fine | Judgement::Suspect => {}
            Judgement::Suppressed(Spare::Stranger) => self.tell_wedge(attempt, step),
            Judgement::Suppressed(spare) => self.spare(spare, &rules, attempt, step),
            Judgement::Wedged => {
                let sentence = format!("killed: {}", self.silence_in_words(attempt, step.now));
                self.condemn_because(sentence, &rules, sight_facts(attempt), step);
            }
        }
    }

    fn spare(
        &mut self,
        spare: Spare,
        rules: &Watchdog,
        attempt: &ProbeAttempt,
        step: &mut Turn<'_>,
    ) {
        let question = &self.identity.question;
        let sentence = match spare {
            Spare::Unproven => {
                format!("not killed: {question} has never been answered; is the probe right?")
            }
            Spare::Held => format!("not killed: held ({})", self.hold_reason()),
            Spare::Busy => format!(
                "not killed: no answer to {question}, but busy ({}); waiting up to {} longer",
                verdict::cpu_in_words(&attempt.sample),
                in_words(rules.busy_grace)
            ),
            Spare::Overloaded => format!(
                "not killed: no answer to {question}, but the host is overloaded by others ({} runnable on {} \
                 processors)",
                attempt.sample.host_runnable, attempt.sample.host_cpus
            ),
            Spare::HostSuspected => format!(
                "not killed: no answer to {question}, but all services that are watched are silent: the host is suspected"
            ),
            Spare::Shadow => format!("would have killed (shadow mode): no answer to {question}"),
            Spare::Stranger => return, // told as a wedge
        };
        self.record(Kind::Suppressed, sentence, sight_facts(attempt), step.out);
        let Some(up) = self.actual.watched_mut() else {
            return;
        };
        up.spared = match spare {
            Spare::Held => Some("it is held"),
            Spare::Busy => Some("it is busy"),
            Spare::Overloaded => Some("others overload the host (5 times `busy_grace` at most)"),
            Spare::HostSuspected => Some("all services are silent, the host is suspected"),
            Spare::Shadow => Some("shadow mode"),
            Spare::Unproven | Spare::Stranger => None, // said in its own words
        };
    }

    /// "no answer to SELECT 1 in 3 probes (3.4 s), using no CPU".
    pub(super) fn silence_in_words(&self, attempt: &ProbeAttempt, now: Instant) -> String {
        let row = self.actual.watched().map(|up| &up.row);
        let began = row.and_then(Row::began);
        let took = began.map_or(Duration::ZERO, |began| now.since(began));
        format!(
            "no answer to {} in {} probes ({:.1} s), {}",
            self.identity.question,
            row.map_or(0, Row::failures),
            took.as_secs_f64(),
            verdict::cpu_in_words(&attempt.sample)
        )
    }

    /// WATCHDOG=trigger: the service itself says that it is beyond help.
    pub(super) fn asked_for_its_end(&mut self, step: &mut Turn<'_>) {
        const WHY: &str = "it asked for it (WATCHDOG=trigger)";
        let Some(rules) = self.policy.watchdog else {
            return;
        };
        let spared = if self.hold.is_some() {
            format!("not killed: {WHY}, but is held ({})", self.hold_reason())
        } else if rules.mode == Mode::Shadow {
            format!("would have killed (shadow mode): {WHY}")
        } else {
            return self.condemn_because(format!("killed: {WHY}"), &rules, Vec::new(), step);
        };
        self.record(Kind::Suppressed, spared, Vec::new(), step.out);
    }

    fn hold_reason(&self) -> &str {
        self.hold.as_ref().map_or("", |hold| hold.reason.as_str())
    }

    fn condemn_because(
        &mut self,
        sentence: String,
        rules: &Watchdog,
        facts: Vec<(&'static str, Value)>,
        step: &mut Turn<'_>,
    ) {
        let Actual::Up(up) = &self.actual else { return };
        let up = up.clone();
        let within = EVIDENCE_MAX + rules.evidence_extra;
        self.reason = sentence;
        self.since = step.now;
        self.record(Kind::Killed, self.reason.clone(), facts, step.out);
        step.out.push(ServiceAction::TakeEvidence {
            life: self.life,
            within,
        });
        let until = step.now.after(within);
        self.actual = Actual::KillPending {
            up,
            step: KillPending::Evidence { until },
        };
    }
}

pub(super) fn sight_facts(attempt: &ProbeAttempt) -> Vec<(&'static str, Value)> {
    let sample = &attempt.sample;
    vec![
        ("latency_ms", millis(attempt.latency)),
        ("stopped", Value::Flag(sample.stopped)),
        ("traced", Value::Flag(sample.traced)),
        ("frozen", Value::Flag(sample.frozen)),
        ("watched_ms", millis(sample.watched)),
        ("tree_cpu_ms", millis(sample.tree_cpu)),
        ("tree_io_bytes", Value::Number(sample.tree_io_bytes)),
        ("throttled", Value::Flag(sample.throttled)),
        ("host_cpu_ms", millis(sample.host_cpu)),
        ("host_cpus", Value::Number(sample.host_cpus.into())),
        ("host_runnable", Value::Number(sample.host_runnable.into())),
    ]
}

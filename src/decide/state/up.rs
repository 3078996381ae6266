//! A main process runs: rounds, readiness, verdicts.

use super::super::action::{Keep, Kind, Order, Value};
use super::super::clock::{Duration, Moment, in_words};
use super::super::cure;
use super::super::event::{Answer, Check, Exit, Fact, Proc, Round, Survivors, Told};
use super::super::policy::{Policy, Watchdog};
use super::super::snapshot::Class;
use super::super::verdict::{self, Judgement, Row, Spare, Standing};
use super::{Actual, Condemned, Ending, Permit, Service, Step, Turn, millis};

/// The first question comes this long after exec; the wait then doubles up to the period.
const STARTUP_PACE_MIN: Duration = Duration::from_millis(20);
/// While starting, questions come at least this often.
const STARTUP_PACE_MAX: Duration = Duration::from_secs(1);
/// A probe that has not reported this long after its deadline is given up, without a verdict.
const PROBE_SLACK: Duration = Duration::from_secs(2);
/// Evidence is taken for this long at most.
pub(super) const EVIDENCE_MAX: Duration = Duration::from_millis(300);
/// Degraded for this long makes a service unhealthy.
pub(super) const DEGRADED_TOLERANCE: Duration = Duration::from_secs(600);
/// Rounds of a readiness probe that has no watchdog beside it.
const READINESS_ALONE: Duration = Duration::from_secs(5);

/// A running life.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Up {
    pub(super) main: Proc,
    pub(super) spawned_at: Moment,
    /// The startup budget; `None` once ready, or once it is over.
    pub(super) startup_until: Option<Moment>,
    pub(super) ready_at: Option<Moment>,
    pub(super) row: Row,
    pub(super) liveness: Asking,
    pub(super) readiness: Asking,
    pub(super) degraded_since: Option<Moment>,
    pub(super) degraded_told: bool,
}

/// One probe's timetable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Asking {
    next_at: Moment,
    /// The deadline of the question under way; the answer is known by it.
    open: Option<Moment>,
    asked: u32,
    pub(super) class: Option<Class>,
    pub(super) latency: Option<Duration>,
    pub(super) last_ok_at: Option<Moment>,
}

/// What makes a service ready.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Probe(Check),
    Notified,
    Exec,
}

impl Up {
    pub(super) fn new(main: Proc, now: Moment, policy: &Policy) -> Self {
        let first = Asking {
            next_at: now.after(STARTUP_PACE_MIN),
            ..Asking::default()
        };
        Self {
            main,
            spawned_at: now,
            startup_until: Some(now.after(policy.startup)),
            ready_at: None,
            row: Row::default(),
            liveness: first.clone(),
            readiness: first,
            degraded_since: None,
            degraded_told: false,
        }
    }

    pub(super) fn deadline(&self, policy: &Policy) -> Moment {
        let mut due = self.startup_until.unwrap_or(Moment::NEVER);
        if policy.watchdog.is_some() {
            due = due.min(self.liveness.due());
        }
        if policy.ready_probe {
            due = due.min(self.readiness.due());
        }
        if let Some(since) = self.degraded_since
            && !self.degraded_told
        {
            due = due.min(since.after(DEGRADED_TOLERANCE));
        }
        due
    }

    pub(super) fn ready_for(&self, now: Moment) -> Option<Duration> {
        self.ready_at.map(|at| now.since(at))
    }

    fn asking(&mut self, check: Check) -> &mut Asking {
        match check {
            Check::Liveness => &mut self.liveness,
            Check::Readiness => &mut self.readiness,
        }
    }
}

impl Asking {
    fn due(&self) -> Moment {
        self.open
            .map_or(self.next_at, |deadline| deadline.after(PROBE_SLACK))
    }

    /// Sends the next question if it is time; says its deadline.
    fn ask(&mut self, now: Moment, period: Duration, timeout: Duration) -> Option<Moment> {
        if let Some(deadline) = self.open {
            if now < deadline.after(PROBE_SLACK) {
                return None;
            }
            self.open = None;
            self.class = Some(Class::NoVerdict);
        }
        if now < self.next_at {
            return None;
        }
        let deadline = now.after(timeout);
        self.open = Some(deadline);
        self.next_at = now.after(period);
        self.asked = self.asked.saturating_add(1);
        Some(deadline)
    }

    /// Takes the answer to the question under way; false if it is not that one's.
    fn close(&mut self, round: &Round) -> bool {
        let is_ours = self.open == Some(round.deadline);
        if is_ours {
            self.open = None;
        }
        is_ours
    }

    /// While starting, the next question does not wait for a whole period.
    fn hurry(&mut self, now: Moment) {
        let doublings = self.asked.min(10);
        let pace = (STARTUP_PACE_MIN * (1 << doublings)).min(STARTUP_PACE_MAX);
        self.next_at = self.next_at.min(now.after(pace));
    }

    fn note(&mut self, now: Moment, class: Class, latency: Duration) {
        self.class = Some(class);
        self.latency = Some(latency);
        if matches!(class, Class::Alive | Class::Degraded) {
            self.last_ok_at = Some(now);
        }
    }
}

impl Service {
    fn gate(&self) -> Gate {
        if self.policy.ready_probe {
            Gate::Probe(Check::Readiness)
        } else if self.policy.notifies_ready {
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
        let Actual::Up(up) = &mut self.actual else {
            return;
        };
        if up.startup_until.is_some_and(|until| step.now >= until) {
            self.end_startup(step);
        }
        self.tell_long_degradation(step);
    }

    fn ask_what_is_due(&mut self, step: &mut Turn<'_>) {
        let (life, readiness) = (self.life, self.readiness_timing());
        let Actual::Up(up) = &mut self.actual else {
            return;
        };
        if let Some(rules) = &self.policy.watchdog
            && let Some(deadline) = up.liveness.ask(step.now, rules.period(), rules.timeout)
        {
            step.out.push(Order::Probe {
                life,
                check: Check::Liveness,
                deadline,
            });
        }
        if self.policy.ready_probe
            && let Some(deadline) = up.readiness.ask(step.now, readiness.0, readiness.1)
        {
            step.out.push(Order::Probe {
                life,
                check: Check::Readiness,
                deadline,
            });
        }
    }

    /// The budget is over without ready: from now on the watchdog judges, if the probe was ever answered.
    fn end_startup(&mut self, step: &mut Turn<'_>) {
        let Actual::Up(up) = &mut self.actual else {
            return;
        };
        up.startup_until = None;
        up.row.clear();
        let answered = up.liveness.last_ok_at.is_some();
        self.reason = match (&self.policy.watchdog, self.proven, answered) {
            (Some(_), false, _) => format!(
                "its probe has never been answered ({}): is the probe right? Nothing is killed until it is \
                 answered once",
                self.identity.question
            ),
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
        self.since = step.now;
        self.record(Kind::Verdict, self.reason.clone(), Vec::new(), step.out);
    }

    fn become_ready(&mut self, step: &mut Turn<'_>) {
        let Actual::Up(up) = &mut self.actual else {
            return;
        };
        if up.ready_at.is_some() {
            return;
        }
        up.ready_at = Some(step.now);
        up.startup_until = None;
        up.row.clear();
        let took = step.now.since(up.spawned_at);
        self.since = step.now;
        if self.last_exit.is_none() || self.reason.is_empty() {
            self.reason = "answering".into();
        }
        let sentence = format!("ready after {}", in_words(took));
        self.record(
            Kind::Ready,
            sentence,
            vec![("startup_ms", millis(took))],
            step.out,
        );
    }

    fn tell_long_degradation(&mut self, step: &mut Turn<'_>) {
        let Actual::Up(up) = &mut self.actual else {
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

    pub(super) fn fact_in_up(&mut self, fact: Fact, step: &mut Turn<'_>) {
        match fact {
            Fact::Exited(_, exit, survivors) => self.main_exited(exit, &survivors, step),
            Fact::Probed(_, check, round) => self.probed(check, &round, step),
            Fact::Told(_, told) => self.told(told, step),
            Fact::Configured(_)
            | Fact::Asked(_)
            | Fact::Prepared(_)
            | Fact::NotPrepared(..)
            | Fact::PortHeld(..)
            | Fact::Spawned(..)
            | Fact::NotSpawned(..)
            | Fact::Emptied(_)
            | Fact::NotEmptied { .. }
            | Fact::EvidenceTaken(_)
            | Fact::Changed => {}
        }
    }

    fn probed(&mut self, check: Check, round: &Round, step: &mut Turn<'_>) {
        let Actual::Up(up) = &mut self.actual else {
            return;
        };
        if !up.asking(check).close(round) {
            return;
        }
        let degraded_kills = self
            .policy
            .watchdog
            .is_some_and(|rules| rules.degraded_kills);
        let (class, why) = verdict::classify(
            round,
            &up.row,
            self.policy.stopped_is,
            degraded_kills && check == Check::Liveness,
        );
        let before = up.asking(check).class;
        up.asking(check).note(step.now, class, round.latency);
        if up.startup_until.is_some() && class != Class::Alive {
            up.asking(check).hurry(step.now);
            if verdict::is_busy(&round.sight) {
                let later = step.now.after(self.policy.startup);
                up.startup_until = up.startup_until.map(|until| until.max(later));
            }
        }
        match check {
            Check::Liveness => {
                self.note_class(before, class, &why, round, step);
                self.open_gate(check, class, &round.answer, step);
                self.judge(class, round, step);
            }
            Check::Readiness => self.open_gate(check, class, &round.answer, step),
        }
    }

    /// Proof, degradation and the change of class.
    fn note_class(
        &mut self,
        before: Option<Class>,
        class: Class,
        why: &str,
        round: &Round,
        step: &mut Turn<'_>,
    ) {
        let Actual::Up(up) = &mut self.actual else {
            return;
        };
        let answered = matches!(round.answer, Answer::Alive | Answer::Degraded { .. });
        if answered && !self.proven {
            self.proven = true;
            step.out.push(Order::Keep(Keep::Proven));
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
                if matches!(before, Some(Class::Degraded)) {
                    self.reason = "answering again".into();
                }
                let facts = vec![("latency_ms", millis(round.latency))];
                self.record(Kind::Verdict, "answering again".into(), facts, step.out);
            }
            Class::Dead if starting => {}
            Class::Degraded | Class::Dead | Class::NoVerdict | Class::Void => {
                if class == Class::Degraded {
                    self.reason = format!("answers with an error: {why}");
                }
                let sentence = format!("{}: {why}", class.name());
                self.record(Kind::Verdict, sentence, sight_facts(round), step.out);
            }
        }
    }

    fn open_gate(&mut self, check: Check, class: Class, answer: &Answer, step: &mut Turn<'_>) {
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

    fn judge(&mut self, class: Class, round: &Round, step: &mut Turn<'_>) {
        let Some(rules) = self.policy.watchdog else {
            return;
        };
        let standing = Standing {
            proven: self.proven,
            held: self.hold.is_some(),
        };
        let Actual::Up(up) = &mut self.actual else {
            return;
        };
        if up.startup_until.is_some() {
            return;
        }
        match up.row.judge(step.now, class, round, &rules, standing) {
            Judgement::Fine | Judgement::Suspect => {}
            Judgement::Spared(spare) => self.spare(spare, &rules, round, step),
            Judgement::Wedged if step.permit == Permit::HostSuspected => {}
            Judgement::Wedged => {
                let row = (up.row.failures(), up.row.began());
                self.condemn(row, &rules, round, step);
            }
        }
    }

    fn spare(&mut self, spare: Spare, rules: &Watchdog, round: &Round, step: &mut Turn<'_>) {
        let question = &self.identity.question;
        let sentence = match spare {
            Spare::Unproven => {
                format!("not killed: {question} has never been answered; is the probe right?")
            }
            Spare::Held => {
                let reason = self.hold.as_ref().map_or("", |hold| hold.reason.as_str());
                format!("not killed: held ({reason})")
            }
            Spare::Busy => format!(
                "not killed: no answer to {question}, but busy ({}); waiting up to {} longer",
                verdict::cpu_in_words(&round.sight),
                in_words(rules.busy_grace)
            ),
            Spare::Overloaded => format!(
                "not killed: no answer to {question}, but the host is overloaded by others ({} runnable on {} \
                 processors)",
                round.sight.host_runnable, round.sight.host_cpus
            ),
            Spare::Shadow => format!("would have killed (shadow mode): no answer to {question}"),
        };
        self.record(Kind::Spared, sentence, sight_facts(round), step.out);
    }

    /// The verdict is spoken.
    fn condemn(
        &mut self,
        row: (u32, Option<Moment>),
        rules: &Watchdog,
        round: &Round,
        step: &mut Turn<'_>,
    ) {
        let took = row.1.map_or(Duration::ZERO, |began| step.now.since(began));
        let sentence = format!(
            "killed: no answer to {} in {} probes ({:.1} s), {}",
            self.identity.question,
            row.0,
            took.as_secs_f64(),
            verdict::cpu_in_words(&round.sight)
        );
        self.condemn_because(sentence, rules, sight_facts(round), step);
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
        step.out.push(Order::TakeEvidence {
            life: self.life,
            within,
        });
        let until = step.now.after(within);
        self.actual = Actual::Condemned {
            up,
            step: Condemned::Evidence { until },
        };
    }

    fn told(&mut self, told: Told, step: &mut Turn<'_>) {
        let (gate, rules) = (self.gate(), self.policy.watchdog);
        let Actual::Up(up) = &mut self.actual else {
            return;
        };
        match told {
            Told::Ready if gate == Gate::Notified => self.become_ready(step),
            Told::Extend(span) => {
                let later = step.now.after(span);
                up.startup_until = up.startup_until.map(|until| until.max(later));
            }
            Told::Trigger => {
                if let Some(rules) = rules.filter(|_| self.hold.is_none()) {
                    let sentence = "killed: it asked for it (WATCHDOG=trigger)".to_owned();
                    self.condemn_because(sentence, &rules, Vec::new(), step);
                }
            }
            Told::Ready | Told::Watchdog | Told::Stopping => {}
        }
    }

    fn main_exited(&mut self, exit: Exit, survivors: &Survivors, step: &mut Turn<'_>) {
        let Actual::Up(up) = &mut self.actual else {
            return;
        };
        let uptime = step.now.since(up.spawned_at);
        let young = up.ready_at.is_none() || uptime < self.policy.startup;
        if let Some(heir) = survivors.heir.filter(|_| exit == Exit::Code(0) && young) {
            up.main = heir;
            self.reason =
                cure::daemonized(&self.identity.program, uptime, heir, survivors.heir_listens);
            self.record(Kind::Daemonized, self.reason.clone(), Vec::new(), step.out);
            step.out.push(Order::Inherit {
                life: self.life,
                heir,
            });
            return;
        }
        self.reason = format!("{} after {:.1} s", exit.in_words(), uptime.as_secs_f64());
        let left = u64::try_from(survivors.count).unwrap_or(u64::MAX);
        let facts = vec![
            ("uptime_ms", millis(uptime)),
            ("survivors", Value::Number(left)),
        ];
        let ending = Ending {
            main: up.main,
            ready_for: up.ready_for(step.now),
            exit: Some(exit),
            by_watchdog: false,
            by_wish: false,
            step: Step::Kill,
        };
        self.record(Kind::Exited, self.reason.clone(), facts, step.out);
        self.since = step.now;
        self.actual = Actual::Ending(ending.clone());
        if survivors.count == 0 {
            self.life_over(&ending, step);
        } else {
            step.out.push(Order::KillTree(self.life));
        }
    }
}

fn sight_facts(round: &Round) -> Vec<(&'static str, Value)> {
    let sight = &round.sight;
    vec![
        ("latency_ms", millis(round.latency)),
        ("stopped", Value::Flag(sight.stopped)),
        ("traced", Value::Flag(sight.traced)),
        ("frozen", Value::Flag(sight.frozen)),
        ("watched_ms", millis(sight.watched)),
        ("tree_cpu_ms", millis(sight.tree_cpu)),
        ("tree_io_bytes", Value::Number(sight.tree_io_bytes)),
        ("throttled", Value::Flag(sight.throttled)),
        ("host_cpu_ms", millis(sight.host_cpu)),
        ("host_cpus", Value::Number(sight.host_cpus.into())),
        ("host_runnable", Value::Number(sight.host_runnable.into())),
    ]
}

//! The state attached: a foreign process holds the port, and stayd monitors it like an instance of its own, but only reports.
//!
//! No handler of this state signals or kills. Evidence of a wedge is collected only from outside. The answers of a foreign
//! process prove nothing about the configured command, and its end is no failure of the service.

use super::super::action::{RecordKind, RecordValue, ServiceAction};
use super::super::clock::Duration;
use super::super::event::{PortHolder, PortRelease, ProbeAttempt, SpawnFailure};
use super::super::policy::OnStranger;
use super::probe_results::{EVIDENCE_MAX, sample_facts};
use super::{Down, Monitored, Service, State, StepContext};

/// At least this long between two attachments, so that stayd does not spin if the holder of the port changes quickly.
const ATTACHED_MIN: Duration = Duration::from_secs(1);

impl Service {
    /// The port is not free: attach to its holder where the policy says so, else wait for the port.
    pub(super) fn on_port_held(&mut self, holder: &PortHolder, ctx: &mut StepContext<'_>) {
        let State::Preparing { cancelled, .. } = self.state else {
            return;
        };
        if self.policy.stranger == OnStranger::Attach && !cancelled && !self.must_stay_down() {
            return self.attach(holder, ctx);
        }
        ctx.actions.push(ServiceAction::Retire(self.life));
        let message = match holder.main {
            Some(_) => format!(
                "{}, not started by stayd; stayd does not touch it: stop it, or choose another port (`stayd explain :{}` shows more)",
                holder.description, holder.port
            ),
            None => format!("{}; stayd does not touch it", holder.description),
        };
        let failure = SpawnFailure {
            message,
            lasting: true,
        };
        self.on_not_prepared(failure, ctx);
    }

    /// Attaches to the holder. The attachment keeps the number that was meant for an instance, so that a late event about the
    /// attachment never applies to an instance of ours.
    fn attach(&mut self, holder: &PortHolder, ctx: &mut StepContext<'_>) {
        self.refusals = 0;
        self.since = ctx.now;
        self.reason.set_present(format!(
            "attached: {}; not ours: watched, and never signalled",
            holder.description
        ));
        let pid = holder.main.map(|main| main.pid.unsigned_abs().into());
        let mut facts = vec![("port", RecordValue::Number(holder.port.into()))];
        facts.extend(pid.map(|pid| ("pid", RecordValue::Number(pid))));
        self.record(
            RecordKind::Attached,
            self.reason.text().to_owned(),
            facts,
            ctx.actions,
        );
        // No instance of ours is about to start, so clients would wait at a socket that stayd holds without an answer.
        ctx.actions.push(ServiceAction::CloseSockets);
        ctx.actions.push(ServiceAction::Attach {
            life: self.life,
            foreign: holder.main,
        });
        let mut monitored = Monitored::new(holder.main, ctx.now, &self.policy);
        monitored.keeps_reason = true;
        self.state = State::Attached(monitored);
        self.become_ready_by_exec(ctx);
    }

    /// Records a wedge of a foreign process, and collects evidence. An instance of ours would be killed.
    pub(super) fn report_foreign_wedge(
        &mut self,
        attempt: &ProbeAttempt,
        why: &str,
        ctx: &mut StepContext<'_>,
    ) {
        let sentence = format!(
            "wedged: {}; not killed: {} is not ours",
            self.failures_in_words(attempt, why, ctx.now),
            self.main_in_words()
        );
        self.record(
            RecordKind::Wedged,
            sentence,
            sample_facts(attempt),
            ctx.actions,
        );
        ctx.actions.push(ServiceAction::CollectEvidence {
            life: self.life,
            within: EVIDENCE_MAX,
        });
    }

    /// The port is free of the foreign process, so an instance of ours begins. The restart policy does not apply: no
    /// instance of ours has ended.
    pub(super) fn on_foreign_process_left(&mut self, how: PortRelease, ctx: &mut StepContext<'_>) {
        let State::Attached(monitored) = &self.state else {
            return;
        };
        let attached_until = monitored.spawned_at.after(ATTACHED_MIN);
        let what = match how {
            PortRelease::Ended(exit) => exit.in_words(),
            PortRelease::LeftPort => "has left the port".into(),
        };
        let sentence = format!("no longer attached: {} {what}", self.main_in_words());
        self.reason.set_past(sentence);
        ctx.actions.push(ServiceAction::Retire(self.life));
        self.record(
            RecordKind::Detached,
            self.reason.text().to_owned(),
            Vec::new(),
            ctx.actions,
        );
        if ctx.now >= attached_until {
            self.begin_start(ctx);
        } else {
            let until = attached_until;
            self.become_down(Down::Backoff { until }, ctx);
        }
    }

    /// Stops monitoring on a request or on shutdown, without a signal.
    pub(super) fn detach(&mut self, ctx: &mut StepContext<'_>) {
        ctx.actions.push(ServiceAction::Retire(self.life));
        let main = self.main_in_words();
        self.reason.set_present(format!(
            "stopped on request: {main} is not ours, and runs on unwatched"
        ));
        self.record(
            RecordKind::Detached,
            self.reason.text().to_owned(),
            Vec::new(),
            ctx.actions,
        );
        self.become_down(Down::Stopped, ctx);
    }

    /// Why `restart` and `reload` are refused: the service is attached to a foreign process. `None` otherwise.
    #[must_use]
    pub fn control_refusal(&self) -> Option<String> {
        let State::Attached(monitored) = &self.state else {
            return None;
        };
        let hint = monitored.main.map_or_else(
            || "end it with whatever started it".to_owned(),
            |main| format!("end it yourself (`kill {}`)", main.pid),
        );
        Some(format!(
            "{} holds its port, is not ours, and gets no signal from stayd; {hint}, and stayd starts its own instance",
            self.main_in_words()
        ))
    }

    /// Whether the probe is proven by an answer. The answers of a foreign process count only while the service is attached to
    /// it, because it may run another command.
    pub(super) fn is_proven(&self) -> bool {
        let answered = |monitored: &Monitored| monitored.liveness.last_ok_at.is_some();
        self.proven || matches!(&self.state, State::Attached(monitored) if answered(monitored))
    }

    pub(super) const fn is_attached(&self) -> bool {
        matches!(self.state, State::Attached(_))
    }

    fn main_in_words(&self) -> String {
        self.main().map_or_else(
            || "a process that is hidden from stayd".to_owned(),
            |main| format!("pid {}", main.pid),
        )
    }
}

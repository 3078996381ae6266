//! Somebody else's process holds the port and is watched as if it were ours: asked, judged, reported.
//!
//! Nothing here orders a signal or a kill, and the orders that do are given for other states alone; evidence of a wedge
//! is what can be seen from outside. What the stranger answers proves nothing about our own command, and its end is no
//! failure of ours.

use super::super::action::{Kind, ServiceAction, Value};
use super::super::clock::Duration;
use super::super::event::{Departure, Holder, ProbeAttempt, ServiceEvent, SpawnFailure};
use super::super::policy::OnStranger;
use super::judging::{EVIDENCE_MAX, sight_facts};
use super::{Actual, Down, Service, Turn, Up};

/// Between two attachments lies at least this: a port that goes from hand to hand makes nobody spin.
const ATTACHED_MIN: Duration = Duration::from_secs(1);

impl Service {
    /// The port is not free: it is waited for, or its holder is watched.
    pub(super) fn port_held(&mut self, holder: &Holder, cancelled: bool, step: &mut Turn<'_>) {
        let unwanted = cancelled || self.leaving || !self.wanted_up;
        if self.policy.stranger == OnStranger::Attach && !unwanted {
            return self.attach(holder, step);
        }
        step.out.push(ServiceAction::Retire(self.life));
        let message = match holder.main {
            Some(_) => format!(
                "{}, not provably ours and left alone; stop it, or choose another port (`stayd explain :{}` tells more)",
                holder.words, holder.port
            ),
            None => format!("{}; it is left alone", holder.words),
        };
        let failure = SpawnFailure {
            message,
            lasting: true,
        };
        self.not_prepared(failure, step);
    }

    /// The watch keeps the number that was meant for a life: a late fact about it must not be taken for one about ours.
    fn attach(&mut self, holder: &Holder, step: &mut Turn<'_>) {
        self.refusals = 0;
        self.since = step.now;
        self.reason = format!(
            "attached: {}; not ours: watched, and never signalled",
            holder.words
        );
        let pid = holder.main.map(|main| main.pid.unsigned_abs().into());
        let mut facts = vec![("port", Value::Number(holder.port.into()))];
        facts.extend(pid.map(|pid| ("pid", Value::Number(pid))));
        self.record(Kind::Attached, self.reason.clone(), facts, step.out);
        // No life of ours is on its way: whoever connects to a socket of ours would wait in vain.
        step.out.push(ServiceAction::CloseSockets);
        step.out.push(ServiceAction::Attach {
            life: self.life,
            stranger: holder.main,
        });
        let mut up = Up::new(holder.main, step.now, &self.policy);
        up.keeps_reason = true;
        self.actual = Actual::Attached(up);
        self.enter_up(step);
    }

    pub(super) fn fact_in_attached(&mut self, fact: &ServiceEvent, step: &mut Turn<'_>) {
        match fact {
            ServiceEvent::Probed(_, check, attempt) => self.probed(*check, attempt, step),
            ServiceEvent::ForeignProcessLeft(_, departure) => self.stranger_left(*departure, step),
            ServiceEvent::Configured(_)
            | ServiceEvent::Requested(_)
            | ServiceEvent::RecoveryScanned(_)
            | ServiceEvent::Materialized(..)
            | ServiceEvent::Prepared(_)
            | ServiceEvent::NotPrepared(..)
            | ServiceEvent::BeforeFailed(..)
            | ServiceEvent::PortHeld(..)
            | ServiceEvent::Spawned(..)
            | ServiceEvent::NotSpawned(..)
            | ServiceEvent::Exited(..)
            | ServiceEvent::Emptied(_)
            | ServiceEvent::NotEmptied { .. }
            | ServiceEvent::EvidenceTaken(_)
            | ServiceEvent::ServiceMessage(..)
            | ServiceEvent::Changed => {}
        }
    }

    /// What would be a kill, were it ours: it is told and looked at.
    pub(super) fn tell_wedge(&mut self, attempt: &ProbeAttempt, step: &mut Turn<'_>) {
        let sentence = format!(
            "wedged: {}; not killed: {} is not ours",
            self.silence_in_words(attempt, step.now),
            self.whom()
        );
        self.record(Kind::Wedged, sentence, sight_facts(attempt), step.out);
        step.out.push(ServiceAction::TakeEvidence {
            life: self.life,
            within: EVIDENCE_MAX,
        });
    }

    /// A life of ours begins: whatever ended the stranger, it is no end of ours, and the restart policy is not asked.
    fn stranger_left(&mut self, departure: Departure, step: &mut Turn<'_>) {
        let Actual::Attached(up) = &self.actual else {
            return;
        };
        let attached_until = up.spawned_at.after(ATTACHED_MIN);
        let what = match departure {
            Departure::Ended(exit) => exit.in_words(),
            Departure::LeftPort => "has left the port".into(),
        };
        self.reason = format!("no longer attached: {} {what}", self.whom());
        step.out.push(ServiceAction::Retire(self.life));
        self.record(Kind::Detached, self.reason.clone(), Vec::new(), step.out);
        if step.now >= attached_until {
            self.begin_life(step);
        } else {
            let until = attached_until;
            self.become_down(Down::Backoff { until }, step);
        }
    }

    /// Stops watching, because of a wish or because stayd ends; nobody is signalled.
    pub(super) fn detach(&mut self, step: &mut Turn<'_>) {
        step.out.push(ServiceAction::Retire(self.life));
        self.reason = format!(
            "stopped on request: {} is not ours, and runs on unwatched",
            self.whom()
        );
        self.record(Kind::Detached, self.reason.clone(), Vec::new(), step.out);
        self.become_down(Down::Stopped, step);
    }

    /// Why nothing is done to the process of this service, where it is somebody else's.
    #[must_use]
    pub fn hands_off(&self) -> Option<String> {
        let Actual::Attached(up) = &self.actual else {
            return None;
        };
        let cure = up.main.map_or_else(
            || "end it with the means of whoever started it".to_owned(),
            |main| format!("end it yourself (`kill {}`)", main.pid),
        );
        Some(format!(
            "{} holds its port, is not ours, and gets no signal from stayd; {cure}, and a life of our own begins",
            self.whom()
        ))
    }

    /// Whether its probe is known to be right. A stranger's answers count for itself: it may run another command.
    pub(super) fn is_proven(&self) -> bool {
        let answered = |up: &Up| up.liveness.last_ok_at.is_some();
        self.proven || matches!(&self.actual, Actual::Attached(up) if answered(up))
    }

    pub(super) const fn is_attached(&self) -> bool {
        matches!(self.actual, Actual::Attached(_))
    }

    pub(super) fn whom(&self) -> String {
        self.main().map_or_else(
            || "a process that is hidden from stayd".to_owned(),
            |main| format!("pid {}", main.pid),
        )
    }
}

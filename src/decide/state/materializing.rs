//! Before a life: which runtime does it begin with, and what becomes of one that is no good?

use super::super::action::{Kind, ServiceAction, Value};
use super::super::clock::{Duration, Instant};
use super::super::event::SpawnFailure;
use super::super::runtime::{Choice, Offer, RuntimeId};
use super::{Actual, Service, Turn};

/// Begins the reason of a life that does not run from what the source holds.
pub(super) const RUNS_FROM_AN_EARLIER: &str = "runs from an earlier runtime: ";
/// The longest that a copy may take, however slowly it goes on.
pub(super) const COPYING_MAX: Duration = Duration::from_secs(3600);

impl Service {
    pub(super) fn materialize(&mut self, step: &mut Turn<'_>) {
        self.actual = Actual::Preparing {
            until: step.now.after(COPYING_MAX),
            cancelled: false,
            copying: true,
        };
        step.out.push(ServiceAction::Materialize(self.life));
    }

    pub(super) fn materialized(&mut self, offer: &Offer, step: &mut Turn<'_>) {
        let Actual::Preparing {
            cancelled,
            copying: true,
            ..
        } = self.actual
        else {
            return;
        };
        if cancelled || !self.wanted_up || self.leaving {
            return self.not_prepared(SpawnFailure::cancelled(), step);
        }
        let before = self.runtimes.current.clone();
        match self.runtimes.choose(offer) {
            Choice::Source(id) => self.run_from(id, before.as_ref(), offer, None, step),
            Choice::Fallback(id, why) => {
                self.run_from(id, before.as_ref(), offer, Some(&why), step);
            }
            Choice::Nothing(failure) => self.not_prepared(failure, step),
        }
    }

    fn run_from(
        &mut self,
        id: RuntimeId,
        before: Option<&RuntimeId>,
        offer: &Offer,
        fallback_because: Option<&str>,
        step: &mut Turn<'_>,
    ) {
        let mut news: Vec<String> = offer.warnings.clone();
        if before != Some(&id) {
            news.insert(0, format!("runs from the runtime {}", id.0));
        }
        if let Some(why) = fallback_because {
            news.insert(0, format!("an earlier runtime is used: {why}"));
        }
        self.runtimes.why_older = fallback_because.map(str::to_owned);
        if fallback_because.is_none() && self.reason.starts_with(RUNS_FROM_AN_EARLIER) {
            self.reason.clear(); // what kept it from its source is over
        }
        if !news.is_empty() {
            let facts = vec![
                ("runtime", Value::Text(id.0.clone())),
                ("fallback", Value::Flag(fallback_because.is_some())),
            ];
            let kind = match fallback_because {
                Some(_) => Kind::OldRuntime,
                None => Kind::Runtime,
            };
            self.record(kind, news.join("; "), facts, step.out);
        }
        step.out.push(ServiceAction::UseRuntime(id));
        self.prepare(step);
    }

    /// When a runtime is good that nothing but exec has said yes to: no probe asks whether what runs from it answers.
    pub(super) fn runtime_is_good_at(&self) -> Instant {
        let Actual::Up(up) = &self.actual else {
            return Instant::NEVER;
        };
        let unproven = self.policy.has_runtime && !self.runtimes.good;
        up.ready_at
            .filter(|_| unproven)
            .map_or(Instant::NEVER, |at| {
                at.after(self.policy.backoff.stable_after)
            })
    }

    pub(super) fn praise_runtime(&mut self, step: &mut Turn<'_>) {
        if self.runtimes.became_ready()
            && let Some(id) = self.runtimes.current.clone()
        {
            step.out.push(ServiceAction::MarkRuntimeGood(id));
        }
    }

    /// `before` failed: the service's own doing, and under a new runtime as bad as a life that never became ready.
    pub(super) fn before_failed(&mut self, failure: SpawnFailure, step: &mut Turn<'_>) {
        let Actual::Preparing {
            until, cancelled, ..
        } = self.actual
        else {
            return;
        };
        let why = match cancelled {
            true => "`before` did not end in time",
            false => failure.message.as_str(),
        };
        let by_itself = !cancelled || step.now >= until;
        let is_wanted = self.wanted_up && !self.leaving;
        if by_itself && is_wanted && self.rolls_back(why, step) {
            self.number_is_free = true;
            self.begin_life(step);
        } else {
            self.not_prepared(failure, step);
        }
    }

    /// A life ended, or never began: was that one too many for a runtime that was never good? `why` the last one did.
    pub(super) fn rolls_back(&mut self, why: &str, step: &mut Turn<'_>) -> bool {
        let Some((bad, good)) = self.runtimes.ended_unready(self.policy.give_up.exits) else {
            return false;
        };
        let sentence = format!(
            "rolled back to the runtime {}: {} lives under {} ended and none became ready, the last one: {why}; it is tried \
             again when the source changes",
            good.0, self.policy.give_up.exits, bad.0
        );
        let facts = vec![
            ("from", Value::Text(bad.0.clone())),
            ("to", Value::Text(good.0)),
        ];
        self.record(Kind::RolledBack, sentence.clone(), facts, step.out);
        step.out
            .push(ServiceAction::MarkRuntimeBad(bad, why.to_owned()));
        self.reason = sentence;
        self.forgive(step);
        true
    }
}

//! The choice of the runtime that an instance starts from, and when a runtime counts as good or bad.

use super::super::action::{RecordKind, RecordValue, ServiceAction};
use super::super::clock::{Duration, Instant};
use super::super::event::SpawnFailure;
use super::super::runtime::{Choice, Offer, RuntimeId};
use super::{Service, State, StepContext};

/// The beginning of the reason of an instance that runs from an older runtime than the source's.
pub(super) const RUNS_FROM_AN_EARLIER: &str = "runs from an earlier runtime: ";
/// The longest that a copy may take, however slowly it proceeds.
pub(super) const COPYING_MAX: Duration = Duration::from_secs(3600);

impl Service {
    pub(super) fn begin_materializing(&mut self, ctx: &mut StepContext<'_>) {
        self.state = State::Preparing {
            until: ctx.now.after(COPYING_MAX),
            cancelled: false,
            copying: true,
        };
        ctx.actions.push(ServiceAction::Materialize(self.life));
    }

    pub(super) fn on_materialized(&mut self, offer: &Offer, ctx: &mut StepContext<'_>) {
        let State::Preparing {
            cancelled,
            copying: true,
            ..
        } = self.state
        else {
            return;
        };
        if cancelled || self.must_stay_down() {
            return self.on_not_prepared(SpawnFailure::cancelled(), ctx);
        }
        let before = self.runtimes.current.clone();
        match self.runtimes.choose(offer) {
            Choice::Source(id) => self.run_from(id, before.as_ref(), offer, None, ctx),
            Choice::Fallback(id, why) => {
                self.run_from(id, before.as_ref(), offer, Some(&why), ctx);
            }
            Choice::Nothing(failure) => self.on_not_prepared(failure, ctx),
        }
    }

    fn run_from(
        &mut self,
        id: RuntimeId,
        before: Option<&RuntimeId>,
        offer: &Offer,
        fallback_because: Option<&str>,
        ctx: &mut StepContext<'_>,
    ) {
        let mut news: Vec<String> = offer.warnings.clone();
        if before != Some(&id) {
            news.insert(0, format!("runs from the runtime {}", id.0));
        }
        if let Some(why) = fallback_because {
            news.insert(0, format!("an earlier runtime is used: {why}"));
        }
        self.runtimes.why_older = fallback_because.map(str::to_owned);
        if fallback_because.is_none() && self.reason.lasting().starts_with(RUNS_FROM_AN_EARLIER) {
            self.reason.clear(); // the source can be used again
        }
        if !news.is_empty() {
            let facts = vec![
                ("runtime", RecordValue::Text(id.0.clone())),
                ("fallback", RecordValue::Flag(fallback_because.is_some())),
            ];
            let kind = match fallback_because {
                Some(_) => RecordKind::FallbackRuntime,
                None => RecordKind::Runtime,
            };
            self.record(kind, news.join("; "), facts, ctx.actions);
        }
        ctx.actions.push(ServiceAction::UseRuntime(id));
        self.begin_preparing(ctx);
    }

    /// When a runtime becomes good that only an exec has confirmed, because no probe is configured: after stable uptime.
    pub(super) fn runtime_is_good_at(&self) -> Instant {
        let State::Up(monitored) = &self.state else {
            return Instant::NEVER;
        };
        let unproven = self.policy.has_runtime && !self.runtimes.good;
        monitored
            .ready_at
            .filter(|_| unproven)
            .map_or(Instant::NEVER, |at| {
                at.after(self.policy.backoff.stable_after)
            })
    }

    pub(super) fn mark_runtime_good(&mut self, ctx: &mut StepContext<'_>) {
        if self.runtimes.became_ready()
            && let Some(id) = self.runtimes.current.clone()
        {
            ctx.actions.push(ServiceAction::MarkRuntimeGood(id));
        }
    }

    /// `before` failed. `before` belongs to the service, so this counts against a new runtime like an instance that never
    /// became ready.
    pub(super) fn on_before_failed(&mut self, failure: SpawnFailure, ctx: &mut StepContext<'_>) {
        let State::Preparing {
            until, cancelled, ..
        } = self.state
        else {
            return;
        };
        let why = match cancelled {
            true => "`before` did not end in time",
            false => failure.message.as_str(),
        };
        let by_itself = !cancelled || ctx.now >= until;
        if by_itself && !self.must_stay_down() && self.rolls_back(why, ctx) {
            self.number_is_free = true;
            self.begin_start(ctx);
        } else {
            self.on_not_prepared(failure, ctx);
        }
    }

    /// An instance ended or never began, because of `why`. If that was one too many for a runtime that was never good,
    /// marks the runtime bad, and returns true: the next start takes the last good one.
    pub(super) fn rolls_back(&mut self, why: &str, ctx: &mut StepContext<'_>) -> bool {
        let Some((bad, good)) = self.runtimes.ended_unready(self.policy.give_up.exits) else {
            return false;
        };
        let sentence = format!(
            "rolled back to the runtime {}: {} instances under {} ended and none became ready, the last one: {why}; it \
             is tried again when the source changes",
            good.0, self.policy.give_up.exits, bad.0
        );
        let facts = vec![
            ("from", RecordValue::Text(bad.0.clone())),
            ("to", RecordValue::Text(good.0)),
        ];
        self.record(RecordKind::RolledBack, sentence.clone(), facts, ctx.actions);
        ctx.actions
            .push(ServiceAction::MarkRuntimeBad(bad, why.to_owned()));
        self.reason.set_past(sentence);
        self.clear_failure_history(ctx);
        true
    }
}

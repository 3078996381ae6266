//! Users' requests: each changes `wanted_up` or the hold, and begins at once what follows from that.

use super::super::action::{Persist, RecordKind, ServiceAction};
use super::super::clock::{Duration, in_words};
use super::super::event::Request;
use super::{Down, Hold, Service, State, StepContext, millis};

impl Service {
    pub(super) fn on_request(&mut self, request: Request, ctx: &mut StepContext<'_>) {
        match request {
            Request::Start => self.request_start(ctx),
            Request::Stop => self.request_stop(ctx),
            Request::Restart => self.request_restart(ctx),
            Request::Hold { duration, reason } => self.request_hold(duration, reason, ctx),
            Request::Release => self.request_release(ctx),
        }
    }

    fn request_start(&mut self, ctx: &mut StepContext<'_>) {
        self.record_request("start was requested".into(), ctx);
        ctx.actions
            .push(ServiceAction::Persist(Persist::Stopped(false)));
        self.wanted_up = true;
        self.clear_failure_history(ctx);
        match self.state {
            State::Down(_) if !self.shutting_down => {
                self.reason.clear(); // the cause for being down no longer applies
                self.begin_start(ctx);
            }
            State::Ending(_) => self.start_after_ending(),
            State::Unconfigured
            | State::Scanning { .. }
            | State::Down(_)
            | State::Preparing { .. }
            | State::Spawning
            | State::Up(_)
            | State::Attached(_)
            | State::KillPending { .. } => {}
        }
    }

    fn request_stop(&mut self, ctx: &mut StepContext<'_>) {
        self.record_request("stop was requested".into(), ctx);
        ctx.actions
            .push(ServiceAction::Persist(Persist::Stopped(true)));
        self.wanted_up = false;
        match self.state {
            State::Down(_) => {
                self.reason.set_present(if self.scanned {
                    "stopped on request".into()
                } else {
                    // A process that may be ours may still run, and the stop has not ended it.
                    format!("stopped on request, but: {}", self.reason.text())
                });
                self.become_down(Down::Stopped, ctx);
            }
            State::Preparing { .. } => self.cancel_preparation(ctx),
            State::Up(_) | State::KillPending { .. } => self.begin_stop(ctx),
            State::Attached(_) => self.detach(ctx),
            State::Unconfigured | State::Scanning { .. } | State::Spawning | State::Ending(_) => {}
        }
    }

    fn request_restart(&mut self, ctx: &mut StepContext<'_>) {
        if let Some(why) = self.control_refusal() {
            return self
                .record_request(format!("restart was requested, and is refused: {why}"), ctx);
        }
        self.record_request("restart was requested".into(), ctx);
        ctx.actions
            .push(ServiceAction::Persist(Persist::Stopped(false)));
        self.wanted_up = true;
        self.clear_failure_history(ctx);
        match self.state {
            State::Down(_) if !self.shutting_down => self.begin_start(ctx),
            State::Ending(_) => self.start_after_ending(),
            State::Up(_) | State::KillPending { .. } => self.begin_stop(ctx),
            State::Unconfigured
            | State::Scanning { .. }
            | State::Down(_)
            | State::Preparing { .. }
            | State::Attached(_)
            | State::Spawning => {}
        }
    }

    fn request_hold(&mut self, duration: Duration, reason: String, ctx: &mut StepContext<'_>) {
        let sentence = format!("held for {}: {reason}", in_words(duration));
        self.record(
            RecordKind::Requested,
            sentence,
            vec![("hold_ms", millis(duration))],
            ctx.actions,
        );
        ctx.actions.push(ServiceAction::Persist(Persist::Hold(Some((
            duration,
            reason.clone(),
        )))));
        self.hold = Some(Hold {
            until: ctx.now.after(duration),
            reason,
        });
        self.cancel_kill(ctx);
    }

    fn request_release(&mut self, ctx: &mut StepContext<'_>) {
        if self.hold.take().is_some() {
            self.record_request("released: the watchdog is armed".into(), ctx);
            ctx.actions
                .push(ServiceAction::Persist(Persist::Hold(None)));
        }
    }

    pub(super) fn expire_hold(&mut self, ctx: &mut StepContext<'_>) {
        if self.hold.as_ref().is_some_and(|hold| ctx.now >= hold.until) {
            self.hold = None;
            self.record_request("the hold ran out: the watchdog is armed".into(), ctx);
            ctx.actions
                .push(ServiceAction::Persist(Persist::Hold(None)));
        }
    }

    fn record_request(&self, sentence: String, ctx: &mut StepContext<'_>) {
        self.record(RecordKind::Requested, sentence, Vec::new(), ctx.actions);
    }
}

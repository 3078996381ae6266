//! Wishes: each changes what is wanted, and says what follows from that at once.

use super::super::action::{Kind, Persist, ServiceAction};
use super::super::clock::{Duration, in_words};
use super::super::event::Request;
use super::{Actual, Down, Hold, Service, Turn, millis};

impl Service {
    pub(super) fn on_wish(&mut self, request: Request, step: &mut Turn<'_>) {
        match request {
            Request::Start => self.wish_start(step),
            Request::Stop => self.wish_stop(step),
            Request::Restart => self.wish_restart(step),
            Request::Hold { span, reason } => self.wish_hold(span, reason, step),
            Request::Release => self.wish_release(step),
        }
    }

    fn wish_start(&mut self, step: &mut Turn<'_>) {
        self.record(
            Kind::Requested,
            "start was asked for".into(),
            Vec::new(),
            step.out,
        );
        step.out
            .push(ServiceAction::Persist(Persist::Stopped(false)));
        self.wanted_up = true;
        self.forgive(step);
        match self.actual {
            Actual::Down(_) if !self.leaving => {
                self.reason.clear(); // why it was down is over
                self.begin_life(step);
            }
            Actual::Ending(_) => self.wish_in_ending(),
            Actual::Unborn
            | Actual::Surveying { .. }
            | Actual::Down(_)
            | Actual::Preparing { .. }
            | Actual::Spawning
            | Actual::Up(_)
            | Actual::Attached(_)
            | Actual::KillPending { .. } => {}
        }
    }

    fn wish_stop(&mut self, step: &mut Turn<'_>) {
        self.record(
            Kind::Requested,
            "stop was asked for".into(),
            Vec::new(),
            step.out,
        );
        step.out
            .push(ServiceAction::Persist(Persist::Stopped(true)));
        self.wanted_up = false;
        match self.actual {
            Actual::Down(_) => {
                self.reason = if self.surveyed {
                    "stopped on request".into()
                } else {
                    // what may still run is not stopped by a word
                    format!("stopped on request, but: {}", self.reason)
                };
                self.become_down(Down::Stopped, step);
            }
            Actual::Preparing { .. } => self.cancel_preparation(step),
            Actual::Up(_) | Actual::KillPending { .. } => self.begin_stop(step),
            Actual::Attached(_) => self.detach(step),
            Actual::Unborn | Actual::Surveying { .. } | Actual::Spawning | Actual::Ending(_) => {}
        }
    }

    fn wish_restart(&mut self, step: &mut Turn<'_>) {
        if let Some(why) = self.hands_off() {
            let sentence = format!("restart was asked for, and is not done: {why}");
            return self.record(Kind::Requested, sentence, Vec::new(), step.out);
        }
        self.record(
            Kind::Requested,
            "restart was asked for".into(),
            Vec::new(),
            step.out,
        );
        step.out
            .push(ServiceAction::Persist(Persist::Stopped(false)));
        self.wanted_up = true;
        self.forgive(step);
        match self.actual {
            Actual::Down(_) if !self.leaving => self.begin_life(step),
            Actual::Ending(_) => self.wish_in_ending(),
            Actual::Up(_) | Actual::KillPending { .. } => self.begin_stop(step),
            Actual::Unborn
            | Actual::Surveying { .. }
            | Actual::Down(_)
            | Actual::Preparing { .. }
            | Actual::Attached(_)
            | Actual::Spawning => {}
        }
    }

    fn wish_hold(&mut self, span: Duration, reason: String, step: &mut Turn<'_>) {
        let sentence = format!("held for {}: {reason}", in_words(span));
        self.record(
            Kind::Requested,
            sentence,
            vec![("hold_ms", millis(span))],
            step.out,
        );
        step.out.push(ServiceAction::Persist(Persist::Hold(Some((
            span,
            reason.clone(),
        )))));
        self.hold = Some(Hold {
            until: step.now.after(span),
            reason,
        });
        self.reprieve(step);
    }

    fn wish_release(&mut self, step: &mut Turn<'_>) {
        if self.hold.take().is_some() {
            self.record(
                Kind::Requested,
                "released: the watchdog is armed".into(),
                Vec::new(),
                step.out,
            );
            step.out.push(ServiceAction::Persist(Persist::Hold(None)));
        }
    }

    pub(super) fn expire_hold(&mut self, step: &mut Turn<'_>) {
        if self
            .hold
            .as_ref()
            .is_some_and(|hold| step.now >= hold.until)
        {
            self.hold = None;
            self.record(
                Kind::Requested,
                "the hold ran out: the watchdog is armed".into(),
                Vec::new(),
                step.out,
            );
            step.out.push(ServiceAction::Persist(Persist::Hold(None)));
        }
    }
}

//! Before the first life: what has an earlier stayd left?
//!
//! What is ours goes on, or is ended; what may be ours and cannot be proven is never doubled and never touched.

use super::super::action::{Kind, ServiceAction, Value};
use super::super::event::{
    AdoptableInstance, ChangedSetting, Exit, PersistedState, Process, ScanOutcome, ServiceEvent,
    SpawnFailure,
};
use super::super::policy::OnLeftover;
use super::super::restart;
use super::{Actual, CarriedUp, Down, Ending, Hold, Rest, STOPPED, Service, Step, Turn, Up};

impl Service {
    pub(super) fn on_configured(&mut self, past: PersistedState, step: &mut Turn<'_>) {
        if self.actual != Actual::Unborn {
            return;
        }
        self.life = past.last_life;
        self.proven = past.proven;
        self.wanted_up = !past.stopped;
        self.hold = past.hold.map(|(span, reason)| Hold {
            until: step.now.after(span),
            reason,
        });
        let rest = past
            .carried
            .map(|carried| Box::new(self.remember_all(*carried)));
        if self.leaving {
            self.reason = STOPPED.into();
            self.become_down(Down::Stopped, step);
        } else {
            self.survey(past.parked, rest, step);
        }
    }

    /// `rest`: as the version before has left it, if that has gone on in this very process.
    pub(super) fn survey(&mut self, parked: bool, rest: Option<Box<Rest>>, step: &mut Turn<'_>) {
        if rest.is_none() {
            self.since = step.now;
        }
        self.actual = Actual::Surveying { parked, rest };
        step.out.push(ServiceAction::ScanOutcome);
    }

    pub(super) fn fact_in_surveying(&mut self, fact: ServiceEvent, step: &mut Turn<'_>) {
        let Actual::Surveying { parked, rest } = &mut self.actual else {
            return;
        };
        let ServiceEvent::RecoveryScanned(survey) = fact else {
            return;
        };
        let (parked, rest) = (*parked, rest.take().map(|rest| *rest));
        match survey {
            ScanOutcome::Nothing(claimed) => {
                self.life = self.life.max(claimed);
                self.nothing_runs(parked, rest, step);
            }
            ScanOutcome::Ended { life, .. } if life < self.life => {
                self.nothing_runs(parked, rest, step);
            }
            ScanOutcome::Ended { life, exit } => {
                self.life = life;
                match rest {
                    Some(_) => self.nothing_runs(parked, rest, step),
                    None => self.ended_unseen(exit, parked, step),
                }
            }
            ScanOutcome::Ours(leftover) => self.take_over(&leftover, rest, step),
            ScanOutcome::Unclear(message) => self.unclear(message, step),
        }
    }

    fn nothing_runs(&mut self, parked: bool, rest: Option<Rest>, step: &mut Turn<'_>) {
        match rest.filter(|_| !self.leaving) {
            Some(Rest::Up(_)) => self.ended_unseen(None, parked, step),
            Some(rest) => {
                self.surveyed = true;
                self.rest_again(rest, step);
            }
            None => self.nothing_left(parked, step),
        }
    }

    fn nothing_left(&mut self, parked: bool, step: &mut Turn<'_>) {
        self.surveyed = true;
        if self.leaving || !self.wanted_up {
            self.reason = STOPPED.into();
            self.become_down(Down::Stopped, step);
        } else if parked {
            let until = step.now.after(self.parked_retry());
            self.history.set_parked();
            self.reason = "gave up before; its program and configuration have not changed".into();
            self.become_down(Down::Parked { until }, step);
        } else {
            self.begin_life(step);
        }
    }

    /// Its end is an end like any other, once: told to the journal, and what follows is the restart policy's.
    fn ended_unseen(&mut self, told: Option<Exit>, parked: bool, step: &mut Turn<'_>) {
        self.surveyed = true;
        self.number_is_free = false;
        let Some(exit) = told else {
            if parked {
                self.history.set_parked();
            }
            self.reason = "ended while no stayd ran, its exit status is unknown".into();
            self.record(Kind::Exited, self.reason.clone(), Vec::new(), step.out);
            return self.life_over(&unseen_end(), step);
        };
        let is_wanted = self.wanted_up && !self.leaving;
        if is_wanted && !restart::wanted_again(self.policy.restart, exit, false) {
            self.reason = self.stays_stopped(exit);
            self.become_down(Down::Stopped, step);
        } else {
            self.nothing_left(parked, step); // another policy by now, or a wish
        }
    }

    fn unclear(&mut self, message: String, step: &mut Turn<'_>) {
        if self.leaving || !self.wanted_up {
            self.reason = message;
            self.become_down(Down::Stopped, step);
            return;
        }
        let failure = SpawnFailure {
            message,
            lasting: true,
        };
        self.refused(failure, step);
        self.number_is_free = false; // none was taken
    }

    fn take_over(&mut self, leftover: &AdoptableInstance, rest: Option<Rest>, step: &mut Turn<'_>) {
        self.surveyed = true;
        self.number_is_free = false;
        self.life = leftover.life;
        if let (Some(main), Some(Rest::Up(up))) = (leftover.main, rest) {
            return self.go_on(main, up, leftover, step);
        }
        self.adopted = true;
        self.runtimes.current.clone_from(&leftover.runtime);
        self.since = step.now;
        match leftover.main {
            Some(main) => self.take_over_main(main, leftover, step),
            None => self.end_the_rest(leftover.ending, step),
        }
    }

    /// The same life in the same process, under another version: as if nothing had happened.
    fn go_on(
        &mut self,
        main: Process,
        up: CarriedUp,
        leftover: &AdoptableInstance,
        step: &mut Turn<'_>,
    ) {
        let replaced_because = self.why_to_replace(leftover, false);
        self.former.clone_from(&leftover.former);
        self.actual = Actual::Up(Up::going_on(main, up, step.now, &self.policy));
        if let Some(why) = replaced_because {
            self.reason = format!("pid {} is ended in order: {why}", main.pid);
            let facts = vec![("pid", Value::Number(main.pid.unsigned_abs().into()))];
            self.record(Kind::Adopted, self.reason.clone(), facts, step.out);
            self.begin_stop(step);
        } else if up.ready_at.is_none() {
            self.enter_up(step);
        }
    }

    /// `is_leftover`: of a stayd in another process. A new version that takes over ends nobody for the configuration's sake.
    fn why_to_replace(
        &self,
        leftover: &AdoptableInstance,
        is_leftover: bool,
    ) -> Option<&'static str> {
        if self.leaving || !self.wanted_up {
            Some("it was to be stopped")
        } else if leftover.ending {
            Some("it was being ended")
        } else if is_leftover && leftover.former.contains(&ChangedSetting::Command) {
            Some("its command is not the configuration's any more")
        } else if is_leftover && self.policy.leftover == OnLeftover::Replace {
            Some("leftover = \"replace\"")
        } else {
            None
        }
    }

    fn take_over_main(&mut self, main: Process, leftover: &AdoptableInstance, step: &mut Turn<'_>) {
        let replaced_because = self.why_to_replace(leftover, true);
        self.reason = match replaced_because {
            None => format!("adopted: pid {} of an earlier stayd goes on", main.pid),
            Some(why) => format!(
                "pid {} of an earlier stayd is ended in order: {why}",
                main.pid
            ),
        };
        if replaced_because.is_none() {
            self.former.clone_from(&leftover.former);
        }
        let mut up = Up::new(Some(main), step.now, &self.policy);
        up.has_run_for(leftover.age, step.now, &self.policy);
        self.actual = Actual::Up(up);
        let facts = vec![
            ("pid", Value::Number(main.pid.unsigned_abs().into())),
            ("kept", Value::Flag(replaced_because.is_none())),
        ];
        self.record(Kind::Adopted, self.shown_reason(), facts, step.out);
        if replaced_because.is_some() {
            self.begin_stop(step);
        } else {
            self.enter_up(step);
        }
    }

    /// The main process ended while nobody looked: what is left of its tree ends before anything begins.
    fn end_the_rest(&mut self, by_wish: bool, step: &mut Turn<'_>) {
        self.reason =
            "its main process ended while no stayd ran; what is left of it is ended".into();
        self.record(Kind::Adopted, self.reason.clone(), Vec::new(), step.out);
        self.actual = Actual::Ending(Ending {
            by_wish,
            ..unseen_end()
        });
        step.out.push(ServiceAction::KillTree(self.life));
    }
}

/// The end of a main process that nobody has seen.
const fn unseen_end() -> Ending {
    Ending {
        main: None,
        ready_for: None,
        exit: Some(Exit::Unknown),
        by_watchdog: false,
        by_wish: false,
        step: Step::Kill,
    }
}

//! Before the first instance: handles the outcome of the recovery scan, which searches for an earlier stayd's instance.
//!
//! An adoptable instance continues, or is ended in order. A process that may be ours and cannot be proven ours is never
//! signalled, and no second copy is started beside it.

use super::super::action::{RecordKind, RecordValue, ServiceAction};
use super::super::event::{
    AdoptableInstance, ChangedSetting, Exit, PersistedState, Process, ScanOutcome, SpawnFailure,
};
use super::super::handover::{MonitoredHandover, SettledState};
use super::super::policy::OnLeftover;
use super::super::restart;
use super::{Down, Ending, EndingStage, Hold, Monitored, STOPPED, Service, State, StepContext};

impl Service {
    pub(super) fn on_configured(&mut self, past: PersistedState, ctx: &mut StepContext<'_>) {
        if self.state != State::Unconfigured {
            return;
        }
        self.life = past.last_life;
        self.proven = past.proven;
        self.wanted_up = !past.stopped;
        self.hold = past.hold.map(|(duration, reason)| Hold {
            until: ctx.now.after(duration),
            reason,
        });
        let settled = past
            .handover
            .map(|handover| Box::new(self.resume_handover(*handover)));
        if self.shutting_down {
            self.reason.set_present(STOPPED.into());
            self.become_down(Down::Stopped, ctx);
        } else {
            self.begin_recovery_scan(past.parked, settled, ctx);
        }
    }

    /// `settled` is the state that the version before handed over, where that ran in this same process.
    pub(super) fn begin_recovery_scan(
        &mut self,
        parked: bool,
        settled: Option<Box<SettledState>>,
        ctx: &mut StepContext<'_>,
    ) {
        if settled.is_none() {
            self.since = ctx.now;
        }
        self.state = State::Scanning { parked, settled };
        ctx.actions.push(ServiceAction::RecoveryScan);
    }

    pub(super) fn on_recovery_scanned(&mut self, outcome: ScanOutcome, ctx: &mut StepContext<'_>) {
        let State::Scanning { parked, settled } = &mut self.state else {
            return;
        };
        let (parked, settled) = (*parked, settled.take().map(|settled| *settled));
        match outcome {
            ScanOutcome::Nothing(claimed) => {
                self.life = self.life.max(claimed);
                self.nothing_runs(parked, settled, ctx);
            }
            ScanOutcome::Ended { life, .. } if life < self.life => {
                self.nothing_runs(parked, settled, ctx);
            }
            ScanOutcome::Ended { life, exit } => {
                self.life = life;
                match settled {
                    Some(_) => self.nothing_runs(parked, settled, ctx),
                    None => self.ended_before_start(exit, parked, ctx),
                }
            }
            ScanOutcome::Adoptable(instance) => self.take_over(&instance, settled, ctx),
            ScanOutcome::Unclear(message) => self.may_run_unproven(message, ctx),
        }
    }

    fn nothing_runs(
        &mut self,
        parked: bool,
        settled: Option<SettledState>,
        ctx: &mut StepContext<'_>,
    ) {
        match settled.filter(|_| !self.shutting_down) {
            Some(SettledState::Up(_)) => self.ended_before_start(None, parked, ctx),
            Some(settled) => {
                self.scanned = true;
                self.resume_settled(settled, ctx);
            }
            None => self.start_afresh(parked, ctx),
        }
    }

    fn start_afresh(&mut self, parked: bool, ctx: &mut StepContext<'_>) {
        self.scanned = true;
        if self.must_stay_down() {
            self.reason.set_present(STOPPED.into());
            if !self.wanted_up {
                self.record_not_started(STOPPED, ctx);
            }
            self.become_down(Down::Stopped, ctx);
        } else if parked {
            let until = ctx.now.after(self.parked_retry());
            self.history.set_parked();
            let sentence = "gave up before; its program and configuration have not changed";
            self.reason.set_present(sentence.into());
            self.record_not_started(sentence, ctx);
            self.become_down(Down::Parked { until }, ctx);
        } else {
            self.begin_start(ctx);
        }
    }

    /// Otherwise a start of stayd would say nothing about a service that it does not start.
    fn record_not_started(&self, why: &str, ctx: &mut StepContext<'_>) {
        let name = &self.description.name;
        let sentence = format!("not started: {why}; `stayd start {name}` starts it now");
        self.record(RecordKind::Stopped, sentence, Vec::new(), ctx.actions);
    }

    /// An instance ended before this stayd started. If no stayd has recorded that end (`recorded` is `None`), record it
    /// and apply the restart policy to it, as to any other end. If one has, only decide whether the service starts.
    fn ended_before_start(
        &mut self,
        recorded: Option<Exit>,
        parked: bool,
        ctx: &mut StepContext<'_>,
    ) {
        self.scanned = true;
        self.number_is_free = false;
        let Some(exit) = recorded else {
            if parked {
                self.history.set_parked();
            }
            let sentence = "ended while no stayd ran, its exit status is unknown";
            self.reason.set_failure(sentence.into());
            self.record(
                RecordKind::Exited,
                self.reason.text().to_owned(),
                Vec::new(),
                ctx.actions,
            );
            return self.instance_over(&unseen_end(), ctx);
        };
        if !self.must_stay_down() && !restart::should_restart(self.policy.restart, exit, false) {
            self.reason.set_present(self.stays_stopped(exit));
            self.is_complete = exit == Exit::Code(0);
            self.become_down(Down::Stopped, ctx);
        } else {
            self.start_afresh(parked, ctx); // the policy has changed since, or a request starts it
        }
    }

    /// Blocks the service, because a copy of it may run that cannot be proven ours.
    fn may_run_unproven(&mut self, message: String, ctx: &mut StepContext<'_>) {
        if self.must_stay_down() {
            self.reason.set_present(message);
            self.become_down(Down::Stopped, ctx);
            return;
        }
        let failure = SpawnFailure {
            message,
            lasting: true,
        };
        self.refuse_start(failure, ctx);
        self.number_is_free = false; // this start took no number
    }

    fn take_over(
        &mut self,
        instance: &AdoptableInstance,
        settled: Option<SettledState>,
        ctx: &mut StepContext<'_>,
    ) {
        self.scanned = true;
        self.number_is_free = false;
        self.life = instance.life;
        if let (Some(main), Some(SettledState::Up(handover))) = (instance.main, settled) {
            return self.continue_instance(main, handover, instance, ctx);
        }
        self.adopted = true;
        self.runtimes.current.clone_from(&instance.runtime);
        self.since = ctx.now;
        match instance.main {
            Some(main) => self.adopt(main, instance, ctx),
            None => self.kill_rest_of_tree(instance.ending, ctx),
        }
    }

    /// A new version of stayd continues the instance that the version before supervised in this same process.
    fn continue_instance(
        &mut self,
        main: Process,
        handover: MonitoredHandover,
        instance: &AdoptableInstance,
        ctx: &mut StepContext<'_>,
    ) {
        let replaced_because = self.why_to_replace(instance, false);
        self.changed_settings.clone_from(&instance.changed_settings);
        self.state = State::Up(Monitored::resume(main, handover, ctx.now, &self.policy));
        if let Some(why) = replaced_because {
            self.reason
                .set_past(format!("pid {} is ended in order: {why}", main.pid));
            let facts = vec![("pid", RecordValue::Number(main.pid.unsigned_abs().into()))];
            let sentence = self.reason.text().to_owned();
            self.record(RecordKind::Adopted, sentence, facts, ctx.actions);
            self.begin_stop(ctx);
        } else if handover.ready_at.is_none() {
            self.become_ready_by_exec(ctx);
        }
    }

    /// `by_other_process`: a stayd in another process started the instance. A new version that continues in the same
    /// process ends no instance because of its configuration.
    fn why_to_replace(
        &self,
        instance: &AdoptableInstance,
        by_other_process: bool,
    ) -> Option<&'static str> {
        let command_changed = instance.changed_settings.contains(&ChangedSetting::Command);
        if self.must_stay_down() {
            Some("it was to be stopped")
        } else if instance.ending {
            Some("it was being ended")
        } else if by_other_process && command_changed {
            Some("its command is not the configuration's any more")
        } else if by_other_process && self.policy.leftover == OnLeftover::Replace {
            Some("leftover = \"replace\"")
        } else {
            None
        }
    }

    fn adopt(&mut self, main: Process, instance: &AdoptableInstance, ctx: &mut StepContext<'_>) {
        let replaced_because = self.why_to_replace(instance, true);
        self.reason.set_past(match replaced_because {
            None => format!("adopted: pid {} of an earlier stayd continues", main.pid),
            Some(why) => format!(
                "pid {} of an earlier stayd is ended in order: {why}",
                main.pid
            ),
        });
        if replaced_because.is_none() {
            self.changed_settings.clone_from(&instance.changed_settings);
        }
        let mut monitored = Monitored::new(Some(main), ctx.now, &self.policy);
        if instance.was_ready {
            monitored.become_judged(ctx.now);
        } else {
            monitored.charge_age(instance.age, ctx.now, &self.policy);
        }
        self.state = State::Up(monitored);
        let facts = vec![
            ("pid", RecordValue::Number(main.pid.unsigned_abs().into())),
            ("kept", RecordValue::Flag(replaced_because.is_none())),
        ];
        self.record(RecordKind::Adopted, self.shown_reason(), facts, ctx.actions);
        if replaced_because.is_some() {
            self.begin_stop(ctx);
        } else {
            self.become_ready_by_exec(ctx);
        }
    }

    /// The main process ended while no stayd ran: end the rest of its tree before a new instance begins.
    fn kill_rest_of_tree(&mut self, by_request: bool, ctx: &mut StepContext<'_>) {
        const ENDED: &str = "its main process ended while no stayd ran";
        self.reason.set_past(ENDED.into());
        self.reason
            .set_present(format!("{ENDED}; what is left of it is ended"));
        self.record(
            RecordKind::Adopted,
            self.reason.text().to_owned(),
            Vec::new(),
            ctx.actions,
        );
        self.state = State::Ending(Ending {
            by_request,
            ..unseen_end()
        });
        ctx.actions.push(ServiceAction::KillTree(self.life));
    }
}

/// The end of a main process that no stayd has seen.
const fn unseen_end() -> Ending {
    Ending {
        main: None,
        ready_for: None,
        exit: Some(Exit::Unknown),
        by_watchdog: false,
        by_request: false,
        stage: EndingStage::Kill,
    }
}

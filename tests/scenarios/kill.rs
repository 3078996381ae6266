//! When the watchdog must kill, and how an instance is killed.

use crate::simulation::{MINUTE, SECOND, Simulation, busy, policy, watchdog};
use stayd::decide::action::{RecordKind, ServiceAction};
use stayd::decide::clock::Duration;
use stayd::decide::event::{Answer, Check, Life, ProbeAttempt, ServiceEvent, ServiceMessage};
use stayd::decide::policy::{Policy, Watchdog};
use stayd::decide::snapshot::Phase;

#[test]
fn a_wedge_leads_to_evidence_then_sigkill_then_a_new_instance_at_once() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].stop_answering();
    let wedged_at = simulation.now;
    simulation.advance(SECOND * 19);
    let (kills, spawns) = (simulation.kills(db), simulation.spawns(db));
    let evidence = simulation.times_of(db, |action| {
        matches!(action, ServiceAction::CollectEvidence { .. })
    });
    assert_eq!((kills.len(), evidence.len(), spawns.len()), (1, 1, 2));
    assert!(evidence[0] <= kills[0] && kills[0] <= spawns[1]);
    assert!(
        kills[0].since(wedged_at) <= SECOND * 19,
        "interval × failures + timeout + 1 s"
    );
    assert!(
        spawns[1].since(kills[0]) <= SECOND / 100,
        "the instance was stable: no wait"
    );
    assert!(
        simulation
            .snapshot(db)
            .reason
            .starts_with("killed: no answer to SELECT 1 in 3 probes")
    );
    simulation[db].answer = Answer::Alive;
    simulation.advance(SECOND * 5);
    assert_eq!(
        (simulation.phase(db), simulation.snapshot(db).restarts),
        (Phase::Running, 1)
    );
}

#[test]
fn evidence_that_hangs_delays_the_kill_only_by_its_bound() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].stop_answering();
    simulation[db].evidence_takes = MINUTE * 60;
    simulation.advance(SECOND * 20);
    let evidence = simulation.times_of(db, |action| {
        matches!(action, ServiceAction::CollectEvidence { .. })
    });
    assert_eq!(
        simulation.kills(db)[0].since(evidence[0]),
        Duration::from_millis(300)
    );
}

#[test]
fn the_first_signal_delays_the_kill_only_by_its_grace() {
    let rules = Watchdog {
        first_grace: Some(SECOND * 2),
        ..watchdog()
    };
    let (mut simulation, db) = Simulation::with_ready_service(Policy {
        watchdog: Some(rules),
        ..policy()
    });
    simulation[db].stop_answering();
    simulation.advance(SECOND * 25);
    let first = simulation.times_of(db, |action| matches!(action, ServiceAction::SignalFirst(_)));
    assert_eq!(simulation.kills(db)[0].since(first[0]), SECOND * 2);
}

#[test]
fn a_silent_query_kills_although_readiness_answers() {
    let (mut simulation, db) = Simulation::with_ready_service(Policy {
        ready_probe: true,
        ..policy()
    });
    simulation[db].stop_answering();
    simulation.advance(SECOND * 20);
    assert_eq!(simulation.kills(db).len(), 1, "readiness still answered");
}

#[test]
fn a_deadlock_and_a_livelock_are_both_killed() {
    let killed_after = |sample| {
        let (mut simulation, db) = Simulation::with_ready_service(policy());
        simulation[db].stop_answering();
        simulation[db].sample = sample;
        let since = simulation.now;
        simulation.advance(MINUTE);
        (
            simulation.kills(db)[0].since(since),
            simulation.snapshot(db).reason,
        )
    };
    let (dead, why_dead) = killed_after(crate::simulation::idle());
    let (live, why_live) = killed_after(busy());
    assert!(
        dead < SECOND * 19 && why_dead.contains("using no CPU"),
        "{why_dead}"
    );
    assert!(
        live > SECOND * 30 && live < SECOND * 45,
        "{live:?}: the grace, and no more"
    );
    assert!(why_live.contains("using 100 % of a core"), "{why_live}");
}

#[test]
fn a_process_that_ignores_term_is_killed_after_the_grace_and_the_kill_is_recorded() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].obeys_term = false;
    simulation.request(db, stayd::decide::event::Request::Stop);
    let asked = simulation.now;
    simulation.advance(SECOND * 6);
    assert_eq!(simulation.kills(db), [asked.after(SECOND * 5)]);
    assert!(simulation.records(db, RecordKind::Killed)[0].contains("did not end it within 5 s"));
    assert_eq!(simulation.phase(db), Phase::Stopped);
}

#[test]
fn an_unkillable_process_is_reported_and_no_second_copy_starts() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    let other = simulation.add(policy(), stayd::decide::event::PersistedState::default());
    simulation[db].stop_answering();
    simulation[db].unkillable = true;
    simulation.advance(MINUTE * 30);
    assert_eq!(
        (simulation.phase(db), simulation.spawns(db).len()),
        (Phase::Unkillable, 1)
    );
    assert_eq!(
        simulation.records(db, RecordKind::Unkillable).len(),
        1,
        "recorded once"
    );
    assert!(simulation.kills(db).len() > 100, "and SIGKILL is repeated");
    assert_eq!(
        simulation.phase(other),
        Phase::Running,
        "the other services are not affected"
    );
    simulation[db].unkillable = false;
    simulation[db].answer = Answer::Alive;
    simulation.advance(MINUTE);
    assert_eq!(
        (simulation.phase(db), simulation.spawns(db).len()),
        (Phase::Running, 2)
    );
}

/// A silent attempt that is asked now.
fn silent_attempt(simulation: &Simulation) -> ProbeAttempt {
    ProbeAttempt {
        asked_at: simulation.now,
        deadline: simulation.now.after(SECOND),
        answer: crate::simulation::silence(),
        latency: SECOND,
        sample: crate::simulation::idle(),
    }
}

#[test]
fn a_late_event_about_an_older_instance_changes_nothing() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].stop_answering();
    simulation.advance(SECOND * 20);
    simulation[db].answer = Answer::Alive;
    simulation.advance(SECOND * 20);
    assert_eq!(simulation.snapshot(db).life, Life(2));
    let (machine, log) = (simulation.machine.clone(), simulation.log.len());
    let attempt = silent_attempt(&simulation);
    simulation.deliver_to(db, ServiceEvent::Probed(Life(1), Check::Liveness, attempt));
    simulation.deliver_to(db, ServiceEvent::EvidenceCollected(Life(1)));
    simulation.deliver_to(db, ServiceEvent::TreeEmptied(Life(1)));
    simulation.deliver_to(db, ServiceEvent::Notified(Life(1), ServiceMessage::Trigger));
    assert_eq!((simulation.machine, simulation.log.len()), (machine, log));
}

#[test]
fn a_result_of_another_attempt_is_not_counted() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    let machine = simulation.machine.clone();
    let attempt = silent_attempt(&simulation);
    for _ in 0..5 {
        simulation.deliver_to(
            db,
            ServiceEvent::Probed(Life(1), Check::Liveness, attempt.clone()),
        );
    }
    assert_eq!(simulation.machine, machine);
}

#[test]
fn an_attempt_that_never_reports_is_given_up_without_a_verdict() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].never_reports = true;
    simulation.advance(MINUTE * 10);
    assert_eq!(simulation.kills(db), []);
    let asked = simulation.times_of(db, |action| matches!(action, ServiceAction::Probe { .. }));
    assert!(asked.len() > 100, "and the probe runs again");
}

#[test]
fn a_service_may_request_its_own_kill() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation.deliver_to(db, ServiceEvent::Notified(Life(1), ServiceMessage::Trigger));
    simulation.advance(SECOND);
    assert_eq!(simulation.kills(db).len(), 1);
    simulation.hold(db, MINUTE);
    simulation.deliver_to(db, ServiceEvent::Notified(Life(2), ServiceMessage::Trigger));
    simulation.advance(SECOND);
    assert_eq!(simulation.kills(db).len(), 1, "held");
    assert_eq!(
        simulation.records(db, RecordKind::Suppressed),
        ["not killed: it asked for it (WATCHDOG=trigger), but is held (backup)"]
    );
}

/// One of four workers is stuck: every fourth attempt gets no answer, so no two failures are consecutive.
#[test]
fn a_half_wedged_service_is_shown_as_suspect_and_never_killed() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    let mut suspected = 0;
    for attempt in 0..40 {
        if attempt % 4 == 3 {
            simulation[db].stop_answering();
        } else {
            simulation[db].answer = Answer::Alive;
        }
        simulation.advance(SECOND * 4);
        suspected += usize::from(simulation.snapshot(db).phase == Phase::Suspect);
        simulation.advance(SECOND);
    }
    assert_eq!(simulation.kills(db), []);
    assert!(suspected >= 5, "shown as suspect {suspected} times");
    assert!(
        simulation.records(db, RecordKind::Verdict).len() >= 10,
        "each lost attempt and each answer after it is recorded"
    );
}

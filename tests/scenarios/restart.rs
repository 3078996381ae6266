//! After an exit: restart policy, backoff, parking, and the reason that users see.

use crate::simulation::{MINUTE, SECOND, Simulation, policy};
use stayd::decide::action::{Persist, RecordKind, ServiceAction};
use stayd::decide::clock::Duration;
use stayd::decide::event::{
    Answer, Exit, Life, PersistedState, Request, ServiceEvent, ServiceId, Survivors,
};
use stayd::decide::policy::{Policy, Restart};
use stayd::decide::snapshot::Phase;

fn crash_loop() -> (Simulation, ServiceId) {
    Simulation::with_service(policy(), PersistedState::default(), |service| {
        service.exits_by_itself = Some((SECOND / 10, Exit::Code(1), Survivors::default()));
    })
}

#[test]
fn a_crash_loop_slows_down_parks_and_stays_parked() {
    let (mut simulation, db) = crash_loop();
    simulation.advance(MINUTE * 6);
    assert_eq!(simulation.phase(db), Phase::Parked);
    let waits: Vec<Duration> = simulation
        .spawns(db)
        .windows(2)
        .map(|two| two[1].since(two[0]))
        .collect();
    assert!(
        waits[..7].windows(2).all(|two| two[1] > two[0]),
        "{waits:?}"
    );
    assert!(simulation.persisted(db).contains(&Persist::Parked(true)));
    let before = simulation.spawns(db).len();
    simulation.advance(MINUTE * 60);
    let tried = simulation.spawns(db).len() - before;
    assert!(
        (10..=13).contains(&tried),
        "once in five minutes: {tried} in an hour"
    );
    assert_eq!(simulation.phase(db), Phase::Parked);
}

#[test]
fn only_stable_uptime_lifts_the_parking() {
    let (mut simulation, db) = crash_loop();
    simulation.advance(MINUTE * 6);
    simulation[db].exits_by_itself = None;
    while simulation.phase(db) != Phase::Running {
        simulation.advance(SECOND);
    }
    assert!(
        !simulation.persisted(db).contains(&Persist::Parked(false)),
        "a successful spawn is not enough"
    );
    simulation.advance(MINUTE);
    assert_eq!(
        simulation.persisted(db).last(),
        Some(&Persist::Parked(false))
    );
    simulation[db].exits_by_itself = None;
    let life = simulation.snapshot(db).life;
    simulation.end_main_process(db, life, Exit::Code(1), Survivors::default());
    simulation.advance(SECOND);
    assert_eq!(
        simulation.phase(db),
        Phase::Running,
        "and the next restart is immediate"
    );
}

#[test]
fn parking_outlives_stayd_and_a_changed_program_ends_it() {
    let mut simulation = Simulation::new();
    let db = simulation.add_unconfigured(policy());
    simulation[db].exits_by_itself = Some((SECOND / 10, Exit::Code(1), Survivors::default()));
    let past = PersistedState {
        parked: true,
        last_life: Life(10),
        ..PersistedState::default()
    };
    simulation.deliver_to(db, ServiceEvent::Configured(past));
    simulation.advance(MINUTE * 60);
    assert_eq!(simulation.phase(db), Phase::Parked);
    assert!(
        simulation.spawns(db).len() <= 12,
        "{}",
        simulation.spawns(db).len()
    );
    simulation.deliver_to(db, ServiceEvent::Changed);
    simulation.advance(SECOND / 100);
    assert_eq!(
        simulation.phase(db),
        Phase::Starting,
        "a changed program is started at once"
    );
}

#[test]
fn an_unknown_exit_is_never_taken_for_a_clean_exit() {
    let (mut simulation, db) = Simulation::with_ready_service(Policy {
        restart: Restart::OnFailure,
        ..policy()
    });
    simulation.end_main_process(db, Life(1), Exit::Unknown, Survivors::default());
    simulation.advance(SECOND);
    assert_eq!(simulation.spawns(db).len(), 2);
    assert!(simulation.records(db, RecordKind::Exited)[0].contains("its exit status is unknown"));
}

#[test]
fn restart_on_failure_and_never_decide_by_the_exit() {
    let spawns_after = |restart, exit: Option<Exit>| {
        let (mut simulation, db) = Simulation::with_ready_service(Policy {
            restart,
            ..policy()
        });
        match exit {
            Some(exit) => simulation.end_main_process(db, Life(1), exit, Survivors::default()),
            None => simulation[db].stop_answering(),
        }
        simulation.advance(MINUTE);
        (simulation.spawns(db).len(), simulation.phase(db))
    };
    assert_eq!(
        spawns_after(Restart::OnFailure, Some(Exit::Code(0))),
        (1, Phase::Stopped)
    );
    assert_eq!(
        spawns_after(Restart::OnFailure, Some(Exit::Signal(15))).0,
        2
    );
    assert!(
        spawns_after(Restart::OnFailure, None).0 > 1,
        "a watchdog kill is a failure"
    );
    assert_eq!(
        spawns_after(Restart::Never, Some(Exit::Code(1))),
        (1, Phase::Stopped)
    );
    assert_eq!(
        spawns_after(Restart::Never, None),
        (1, Phase::Stopped),
        "a watchdog kill leaves it stopped"
    );
}

#[test]
fn a_start_requested_while_the_tree_ends_is_carried_out_despite_restart_never() {
    for request in [Request::Start, Request::Restart] {
        let (mut simulation, db) = Simulation::with_ready_service(Policy {
            restart: Restart::Never,
            ..policy()
        });
        simulation[db].unkillable = true;
        simulation[db].alive = None;
        let survivors = Survivors {
            count: 1,
            ..Survivors::default()
        };
        simulation.deliver_to(db, ServiceEvent::Exited(Life(1), Exit::Code(0), survivors));
        simulation.request(db, request);
        simulation[db].unkillable = false;
        simulation.advance(MINUTE);
        assert_eq!(simulation.spawns(db).len(), 2);
    }
}

#[test]
fn a_service_is_probed_once_per_period() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    let before = simulation
        .times_of(db, |action| matches!(action, ServiceAction::Probe { .. }))
        .len();
    simulation.advance(MINUTE);
    let asked = simulation
        .times_of(db, |action| matches!(action, ServiceAction::Probe { .. }))
        .len()
        - before;
    assert_eq!(asked, 12);
}

#[test]
fn the_time_in_a_state_begins_with_the_state_that_users_see() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    let running = simulation.snapshot(db);
    simulation[db].stop_answering();
    simulation.advance(SECOND * 9);
    let suspect = simulation.snapshot(db);
    assert_eq!(suspect.phase, Phase::Suspect);
    assert!(suspect.since > running.since);
    simulation[db].answer = Answer::Alive;
    simulation.advance(SECOND * 9);
    let again = simulation.snapshot(db);
    assert_eq!((again.phase, again.life), (Phase::Running, running.life));
    assert!(again.since > suspect.since);
    simulation.advance(SECOND * 30);
    assert_eq!(simulation.snapshot(db).since, again.since);
}

#[test]
fn the_reason_names_a_problem_while_it_lasts_and_the_earlier_reason_comes_back() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    assert_eq!(simulation.snapshot(db).reason, "answering");
    simulation[db].stop_answering();
    simulation.advance(SECOND * 9);
    let suspect = simulation.snapshot(db);
    assert_eq!(suspect.phase, Phase::Suspect);
    assert!(
        suspect.reason.starts_with("no answer"),
        "{}",
        suspect.reason
    );
    simulation[db].answer = Answer::Alive;
    simulation.advance(SECOND * 6);
    assert_eq!(simulation.snapshot(db).reason, "answering again");

    // The reason that an instance began with comes back after a short problem.
    simulation[db].stop_answering();
    simulation.advance(SECOND * 30);
    simulation[db].answer = Answer::Alive;
    simulation.advance(SECOND * 10);
    let killed = simulation.snapshot(db).reason;
    assert!(killed.starts_with("killed"), "{killed}");
    simulation[db].answer = Answer::NoVerdict {
        why: "port 1 is answered by pid 2".into(),
    };
    simulation.advance(SECOND * 6);
    assert!(
        simulation
            .snapshot(db)
            .reason
            .contains("port 1 is answered by pid 2")
    );
    simulation[db].answer = Answer::Alive;
    simulation.advance(SECOND * 6);
    assert_eq!(simulation.snapshot(db).reason, killed);
}

#[test]
fn a_service_without_a_probe_is_not_shown_as_answering() {
    let (simulation, db) = Simulation::with_ready_service(Policy {
        watchdog: None,
        ..policy()
    });
    let snapshot = simulation.snapshot(db);
    assert_eq!(snapshot.phase, Phase::Running);
    assert!(snapshot.reason.contains("no probe"), "{}", snapshot.reason);
}

#[test]
fn an_exit_without_a_request_is_a_crash_unless_it_is_clean_or_unknown() {
    for (exit, kind) in [
        (Exit::Code(0), RecordKind::Exited),
        (Exit::Unknown, RecordKind::Exited),
        (Exit::Code(1), RecordKind::Crashed),
        (Exit::Signal(11), RecordKind::Crashed),
    ] {
        let (mut simulation, db) = Simulation::with_ready_service(policy());
        simulation.deliver_to(
            db,
            ServiceEvent::Exited(Life(1), exit, Survivors::default()),
        );
        let records = [RecordKind::Exited, RecordKind::Crashed]
            .map(|kind| simulation.records(db, kind).len());
        let expected =
            [RecordKind::Exited, RecordKind::Crashed].map(|each| usize::from(each == kind));
        assert_eq!(records, expected, "{exit:?}");
    }
}

#[test]
fn an_exit_after_a_request_is_no_crash() {
    for request in [Request::Stop, Request::Restart] {
        let (mut simulation, db) = Simulation::with_ready_service(policy());
        simulation.request(db, request);
        simulation.deliver_to(
            db,
            ServiceEvent::Exited(Life(1), Exit::Signal(15), Survivors::default()),
        );
        assert!(simulation.records(db, RecordKind::Crashed).is_empty());
    }
}

#[test]
fn a_sigkill_that_the_oom_killer_may_have_sent_is_named() {
    for (exit, oom_kills, named) in [
        (Exit::Signal(9), 1, true),
        (Exit::Signal(9), 0, false),
        (Exit::Signal(11), 1, false),
    ] {
        let (mut simulation, db) = Simulation::with_ready_service(policy());
        let survivors = Survivors {
            oom_kills,
            ..Survivors::default()
        };
        simulation.deliver_to(db, ServiceEvent::Exited(Life(1), exit, survivors));
        let sentence = &simulation.records(db, RecordKind::Crashed)[0];
        // The count is the host's: the killed process may be another one.
        assert_eq!(
            sentence.contains("it may have been out of memory"),
            named,
            "{sentence}"
        );
        assert_eq!(
            sentence.contains("anywhere on this machine"),
            named,
            "{sentence}"
        );
    }
}

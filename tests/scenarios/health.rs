//! What users see: whether a service is healthy, and a reason that fits its state.

use crate::simulation::{MINUTE, SECOND, Simulation, busy, idle, policy, watchdog};
use stayd::decide::action::RecordKind;
use stayd::decide::event::{Answer, Exit, PersistedState, ResourceSample, ServiceId, Survivors};
use stayd::decide::policy::{GiveUp, Policy, Restart, Watchdog};
use stayd::decide::snapshot::Phase;

fn could_not_ask() -> Answer {
    Answer::NoVerdict {
        why: "port 1 is answered by pid 906 (nc)".into(),
    }
}

fn is_healthy(simulation: &Simulation, id: ServiceId) -> bool {
    simulation.snapshot(id).healthy
}

#[test]
fn a_service_without_a_verdict_for_as_many_attempts_as_a_kill_needs_is_not_healthy() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    assert!(is_healthy(&simulation, db));
    simulation[db].answer = could_not_ask();
    simulation.advance(SECOND * 10);
    assert!(is_healthy(&simulation, db), "two attempts say nothing");
    simulation.advance(SECOND * 5);
    let blind = simulation.snapshot(db);
    assert!(!blind.healthy);
    assert!(blind.reason.contains("pid 906"), "{}", blind.reason);
    simulation[db].answer = Answer::Alive;
    simulation.advance(SECOND * 6);
    assert!(is_healthy(&simulation, db));
}

#[test]
fn a_frozen_service_is_not_healthy_either() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].stop_answering();
    simulation[db].sample = ResourceSample {
        frozen: true,
        ..idle()
    };
    simulation.advance(MINUTE);
    assert!(!is_healthy(&simulation, db));
    assert_eq!(simulation.kills(db), []);
}

#[test]
fn a_watchdog_without_a_verdict_for_five_minutes_is_blind_and_says_so_once() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].answer = could_not_ask();
    simulation.advance(MINUTE * 5 - SECOND);
    assert_eq!(simulation.records(db, RecordKind::Blind), [""; 0]);
    simulation.advance(MINUTE * 20);
    let blind = simulation.records(db, RecordKind::Blind);
    assert_eq!(blind.len(), 1, "{blind:?}");
    assert!(
        blind[0].contains("61 no verdict, 0 void") && blind[0].contains("pid 906"),
        "{blind:?}"
    );
    simulation[db].answer = Answer::Alive;
    simulation.advance(MINUTE);
    simulation[db].answer = could_not_ask();
    simulation.advance(MINUTE * 6);
    assert_eq!(simulation.records(db, RecordKind::Blind).len(), 2);
}

#[test]
fn an_attempt_that_never_reports_counts_as_one_without_a_verdict() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].never_reports = true;
    simulation.advance(MINUTE);
    assert!(!is_healthy(&simulation, db));
    simulation.advance(MINUTE * 5);
    assert_eq!(simulation.records(db, RecordKind::Blind).len(), 1);
}

#[test]
fn what_is_true_only_in_one_state_is_not_said_in_the_next() {
    let rules = Policy {
        give_up: GiveUp {
            exits: 3,
            within: MINUTE,
        },
        ..policy()
    };
    let (mut simulation, db) = Simulation::with_ready_service(rules);
    simulation[db].exits_by_itself = Some((SECOND, Exit::Code(1), Survivors::default()));
    let life = simulation.snapshot(db).life;
    simulation.end_main_process(db, life, Exit::Code(1), Survivors::default());
    while simulation.phase(db) != Phase::Parked {
        simulation.advance(SECOND);
    }
    assert!(simulation.snapshot(db).reason.starts_with("gave up"));
    simulation[db].exits_by_itself = None;
    while simulation.phase(db) != Phase::Running {
        simulation.advance(SECOND);
    }
    let reason = simulation.snapshot(db).reason;
    assert!(reason.starts_with("exited with"), "{reason}");

    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].stop_answering();
    simulation[db].unkillable = true;
    while simulation.phase(db) != Phase::Unkillable {
        simulation.advance(SECOND);
    }
    assert!(simulation.snapshot(db).reason.contains("has not ended 1"));
    simulation[db].unkillable = false;
    simulation[db].answer = Answer::Alive;
    while simulation.phase(db) != Phase::Running {
        simulation.advance(SECOND);
    }
    let reason = simulation.snapshot(db).reason;
    assert!(reason.starts_with("killed: "), "{reason}");
}

fn kills_on_errors() -> Policy {
    Policy {
        watchdog: Some(Watchdog {
            degraded_kills: true,
            ..watchdog()
        }),
        ..policy()
    }
}

fn error_answer() -> Answer {
    Answer::Degraded {
        said: "answered 503 Service Unavailable".into(),
        starting: true,
    }
}

#[test]
fn a_kill_because_of_errors_says_that_there_were_answers() {
    let (mut simulation, db) = Simulation::with_ready_service(kills_on_errors());
    simulation[db].answer = error_answer();
    simulation.advance(SECOND * 20);
    let killed = simulation.records(db, RecordKind::Killed);
    assert!(
        killed[0].starts_with("killed: only errors in answer to SELECT 1 in 3 probes (")
            && killed[0].ends_with("using no CPU; last: answered 503 Service Unavailable"),
        "{killed:?}"
    );
}

#[test]
fn errors_that_count_as_dead_have_the_same_excuses_as_silence() {
    let (mut simulation, db) = Simulation::with_ready_service(kills_on_errors());
    simulation[db].answer = error_answer();
    simulation[db].sample = busy();
    simulation.advance(SECOND * 25);
    assert_eq!(simulation.kills(db), []);
    let suppressed = simulation.records(db, RecordKind::Suppressed);
    assert!(
        suppressed[0]
            .contains("only errors in answer to SELECT 1, but busy (using 100 % of a core)"),
        "{suppressed:?}"
    );
    simulation.advance(SECOND * 15);
    assert_eq!(simulation.kills(db).len(), 1, "after the busy grace");
}

#[test]
fn errors_while_it_works_extend_the_startup_budget() {
    let (mut simulation, db) =
        Simulation::with_service(kills_on_errors(), crate::start::proven(), |service| {
            service.answer = error_answer();
            service.sample = busy();
        });
    simulation.advance(MINUTE * 10);
    assert_eq!(
        (simulation.phase(db), simulation.kills(db).len()),
        (Phase::Starting, 0),
        "a database in crash recovery"
    );
    simulation[db].answer = Answer::Alive;
    simulation.advance(SECOND * 10);
    assert_eq!(simulation.phase(db), Phase::Running);
}

#[test]
fn a_service_that_ended_as_its_policy_wants_is_healthy_and_one_that_failed_is_not() {
    for (exit, healthy) in [(Exit::Code(0), true), (Exit::Code(1), false)] {
        let once = Policy {
            restart: Restart::Never,
            watchdog: None,
            ..policy()
        };
        let (mut simulation, job) =
            Simulation::with_service(once, PersistedState::default(), |service| {
                service.exits_by_itself = Some((SECOND, exit, Survivors::default()));
            });
        simulation.advance(MINUTE);
        assert_eq!(simulation.phase(job), Phase::Stopped);
        assert_eq!(is_healthy(&simulation, job), healthy, "{exit:?}");
    }
}

#[test]
fn a_service_that_is_not_ready_yet_says_what_its_last_attempt_had() {
    let (mut simulation, db) =
        Simulation::with_service(policy(), PersistedState::default(), |service| {
            service.answer = crate::simulation::silence();
        });
    simulation.advance(SECOND * 10);
    let starting = simulation.snapshot(db);
    assert_eq!(
        (starting.phase, starting.reason.as_str()),
        (Phase::Starting, "not ready yet: no answer")
    );
    simulation[db].answer = Answer::Alive;
    simulation.advance(SECOND * 10);
    assert_eq!(simulation.snapshot(db).reason, "answering");
}

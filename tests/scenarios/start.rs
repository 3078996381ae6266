//! The startup budget, readiness, READY=1, and starts that fail or are cancelled.

use crate::simulation::{MINUTE, Preparation, SECOND, Simulation, busy, policy};
use stayd::decide::action::{Action, RecordKind};
use stayd::decide::clock::Duration;
use stayd::decide::event::{
    Answer, Event, Life, PersistedState, Request, ResourceSample, ServiceEvent, ServiceMessage,
    UnknownUse,
};
use stayd::decide::policy::{Policy, Watchdog};
use stayd::decide::snapshot::Phase;

pub(crate) fn proven() -> PersistedState {
    PersistedState {
        proven: true,
        ..PersistedState::default()
    }
}

fn silent(policy: Policy, past: PersistedState) -> (Simulation, stayd::decide::event::ServiceId) {
    Simulation::with_service(policy, past, |service| {
        service.stop_answering();
    })
}

#[test]
fn a_startup_with_progress_is_not_killed_within_its_maximum() {
    let rules = Policy {
        startup_max: MINUTE * 130,
        ..policy()
    };
    let (mut simulation, db) = silent(rules, proven());
    simulation[db].sample = busy();
    simulation.advance(MINUTE * 120);
    assert_eq!(
        (simulation.phase(db), simulation.kills(db).len()),
        (Phase::Starting, 0)
    );
    simulation[db].answer = Answer::Alive;
    simulation.advance(SECOND * 10);
    assert_eq!(
        (simulation.phase(db), simulation.spawns(db).len()),
        (Phase::Running, 1)
    );
}

#[test]
fn use_that_cannot_be_read_does_not_extend_the_startup_budget() {
    let (mut simulation, db) = silent(policy(), proven());
    simulation[db].sample = ResourceSample {
        unknown_use: Some(UnknownUse::Io),
        ..ResourceSample::default()
    };
    simulation.advance(MINUTE * 5);
    assert!(!simulation.kills(db).is_empty());
}

#[test]
fn no_dead_attempt_counts_before_the_startup_budget_ends() {
    let (mut simulation, db) = silent(policy(), proven());
    simulation.advance(MINUTE);
    assert_eq!(simulation.snapshot(db).probes[0].failures, 0);
    assert_eq!(simulation.kills(db), []);
    simulation.advance(SECOND * 20);
    assert_eq!(
        simulation.kills(db).len(),
        1,
        "without progress the watchdog judges from then on"
    );
    assert!(simulation.kills(db)[0].since(simulation.spawns(db)[0]) >= MINUTE + SECOND * 10);
}

#[test]
fn a_server_that_answers_that_it_is_starting_is_neither_ready_nor_killed() {
    let (mut simulation, db) = silent(policy(), PersistedState::default());
    simulation[db].answer = Answer::Degraded {
        said: "57P03: the database system is starting up".into(),
        starting: true,
    };
    simulation.advance(SECOND * 30);
    assert_eq!(simulation.phase(db), Phase::Starting);
    simulation.advance(MINUTE * 60);
    assert_eq!(simulation.kills(db), []);
}

#[test]
fn a_service_may_extend_its_startup_budget() {
    let (mut simulation, db) = silent(policy(), proven());
    for _ in 0..10 {
        simulation.advance(SECOND * 50);
        let life = simulation.snapshot(db).life;
        simulation.deliver_to(
            db,
            ServiceEvent::Notified(life, ServiceMessage::Extend(MINUTE)),
        );
    }
    assert_eq!(
        (simulation.phase(db), simulation.kills(db).len()),
        (Phase::Starting, 0)
    );
    simulation.advance(MINUTE * 2);
    assert_eq!(simulation.kills(db).len(), 1, "it stopped extending");
}

/// A service that extends its budget without end, or works without end, could otherwise never be judged.
#[test]
fn no_extension_goes_beyond_the_maximum() {
    for is_busy in [false, true] {
        let (mut simulation, db) = silent(policy(), proven());
        if is_busy {
            simulation[db].sample = busy();
        } else {
            simulation.advance(SECOND);
            let forever = ServiceMessage::Extend(Duration::MAX);
            simulation.deliver_to(db, ServiceEvent::Notified(Life(1), forever));
        }
        simulation.advance(policy().startup_max - SECOND * 2);
        assert_eq!(
            (simulation.phase(db), simulation.kills(db).len()),
            (Phase::Starting, 0)
        );
        simulation.advance(MINUTE);
        assert_eq!(simulation.kills(db).len(), 1, "busy: {is_busy}");
    }
}

#[test]
fn a_server_that_answers_that_it_is_starting_may_take_as_long_as_it_works() {
    let mut rules = policy();
    rules.watchdog = rules.watchdog.map(|watchdog| Watchdog {
        degraded_kills: true,
        ..watchdog
    });
    let (mut simulation, db) = silent(rules, proven());
    simulation[db].sample = busy();
    simulation[db].answer = Answer::Degraded {
        said: "57P03: the database system is starting up".into(),
        starting: true,
    };
    simulation.advance(rules.startup_max * 2);
    assert_eq!(
        (simulation.phase(db), simulation.kills(db).len()),
        (Phase::Starting, 0)
    );
}

#[test]
fn ready_is_announced_at_the_end_of_the_budget_without_its_extensions() {
    let (mut simulation, db) = silent(policy(), PersistedState::default());
    simulation[db].sample = busy();
    simulation.advance(policy().startup - SECOND);
    assert_eq!(simulation.count(&Action::AnnounceReady), 0);
    simulation.advance(SECOND * 2);
    assert_eq!(simulation.count(&Action::AnnounceReady), 1);
    assert_eq!(simulation.phase(db), Phase::Starting, "it is extended");
}

#[test]
fn an_extension_never_shortens_the_startup_budget() {
    let (mut simulation, db) = silent(policy(), proven());
    simulation.advance(SECOND);
    simulation.deliver_to(
        db,
        ServiceEvent::Notified(Life(1), ServiceMessage::Extend(SECOND)),
    );
    simulation.advance(SECOND * 50);
    assert_eq!(
        (simulation.phase(db), simulation.kills(db).len()),
        (Phase::Starting, 0)
    );
}

#[test]
fn a_service_that_becomes_ready_after_its_budget_is_shown_as_answering() {
    let (mut simulation, db) = silent(policy(), PersistedState::default());
    simulation.advance(MINUTE * 2);
    assert!(
        simulation
            .snapshot(db)
            .reason
            .contains("check whether the probe is right")
    );
    simulation[db].answer = Answer::Alive;
    simulation.advance(SECOND * 10);
    let snapshot = simulation.snapshot(db);
    assert_eq!(
        (snapshot.phase, snapshot.healthy, snapshot.reason.as_str()),
        (Phase::Running, true, "answering")
    );
}

#[test]
fn a_start_that_takes_long_is_recorded_with_its_cause_once() {
    let (mut simulation, db) = silent(policy(), PersistedState::default());
    simulation.advance(SECOND * 2);
    assert!(
        simulation.records(db, RecordKind::Verdict).is_empty(),
        "usual"
    );
    simulation.advance(SECOND * 50);
    let records = simulation.records(db, RecordKind::Verdict);
    assert_eq!(records.len(), 1, "{records:?}");
    assert!(records[0].starts_with("not ready yet: "), "{records:?}");
}

#[test]
fn ready_is_announced_once_and_only_when_all_services_have_a_verdict() {
    let mut simulation = Simulation::new();
    let ids = [policy(), policy(), policy()].map(|rules| simulation.add_unconfigured(rules));
    simulation[ids[1]].preparation = Preparation::PortHeld;
    simulation[ids[2]].stop_answering();
    for id in ids {
        simulation.deliver_to(id, ServiceEvent::Configured(PersistedState::default()));
    }
    simulation.advance(SECOND * 59);
    assert_eq!(
        simulation.count(&Action::AnnounceReady),
        0,
        "the third may still become ready"
    );
    simulation.advance(SECOND * 2);
    assert_eq!(
        simulation.count(&Action::AnnounceReady),
        1,
        "ready, blocked, not ready in time: all are verdicts"
    );
    simulation[ids[2]].answer = Answer::Alive;
    simulation[ids[0]].stop_answering();
    simulation.advance(MINUTE * 10);
    assert_eq!(simulation.count(&Action::AnnounceReady), 1);
}

#[test]
fn a_held_port_blocks_is_recorded_once_and_leaves_the_reason_when_it_is_free() {
    let (mut simulation, db) =
        Simulation::with_service(policy(), PersistedState::default(), |service| {
            service.preparation = Preparation::PortHeld;
        });
    simulation.advance(MINUTE * 60);
    assert_eq!(simulation.phase(db), Phase::Blocked);
    assert_eq!(
        simulation.records(db, RecordKind::Blocked).len(),
        1,
        "recorded once"
    );
    assert_eq!(simulation.spawns(db), []);
    simulation[db].preparation = Preparation::Succeeds;
    simulation.advance(MINUTE);
    assert_eq!(simulation.snapshot(db).reason, "answering");
}

#[test]
fn a_port_conflict_between_two_instances_leaves_the_reason_when_the_second_runs() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].preparation = Preparation::PortHeld;
    simulation[db].stop_answering();
    simulation.advance(MINUTE);
    assert!(simulation.snapshot(db).reason.contains("port 1 is held"));
    simulation[db].preparation = Preparation::Succeeds;
    simulation[db].answer = Answer::Alive;
    simulation.advance(MINUTE);
    assert!(
        !simulation.snapshot(db).reason.contains("port 1"),
        "{}",
        simulation.snapshot(db).reason
    );
}

#[test]
fn a_stop_during_the_spawn_waits_for_exec() {
    let (mut simulation, db) =
        Simulation::with_service(policy(), PersistedState::default(), |service| {
            service.spawn_takes = SECOND * 2;
        });
    simulation.advance(SECOND);
    simulation.request(db, Request::Stop);
    simulation.advance(SECOND / 2);
    let signalled = |simulation: &Simulation| {
        simulation.times_of(db, |action| {
            use stayd::decide::action::ServiceAction::{KillTree, Terminate};
            matches!(action, KillTree(_) | Terminate { .. })
        })
    };
    assert_eq!(
        signalled(&simulation),
        [],
        "no signal before exec is reported"
    );
    simulation.advance(SECOND);
    assert_eq!(signalled(&simulation).len(), 1);
    assert_eq!(
        (simulation.phase(db), simulation[db].alive),
        (Phase::Stopped, None)
    );
}

#[test]
fn a_stop_during_the_preparation_starts_nothing() {
    let (mut simulation, db) =
        Simulation::with_service(policy(), PersistedState::default(), |service| {
            service.preparation = Preparation::Hangs;
        });
    simulation.advance(SECOND);
    simulation.request(db, Request::Stop);
    simulation.advance(SECOND);
    assert_eq!(
        (simulation.phase(db), simulation.spawns(db).len()),
        (Phase::Stopped, 0)
    );
    simulation.advance(MINUTE * 10);
    assert_eq!(simulation.phase(db), Phase::Stopped);
}

#[test]
fn a_stop_and_a_start_during_the_preparation_start_at_once() {
    let (mut simulation, db) =
        Simulation::with_service(policy(), PersistedState::default(), |service| {
            service.preparation = Preparation::Hangs;
        });
    simulation.advance(SECOND);
    simulation.request(db, Request::Stop);
    simulation.request(db, Request::Start);
    simulation[db].preparation = Preparation::Succeeds;
    simulation.deliver_to(
        db,
        ServiceEvent::NotPrepared(Life(1), stayd::decide::event::SpawnFailure::cancelled()),
    );
    simulation.advance(SECOND / 20);
    assert_eq!(
        simulation.spawns(db).len(),
        1,
        "{}",
        simulation.snapshot(db).reason
    );
    assert_eq!(
        simulation.records(db, RecordKind::Blocked),
        Vec::<String>::new()
    );
}

#[test]
fn a_preparation_that_never_ends_is_cancelled_and_tried_again() {
    let (mut simulation, db) =
        Simulation::with_service(policy(), PersistedState::default(), |service| {
            service.preparation = Preparation::Hangs;
        });
    simulation.advance(MINUTE * 2);
    assert_eq!(simulation.phase(db), Phase::Starting, "again");
    assert!(
        simulation.records(db, RecordKind::Blocked)[0].contains("70 s"),
        "{:?}",
        simulation.records(db, RecordKind::Blocked)
    );
    assert_eq!(simulation.spawns(db), []);
}

#[test]
fn shutdown_wins_over_every_pending_start() {
    for passed in [0, 1, 2, 3, 500, 1_500] {
        let (mut simulation, db) =
            Simulation::with_service(policy(), PersistedState::default(), |service| {
                service.spawn_takes = SECOND;
            });
        simulation.advance(SECOND / 1000 * passed);
        simulation.deliver(Event::Shutdown);
        let spawned = simulation.spawns(db).len();
        simulation.advance(MINUTE);
        assert_eq!(
            simulation.spawns(db).len(),
            spawned,
            "nothing starts after the shutdown"
        );
        assert_eq!(
            (simulation[db].alive, simulation.count(&Action::Finish)),
            (None, 1),
            "after {passed} ms"
        );
    }
}

#[test]
fn neither_a_backoff_nor_a_request_starts_anything_during_shutdown() {
    let mut simulation = Simulation::new();
    let (db, slow) = (
        simulation.add(policy(), proven()),
        simulation.add(policy(), proven()),
    );
    simulation[slow].obeys_term = false;
    simulation.advance(SECOND * 10);
    simulation.end_main_process(
        db,
        Life(1),
        stayd::decide::event::Exit::Code(1),
        stayd::decide::event::Survivors::default(),
    );
    assert_eq!(simulation.phase(db), Phase::Backoff);
    simulation.deliver(Event::Shutdown);
    simulation.request(db, Request::Start);
    simulation.request(db, Request::Restart);
    simulation.deliver_to(db, ServiceEvent::Changed);
    simulation.advance(MINUTE);
    assert_eq!(simulation.spawns(db).len(), 1);
    assert_eq!(simulation.count(&Action::Finish), 1);
}

#[test]
fn a_dead_first_attempt_does_not_delay_the_second_by_a_period() {
    let (mut simulation, db) = silent(policy(), PersistedState::default());
    simulation.advance(SECOND * 4);
    simulation[db].answer = Answer::Alive;
    simulation.advance(SECOND * 3);
    assert_eq!(simulation.phase(db), Phase::Running);
}

#[test]
fn a_refused_start_takes_no_life_number() {
    let (mut simulation, db) =
        Simulation::with_service(policy(), PersistedState::default(), |service| {
            service.preparation = Preparation::PortHeld;
        });
    simulation.advance(MINUTE);
    assert_eq!(
        (simulation.phase(db), simulation.snapshot(db).life),
        (Phase::Blocked, Life(1))
    );
    simulation[db].preparation = Preparation::Succeeds;
    simulation.advance(MINUTE);
    assert_eq!(
        (simulation.phase(db), simulation.snapshot(db).life),
        (Phase::Running, Life(1))
    );
}

#[test]
fn a_foreign_listener_on_the_port_is_named_while_starting_and_afterwards() {
    const WHY: &str =
        "port 8521 is answered by pid 4711 (other), which is not of this service's tree";
    let (mut simulation, db) =
        Simulation::with_service(policy(), PersistedState::default(), |service| {
            service.answer = Answer::NoVerdict { why: WHY.into() };
        });
    simulation.advance(SECOND * 5);
    for phase in [Phase::Starting, Phase::Unproven] {
        let snapshot = simulation.snapshot(db);
        assert_eq!(snapshot.phase, phase);
        assert!(snapshot.reason.contains(WHY), "{}", snapshot.reason);
        simulation.advance(MINUTE * 2);
    }
    assert!(simulation.records(db, RecordKind::Suppressed)[0].contains(WHY));
    assert_eq!(simulation.kills(db), []);
}

//! Which runtime an instance starts from, and the rollback of a runtime under which the service never becomes ready.

use crate::simulation::{MINUTE, Preparation, SECOND, Simulation, policy, runtime, silence};
use stayd::decide::action::{RecordKind, ServiceAction};
use stayd::decide::event::{
    Answer, Exit, Life, PersistedState, Request, ServiceEvent, SpawnFailure, Survivors,
};
use stayd::decide::policy::Policy;
use stayd::decide::snapshot::Phase;

fn copied() -> Policy {
    Policy {
        has_runtime: true,
        ..policy()
    }
}

fn gone() -> SpawnFailure {
    SpawnFailure {
        message: "cannot open the runtime's source: no such file".into(),
        lasting: false,
    }
}

#[test]
fn an_instance_runs_from_the_source_and_its_runtime_is_marked_good_once() {
    let (mut simulation, db) = Simulation::with_ready_service(copied());
    simulation.advance(MINUTE);
    assert_eq!(simulation.phase(db), Phase::Running);
    assert_eq!(simulation[db].runs_from, [runtime("new")]);
    assert_eq!(simulation.snapshot(db).runtime, Some(runtime("new")));
    let praised =
        |action: &ServiceAction| *action == ServiceAction::MarkRuntimeGood(runtime("new"));
    assert_eq!(simulation.times_of(db, praised).len(), 1);
}

#[test]
fn without_its_source_a_service_runs_from_the_last_good_runtime_and_records_that() {
    let (mut simulation, db) =
        Simulation::with_service(copied(), PersistedState::default(), |service| {
            service.offer.source = Err(gone());
        });
    simulation.advance(MINUTE);
    assert_eq!(simulation.phase(db), Phase::Running);
    assert_eq!(simulation[db].runs_from, [runtime("good")]);
    assert!(simulation.records(db, RecordKind::FallbackRuntime)[0].contains("no such file"));
}

#[test]
fn without_any_runtime_a_service_is_blocked_and_tries_again() {
    let (mut simulation, db) =
        Simulation::with_service(copied(), PersistedState::default(), |service| {
            service.offer.source = Err(gone());
            service.offer.fallback = None;
        });
    simulation.advance(MINUTE);
    assert_eq!(
        (simulation.phase(db), simulation.spawns(db).len()),
        (Phase::Blocked, 0)
    );
    assert!(simulation.snapshot(db).reason.contains("no such file"));
    simulation[db].offer.source = Ok(runtime("new"));
    simulation.advance(MINUTE);
    assert_eq!(simulation.phase(db), Phase::Running);
}

#[test]
fn a_new_runtime_that_crashes_at_start_is_rolled_back_before_the_service_parks() {
    let mut simulation = Simulation::new();
    let db = simulation.add_unconfigured(copied());
    simulation[db].stop_answering();
    simulation[db].exits_by_itself = Some((SECOND / 10, Exit::Code(1), Survivors::default()));
    let past = PersistedState {
        proven: true,
        ..PersistedState::default()
    };
    simulation.deliver_to(db, ServiceEvent::Configured(past));
    while simulation.records(db, RecordKind::RolledBack).is_empty() {
        simulation.advance(SECOND);
        assert_ne!(simulation.phase(db), Phase::Parked);
    }
    let tries = simulation[db].runs_from.iter();
    let tries = tries.filter(|one| **one == runtime("new")).count();
    assert_eq!(tries, 10, "as many as before giving up");
    simulation[db].exits_by_itself = None;
    simulation[db].answer = Answer::Alive;
    simulation.advance(MINUTE);
    assert_eq!(simulation.phase(db), Phase::Running);
    assert_eq!(simulation[db].runs_from.last(), Some(&runtime("good")));
    assert!(simulation.records(db, RecordKind::RolledBack)[0].contains("none became ready"));
    // The bad runtime is not tried again as long as the source holds it.
    simulation.request(db, Request::Restart);
    simulation.advance(MINUTE);
    assert_eq!(simulation[db].runs_from.last(), Some(&runtime("good")));
    simulation[db].offer.source = Ok(runtime("newer"));
    simulation.request(db, Request::Restart);
    simulation.advance(MINUTE);
    assert_eq!(simulation[db].runs_from.last(), Some(&runtime("newer")));
}

#[test]
fn a_new_runtime_that_hangs_at_start_is_rolled_back() {
    let mut simulation = Simulation::new();
    let db = simulation.add_unconfigured(copied());
    simulation[db].answer = silence();
    let past = PersistedState {
        proven: true,
        ..PersistedState::default()
    };
    simulation.deliver_to(db, ServiceEvent::Configured(past));
    simulation.advance(MINUTE * 30);
    assert_eq!(simulation.records(db, RecordKind::RolledBack).len(), 1);
    assert_eq!(simulation[db].runs_from.last(), Some(&runtime("good")));
}

#[test]
fn a_stop_while_a_runtime_is_copied_starts_nothing() {
    let mut simulation = Simulation::new();
    let db = simulation.add_unconfigured(copied());
    simulation.deliver_to(db, ServiceEvent::Configured(PersistedState::default()));
    assert_eq!(simulation.phase(db), Phase::Materializing);
    simulation.request(db, Request::Stop);
    simulation.advance(MINUTE);
    assert_eq!(
        (simulation.phase(db), simulation.spawns(db).len()),
        (Phase::Stopped, 0)
    );
    assert_eq!(
        simulation
            .times_of(db, |action| *action
                == ServiceAction::CancelPreparation(Life(1)))
            .len(),
        1
    );
}

#[test]
fn a_new_runtime_whose_before_command_fails_is_rolled_back() {
    let (mut simulation, db) =
        Simulation::with_service(copied(), PersistedState::default(), |service| {
            service.preparation = Preparation::Fails("`before` (migrate) exited with status 9");
        });
    while simulation.records(db, RecordKind::RolledBack).is_empty() {
        simulation.advance(SECOND);
        assert!(simulation.spawns(db).is_empty());
    }
    let tries = simulation[db].runs_from.iter();
    let tries = tries.filter(|one| **one == runtime("new")).count();
    assert_eq!(tries, 10, "as many as ended instances before giving up");
    assert!(simulation.records(db, RecordKind::RolledBack)[0].contains("exited with status 9"));
    assert_eq!(simulation[db].runs_from.last(), Some(&runtime("good")));
    // A good runtime is not marked bad for the same failure.
    simulation.advance(MINUTE * 10);
    assert_eq!(simulation.phase(db), Phase::Blocked);
    assert_eq!(simulation.records(db, RecordKind::RolledBack).len(), 1);
    simulation[db].preparation = Preparation::Succeeds;
    simulation.advance(MINUTE * 10);
    assert_eq!(simulation.phase(db), Phase::Running);
}

#[test]
fn the_reason_names_an_earlier_runtime_only_while_it_is_used() {
    let (mut simulation, db) =
        Simulation::with_service(copied(), PersistedState::default(), |service| {
            service.offer.source = Err(gone());
        });
    simulation.advance(MINUTE);
    assert!(simulation.snapshot(db).reason.contains("no such file"));
    simulation[db].offer.source = Ok(runtime("new"));
    simulation.request(db, Request::Restart);
    simulation.advance(MINUTE);
    assert_eq!(simulation[db].runs_from.last(), Some(&runtime("new")));
    let reason = simulation.snapshot(db).reason;
    assert!(
        !reason.contains("earlier") && !reason.is_empty(),
        "{reason}"
    );
}

#[test]
fn while_the_runtime_source_is_read_the_reason_says_so() {
    let mut simulation = Simulation::new();
    let db = simulation.add_unconfigured(copied());
    simulation.deliver_to(db, ServiceEvent::Configured(PersistedState::default()));
    assert_eq!(simulation.phase(db), Phase::Materializing);
    let reason = simulation.snapshot(db).reason;
    assert!(reason.contains("its runtime's source"), "{reason}");
}

#[test]
fn a_parked_service_starts_at_once_when_its_program_changes() {
    let (mut simulation, db) =
        Simulation::with_service(policy(), PersistedState::default(), |service| {
            service.exits_by_itself = Some((SECOND / 10, Exit::Code(1), Survivors::default()));
        });
    while simulation.records(db, RecordKind::GaveUp).is_empty() {
        simulation.advance(SECOND);
    }
    assert_eq!(simulation.phase(db), Phase::Parked);
    let awaits = |simulation: &Simulation, awaited| {
        simulation
            .times_of(db, |action| *action == ServiceAction::AwaitChange(awaited))
            .len()
    };
    assert_eq!(
        (awaits(&simulation, true), awaits(&simulation, false)),
        (1, 0)
    );
    simulation[db].exits_by_itself = None;
    simulation.deliver_to(db, ServiceEvent::Changed);
    simulation.advance(SECOND * 30);
    assert_eq!(simulation.phase(db), Phase::Running);
    assert_eq!(
        (awaits(&simulation, true), awaits(&simulation, false)),
        (1, 1)
    );
}

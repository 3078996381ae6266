//! Which runtime a life begins with, and what becomes of one under which nothing becomes ready.

use crate::stage::{MINUTE, Preparation, SECOND, Stage, policy, runtime, silence};
use stayd::decide::action::{Kind, ServiceAction};
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
fn a_life_runs_from_what_the_source_holds_and_one_that_is_good_is_remembered() {
    let (mut stage, db) = Stage::with_one(copied());
    stage.drive(MINUTE);
    assert_eq!(stage.phase(db), Phase::Running);
    assert_eq!(stage[db].runs_from, [runtime("new")]);
    assert_eq!(stage.shown(db).runtime, Some(runtime("new")));
    let praised = |order: &ServiceAction| *order == ServiceAction::MarkRuntimeGood(runtime("new"));
    assert_eq!(stage.when(db, praised).len(), 1);
}

#[test]
fn item_61_without_its_source_it_runs_from_the_last_good_one_and_says_so() {
    let mut stage = Stage::new();
    let db = stage.enlist(copied());
    stage[db].offer.source = Err(gone());
    stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
    stage.drive(MINUTE);
    assert_eq!(stage.phase(db), Phase::Running);
    assert_eq!(stage[db].runs_from, [runtime("good")]);
    assert!(stage.said(db, Kind::OldRuntime)[0].contains("no such file"));
}

#[test]
fn without_any_runtime_it_is_blocked_and_tried_again() {
    let mut stage = Stage::new();
    let db = stage.enlist(copied());
    stage[db].offer.source = Err(gone());
    stage[db].offer.fallback = None;
    stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
    stage.drive(MINUTE);
    assert_eq!(
        (stage.phase(db), stage.spawns(db).len()),
        (Phase::Blocked, 0)
    );
    assert!(stage.shown(db).reason.contains("no such file"));
    stage[db].offer.source = Ok(runtime("new"));
    stage.drive(MINUTE);
    assert_eq!(stage.phase(db), Phase::Running);
}

#[test]
fn item_67_a_new_runtime_that_crashes_at_start_is_rolled_back_before_anything_parks() {
    let mut stage = Stage::new();
    let db = stage.enlist(copied());
    stage[db].falls_silent();
    stage[db].ends = Some((SECOND / 10, Exit::Code(1), Survivors::default()));
    let past = PersistedState {
        proven: true,
        ..PersistedState::default()
    };
    stage.tell(db, ServiceEvent::Configured(past));
    while stage.said(db, Kind::RolledBack).is_empty() {
        stage.drive(SECOND);
        assert_ne!(stage.phase(db), Phase::Parked);
    }
    let tries = stage[db].runs_from.iter();
    let tries = tries.filter(|one| **one == runtime("new")).count();
    assert_eq!(tries, 10, "as many as before giving up");
    stage[db].ends = None;
    stage[db].answer = Answer::Alive;
    stage.drive(MINUTE);
    assert_eq!(stage.phase(db), Phase::Running);
    assert_eq!(stage[db].runs_from.last(), Some(&runtime("good")));
    assert!(stage.said(db, Kind::RolledBack)[0].contains("none became ready"));
    // it is not tried again as long as the source holds the same
    stage.ask(db, Request::Restart);
    stage.drive(MINUTE);
    assert_eq!(stage[db].runs_from.last(), Some(&runtime("good")));
    stage[db].offer.source = Ok(runtime("newer"));
    stage.ask(db, Request::Restart);
    stage.drive(MINUTE);
    assert_eq!(stage[db].runs_from.last(), Some(&runtime("newer")));
}

#[test]
fn item_67_a_new_runtime_that_hangs_at_start_is_rolled_back_too() {
    let mut stage = Stage::new();
    let db = stage.enlist(copied());
    stage[db].answer = silence();
    let past = PersistedState {
        proven: true,
        ..PersistedState::default()
    };
    stage.tell(db, ServiceEvent::Configured(past));
    stage.drive(MINUTE * 30);
    assert_eq!(stage.said(db, Kind::RolledBack).len(), 1);
    assert_eq!(stage[db].runs_from.last(), Some(&runtime("good")));
}

#[test]
fn a_stop_while_a_runtime_is_copied_starts_nothing() {
    let mut stage = Stage::new();
    let db = stage.enlist(copied());
    stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
    assert_eq!(stage.phase(db), Phase::Materializing);
    stage.ask(db, Request::Stop);
    stage.drive(MINUTE);
    assert_eq!(
        (stage.phase(db), stage.spawns(db).len()),
        (Phase::Stopped, 0)
    );
    assert_eq!(
        stage
            .when(db, |order| *order
                == ServiceAction::CancelPreparation(Life(1)))
            .len(),
        1
    );
}

#[test]
fn item_67_a_new_runtime_whose_before_fails_is_rolled_back_too() {
    let mut stage = Stage::new();
    let db = stage.enlist(copied());
    stage[db].preparation = Preparation::Fails("`before` (migrate) exited with status 9");
    stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
    while stage.said(db, Kind::RolledBack).is_empty() {
        stage.drive(SECOND);
        assert!(stage.spawns(db).is_empty());
    }
    let tries = stage[db].runs_from.iter();
    let tries = tries.filter(|one| **one == runtime("new")).count();
    assert_eq!(tries, 10, "as many as lives that end");
    assert!(stage.said(db, Kind::RolledBack)[0].contains("exited with status 9"));
    assert_eq!(stage[db].runs_from.last(), Some(&runtime("good")));
    // a good one is not blamed for it
    stage.drive(MINUTE * 10);
    assert_eq!(stage.phase(db), Phase::Blocked);
    assert_eq!(stage.said(db, Kind::RolledBack).len(), 1);
    stage[db].preparation = Preparation::Succeeds;
    stage.drive(MINUTE * 10);
    assert_eq!(stage.phase(db), Phase::Running);
}

#[test]
fn the_reason_tells_of_an_earlier_runtime_only_while_one_runs() {
    let mut stage = Stage::new();
    let db = stage.enlist(copied());
    stage[db].offer.source = Err(gone());
    stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
    stage.drive(MINUTE);
    assert!(stage.shown(db).reason.contains("no such file"));
    stage[db].offer.source = Ok(runtime("new"));
    stage.ask(db, Request::Restart);
    stage.drive(MINUTE);
    assert_eq!(stage[db].runs_from.last(), Some(&runtime("new")));
    let reason = stage.shown(db).reason;
    assert!(
        !reason.contains("earlier") && !reason.is_empty(),
        "{reason}"
    );
}

#[test]
fn while_its_source_is_looked_at_the_reason_says_that() {
    let mut stage = Stage::new();
    let db = stage.enlist(copied());
    stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
    assert_eq!(stage.phase(db), Phase::Materializing);
    let reason = stage.shown(db).reason;
    assert!(reason.contains("its runtime's source"), "{reason}");
}

#[test]
fn a_parked_service_waits_for_a_change_and_is_tried_again_at_once() {
    let mut stage = Stage::new();
    let db = stage.enlist(policy());
    stage[db].ends = Some((SECOND / 10, Exit::Code(1), Survivors::default()));
    stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
    while stage.said(db, Kind::GaveUp).is_empty() {
        stage.drive(SECOND);
    }
    assert_eq!(stage.phase(db), Phase::Parked);
    let awaits = |stage: &Stage, awaited| {
        stage
            .when(db, |order| *order == ServiceAction::AwaitChange(awaited))
            .len()
    };
    assert_eq!((awaits(&stage, true), awaits(&stage, false)), (1, 0));
    stage[db].ends = None;
    stage.tell(db, ServiceEvent::Changed);
    stage.drive(SECOND * 30);
    assert_eq!(stage.phase(db), Phase::Running);
    assert_eq!((awaits(&stage, true), awaits(&stage, false)), (1, 1));
}

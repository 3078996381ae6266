//! A new version takes over in the same process: what the old one knew goes on, in virtual time.

use crate::stage::{MINUTE, SECOND, Stage, policy};
use stayd::decide::action::{Kind, ServiceAction};
use stayd::decide::clock::Instant;
use stayd::decide::event::{
    AdoptableInstance, Exit, Life, PersistedState, Request, ScanOutcome, ServiceEvent, ServiceId,
    Survivors,
};
use stayd::decide::policy::{GiveUp, Policy, Restart};
use stayd::decide::snapshot::Phase;
use stayd::decide::state::Carried;

/// What goes over of `db`.
fn carried(stage: &Stage, db: ServiceId) -> Option<Carried> {
    stage.machine.services()[db.0].carried()
}

/// The same service under a new version, at the same moment; what runs of it is still a child.
fn taken_over(old: &Stage, db: ServiceId, policy: Policy) -> (Stage, ServiceId) {
    let carried = carried(old, db).expect("at rest");
    let main = old.shown(db).main;
    let mut new = Stage::new();
    new.now = old.now;
    let id = new.enlist(policy);
    new[id].left = match main {
        Some(_) => ScanOutcome::Ours(AdoptableInstance {
            runtime: None,
            life: carried.life,
            main,
            ending: false,
            age: SECOND,
            former: Vec::new(),
        }),
        None => ScanOutcome::Nothing(carried.life),
    };
    let past = PersistedState {
        proven: true,
        last_life: carried.life,
        carried: Some(Box::new(carried)),
        ..PersistedState::default()
    };
    new.tell(id, ServiceEvent::Configured(past));
    (new, id)
}

/// Ends by itself a second after each start.
fn dies(stage: &mut Stage, db: ServiceId) {
    stage[db].ends = Some((SECOND, Exit::Code(3), Survivors::default()));
}

fn failing(policy: Policy) -> (Stage, ServiceId) {
    let mut stage = Stage::new();
    let db = stage.enlist(policy);
    dies(&mut stage, db);
    stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
    (stage, db)
}

#[test]
fn item_90_a_running_life_goes_on_as_if_nothing_had_happened() {
    let (mut old, db) = Stage::with_one(policy());
    old.hold(db, MINUTE);
    let before = old.shown(db);
    let (mut new, db) = taken_over(&old, db, policy());
    let after = new.shown(db);
    assert_eq!(
        (after.phase, after.since, after.reason, after.adopted),
        (Phase::Running, before.since, before.reason, false)
    );
    assert_eq!((after.hold, after.healthy), (before.hold, true));
    assert!(new.said(db, Kind::Adopted).is_empty() && new.said(db, Kind::Ready).is_empty());
    new.drive(MINUTE * 2);
    new[db].falls_silent();
    new.drive(SECOND * 30);
    assert_eq!((new.kills(db).len(), new.spawns(db).len()), (1, 1));
}

#[test]
fn item_90_a_wait_between_two_lives_goes_on_and_is_not_begun_anew() {
    let (mut old, db) = failing(policy());
    while old.shown(db).phase != Phase::Backoff || old.shown(db).life < Life(5) {
        old.drive(SECOND / 10);
    }
    let Some(Carried { ended, .. }) = carried(&old, db) else {
        panic!("a wait is a rest");
    };
    assert_eq!(ended.len(), 5);
    let due = old.machine.deadline();
    let (mut new, db) = taken_over(&old, db, policy());
    assert_eq!(
        (new.shown(db).phase, new.machine.deadline()),
        (Phase::Backoff, due)
    );
    dies(&mut new, db);
    new.drive(due.since(new.now) + SECOND / 10);
    let begun = new.when(db, |order| matches!(order, ServiceAction::Prepare(_)));
    assert_eq!(begun, [due], "not before, and not later");
    new.drive(SECOND * 3);
    let waits = new.said(db, Kind::Backoff);
    assert!(
        waits[0].starts_with("starts again in 7"),
        "the sixth in a row: {waits:?}"
    );
}

#[test]
fn item_90_lives_that_ended_under_the_old_version_count_for_giving_up() {
    let gives_up = Policy {
        give_up: GiveUp {
            exits: 4,
            within: MINUTE * 5,
        },
        ..policy()
    };
    let (mut old, db) = failing(gives_up);
    while old.shown(db).phase != Phase::Backoff || old.shown(db).life < Life(3) {
        old.drive(SECOND / 10);
    }
    let (mut new, db) = taken_over(&old, db, gives_up);
    dies(&mut new, db);
    new.drive(SECOND * 10);
    assert_eq!(
        (new.shown(db).phase, new.spawns(db).len()),
        (Phase::Parked, 1)
    );
    let (newest, db) = taken_over(&new, db, gives_up);
    assert_eq!(newest.shown(db).phase, Phase::Parked);
    assert_eq!(newest.machine.deadline(), new.machine.deadline());
}

#[test]
fn item_90_what_is_down_for_good_stays_down() {
    let never = Policy {
        restart: Restart::Never,
        ..policy()
    };
    let (mut old, db) = failing(never);
    old.drive(SECOND * 3);
    let (mut new, db) = taken_over(&old, db, never);
    new.drive(MINUTE);
    assert_eq!(
        (new.shown(db).phase, new.spawns(db).len()),
        (Phase::Stopped, 0)
    );
    assert_eq!(new.shown(db).reason, old.shown(db).reason);
    new.ask(db, Request::Start);
    new.drive(SECOND);
    assert_eq!(new.spawns(db).len(), 1);
}

#[test]
fn item_90_a_life_that_was_nobodys_child_may_end_between_two_versions() {
    let (old, db) = Stage::with_one(policy());
    let carried = carried(&old, db).expect("at rest");
    let mut new = Stage::new();
    new.now = old.now;
    let db = new.enlist(policy());
    new[db].left = ScanOutcome::Ended {
        life: carried.life,
        exit: None,
    };
    let past = PersistedState {
        last_life: carried.life,
        carried: Some(Box::new(carried)),
        ..PersistedState::default()
    };
    new.tell(db, ServiceEvent::Configured(past));
    assert_eq!(
        new.shown(db).last_exit.map(|(exit, _)| exit),
        Some(Exit::Unknown)
    );
    new.drive(SECOND);
    assert_eq!(new.spawns(db).len(), 1);
}

#[test]
fn item_90_nothing_goes_over_while_something_is_under_way() {
    let (mut stage, db) = Stage::with_one(policy());
    assert!(carried(&stage, db).is_some());
    stage[db].obeys_term = false;
    stage.ask(db, Request::Stop);
    assert_eq!(carried(&stage, db), None, "it is being stopped");
    stage.drive(MINUTE);
    assert!(carried(&stage, db).is_some());
    stage[db].spawn_takes = SECOND;
    stage.ask(db, Request::Start);
    assert_eq!(carried(&stage, db), None, "it is being started");
    stage.drive(SECOND * 3);
    stage[db].falls_silent();
    stage[db].evidence_takes = SECOND;
    while stage.shown(db).phase != Phase::Wedged {
        assert!(
            stage.now < Instant::START.after(MINUTE * 10),
            "never wedged"
        );
        stage.drive(SECOND / 10);
    }
    assert_eq!(carried(&stage, db), None, "its verdict is spoken");
}

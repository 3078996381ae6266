//! Stops by wish, the ordered end of stayd, and its forced end.

use crate::stage::{MINUTE, SECOND, Stage, policy};
use stayd::decide::action::{Action, Persist, ServiceAction};
use stayd::decide::event::{Event, Exit, Life, PersistedState, Request, ServiceEvent, Survivors};
use stayd::decide::snapshot::Phase;

#[test]
fn item_100_the_end_waits_for_nobody_else_than_the_living() {
    let mut stage = Stage::new();
    let ids =
        [policy(), policy(), policy()].map(|rules| stage.add(rules, PersistedState::default()));
    stage.drive(MINUTE);
    stage[ids[0]].obeys_term = false;
    stage.ask(ids[1], Request::Stop);
    stage.drive(SECOND);
    let began = stage.now;
    stage.happen(Event::Shutdown);
    let terminated = |stage: &Stage, id| {
        stage.when(id, |order| matches!(order, ServiceAction::Terminate { .. }))
    };
    assert_eq!(terminated(&stage, ids[0]), [began]);
    assert_eq!(
        terminated(&stage, ids[2]),
        [began],
        "at the same time, not one after the other"
    );
    stage.drive(MINUTE);
    let finish = stage
        .log
        .iter()
        .filter(|done| done.action == Action::Finish)
        .map(|done| done.at);
    let finish: Vec<_> = finish.collect();
    assert_eq!(finish.len(), 1);
    assert!(finish[0].since(began) < SECOND * 6);
    assert_eq!(
        stage.machine.deadline(),
        stayd::decide::clock::Instant::NEVER
    );
}

#[test]
fn item_93_a_second_end_forces() {
    let mut stage = Stage::new();
    let slow = stage.add(policy(), PersistedState::default());
    let starting = stage.enlist(policy());
    stage[starting].spawn_takes = SECOND * 2;
    stage.drive(SECOND);
    stage.tell(
        starting,
        ServiceEvent::Configured(PersistedState::default()),
    );
    stage[slow].obeys_term = false;
    stage[starting].obeys_term = false;
    stage.drive(SECOND);
    stage.happen(Event::Shutdown);
    stage.drive(SECOND / 2);
    stage.happen(Event::Shutdown);
    assert_eq!(stage.kills(slow), [stage.now]);
    stage.drive(SECOND * 2);
    assert_eq!(
        stage.kills(starting).len(),
        1,
        "what was being started has no grace either"
    );
    assert_eq!(stage.count(&Action::Finish), 1);
}

#[test]
fn item_36_a_forced_end_does_not_wait_for_the_unkillable() {
    let (mut stage, db) = Stage::with_one(policy());
    stage[db].stuck = true;
    stage[db].obeys_term = false;
    stage.happen(Event::Shutdown);
    stage.drive(MINUTE);
    assert_eq!(
        (stage.phase(db), stage.count(&Action::Finish)),
        (Phase::Unkillable, 0)
    );
    stage.happen(Event::Shutdown);
    stage.drive(SECOND);
    assert_eq!(stage.count(&Action::Finish), 1);
    let retired = stage.when(db, |order| matches!(order, ServiceAction::Retire(_)));
    assert_eq!(retired, [], "its claim stays for the next stayd");
}

#[test]
fn a_stop_outlives_stayd_and_a_start_ends_it() {
    let (mut stage, db) = Stage::with_one(policy());
    stage.ask(db, Request::Stop);
    stage.drive(MINUTE * 10);
    assert_eq!(
        (stage.phase(db), stage.spawns(db).len()),
        (Phase::Stopped, 1)
    );
    assert_eq!(stage.kept(db).last(), Some(&Persist::Stopped(true)));

    let mut next = Stage::new();
    let past = PersistedState {
        stopped: true,
        last_life: Life(1),
        ..PersistedState::default()
    };
    let db = next.add(policy(), past);
    next.drive(MINUTE * 10);
    assert_eq!(next.spawns(db), []);
    next.ask(db, Request::Start);
    next.drive(SECOND);
    assert_eq!(
        (next.phase(db), next.shown(db).life),
        (Phase::Running, Life(2))
    );
    assert!(next.kept(db).contains(&Persist::Stopped(false)));
}

#[test]
fn sockets_are_closed_when_no_life_is_on_its_way_and_only_then() {
    let closed = |stage: &Stage, db| {
        stage
            .when(db, |order| *order == ServiceAction::CloseSockets)
            .len()
    };
    let (mut stage, db) = Stage::with_one(policy());
    stage.ask(db, Request::Restart);
    stage.drive(MINUTE);
    stage.ends(db, Life(2), Exit::Code(1), Survivors::default());
    stage.drive(MINUTE);
    assert_eq!((stage.phase(db), closed(&stage, db)), (Phase::Running, 0));
    stage.ask(db, Request::Stop);
    stage.drive(MINUTE);
    assert_eq!((stage.phase(db), closed(&stage, db)), (Phase::Stopped, 1));
    stage.ask(db, Request::Start);
    stage.drive(MINUTE);
    stage.happen(Event::Shutdown);
    stage.drive(MINUTE);
    assert_eq!(
        closed(&stage, db),
        1,
        "the OS supervisor may keep them for the next stayd"
    );

    let mut parked = Stage::new();
    let past = PersistedState {
        parked: true,
        ..PersistedState::default()
    };
    let db = parked.add(policy(), past);
    parked.drive(SECOND);
    assert_eq!((parked.phase(db), closed(&parked, db)), (Phase::Parked, 1));
}

#[test]
fn a_restart_is_a_new_life_without_waiting_and_without_doubling() {
    let (mut stage, db) = Stage::with_one(policy());
    stage[db].obeys_term = false;
    stage.ask(db, Request::Restart);
    stage.ask(db, Request::Restart);
    stage.drive(SECOND * 6);
    assert_eq!((stage.spawns(db).len(), stage.shown(db).life), (2, Life(2)));
    assert_eq!(stage.phase(db), Phase::Running);
}

#[test]
fn a_stop_that_leaves_members_behind_ends_them_too() {
    let (mut stage, db) = Stage::with_one(policy());
    stage[db].obeys_term = false;
    stage.ask(db, Request::Stop);
    stage[db].alive = None;
    let survivors = Survivors {
        count: 2,
        ..Survivors::default()
    };
    stage.tell(
        db,
        ServiceEvent::Exited(Life(1), Exit::Signal(15), survivors),
    );
    let whole = stage.when(db, |order| {
        matches!(order, ServiceAction::Terminate { tree: true, .. })
    });
    assert_eq!(whole, [stage.now], "asked politely first");
    stage.drive(SECOND * 6);
    assert_eq!(
        (stage.kills(db).len(), stage.phase(db)),
        (1, Phase::Stopped)
    );
}

//! The startup budget, readiness, READY=1, and starts that do not come about.

use crate::stage::{MINUTE, Preparation, SECOND, Stage, busy, policy};
use stayd::decide::action::{Action, Kind};
use stayd::decide::event::{
    Answer, Event, Life, PersistedState, Request, ServiceEvent, ServiceMessage,
};
use stayd::decide::policy::Policy;
use stayd::decide::snapshot::Phase;

fn proven() -> PersistedState {
    PersistedState {
        proven: true,
        ..PersistedState::default()
    }
}

fn silent(policy: Policy, past: PersistedState) -> (Stage, stayd::decide::event::ServiceId) {
    let mut stage = Stage::new();
    let db = stage.enlist(policy);
    stage[db].falls_silent();
    stage.tell(db, ServiceEvent::Configured(past));
    (stage, db)
}

#[test]
fn item_15_a_recovery_with_progress_is_never_killed() {
    let (mut stage, db) = silent(policy(), proven());
    stage[db].sample = busy();
    stage.drive(MINUTE * 120);
    assert_eq!(
        (stage.phase(db), stage.kills(db).len()),
        (Phase::Starting, 0)
    );
    stage[db].answer = Answer::Alive;
    stage.drive(SECOND * 10);
    assert_eq!(
        (stage.phase(db), stage.spawns(db).len()),
        (Phase::Running, 1)
    );
}

#[test]
fn item_15_no_dead_round_counts_before_the_budget_ends() {
    let (mut stage, db) = silent(policy(), proven());
    stage.drive(MINUTE);
    assert_eq!(stage.shown(db).probes[0].failures, 0);
    assert_eq!(stage.kills(db), []);
    stage.drive(SECOND * 20);
    assert_eq!(
        stage.kills(db).len(),
        1,
        "without progress the watchdog judges from then on"
    );
    assert!(stage.kills(db)[0].since(stage.spawns(db)[0]) >= MINUTE + SECOND * 10);
}

#[test]
fn item_15_a_server_that_says_it_is_starting_is_not_ready_and_not_killed() {
    let (mut stage, db) = silent(policy(), PersistedState::default());
    stage[db].answer = Answer::Degraded {
        said: "57P03: the database system is starting up".into(),
        starting: true,
    };
    stage.drive(SECOND * 30);
    assert_eq!(stage.phase(db), Phase::Starting);
    stage.drive(MINUTE * 60);
    assert_eq!(stage.kills(db), []);
}

#[test]
fn item_16_a_migration_may_ask_for_more_time() {
    let (mut stage, db) = silent(policy(), proven());
    for _ in 0..30 {
        stage.drive(SECOND * 50);
        let life = stage.shown(db).life;
        stage.tell(
            db,
            ServiceEvent::ServiceMessage(life, ServiceMessage::Extend(MINUTE)),
        );
    }
    assert_eq!(
        (stage.phase(db), stage.kills(db).len()),
        (Phase::Starting, 0)
    );
    stage.drive(MINUTE * 2);
    assert_eq!(stage.kills(db).len(), 1, "it stopped asking");
}

#[test]
fn item_16_an_extension_never_shortens_the_budget() {
    let (mut stage, db) = silent(policy(), proven());
    stage.drive(SECOND);
    stage.tell(
        db,
        ServiceEvent::ServiceMessage(Life(1), ServiceMessage::Extend(SECOND)),
    );
    stage.drive(SECOND * 50);
    assert_eq!(
        (stage.phase(db), stage.kills(db).len()),
        (Phase::Starting, 0)
    );
}

#[test]
fn ready_after_the_budget_is_shown_as_answering() {
    let (mut stage, db) = silent(policy(), PersistedState::default());
    stage.drive(MINUTE * 2);
    assert!(stage.shown(db).reason.contains("is the probe right?"));
    stage[db].answer = Answer::Alive;
    stage.drive(SECOND * 10);
    let shown = stage.shown(db);
    assert_eq!(
        (shown.phase, shown.healthy, shown.reason.as_str()),
        (Phase::Running, true, "answering")
    );
}

#[test]
fn ready_is_announced_once_and_only_when_all_have_a_verdict() {
    let mut stage = Stage::new();
    let ids = [policy(), policy(), policy()].map(|rules| stage.enlist(rules));
    stage[ids[1]].preparation = Preparation::PortHeld;
    stage[ids[2]].falls_silent();
    for id in ids {
        stage.tell(id, ServiceEvent::Configured(PersistedState::default()));
    }
    stage.drive(SECOND * 59);
    assert_eq!(
        stage.count(&Action::AnnounceReady),
        0,
        "the third may still become ready"
    );
    stage.drive(SECOND * 2);
    assert_eq!(
        stage.count(&Action::AnnounceReady),
        1,
        "ready, blocked, not ready in time: all are verdicts"
    );
    stage[ids[2]].answer = Answer::Alive;
    stage[ids[0]].falls_silent();
    stage.drive(MINUTE * 10);
    assert_eq!(stage.count(&Action::AnnounceReady), 1);
}

#[test]
fn item_54_a_held_port_blocks_quietly_and_is_forgotten_when_it_is_free() {
    let mut stage = Stage::new();
    let db = stage.enlist(policy());
    stage[db].preparation = Preparation::PortHeld;
    stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
    stage.drive(MINUTE * 60);
    assert_eq!(stage.phase(db), Phase::Blocked);
    assert_eq!(stage.said(db, Kind::Blocked).len(), 1, "said once");
    assert_eq!(stage.spawns(db), []);
    stage[db].preparation = Preparation::Succeeds;
    stage.drive(MINUTE);
    assert_eq!(stage.shown(db).reason, "answering");
}

#[test]
fn a_conflict_between_two_lives_is_forgotten_when_the_second_runs() {
    let (mut stage, db) = Stage::with_one(policy());
    stage[db].preparation = Preparation::PortHeld;
    stage[db].falls_silent();
    stage.drive(MINUTE);
    assert!(stage.shown(db).reason.contains("port 1 is held"));
    stage[db].preparation = Preparation::Succeeds;
    stage[db].answer = Answer::Alive;
    stage.drive(MINUTE);
    assert!(
        !stage.shown(db).reason.contains("port 1"),
        "{}",
        stage.shown(db).reason
    );
}

#[test]
fn item_43_a_stop_during_the_start_waits_for_exec() {
    let mut stage = Stage::new();
    let db = stage.enlist(policy());
    stage[db].spawn_takes = SECOND * 2;
    stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
    stage.drive(SECOND);
    stage.ask(db, Request::Stop);
    stage.drive(SECOND / 2);
    let signalled = |stage: &Stage| {
        stage.when(db, |order| {
            use stayd::decide::action::ServiceAction::{KillTree, Terminate};
            matches!(order, KillTree(_) | Terminate { .. })
        })
    };
    assert_eq!(
        signalled(&stage),
        [],
        "nobody is signalled before exec is reported"
    );
    stage.drive(SECOND);
    assert_eq!(signalled(&stage).len(), 1);
    assert_eq!((stage.phase(db), stage[db].alive), (Phase::Stopped, None));
}

#[test]
fn a_stop_during_the_preparation_starts_nothing() {
    let mut stage = Stage::new();
    let db = stage.enlist(policy());
    stage[db].preparation = Preparation::Hangs;
    stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
    stage.drive(SECOND);
    stage.ask(db, Request::Stop);
    stage.drive(SECOND);
    assert_eq!(
        (stage.phase(db), stage.spawns(db).len()),
        (Phase::Stopped, 0)
    );
    stage.drive(MINUTE * 10);
    assert_eq!(stage.phase(db), Phase::Stopped);
}

#[test]
fn stop_and_start_during_the_preparation_start_at_once() {
    let mut stage = Stage::new();
    let db = stage.enlist(policy());
    stage[db].preparation = Preparation::Hangs;
    stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
    stage.drive(SECOND);
    stage.ask(db, Request::Stop);
    stage.ask(db, Request::Start);
    stage[db].preparation = Preparation::Succeeds;
    stage.tell(
        db,
        ServiceEvent::NotPrepared(Life(1), stayd::decide::event::SpawnFailure::cancelled()),
    );
    stage.drive(SECOND / 20);
    assert_eq!(stage.spawns(db).len(), 1, "{}", stage.shown(db).reason);
    assert_eq!(stage.said(db, Kind::Blocked), Vec::<String>::new());
}

#[test]
fn a_preparation_that_never_ends_is_given_up_and_tried_again() {
    let mut stage = Stage::new();
    let db = stage.enlist(policy());
    stage[db].preparation = Preparation::Hangs;
    stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
    stage.drive(MINUTE * 2);
    assert_eq!(stage.phase(db), Phase::Starting, "again");
    assert!(
        stage.said(db, Kind::Blocked)[0].contains("70 s"),
        "{:?}",
        stage.said(db, Kind::Blocked)
    );
    assert_eq!(stage.spawns(db), []);
}

#[test]
fn item_101_the_end_wins_over_every_pending_start() {
    for passed in [0, 1, 2, 3, 500, 1_500] {
        let mut stage = Stage::new();
        let db = stage.enlist(policy());
        stage[db].spawn_takes = SECOND;
        stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
        stage.drive(SECOND / 1000 * passed);
        stage.happen(Event::Shutdown);
        let spawned = stage.spawns(db).len();
        stage.drive(MINUTE);
        assert_eq!(stage.spawns(db).len(), spawned, "nothing starts any more");
        assert_eq!(
            (stage[db].alive, stage.count(&Action::Finish)),
            (None, 1),
            "after {passed} ms"
        );
    }
}

#[test]
fn item_101_neither_a_backoff_nor_a_wish_starts_anything_while_stayd_ends() {
    let mut stage = Stage::new();
    let (db, slow) = (stage.add(policy(), proven()), stage.add(policy(), proven()));
    stage[slow].obeys_term = false;
    stage.drive(SECOND * 10);
    stage.ends(
        db,
        Life(1),
        stayd::decide::event::Exit::Code(1),
        stayd::decide::event::Survivors::default(),
    );
    assert_eq!(stage.phase(db), Phase::Backoff);
    stage.happen(Event::Shutdown);
    stage.ask(db, Request::Start);
    stage.ask(db, Request::Restart);
    stage.tell(db, ServiceEvent::Changed);
    stage.drive(MINUTE);
    assert_eq!(stage.spawns(db).len(), 1);
    assert_eq!(stage.count(&Action::Finish), 1);
}

#[test]
fn a_dead_first_round_does_not_delay_the_second_by_a_period() {
    let (mut stage, db) = silent(policy(), PersistedState::default());
    stage.drive(SECOND * 4);
    stage[db].answer = Answer::Alive;
    stage.drive(SECOND * 3);
    assert_eq!(stage.phase(db), Phase::Running);
}

#[test]
fn a_refused_start_takes_no_life_number() {
    let mut stage = Stage::new();
    let db = stage.enlist(policy());
    stage[db].preparation = Preparation::PortHeld;
    stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
    stage.drive(MINUTE);
    assert_eq!(
        (stage.phase(db), stage.shown(db).life),
        (Phase::Blocked, Life(1))
    );
    stage[db].preparation = Preparation::Succeeds;
    stage.drive(MINUTE);
    assert_eq!(
        (stage.phase(db), stage.shown(db).life),
        (Phase::Running, Life(1))
    );
}

#[test]
fn item_30_an_outsider_on_the_port_is_named_while_starting_and_afterwards() {
    const WHY: &str =
        "port 8521 is answered by pid 4711 (other), which is not of this service's tree";
    let mut stage = Stage::new();
    let db = stage.enlist(policy());
    stage[db].answer = Answer::NoVerdict { why: WHY.into() };
    stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
    stage.drive(SECOND * 5);
    for phase in [Phase::Starting, Phase::Unproven] {
        let shown = stage.shown(db);
        assert_eq!(shown.phase, phase);
        assert!(shown.reason.contains(WHY), "{}", shown.reason);
        stage.drive(MINUTE * 2);
    }
    assert!(stage.said(db, Kind::Suppressed)[0].contains(WHY));
    assert_eq!(stage.kills(db), []);
}

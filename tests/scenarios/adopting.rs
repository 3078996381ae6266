//! What an earlier stayd has left: kept, ended, or neither doubled nor touched.

use crate::stage::{MINUTE, SECOND, Stage, policy};
use stayd::decide::action::{Kind, ServiceAction};
use stayd::decide::event::{
    AdoptableInstance, ChangedSetting, Exit, Life, PersistedState, Process, Request, ScanOutcome,
    ServiceEvent, ServiceId, Survivors,
};
use stayd::decide::policy::{GiveUp, OnLeftover, Policy, Restart};
use stayd::decide::snapshot::Phase;

const LEFT: Life = Life(7);
const MAIN: Process = Process {
    pid: 4711,
    start_time: 9,
};

fn proven() -> PersistedState {
    PersistedState {
        proven: true,
        last_life: LEFT,
        ..PersistedState::default()
    }
}

fn ours(main: Option<Process>, same_command: bool) -> ScanOutcome {
    ScanOutcome::Ours(AdoptableInstance {
        runtime: None,
        life: LEFT,
        main,
        ending: false,
        age: SECOND,
        former: (!same_command)
            .then_some(ChangedSetting::Command)
            .into_iter()
            .collect(),
    })
}

fn found(policy: Policy, left: ScanOutcome, past: PersistedState) -> (Stage, ServiceId) {
    let mut stage = Stage::new();
    let db = stage.enlist(policy);
    stage[db].left = left;
    stage.tell(db, ServiceEvent::Configured(past));
    (stage, db)
}

#[test]
fn item_52_what_is_ours_goes_on_and_is_judged_like_any_other() {
    let (mut stage, db) = found(policy(), ours(Some(MAIN), true), proven());
    stage.drive(MINUTE);
    let shown = stage.shown(db);
    assert_eq!(
        (shown.phase, shown.life, shown.adopted),
        (Phase::Running, LEFT, true)
    );
    assert_eq!((shown.main, stage.spawns(db).len()), (Some(MAIN), 0));
    stage[db].falls_silent();
    stage.drive(SECOND * 30);
    assert_eq!((stage.kills(db).len(), stage.spawns(db).len()), (1, 1));
    assert_eq!(
        (stage.shown(db).life, stage.shown(db).adopted),
        (LEFT.next(), false)
    );
}

#[test]
fn item_57_another_command_is_ended_in_order_before_the_next_life() {
    let replaces = Policy {
        leftover: OnLeftover::Replace,
        ..policy()
    };
    for (policy, same_command) in [(policy(), false), (replaces, true)] {
        let (mut stage, db) = found(policy, ours(Some(MAIN), same_command), proven());
        stage.drive(SECOND);
        let terminated = stage.when(db, |order| matches!(order, ServiceAction::Terminate { .. }));
        assert_eq!((terminated.len(), stage.kills(db).len()), (1, 0));
        assert_eq!(
            (stage.spawns(db).len(), stage.shown(db).life),
            (1, LEFT.next())
        );
    }
}

#[test]
fn what_goes_on_with_a_former_user_or_environment_says_so_until_its_end() {
    const SAID: &str =
        "it still runs with the former user and environment: `stayd restart db` applies the new";
    let left = AdoptableInstance {
        runtime: None,
        life: LEFT,
        main: Some(MAIN),
        ending: false,
        age: SECOND,
        former: vec![ChangedSetting::User, ChangedSetting::Environment],
    };
    let (mut stage, db) = found(policy(), ScanOutcome::Ours(left), proven());
    assert!(stage.said(db, Kind::Adopted)[0].ends_with(SAID));
    stage.drive(MINUTE);
    let shown = stage.shown(db);
    assert_eq!((shown.phase, shown.main), (Phase::Running, Some(MAIN)));
    assert!(shown.reason.ends_with(SAID), "{}", shown.reason);
    stage.ask(db, Request::Restart);
    stage.drive(MINUTE);
    let shown = stage.shown(db);
    assert_eq!((shown.phase, shown.life), (Phase::Running, LEFT.next()));
    assert!(!shown.reason.contains("former"), "{}", shown.reason);
}

#[test]
fn what_was_to_be_stopped_is_stopped() {
    let past = PersistedState {
        stopped: true,
        ..proven()
    };
    let (mut stage, db) = found(policy(), ours(Some(MAIN), true), past);
    stage.drive(MINUTE);
    assert_eq!(
        (stage.phase(db), stage.spawns(db).len()),
        (Phase::Stopped, 0)
    );
    assert_eq!(stage.said(db, Kind::Adopted).len(), 1);
}

#[test]
fn the_rest_of_a_tree_ends_before_anything_begins() {
    let (mut stage, db) = found(policy(), ours(None, true), proven());
    let killed = stage.when(db, |order| *order == ServiceAction::KillTree(LEFT));
    assert_eq!((killed.len(), stage.spawns(db).len()), (1, 0));
    stage.drive(MINUTE);
    assert_eq!(stage.spawns(db).len(), 1);
}

#[test]
fn item_58_what_may_be_a_copy_is_neither_doubled_nor_touched_nor_called_stopped() {
    const WHY: &str = "pid 4711 shows no mark";
    let (mut stage, db) = found(policy(), ScanOutcome::Unclear(WHY.into()), proven());
    stage.drive(MINUTE * 10);
    assert_eq!(
        (stage.phase(db), stage.shown(db).reason.as_str()),
        (Phase::Blocked, WHY)
    );
    assert_eq!((stage.spawns(db).len(), stage.kills(db).len()), (0, 0));
    stage.ask(db, Request::Stop);
    assert!(
        stage.shown(db).reason.ends_with(WHY),
        "{}",
        stage.shown(db).reason
    );
    stage[db].left = ScanOutcome::Nothing(LEFT);
    stage.ask(db, Request::Start);
    stage.drive(MINUTE);
    assert_eq!(
        (stage.phase(db), stage.shown(db).life),
        (Phase::Running, LEFT.next())
    );
}

fn ended(exit: Option<Exit>) -> ScanOutcome {
    ScanOutcome::Ended { life: LEFT, exit }
}

#[test]
fn item_49_a_life_that_ended_while_nobody_ran_is_an_end_like_any_other() {
    for (restart, spawns, phase) in [
        (Restart::Always, 1, Phase::Running),
        (Restart::OnFailure, 1, Phase::Running),
        (Restart::Never, 0, Phase::Stopped),
    ] {
        let policy = Policy {
            restart,
            ..policy()
        };
        let (mut stage, db) = found(policy, ended(None), proven());
        let told = stage.said(db, Kind::Exited);
        assert!(told[0].contains("while no stayd ran"), "{told:?}");
        stage.drive(SECOND * 10);
        assert_eq!((stage.phase(db), stage.spawns(db).len()), (phase, spawns));
        let (exit, _) = stage.shown(db).last_exit.expect("an end");
        assert_eq!(exit, Exit::Unknown, "never taken for clean");
    }
}

#[test]
fn an_unseen_end_counts_towards_giving_up() {
    let policy = Policy {
        give_up: GiveUp {
            exits: 1,
            ..policy().give_up
        },
        ..policy()
    };
    let (mut stage, db) = found(policy, ended(None), proven());
    stage.drive(MINUTE);
    assert_eq!(
        (stage.phase(db), stage.spawns(db).len()),
        (Phase::Parked, 0)
    );
}

#[test]
fn an_end_that_was_told_already_is_not_told_again_and_nothing_follows_it() {
    let policy = Policy {
        restart: Restart::Never,
        ..policy()
    };
    let (mut stage, db) = found(policy, ended(Some(Exit::Code(0))), proven());
    stage.drive(MINUTE);
    assert_eq!(
        (stage.phase(db), stage.spawns(db).len()),
        (Phase::Stopped, 0)
    );
    assert_eq!(stage.said(db, Kind::Exited).len(), 0);
    assert!(stage.shown(db).reason.contains("exited with status 0"));
    stage.ask(db, Request::Start);
    stage.drive(MINUTE);
    assert_eq!(
        (stage.phase(db), stage.shown(db).life),
        (Phase::Running, LEFT.next())
    );
}

#[test]
fn a_policy_that_has_changed_meanwhile_is_the_one_that_counts() {
    let (mut stage, db) = found(policy(), ended(Some(Exit::Code(0))), proven());
    stage.drive(MINUTE);
    assert_eq!(
        (stage.phase(db), stage.spawns(db).len()),
        (Phase::Running, 1)
    );
}

#[test]
fn what_ended_unseen_and_was_to_be_stopped_stays_stopped() {
    let past = PersistedState {
        stopped: true,
        ..proven()
    };
    let (mut stage, db) = found(policy(), ended(None), past);
    stage.drive(MINUTE);
    assert_eq!(
        (stage.phase(db), stage.spawns(db).len()),
        (Phase::Stopped, 0)
    );
}

#[test]
fn item_49_an_end_that_nobody_told_is_never_clean() {
    let (mut stage, db) = found(policy(), ours(Some(MAIN), true), proven());
    stage.drive(MINUTE);
    stage.ends(db, LEFT, Exit::Unknown, Survivors::default());
    stage.drive(SECOND * 10);
    assert_eq!(stage.spawns(db).len(), 1);
    assert!(stage.said(db, Kind::Exited)[0].contains("unknown"));
}

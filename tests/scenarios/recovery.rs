//! Results of the recovery scan: an instance is adopted, ended, or left alone without a second copy.

use crate::simulation::{MINUTE, SECOND, Simulation, policy, watchdog};
use stayd::decide::action::{RecordKind, ServiceAction};
use stayd::decide::event::{
    AdoptableInstance, ChangedSetting, Exit, Life, PersistedState, Process, Request, ScanOutcome,
    ServiceId, Survivors,
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
    ScanOutcome::Adoptable(AdoptableInstance {
        runtime: None,
        life: LEFT,
        main,
        was_ready: false,
        ending: false,
        age: SECOND,
        changed_settings: (!same_command)
            .then_some(ChangedSetting::Command)
            .into_iter()
            .collect(),
    })
}

fn found(
    policy: Policy,
    scan_outcome: ScanOutcome,
    past: PersistedState,
) -> (Simulation, ServiceId) {
    Simulation::with_service(policy, past, |service| {
        service.scan_outcome = scan_outcome;
    })
}

#[test]
fn an_adopted_instance_goes_on_and_is_judged_like_any_other() {
    let (mut simulation, db) = found(policy(), ours(Some(MAIN), true), proven());
    simulation.advance(MINUTE);
    let snapshot = simulation.snapshot(db);
    assert_eq!(
        (snapshot.phase, snapshot.life, snapshot.adopted),
        (Phase::Running, LEFT, true)
    );
    assert_eq!(
        (snapshot.main, simulation.spawns(db).len()),
        (Some(MAIN), 0)
    );
    simulation[db].stop_answering();
    simulation.advance(SECOND * 30);
    assert_eq!(
        (simulation.kills(db).len(), simulation.spawns(db).len()),
        (1, 1)
    );
    assert_eq!(
        (
            simulation.snapshot(db).life,
            simulation.snapshot(db).adopted
        ),
        (LEFT.next(), false)
    );
}

#[test]
fn an_instance_with_another_command_is_ended_in_order_before_the_next_one() {
    let replaces = Policy {
        leftover: OnLeftover::Replace,
        ..policy()
    };
    for (policy, same_command) in [(policy(), false), (replaces, true)] {
        let (mut simulation, db) = found(policy, ours(Some(MAIN), same_command), proven());
        simulation.advance(SECOND);
        let terminated = simulation.times_of(db, |action| {
            matches!(action, ServiceAction::Terminate { .. })
        });
        assert_eq!((terminated.len(), simulation.kills(db).len()), (1, 0));
        assert_eq!(
            (simulation.spawns(db).len(), simulation.snapshot(db).life),
            (1, LEFT.next())
        );
    }
}

#[test]
fn the_reason_names_settings_that_have_changed_since_the_start_of_an_adopted_instance() {
    const SAID: &str =
        "it still runs with the former user and environment: `stayd restart db` applies the new";
    let scan_outcome = AdoptableInstance {
        runtime: None,
        life: LEFT,
        main: Some(MAIN),
        was_ready: false,
        ending: false,
        age: SECOND,
        changed_settings: vec![ChangedSetting::User, ChangedSetting::Environment],
    };
    let (mut simulation, db) = found(policy(), ScanOutcome::Adoptable(scan_outcome), proven());
    assert!(simulation.records(db, RecordKind::Adopted)[0].ends_with(SAID));
    simulation.advance(MINUTE);
    let snapshot = simulation.snapshot(db);
    assert_eq!(
        (snapshot.phase, snapshot.main),
        (Phase::Running, Some(MAIN))
    );
    assert!(snapshot.reason.ends_with(SAID), "{}", snapshot.reason);
    simulation.request(db, Request::Restart);
    simulation.advance(MINUTE);
    let snapshot = simulation.snapshot(db);
    assert_eq!(
        (snapshot.phase, snapshot.life),
        (Phase::Running, LEFT.next())
    );
    assert!(!snapshot.reason.contains("former"), "{}", snapshot.reason);
}

#[test]
fn an_adoptable_instance_of_a_stopped_service_is_stopped() {
    let past = PersistedState {
        stopped: true,
        ..proven()
    };
    let (mut simulation, db) = found(policy(), ours(Some(MAIN), true), past);
    simulation.advance(MINUTE);
    assert_eq!(
        (simulation.phase(db), simulation.spawns(db).len()),
        (Phase::Stopped, 0)
    );
    assert_eq!(simulation.records(db, RecordKind::Adopted).len(), 1);
}

#[test]
fn the_rest_of_a_tree_is_killed_before_a_new_instance_begins() {
    let (mut simulation, db) = found(policy(), ours(None, true), proven());
    let killed = simulation.times_of(db, |action| *action == ServiceAction::KillTree(LEFT));
    assert_eq!((killed.len(), simulation.spawns(db).len()), (1, 0));
    simulation.advance(MINUTE);
    assert_eq!(simulation.spawns(db).len(), 1);
}

#[test]
fn a_possible_copy_is_left_alone_no_second_copy_starts_and_a_stop_names_it() {
    const WHY: &str = "pid 4711 shows no evidence";
    let (mut simulation, db) = found(policy(), ScanOutcome::Unclear(WHY.into()), proven());
    simulation.advance(MINUTE * 10);
    assert_eq!(
        (
            simulation.phase(db),
            simulation.snapshot(db).reason.as_str()
        ),
        (Phase::Blocked, WHY)
    );
    assert_eq!(
        (simulation.spawns(db).len(), simulation.kills(db).len()),
        (0, 0)
    );
    simulation.request(db, Request::Stop);
    assert!(
        simulation.snapshot(db).reason.ends_with(WHY),
        "{}",
        simulation.snapshot(db).reason
    );
    simulation[db].scan_outcome = ScanOutcome::Nothing(LEFT);
    simulation.request(db, Request::Start);
    simulation.advance(MINUTE);
    assert_eq!(
        (simulation.phase(db), simulation.snapshot(db).life),
        (Phase::Running, LEFT.next())
    );
}

fn ended(exit: Option<Exit>) -> ScanOutcome {
    ScanOutcome::Ended { life: LEFT, exit }
}

#[test]
fn an_instance_that_ended_while_no_stayd_ran_is_restarted_by_policy() {
    for (restart, spawns, phase) in [
        (Restart::Always, 1, Phase::Running),
        (Restart::OnFailure, 1, Phase::Running),
        (Restart::Never, 0, Phase::Stopped),
    ] {
        let policy = Policy {
            restart,
            ..policy()
        };
        let (mut simulation, db) = found(policy, ended(None), proven());
        let recorded = simulation.records(db, RecordKind::Exited);
        assert!(recorded[0].contains("while no stayd ran"), "{recorded:?}");
        simulation.advance(SECOND * 10);
        assert_eq!(
            (simulation.phase(db), simulation.spawns(db).len()),
            (phase, spawns)
        );
        let (exit, _) = simulation.snapshot(db).last_exit.expect("an end");
        assert_eq!(exit, Exit::Unknown, "never taken for a clean exit");
    }
}

#[test]
fn an_end_while_no_stayd_ran_counts_towards_giving_up() {
    let policy = Policy {
        give_up: GiveUp {
            exits: 1,
            ..policy().give_up
        },
        ..policy()
    };
    let (mut simulation, db) = found(policy, ended(None), proven());
    simulation.advance(MINUTE);
    assert_eq!(
        (simulation.phase(db), simulation.spawns(db).len()),
        (Phase::Parked, 0)
    );
}

#[test]
fn an_end_that_an_earlier_stayd_recorded_is_not_recorded_again_and_starts_nothing() {
    let policy = Policy {
        restart: Restart::Never,
        ..policy()
    };
    let (mut simulation, db) = found(policy, ended(Some(Exit::Code(0))), proven());
    simulation.advance(MINUTE);
    assert_eq!(
        (simulation.phase(db), simulation.spawns(db).len()),
        (Phase::Stopped, 0)
    );
    assert_eq!(simulation.records(db, RecordKind::Exited).len(), 0);
    assert!(
        simulation
            .snapshot(db)
            .reason
            .contains("exited with status 0")
    );
    simulation.request(db, Request::Start);
    simulation.advance(MINUTE);
    assert_eq!(
        (simulation.phase(db), simulation.snapshot(db).life),
        (Phase::Running, LEFT.next())
    );
}

#[test]
fn the_present_restart_policy_applies_to_an_earlier_end() {
    let (mut simulation, db) = found(policy(), ended(Some(Exit::Code(0))), proven());
    simulation.advance(MINUTE);
    assert_eq!(
        (simulation.phase(db), simulation.spawns(db).len()),
        (Phase::Running, 1)
    );
}

#[test]
fn a_stopped_service_whose_instance_ended_unseen_stays_stopped() {
    let past = PersistedState {
        stopped: true,
        ..proven()
    };
    let (mut simulation, db) = found(policy(), ended(None), past);
    simulation.advance(MINUTE);
    assert_eq!(
        (simulation.phase(db), simulation.spawns(db).len()),
        (Phase::Stopped, 0)
    );
}

#[test]
fn a_service_that_is_not_started_is_named_with_the_reason() {
    for (past, why) in [
        (
            PersistedState {
                stopped: true,
                ..proven()
            },
            "stopped on request",
        ),
        (
            PersistedState {
                parked: true,
                ..proven()
            },
            "gave up before",
        ),
    ] {
        let (simulation, db) = found(policy(), ScanOutcome::Nothing(LEFT), past);
        let records = simulation.records(db, RecordKind::Stopped);
        assert!(
            records[0].starts_with(&format!("not started: {why}"))
                && records[0].ends_with("`stayd start db` starts it now"),
            "{records:?}"
        );
        assert!(simulation.spawns(db).is_empty());
    }
}

#[test]
fn an_unknown_exit_of_an_adopted_instance_is_restarted() {
    let (mut simulation, db) = found(policy(), ours(Some(MAIN), true), proven());
    simulation.advance(MINUTE);
    simulation.end_main_process(db, LEFT, Exit::Unknown, Survivors::default());
    simulation.advance(SECOND * 10);
    assert_eq!(simulation.spawns(db).len(), 1);
    assert!(simulation.records(db, RecordKind::Exited)[0].contains("unknown"));
}

#[test]
fn an_adopted_service_that_was_ready_is_judged_at_once() {
    let rules = policy();
    let ready = ScanOutcome::Adoptable(AdoptableInstance {
        runtime: None,
        life: LEFT,
        main: Some(MAIN),
        was_ready: true,
        ending: false,
        age: SECOND,
        changed_settings: Vec::new(),
    });
    let (mut simulation, db) = found(rules, ready, proven());
    assert!(!simulation.snapshot(db).healthy, "it has not answered yet");
    simulation[db].stop_answering();
    let began = simulation.now;
    simulation.advance(MINUTE / 2);
    let kills = simulation.kills(db);
    assert_eq!(kills.len(), 1, "{:?}", simulation.snapshot(db));
    let bound = watchdog().period() * watchdog().failures + watchdog().timeout + SECOND * 2;
    assert!(
        kills[0].since(began) <= bound,
        "{:?}",
        kills[0].since(began)
    );
}

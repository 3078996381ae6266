//! Ends, restarts, backoff, parking, daemons, and many services side by side.

use crate::stage::{MINUTE, Preparation, SECOND, Stage, policy};
use stayd::decide::action::{Kind, Persist, ServiceAction};
use stayd::decide::clock::Duration;
use stayd::decide::event::{
    Answer, Exit, Life, PersistedState, Request, ServiceEvent, ServiceId, Survivors,
};
use stayd::decide::policy::{Policy, Restart};
use stayd::decide::snapshot::Phase;
use std::time::Instant;

fn crash_loop() -> (Stage, ServiceId) {
    let mut stage = Stage::new();
    let db = stage.enlist(policy());
    stage[db].ends = Some((SECOND / 10, Exit::Code(1), Survivors::default()));
    stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
    (stage, db)
}

#[test]
fn item_47_a_crash_loop_slows_down_parks_and_stays_parked() {
    let (mut stage, db) = crash_loop();
    stage.drive(MINUTE * 6);
    assert_eq!(stage.phase(db), Phase::Parked);
    let waits: Vec<Duration> = stage
        .spawns(db)
        .windows(2)
        .map(|two| two[1].since(two[0]))
        .collect();
    assert!(
        waits[..7].windows(2).all(|two| two[1] > two[0]),
        "{waits:?}"
    );
    assert!(stage.kept(db).contains(&Persist::Parked(true)));
    let before = stage.spawns(db).len();
    stage.drive(MINUTE * 60);
    let tried = stage.spawns(db).len() - before;
    assert!(
        (10..=13).contains(&tried),
        "once in five minutes, for ever: {tried} in an hour"
    );
    assert_eq!(stage.phase(db), Phase::Parked);
}

#[test]
fn item_47_only_stable_uptime_lifts_the_parking() {
    let (mut stage, db) = crash_loop();
    stage.drive(MINUTE * 6);
    stage[db].ends = None;
    while stage.phase(db) != Phase::Running {
        stage.drive(SECOND);
    }
    assert!(
        !stage.kept(db).contains(&Persist::Parked(false)),
        "a respawn that succeeded is not enough"
    );
    stage.drive(MINUTE);
    assert_eq!(stage.kept(db).last(), Some(&Persist::Parked(false)));
    stage[db].ends = None;
    let life = stage.shown(db).life;
    stage.ends(db, life, Exit::Code(1), Survivors::default());
    stage.drive(SECOND);
    assert_eq!(
        stage.phase(db),
        Phase::Running,
        "and the next restart is immediate"
    );
}

#[test]
fn item_47_parking_outlives_stayd() {
    let mut stage = Stage::new();
    let db = stage.enlist(policy());
    stage[db].ends = Some((SECOND / 10, Exit::Code(1), Survivors::default()));
    let past = PersistedState {
        parked: true,
        last_life: Life(10),
        ..PersistedState::default()
    };
    stage.tell(db, ServiceEvent::Configured(past));
    stage.drive(MINUTE * 60);
    assert_eq!(stage.phase(db), Phase::Parked);
    assert!(stage.spawns(db).len() <= 12, "{}", stage.spawns(db).len());
    stage.tell(db, ServiceEvent::Changed);
    stage.drive(SECOND / 100);
    assert_eq!(
        stage.phase(db),
        Phase::Starting,
        "a new program is a new chance"
    );
}

#[test]
fn item_49_an_unknown_exit_is_never_taken_for_clean() {
    let (mut stage, db) = Stage::with_one(Policy {
        restart: Restart::OnFailure,
        ..policy()
    });
    stage.ends(db, Life(1), Exit::Unknown, Survivors::default());
    stage.drive(SECOND);
    assert_eq!(stage.spawns(db).len(), 2);
    assert!(stage.said(db, Kind::Exited)[0].contains("its exit status is unknown"));
}

#[test]
fn restart_on_failure_and_never() {
    let spawns_after = |restart, exit: Option<Exit>| {
        let (mut stage, db) = Stage::with_one(Policy {
            restart,
            ..policy()
        });
        match exit {
            Some(exit) => stage.ends(db, Life(1), exit, Survivors::default()),
            None => stage[db].falls_silent(),
        }
        stage.drive(MINUTE);
        (stage.spawns(db).len(), stage.phase(db))
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
fn a_wish_to_start_is_not_lost_in_the_end_of_a_life_that_would_not_return() {
    for request in [Request::Start, Request::Restart] {
        let (mut stage, db) = Stage::with_one(Policy {
            restart: Restart::Never,
            ..policy()
        });
        stage[db].stuck = true;
        stage[db].alive = None;
        let survivors = Survivors {
            count: 1,
            ..Survivors::default()
        };
        stage.tell(db, ServiceEvent::Exited(Life(1), Exit::Code(0), survivors));
        stage.ask(db, request);
        stage[db].stuck = false;
        stage.drive(MINUTE);
        assert_eq!(stage.spawns(db).len(), 2);
    }
}

#[test]
fn two_services_never_disturb_each_other() {
    let mut alone = Stage::new();
    let lone = alone.add(policy(), PersistedState::default());
    let mut stage = Stage::new();
    let calm = stage.add(policy(), PersistedState::default());
    let wild = stage.add(policy(), PersistedState::default());
    for n in 0..30 {
        let restless = &mut stage[wild];
        restless.answer = if n % 2 == 0 {
            crate::stage::silence()
        } else {
            Answer::Alive
        };
        restless.obeys_term = n % 3 == 0;
        stage.ask(
            wild,
            [Request::Restart, Request::Stop, Request::Start][n % 3].clone(),
        );
        stage.drive(SECOND * 25);
        alone.drive(SECOND * 25);
    }
    let orders = |stage: &Stage, id| stage.when(id, |_| true);
    assert!(stage.kills(wild).len() > 1);
    assert_eq!(
        orders(&stage, calm),
        orders(&alone, lone),
        "as if the other were not there"
    );
}

#[test]
fn item_98_a_thousand_services_are_ordered_about_as_often_as_ten() {
    let orders_each = |count: usize| {
        let mut stage = crowd(count);
        let before = stage.log.len();
        stage.drive(MINUTE);
        (stage.log.len() - before) / (count - 1)
    };
    assert_eq!(orders_each(10), 12);
    assert_eq!(
        orders_each(1000),
        12,
        "no event for one is an event for all"
    );
}

#[test]
fn item_98_the_price_of_an_event_does_not_grow_with_the_fleet() {
    let price = |stage: &mut Stage| {
        let began = Instant::now();
        let before = stage.history.len();
        stage.drive(MINUTE);
        let events = stage.history.len() - before;
        began.elapsed().as_nanos() / u128::try_from(events).expect("not so many")
    };
    let (mut few, mut many) = (crowd(20), crowd(1000));
    // The one that suffers least from its neighbours on this machine.
    let cheapest = |stage: &mut Stage| (0..5).map(|_| price(stage)).min().expect("five");
    let (one, other) = (cheapest(&mut few), cheapest(&mut many));
    assert!(
        other < one * 8,
        "{one} ns among 20, {other} ns among 1000: fifty times as many"
    );
}

/// All ready, but for one that will never be: so that the question "is everybody ready?" stays open.
fn crowd(count: usize) -> Stage {
    let mut stage = Stage::new();
    for n in 0..count {
        let id = stage.enlist(Policy {
            startup: MINUTE * 600,
            ..policy()
        });
        if n + 1 == count {
            stage[id].preparation = Preparation::Hangs;
        }
        stage.tell(id, ServiceEvent::Configured(PersistedState::default()));
    }
    stage.drive(SECOND * 20);
    stage
}

#[test]
fn item_98_nothing_is_probed_more_often_than_its_period() {
    let (mut stage, db) = Stage::with_one(policy());
    let before = stage
        .when(db, |order| matches!(order, ServiceAction::Probe { .. }))
        .len();
    stage.drive(MINUTE);
    let asked = stage
        .when(db, |order| matches!(order, ServiceAction::Probe { .. }))
        .len()
        - before;
    assert_eq!(asked, 12);
}

#[test]
fn the_reason_is_true_while_a_trouble_lasts_and_comes_back_after_it() {
    let (mut stage, db) = Stage::with_one(policy());
    assert_eq!(stage.shown(db).reason, "answering");
    stage[db].falls_silent();
    stage.drive(SECOND * 9);
    let suspect = stage.shown(db);
    assert_eq!(suspect.phase, Phase::Suspect);
    assert!(
        suspect.reason.starts_with("no answer"),
        "{}",
        suspect.reason
    );
    stage[db].answer = Answer::Alive;
    stage.drive(SECOND * 6);
    assert_eq!(stage.shown(db).reason, "answering again");

    // What a life began with outlives a hiccup.
    stage[db].falls_silent();
    stage.drive(SECOND * 30);
    stage[db].answer = Answer::Alive;
    stage.drive(SECOND * 10);
    let killed = stage.shown(db).reason;
    assert!(killed.starts_with("killed"), "{killed}");
    stage[db].answer = Answer::NoVerdict {
        why: "port 1 is answered by pid 2".into(),
    };
    stage.drive(SECOND * 6);
    assert!(
        stage
            .shown(db)
            .reason
            .contains("port 1 is answered by pid 2")
    );
    stage[db].answer = Answer::Alive;
    stage.drive(SECOND * 6);
    assert_eq!(stage.shown(db).reason, killed);
}

#[test]
fn what_nothing_asks_is_not_said_to_answer() {
    let (stage, db) = Stage::with_one(Policy {
        watchdog: None,
        ..policy()
    });
    let shown = stage.shown(db);
    assert_eq!(shown.phase, Phase::Running);
    assert!(shown.reason.contains("no probe"), "{}", shown.reason);
}

#[test]
fn an_end_that_nobody_asked_for_is_a_crash_unless_it_is_in_order() {
    for (exit, kind) in [
        (Exit::Code(0), Kind::Exited),
        (Exit::Unknown, Kind::Exited),
        (Exit::Code(1), Kind::Crashed),
        (Exit::Signal(11), Kind::Crashed),
    ] {
        let (mut stage, db) = Stage::with_one(policy());
        stage.tell(
            db,
            ServiceEvent::Exited(Life(1), exit, Survivors::default()),
        );
        let said = [Kind::Exited, Kind::Crashed].map(|kind| stage.said(db, kind).len());
        let expected = [Kind::Exited, Kind::Crashed].map(|each| usize::from(each == kind));
        assert_eq!(said, expected, "{exit:?}");
    }
}

#[test]
fn an_end_that_was_asked_for_is_no_crash() {
    for request in [Request::Stop, Request::Restart] {
        let (mut stage, db) = Stage::with_one(policy());
        stage.ask(db, request);
        stage.tell(
            db,
            ServiceEvent::Exited(Life(1), Exit::Signal(15), Survivors::default()),
        );
        assert!(stage.said(db, Kind::Crashed).is_empty());
    }
}

#[test]
fn item_45_a_sigkill_of_the_oom_killer_is_named() {
    for (exit, oom_kills, named) in [
        (Exit::Signal(9), 1, true),
        (Exit::Signal(9), 0, false),
        (Exit::Signal(11), 1, false),
    ] {
        let (mut stage, db) = Stage::with_one(policy());
        let survivors = Survivors {
            oom_kills,
            ..Survivors::default()
        };
        stage.tell(db, ServiceEvent::Exited(Life(1), exit, survivors));
        let said = &stage.said(db, Kind::Crashed)[0];
        // The count is the host's: it may have been anybody.
        assert_eq!(
            said.contains("it may have been out of memory"),
            named,
            "{said}"
        );
        assert_eq!(said.contains("anywhere on this machine"), named, "{said}");
    }
}

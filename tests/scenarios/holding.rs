//! When the watchdog must not kill a running service: sleep, lateness, debuggers, holds.

use crate::stage::{MINUTE, SECOND, Stage, busy, idle, policy, silence, watchdog};
use stayd::decide::action::{Kind, Persist, ServiceAction};
use stayd::decide::clock::Duration;
use stayd::decide::event::{Event, PersistedState, Request, ResourceSample};
use stayd::decide::policy::{Mode, Policy, StoppedIs, Watchdog};
use stayd::decide::snapshot::{Class, Phase};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn item_1_a_sleep_voids_the_row_and_grants_a_grace() {
    let (mut stage, db) = Stage::with_one(policy());
    stage[db].falls_silent();
    stage.drive(SECOND * 13);
    assert_eq!(stage.shown(db).probes[0].failures, 2);
    stage.happen(Event::Slept(HOUR * 8));
    assert_eq!(stage.shown(db).probes[0].failures, 0);
    assert_eq!(
        stage.said(db, Kind::Suppressed).len(),
        1,
        "said once, and why"
    );
    stage.drive(SECOND * 10);
    assert_eq!(
        stage.kills(db),
        [],
        "a whole period is allowed for waking up"
    );
    stage[db].answer = stayd::decide::event::Answer::Alive;
    stage.drive(MINUTE);
    assert_eq!(
        (stage.phase(db), stage.kills(db).len()),
        (Phase::Running, 0)
    );
}

#[test]
fn item_1_what_stays_silent_after_a_sleep_is_killed_all_the_same() {
    let (mut stage, db) = Stage::with_one(policy());
    stage[db].falls_silent();
    stage.drive(SECOND * 12);
    stage.happen(Event::Slept(HOUR));
    stage.drive(SECOND * 30);
    assert_eq!(stage.kills(db).len(), 1);
}

#[test]
fn item_2_a_stalled_observer_fails_no_round() {
    let (mut stage, db) = Stage::with_one(policy());
    stage[db].falls_silent();
    let asked = |stage: &Stage| {
        stage
            .when(db, |order| matches!(order, ServiceAction::Probe { .. }))
            .len()
    };
    for _ in 0..50 {
        let before = asked(&stage);
        while asked(&stage) == before {
            stage.drive(SECOND / 10);
        }
        // The question is under way when everything stands still for longer than its deadline.
        stage.stall(SECOND * 4);
    }
    assert_eq!(stage.kills(db), []);
}

#[test]
fn item_3_dark_wakes_all_night_add_up_to_nothing() {
    let (mut stage, db) = Stage::with_one(policy());
    stage[db].falls_silent();
    for _minute in 0..480 {
        stage.drive(SECOND * 2);
        stage.happen(Event::Slept(SECOND * 58));
    }
    assert_eq!(stage.kills(db), []);
}

#[test]
fn item_4_a_round_in_flight_when_sleep_began_is_void() {
    let (mut stage, db) = Stage::with_one(Policy {
        watchdog: Some(Watchdog {
            failures: 1,
            ..watchdog()
        }),
        ..policy()
    });
    stage[db].falls_silent();
    stage.drive(SECOND * 5);
    stage.happen(Event::Slept(HOUR));
    stage.drive(SECOND * 3);
    assert_eq!(stage.shown(db).probes[0].class, Some(Class::Void));
    assert_eq!(stage.kills(db), []);
}

#[test]
fn item_5_the_same_moments_give_the_same_verdicts() {
    let (mut stage, db) = Stage::with_one(policy());
    stage[db].falls_silent();
    stage.drive(MINUTE);
    stage.hold(db, MINUTE);
    stage.happen(Event::Slept(HOUR));
    stage.drive(MINUTE * 5);
    stage.happen(Event::Shutdown);
    stage.drive(MINUTE);
    assert!(!stage.kills(db).is_empty());
    assert_eq!(
        stage.replayed(),
        stage.log,
        "no clock is read but the one that is handed in"
    );
}

#[test]
fn item_6_a_sleep_seen_twice_or_together_with_lateness_is_one_sleep() {
    let (mut stage, db) = Stage::with_one(policy());
    stage[db].falls_silent();
    stage.drive(SECOND * 12);
    stage.happen(Event::Late(SECOND));
    stage.happen(Event::Slept(HOUR));
    stage.happen(Event::Slept(SECOND));
    stage.happen(Event::Late(SECOND));
    stage.drive(SECOND * 10);
    assert_eq!(stage.kills(db), []);
    let spared = stage.said(db, Kind::Suppressed);
    let slept = spared
        .iter()
        .filter(|said| said.starts_with("the machine slept"));
    assert_eq!(slept.count(), 1, "{spared:?}");
}

#[test]
fn item_7_lateness_alone_is_no_verdict_either_way() {
    let (mut stage, db) = Stage::with_one(policy());
    stage[db].falls_silent();
    stage.drive(SECOND * 11);
    let before = stage.shown(db).probes[0].failures;
    stage.stall(SECOND);
    stage.drive(SECOND * 3);
    let after = &stage.shown(db).probes[0];
    assert_eq!(after.class, Some(Class::NoVerdict));
    assert_eq!(
        after.failures, before,
        "what was seen before the pause still stands"
    );
    stage.drive(SECOND * 15);
    assert_eq!(stage.kills(db).len(), 1, "a wedge is found all the same");
}

#[test]
fn a_question_that_was_sent_late_is_no_verdict() {
    let (mut stage, db) = Stage::with_one(Policy {
        watchdog: Some(Watchdog {
            failures: 1,
            ..watchdog()
        }),
        ..policy()
    });
    stage[db].send_late = SECOND * 2;
    stage[db].falls_silent();
    stage.drive(MINUTE);
    assert_eq!(stage.shown(db).probes[0].class, Some(Class::NoVerdict));
    assert_eq!(stage.kills(db), []);
}

#[test]
fn item_8_what_somebody_holds_with_sigstop_resumes_with_a_grace() {
    let rules = Policy {
        stopped_is: StoppedIs::Held,
        watchdog: Some(Watchdog {
            failures: 1,
            ..watchdog()
        }),
        ..policy()
    };
    let (mut stage, db) = Stage::with_one(rules);
    stage[db].falls_silent();
    stage[db].sample = ResourceSample {
        stopped: true,
        ..idle()
    };
    stage.drive(MINUTE * 10);
    assert_eq!(stage.kills(db), []);
    // Continued in the middle of a round: at its end nothing tells that it had been stopped.
    stage[db].sample = idle();
    stage.drive(SECOND * 5);
    assert_eq!(stage.kills(db), [], "one period after CONT is its own");
    stage.drive(SECOND * 20);
    assert_eq!(stage.kills(db).len(), 1);
}

#[test]
fn items_9_and_11_a_breakpoint_may_last_for_hours() {
    for sample in [
        ResourceSample {
            traced: true,
            ..idle()
        },
        ResourceSample {
            frozen: true,
            ..idle()
        },
    ] {
        let (mut stage, db) = Stage::with_one(policy());
        stage[db].falls_silent();
        stage[db].sample = sample;
        stage.drive(HOUR * 3);
        assert_eq!(stage.kills(db), []);
        let said = stage.said(db, Kind::Suppressed);
        assert!(
            said.len() == 1 && said[0].contains("void"),
            "said once: {said:?}"
        );
        assert!(
            stage.shown(db).reason.starts_with("not judged"),
            "and shown meanwhile"
        );
    }
}

#[test]
fn item_10_evidence_never_counts_against_the_child() {
    let (mut stage, db) = Stage::with_one(policy());
    stage[db].falls_silent();
    stage[db].evidence_takes = SECOND / 5;
    while stage.phase(db) != Phase::Wedged {
        stage.drive(SECOND / 10);
    }
    stage.hold(db, SECOND);
    assert_eq!(stage.phase(db), Phase::Running, "reprieved");
    stage.drive(SECOND * 12);
    assert_eq!(
        stage.kills(db),
        [],
        "no round from before the evidence is left"
    );
    assert_eq!(stage.said(db, Kind::Suppressed).len(), 1);
}

#[test]
fn item_14_busy_waits_and_a_hold_does_not_use_the_grace_up() {
    let (mut stage, db) = Stage::with_one(policy());
    stage[db].falls_silent();
    stage[db].sample = busy();
    stage.hold(db, MINUTE * 30);
    stage.drive(MINUTE * 30 + SECOND * 10);
    assert_eq!(
        stage.kills(db),
        [],
        "the migration still works: its grace begins with the end of the hold"
    );
    stage.drive(SECOND * 30);
    assert_eq!(stage.kills(db).len(), 1);
}

#[test]
fn item_17_a_hold_ends_by_itself_and_leaves_a_trace() {
    let (mut stage, db) = Stage::with_one(policy());
    stage.hold(db, MINUTE * 10);
    stage[db].falls_silent();
    stage.drive(MINUTE * 10 - SECOND);
    assert_eq!(stage.kills(db), []);
    assert_eq!(
        stage.said(db, Kind::Suppressed),
        ["not killed: held (backup)"]
    );
    assert_eq!(
        stage.shown(db).hold.map(|(_, why)| why).as_deref(),
        Some("backup")
    );
    stage.drive(SECOND * 10);
    assert_eq!(stage.kills(db).len(), 1);
    assert_eq!(
        stage.said(db, Kind::Requested).len(),
        2,
        "its begin and its end"
    );
    assert!(stage.kept(db).contains(&Persist::Hold(None)));
    assert_eq!(stage.shown(db).hold, None);
}

#[test]
fn hold_release_hold_between_verdict_and_kill() {
    let (mut stage, db) = Stage::with_one(policy());
    stage[db].falls_silent();
    stage[db].evidence_takes = SECOND;
    let wedge = |stage: &mut Stage| {
        while stage.phase(db) != Phase::Wedged {
            stage.drive(SECOND / 10);
        }
    };
    wedge(&mut stage);
    stage.hold(db, HOUR);
    stage.ask(db, Request::Release);
    stage.hold(db, HOUR);
    stage.drive(MINUTE);
    assert_eq!(
        stage.kills(db),
        [],
        "the evidence of the first verdict kills nobody"
    );
    stage.ask(db, Request::Release);
    wedge(&mut stage);
    stage.drive(SECOND);
    assert_eq!(stage.kills(db).len(), 1);
}

#[test]
fn item_20_a_dependency_that_is_down_changes_readiness_not_life() {
    let rules = Policy {
        ready_probe: true,
        ..policy()
    };
    let (mut stage, db) = Stage::with_one(rules);
    stage[db].readiness = silence();
    stage.drive(HOUR);
    assert_eq!(stage.kills(db), []);
    let readiness = &stage.shown(db).probes[1];
    assert_eq!(readiness.class, Some(Class::Dead));
    assert_eq!(stage.phase(db), Phase::Running);
}

#[test]
fn a_probe_that_was_never_answered_kills_nobody_and_asks_whether_it_is_right() {
    let mut stage = Stage::new();
    let db = stage.enlist(policy());
    stage[db].falls_silent();
    stage.tell(
        db,
        stayd::decide::event::ServiceEvent::Configured(PersistedState::default()),
    );
    stage.drive(HOUR);
    assert_eq!(
        (stage.phase(db), stage.kills(db).len()),
        (Phase::Unproven, 0)
    );
    assert!(stage.shown(db).reason.contains("is the probe right?"));
}

#[test]
fn the_shadow_tells_once_what_it_would_have_done() {
    let rules = Policy {
        watchdog: Some(Watchdog {
            mode: Mode::Shadow,
            ..watchdog()
        }),
        ..policy()
    };
    let (mut stage, db) = Stage::with_one(rules);
    stage[db].falls_silent();
    stage.drive(HOUR);
    stage.tell(
        db,
        stayd::decide::event::ServiceEvent::ServiceMessage(
            stage.shown(db).life,
            stayd::decide::event::ServiceMessage::Trigger,
        ),
    );
    stage.drive(SECOND);
    assert_eq!(
        stage.kills(db),
        [],
        "not even when the service itself asks for it"
    );
    assert_eq!(
        stage.said(db, Kind::Suppressed).len(),
        2,
        "one for the row, one for the trigger"
    );
}

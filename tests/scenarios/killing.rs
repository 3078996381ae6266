//! When it must kill, and how.

use crate::stage::{MINUTE, SECOND, Stage, busy, policy, watchdog};
use stayd::decide::action::{Kind, ServiceAction};
use stayd::decide::clock::Duration;
use stayd::decide::event::{Answer, Check, Life, ProbeAttempt, ServiceEvent, ServiceMessage};
use stayd::decide::policy::{Policy, Watchdog};
use stayd::decide::snapshot::Phase;

#[test]
fn item_31_evidence_then_sigkill_then_a_new_life_at_once() {
    let (mut stage, db) = Stage::with_one(policy());
    stage[db].falls_silent();
    let wedged_at = stage.now;
    stage.drive(SECOND * 19);
    let (kills, spawns) = (stage.kills(db), stage.spawns(db));
    let evidence = stage.when(db, |order| {
        matches!(order, ServiceAction::TakeEvidence { .. })
    });
    assert_eq!((kills.len(), evidence.len(), spawns.len()), (1, 1, 2));
    assert!(evidence[0] <= kills[0] && kills[0] <= spawns[1]);
    assert!(
        kills[0].since(wedged_at) <= SECOND * 19,
        "interval × failures + timeout + 1 s"
    );
    assert!(
        spawns[1].since(kills[0]) <= SECOND / 100,
        "its life was stable: no wait"
    );
    assert!(
        stage
            .shown(db)
            .reason
            .starts_with("killed: no answer to SELECT 1 in 3 probes")
    );
    stage[db].answer = Answer::Alive;
    stage.drive(SECOND * 5);
    assert_eq!(
        (stage.phase(db), stage.shown(db).restarts),
        (Phase::Running, 1)
    );
}

#[test]
fn item_31_evidence_that_hangs_delays_the_kill_by_its_bound_alone() {
    let (mut stage, db) = Stage::with_one(policy());
    stage[db].falls_silent();
    stage[db].evidence_takes = MINUTE * 60;
    stage.drive(SECOND * 20);
    let evidence = stage.when(db, |order| {
        matches!(order, ServiceAction::TakeEvidence { .. })
    });
    assert_eq!(
        stage.kills(db)[0].since(evidence[0]),
        Duration::from_millis(300)
    );
}

#[test]
fn item_31_the_first_signal_has_its_time_and_no_more() {
    let rules = Watchdog {
        first_grace: Some(SECOND * 2),
        ..watchdog()
    };
    let (mut stage, db) = Stage::with_one(Policy {
        watchdog: Some(rules),
        ..policy()
    });
    stage[db].falls_silent();
    stage.drive(SECOND * 25);
    let first = stage.when(db, |order| matches!(order, ServiceAction::SignalFirst(_)));
    assert_eq!(stage.kills(db)[0].since(first[0]), SECOND * 2);
}

#[test]
fn item_32_the_query_decides_whatever_health_says() {
    let (mut stage, db) = Stage::with_one(Policy {
        ready_probe: true,
        ..policy()
    });
    stage[db].falls_silent();
    stage.drive(SECOND * 20);
    assert_eq!(stage.kills(db).len(), 1, "readiness went on answering");
}

#[test]
fn item_34_a_dead_lock_and_a_live_lock_are_both_ended() {
    let killed_after = |sample| {
        let (mut stage, db) = Stage::with_one(policy());
        stage[db].falls_silent();
        stage[db].sample = sample;
        let since = stage.now;
        stage.drive(MINUTE);
        (stage.kills(db)[0].since(since), stage.shown(db).reason)
    };
    let (dead, why_dead) = killed_after(crate::stage::idle());
    let (live, why_live) = killed_after(busy());
    assert!(
        dead < SECOND * 19 && why_dead.contains("using no CPU"),
        "{why_dead}"
    );
    assert!(
        live > SECOND * 30 && live < SECOND * 45,
        "{live:?}: the grace, and no more"
    );
    assert!(why_live.contains("using 100 % of a core"), "{why_live}");
}

#[test]
fn item_35_what_ignores_term_is_killed_on_schedule_and_it_is_recorded() {
    let (mut stage, db) = Stage::with_one(policy());
    stage[db].obeys_term = false;
    stage.ask(db, stayd::decide::event::Request::Stop);
    let asked = stage.now;
    stage.drive(SECOND * 6);
    assert_eq!(stage.kills(db), [asked.after(SECOND * 5)]);
    assert!(stage.said(db, Kind::Killed)[0].contains("did not end it within 5 s"));
    assert_eq!(stage.phase(db), Phase::Stopped);
}

#[test]
fn item_36_what_sigkill_does_not_end_is_named_and_never_doubled() {
    let (mut stage, db) = Stage::with_one(policy());
    let other = stage.add(policy(), stayd::decide::event::PersistedState::default());
    stage[db].falls_silent();
    stage[db].stuck = true;
    stage.drive(MINUTE * 30);
    assert_eq!(
        (stage.phase(db), stage.spawns(db).len()),
        (Phase::Unkillable, 1)
    );
    assert_eq!(stage.said(db, Kind::Unkillable).len(), 1, "said once");
    assert!(stage.kills(db).len() > 100, "and tried again and again");
    assert_eq!(stage.phase(other), Phase::Running, "the others are served");
    stage[db].stuck = false;
    stage[db].answer = Answer::Alive;
    stage.drive(MINUTE);
    assert_eq!(
        (stage.phase(db), stage.spawns(db).len()),
        (Phase::Running, 2)
    );
}

#[test]
fn item_41_a_late_fact_about_an_older_life_changes_nothing() {
    let (mut stage, db) = Stage::with_one(policy());
    stage[db].falls_silent();
    stage.drive(SECOND * 20);
    stage[db].answer = Answer::Alive;
    stage.drive(SECOND * 20);
    assert_eq!(stage.shown(db).life, Life(2));
    let (machine, log) = (stage.machine.clone(), stage.log.len());
    let attempt = ProbeAttempt {
        asked_at: stage.now,
        deadline: stage.now.after(SECOND),
        answer: crate::stage::silence(),
        latency: SECOND,
        sample: crate::stage::idle(),
    };
    stage.tell(db, ServiceEvent::Probed(Life(1), Check::Liveness, attempt));
    stage.tell(db, ServiceEvent::EvidenceTaken(Life(1)));
    stage.tell(db, ServiceEvent::Emptied(Life(1)));
    stage.tell(
        db,
        ServiceEvent::ServiceMessage(Life(1), ServiceMessage::Trigger),
    );
    assert_eq!((stage.machine, stage.log.len()), (machine, log));
}

#[test]
fn an_answer_to_another_question_is_not_counted() {
    let (mut stage, db) = Stage::with_one(policy());
    let machine = stage.machine.clone();
    let attempt = ProbeAttempt {
        asked_at: stage.now,
        deadline: stage.now.after(SECOND),
        answer: crate::stage::silence(),
        latency: SECOND,
        sample: crate::stage::idle(),
    };
    for _ in 0..5 {
        stage.tell(
            db,
            ServiceEvent::Probed(Life(1), Check::Liveness, attempt.clone()),
        );
    }
    assert_eq!(stage.machine, machine);
}

#[test]
fn a_probe_that_never_reports_is_given_up_without_a_verdict() {
    let (mut stage, db) = Stage::with_one(policy());
    stage[db].mute = true;
    stage.drive(MINUTE * 10);
    assert_eq!(stage.kills(db), []);
    let asked = stage.when(db, |order| matches!(order, ServiceAction::Probe { .. }));
    assert!(asked.len() > 100, "and asked again");
}

#[test]
fn a_service_may_ask_for_its_own_end() {
    let (mut stage, db) = Stage::with_one(policy());
    stage.tell(
        db,
        ServiceEvent::ServiceMessage(Life(1), ServiceMessage::Trigger),
    );
    stage.drive(SECOND);
    assert_eq!(stage.kills(db).len(), 1);
    stage.hold(db, MINUTE);
    stage.tell(
        db,
        ServiceEvent::ServiceMessage(Life(2), ServiceMessage::Trigger),
    );
    stage.drive(SECOND);
    assert_eq!(stage.kills(db).len(), 1, "held");
    assert_eq!(
        stage.said(db, Kind::Suppressed),
        ["not killed: it asked for it (WATCHDOG=trigger), but is held (backup)"]
    );
}

/// One of four workers is stuck: every fourth question gets no answer, and no row comes of it.
#[test]
fn item_33_a_half_wedged_service_is_shown_and_never_killed_by_chance() {
    let (mut stage, db) = Stage::with_one(policy());
    let mut suspected = 0;
    for attempt in 0..40 {
        if attempt % 4 == 3 {
            stage[db].falls_silent();
        } else {
            stage[db].answer = Answer::Alive;
        }
        stage.drive(SECOND * 4);
        suspected += usize::from(stage.shown(db).phase == Phase::Suspect);
        stage.drive(SECOND);
    }
    assert_eq!(stage.kills(db), []);
    assert!(suspected >= 5, "shown as suspect {suspected} times");
    assert!(
        stage.said(db, Kind::Verdict).len() >= 10,
        "each loss and each answer after it is in the journal"
    );
}

//! Somebody else's process on the port: watched as if it were ours, and never touched.

use crate::stage::{MINUTE, Preparation, SECOND, STRANGER, Stage, policy, silence};
use stayd::decide::action::{Action, Kind, Persist, ServiceAction};
use stayd::decide::event::{
    Answer, Departure, Event, Exit, Life, PersistedState, Request, ServiceEvent, ServiceId,
};
use stayd::decide::policy::{OnStranger, Policy, Restart};
use stayd::decide::snapshot::Phase;

const ENDED: Departure = Departure::Ended(Exit::Unknown);

fn attaches() -> Policy {
    Policy {
        stranger: OnStranger::Attach,
        ..policy()
    }
}

/// A service whose port somebody else holds, who answers as `answer` says.
fn attached(policy: Policy, answer: Answer) -> (Stage, ServiceId) {
    let mut stage = Stage::new();
    let db = stage.enlist(policy);
    stage[db].preparation = Preparation::PortHeld;
    stage[db].answer = answer;
    stage.tell(db, ServiceEvent::Configured(PersistedState::default()));
    stage.drive(SECOND * 10);
    (stage, db)
}

/// No order went out that a process would notice, but for questions.
#[track_caller]
fn nobody_was_touched(stage: &Stage, db: ServiceId) {
    let touched = stage.when(db, |order| {
        matches!(
            order,
            ServiceAction::KillTree(_)
                | ServiceAction::Terminate { .. }
                | ServiceAction::SignalFirst(_)
                | ServiceAction::SuperviseSuccessor { .. }
                | ServiceAction::Spawn(_)
        )
    });
    assert!(touched.is_empty(), "{touched:?}");
}

#[test]
fn item_53_a_strangers_healthy_process_is_watched_and_a_verdict() {
    let (mut stage, db) = attached(attaches(), Answer::Alive);
    stage.drive(MINUTE);
    let shown = stage.shown(db);
    assert_eq!((shown.phase, shown.healthy), (Phase::Attached, true));
    assert_eq!((shown.attached, shown.main), (true, Some(STRANGER)));
    assert!(shown.reason.contains("pid 906 (nc)"), "{}", shown.reason);
    assert_eq!(stage.said(db, Kind::Attached).len(), 1);
    assert_eq!(stage.count(&Action::AnnounceReady), 1);
    let asked = stage.when(db, |order| matches!(order, ServiceAction::Probe { .. }));
    assert!(asked.len() > 10, "asked {} times", asked.len());
    let closed = stage.when(db, |order| *order == ServiceAction::CloseSockets);
    assert_eq!(closed.len(), 1, "nobody waits at a socket of ours");
    nobody_was_touched(&stage, db);
}

#[test]
fn item_53_a_stranger_that_answers_no_more_is_reported_and_never_killed() {
    let (mut stage, db) = attached(attaches(), Answer::Alive);
    stage[db].falls_silent();
    stage.drive(MINUTE * 10);
    let shown = stage.shown(db);
    assert_eq!((shown.phase, shown.healthy), (Phase::Attached, false));
    let why = "no answer: no answer; not ours, and never killed";
    assert_eq!(shown.reason, why);
    let wedged = stage.said(db, Kind::Wedged);
    assert_eq!(wedged.len(), 1, "{wedged:?}");
    let looks = stage.when(db, |order| {
        matches!(order, ServiceAction::TakeEvidence { .. })
    });
    assert_eq!(looks.len(), 1, "looked at once");
    assert!(
        wedged[0].starts_with("wedged: no answer to SELECT 1 in 3 probes"),
        "{wedged:?}"
    );
    nobody_was_touched(&stage, db);
    stage[db].answer = Answer::Alive;
    stage.drive(SECOND * 10);
    let shown = stage.shown(db);
    assert!(
        shown.healthy && shown.reason.starts_with("attached: "),
        "{}",
        shown.reason
    );
}

#[test]
fn item_53_when_the_stranger_leaves_a_life_of_our_own_begins_and_nothing_is_counted() {
    for departure in [ENDED, Departure::LeftPort] {
        let never = Policy {
            restart: Restart::Never,
            ..attaches()
        };
        let (mut stage, db) = attached(never, Answer::Alive);
        let watched_as = stage.shown(db).life;
        stage.stranger_leaves(db, departure);
        stage.drive(MINUTE);
        let shown = stage.shown(db);
        assert_eq!((shown.phase, shown.attached), (Phase::Running, false));
        assert_eq!((shown.restarts, shown.last_exit), (0, None));
        assert_eq!(shown.life, watched_as.next(), "a late fact finds nobody");
        assert_eq!(stage.spawns(db).len(), 1);
        assert_eq!(stage.said(db, Kind::Detached).len(), 1);
        assert!(stage.said(db, Kind::Exited).is_empty());
    }
}

#[test]
fn item_53_a_port_that_goes_from_hand_to_hand_is_followed_without_haste() {
    let (mut stage, db) = attached(attaches(), Answer::Alive);
    for _ in 0..100 {
        if let Some(life) = stage[db].attached {
            stage.tell(db, ServiceEvent::ForeignProcessLeft(life, ENDED));
        }
        stage.drive(SECOND / 10);
    }
    let attached = stage.said(db, Kind::Attached).len();
    assert!((5..=12).contains(&attached), "{attached} times in 10 s");
    nobody_was_touched(&stage, db);
}

#[test]
fn item_53_a_stop_and_the_end_of_stayd_leave_the_stranger_alone() {
    for event in [
        Event::Service(ServiceId(0), ServiceEvent::Requested(Request::Stop)),
        Event::Shutdown,
    ] {
        let (mut stage, db) = attached(attaches(), Answer::Alive);
        let leaving = event == Event::Shutdown;
        stage.happen(event);
        let shown = stage.shown(db);
        assert_eq!((shown.phase, shown.attached), (Phase::Stopped, false));
        assert!(
            shown
                .reason
                .ends_with("pid 906 is not ours, and runs on unwatched"),
            "{}",
            shown.reason
        );
        stage.drive(MINUTE);
        assert_eq!(stage.count(&Action::Finish), usize::from(leaving));
        nobody_was_touched(&stage, db);
    }
}

#[test]
fn a_stopped_one_is_attached_to_again_by_a_start() {
    let (mut stage, db) = attached(attaches(), Answer::Alive);
    stage.ask(db, Request::Stop);
    stage.ask(db, Request::Start);
    stage.drive(SECOND * 10);
    assert_eq!(stage.phase(db), Phase::Attached);
    assert_eq!(stage.said(db, Kind::Attached).len(), 2);
    nobody_was_touched(&stage, db);
}

#[test]
fn a_restart_is_refused_with_what_to_do() {
    let (mut stage, db) = attached(attaches(), Answer::Alive);
    let why = stage.machine.hands_off(db).expect("not ours");
    assert!(why.contains("`kill 906`"), "{why}");
    stage.ask(db, Request::Restart);
    stage.drive(MINUTE);
    assert_eq!(stage.phase(db), Phase::Attached);
    assert!(stage.said(db, Kind::Requested)[0].ends_with(&why));
    nobody_was_touched(&stage, db);
}

#[test]
fn a_stranger_that_is_still_starting_is_waited_for_and_then_unproven() {
    let (mut stage, db) = attached(attaches(), silence());
    assert_eq!(stage.phase(db), Phase::Starting);
    assert_eq!(stage.count(&Action::AnnounceReady), 0);
    stage.drive(MINUTE);
    let shown = stage.shown(db);
    assert_eq!((shown.phase, shown.healthy), (Phase::Attached, false));
    assert!(
        shown.reason.contains("never been answered"),
        "{}",
        shown.reason
    );
    assert_eq!(stage.count(&Action::AnnounceReady), 1);
    assert!(
        stage.said(db, Kind::Wedged).is_empty(),
        "is the probe right?"
    );
    nobody_was_touched(&stage, db);
}

#[test]
fn what_a_stranger_answers_arms_nothing_for_our_own_life() {
    let (mut stage, db) = attached(attaches(), Answer::Alive);
    assert!(!stage.kept(db).contains(&Persist::Proven));
    stage[db].falls_silent();
    stage.stranger_leaves(db, ENDED);
    stage.drive(MINUTE * 5);
    assert_eq!(stage.phase(db), Phase::Unproven);
    assert!(stage.kills(db).is_empty());
}

#[test]
fn a_hold_and_a_release_are_taken_while_attached() {
    let (mut stage, db) = attached(attaches(), Answer::Alive);
    stage.hold(db, MINUTE * 30);
    stage[db].falls_silent();
    stage.drive(MINUTE);
    assert!(stage.shown(db).hold.is_some());
    assert!(stage.said(db, Kind::Wedged).is_empty(), "held: not judged");
    stage.ask(db, Request::Release);
    stage.drive(MINUTE);
    assert_eq!(stage.said(db, Kind::Wedged).len(), 1);
    nobody_was_touched(&stage, db);
}

#[test]
fn item_54_where_strangers_are_reported_nothing_is_asked_of_them() {
    let (mut stage, db) = attached(policy(), Answer::Alive);
    stage.drive(MINUTE);
    let shown = stage.shown(db);
    assert_eq!((shown.phase, shown.main), (Phase::Blocked, None));
    assert!(
        shown.reason.ends_with("(`stayd explain :1` tells more)"),
        "{}",
        shown.reason
    );
    assert_eq!(shown.life, Life(1), "a refused start uses no number up");
    let asked = stage.when(db, |order| matches!(order, ServiceAction::Probe { .. }));
    assert!(asked.is_empty());
    nobody_was_touched(&stage, db);
}

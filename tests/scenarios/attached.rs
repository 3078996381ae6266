//! A foreign process on the port: monitored as if it were ours, and never signalled.

use crate::simulation::{FOREIGN, MINUTE, Preparation, SECOND, Simulation, policy, silence};
use stayd::decide::action::{Action, Persist, RecordKind, ServiceAction};
use stayd::decide::event::{
    Answer, Event, Exit, Life, PersistedState, PortRelease, Request, ServiceEvent, ServiceId,
};
use stayd::decide::policy::{OnStranger, Policy, Restart};
use stayd::decide::snapshot::Phase;

const ENDED: PortRelease = PortRelease::Ended(Exit::Unknown);

fn attaches() -> Policy {
    Policy {
        stranger: OnStranger::Attach,
        ..policy()
    }
}

/// A service whose port a foreign process holds, which answers with `answer`.
fn attached(policy: Policy, answer: Answer) -> (Simulation, ServiceId) {
    let (mut simulation, db) =
        Simulation::with_service(policy, PersistedState::default(), |service| {
            service.preparation = Preparation::PortHeld;
            service.answer = answer;
        });
    simulation.advance(SECOND * 10);
    (simulation, db)
}

/// Nothing was ordered that a process would notice, except probes.
#[track_caller]
fn assert_no_signal_and_no_spawn(simulation: &Simulation, db: ServiceId) {
    let forbidden = simulation.times_of(db, |action| {
        matches!(
            action,
            ServiceAction::KillTree(_)
                | ServiceAction::Terminate { .. }
                | ServiceAction::SignalFirst(_)
                | ServiceAction::SuperviseSuccessor { .. }
                | ServiceAction::Spawn(_)
        )
    });
    assert!(forbidden.is_empty(), "{forbidden:?}");
}

#[test]
fn a_healthy_foreign_process_is_monitored_and_counts_as_a_verdict() {
    let (mut simulation, db) = attached(attaches(), Answer::Alive);
    simulation.advance(MINUTE);
    let snapshot = simulation.snapshot(db);
    assert_eq!((snapshot.phase, snapshot.healthy), (Phase::Attached, true));
    assert_eq!((snapshot.attached, snapshot.main), (true, Some(FOREIGN)));
    assert!(
        snapshot.reason.contains("pid 906 (nc)"),
        "{}",
        snapshot.reason
    );
    assert_eq!(simulation.records(db, RecordKind::Attached).len(), 1);
    assert_eq!(simulation.count(&Action::AnnounceReady), 1);
    let asked = simulation.times_of(db, |action| matches!(action, ServiceAction::Probe { .. }));
    assert!(asked.len() > 10, "asked {} times", asked.len());
    let closed = simulation.times_of(db, |action| *action == ServiceAction::CloseSockets);
    assert_eq!(closed.len(), 1, "no client waits at a socket of ours");
    assert_no_signal_and_no_spawn(&simulation, db);
}

#[test]
fn a_foreign_process_that_stops_answering_is_reported_and_never_killed() {
    let (mut simulation, db) = attached(attaches(), Answer::Alive);
    simulation[db].stop_answering();
    simulation.advance(MINUTE * 10);
    let snapshot = simulation.snapshot(db);
    assert_eq!((snapshot.phase, snapshot.healthy), (Phase::Attached, false));
    let why = "no answer: no answer; not ours, and never killed";
    assert_eq!(snapshot.reason, why);
    let wedged = simulation.records(db, RecordKind::Wedged);
    assert_eq!(wedged.len(), 1, "{wedged:?}");
    let examined = simulation.times_of(db, |action| {
        matches!(action, ServiceAction::CollectEvidence { .. })
    });
    assert_eq!(examined.len(), 1, "examined once");
    assert!(
        wedged[0].starts_with("wedged: no answer to SELECT 1 in 3 probes"),
        "{wedged:?}"
    );
    assert_no_signal_and_no_spawn(&simulation, db);
    simulation[db].answer = Answer::Alive;
    simulation.advance(SECOND * 10);
    let snapshot = simulation.snapshot(db);
    assert!(
        snapshot.healthy && snapshot.reason.starts_with("attached: "),
        "{}",
        snapshot.reason
    );
}

#[test]
fn when_the_foreign_process_leaves_an_own_instance_starts_and_no_restart_is_counted() {
    for departure in [ENDED, PortRelease::LeftPort] {
        let never = Policy {
            restart: Restart::Never,
            ..attaches()
        };
        let (mut simulation, db) = attached(never, Answer::Alive);
        let attached_as = simulation.snapshot(db).life;
        simulation.foreign_process_leaves(db, departure);
        simulation.advance(MINUTE);
        let snapshot = simulation.snapshot(db);
        assert_eq!((snapshot.phase, snapshot.attached), (Phase::Running, false));
        assert_eq!((snapshot.restarts, snapshot.last_exit), (0, None));
        assert_eq!(
            snapshot.life,
            attached_as.next(),
            "a late event about the attachment applies to no instance"
        );
        assert_eq!(simulation.spawns(db).len(), 1);
        assert_eq!(simulation.records(db, RecordKind::Detached).len(), 1);
        assert!(simulation.records(db, RecordKind::Exited).is_empty());
    }
}

#[test]
fn a_port_that_changes_its_holder_quickly_is_attached_to_at_most_about_once_a_second() {
    let (mut simulation, db) = attached(attaches(), Answer::Alive);
    for _ in 0..100 {
        if let Some(life) = simulation[db].attached {
            simulation.deliver_to(db, ServiceEvent::ForeignProcessLeft(life, ENDED));
        }
        simulation.advance(SECOND / 10);
    }
    let attached = simulation.records(db, RecordKind::Attached).len();
    assert!((5..=12).contains(&attached), "{attached} times in 10 s");
    assert_no_signal_and_no_spawn(&simulation, db);
}

#[test]
fn a_stop_and_a_shutdown_leave_the_foreign_process_alone() {
    for event in [
        Event::Service(ServiceId(0), ServiceEvent::Requested(Request::Stop)),
        Event::Shutdown,
    ] {
        let (mut simulation, db) = attached(attaches(), Answer::Alive);
        let leaving = event == Event::Shutdown;
        simulation.deliver(event);
        let snapshot = simulation.snapshot(db);
        assert_eq!((snapshot.phase, snapshot.attached), (Phase::Stopped, false));
        assert!(
            snapshot
                .reason
                .ends_with("pid 906 is not ours, and runs on unwatched"),
            "{}",
            snapshot.reason
        );
        simulation.advance(MINUTE);
        assert_eq!(simulation.count(&Action::Finish), usize::from(leaving));
        assert_no_signal_and_no_spawn(&simulation, db);
    }
}

#[test]
fn a_start_attaches_again_after_a_stop() {
    let (mut simulation, db) = attached(attaches(), Answer::Alive);
    simulation.request(db, Request::Stop);
    simulation.request(db, Request::Start);
    simulation.advance(SECOND * 10);
    assert_eq!(simulation.phase(db), Phase::Attached);
    assert_eq!(simulation.records(db, RecordKind::Attached).len(), 2);
    assert_no_signal_and_no_spawn(&simulation, db);
}

#[test]
fn a_restart_while_attached_is_refused_and_says_what_to_do() {
    let (mut simulation, db) = attached(attaches(), Answer::Alive);
    let why = simulation.machine.control_refusal(db).expect("not ours");
    assert!(why.contains("`kill 906`"), "{why}");
    simulation.request(db, Request::Restart);
    simulation.advance(MINUTE);
    assert_eq!(simulation.phase(db), Phase::Attached);
    assert!(simulation.records(db, RecordKind::Requested)[0].ends_with(&why));
    assert_no_signal_and_no_spawn(&simulation, db);
}

#[test]
fn a_foreign_process_that_never_answers_has_the_startup_budget_and_is_then_unproven() {
    let (mut simulation, db) = attached(attaches(), silence());
    assert_eq!(simulation.phase(db), Phase::Starting);
    assert_eq!(simulation.count(&Action::AnnounceReady), 0);
    simulation.advance(MINUTE);
    let snapshot = simulation.snapshot(db);
    assert_eq!((snapshot.phase, snapshot.healthy), (Phase::Attached, false));
    assert!(
        snapshot.reason.contains("never succeeded"),
        "{}",
        snapshot.reason
    );
    assert_eq!(simulation.count(&Action::AnnounceReady), 1);
    assert!(
        simulation.records(db, RecordKind::Wedged).is_empty(),
        "check whether the probe is right"
    );
    assert_no_signal_and_no_spawn(&simulation, db);
}

#[test]
fn answers_of_a_foreign_process_arm_nothing_for_an_own_instance() {
    let (mut simulation, db) = attached(attaches(), Answer::Alive);
    assert!(!simulation.persisted(db).contains(&Persist::Proven));
    simulation[db].stop_answering();
    simulation.foreign_process_leaves(db, ENDED);
    simulation.advance(MINUTE * 5);
    assert_eq!(simulation.phase(db), Phase::Unproven);
    assert!(simulation.kills(db).is_empty());
}

#[test]
fn a_hold_and_a_release_apply_while_attached() {
    let (mut simulation, db) = attached(attaches(), Answer::Alive);
    simulation.hold(db, MINUTE * 30);
    simulation[db].stop_answering();
    simulation.advance(MINUTE);
    assert!(simulation.snapshot(db).hold.is_some());
    assert!(
        simulation.records(db, RecordKind::Wedged).is_empty(),
        "held: not judged"
    );
    simulation.request(db, Request::Release);
    simulation.advance(MINUTE);
    assert_eq!(simulation.records(db, RecordKind::Wedged).len(), 1);
    assert_no_signal_and_no_spawn(&simulation, db);
}

#[test]
fn a_foreign_process_that_is_only_reported_is_never_probed() {
    let (mut simulation, db) = attached(policy(), Answer::Alive);
    simulation.advance(MINUTE);
    let snapshot = simulation.snapshot(db);
    assert_eq!((snapshot.phase, snapshot.main), (Phase::Blocked, None));
    assert!(
        snapshot.reason.ends_with("(`stayd explain :1` shows more)"),
        "{}",
        snapshot.reason
    );
    assert_eq!(
        snapshot.life,
        Life(1),
        "a refused start uses no life number"
    );
    let asked = simulation.times_of(db, |action| matches!(action, ServiceAction::Probe { .. }));
    assert!(asked.is_empty());
    assert_no_signal_and_no_spawn(&simulation, db);
}

//! In-place upgrade: a new version continues in the same process with the state that the old version hands over.

use crate::simulation::{MINUTE, SECOND, Simulation, policy};
use stayd::decide::action::{RecordKind, ServiceAction};
use stayd::decide::clock::Instant;
use stayd::decide::event::{
    AdoptableInstance, Exit, Life, PersistedState, Request, ScanOutcome, ServiceEvent, ServiceId,
    Survivors,
};
use stayd::decide::handover::StateHandover;
use stayd::decide::policy::{GiveUp, Policy, Restart};
use stayd::decide::snapshot::Phase;

/// The state that the old version hands over.
fn handover(simulation: &Simulation, db: ServiceId) -> Option<StateHandover> {
    simulation.machine.services()[db.0].handover()
}

/// The same service under a new version, at the same instant; its main process is still a child.
fn upgraded(old: &Simulation, db: ServiceId, policy: Policy) -> (Simulation, ServiceId) {
    let handover = handover(old, db).expect("at rest");
    let main = old.snapshot(db).main;
    let mut new = Simulation::new();
    new.now = old.now;
    let id = new.add_unconfigured(policy);
    new[id].scan_outcome = match main {
        Some(_) => ScanOutcome::Adoptable(AdoptableInstance {
            runtime: None,
            life: handover.life,
            main,
            was_ready: false,
            ending: false,
            age: SECOND,
            changed_settings: Vec::new(),
        }),
        None => ScanOutcome::Nothing(handover.life),
    };
    let past = PersistedState {
        proven: true,
        last_life: handover.life,
        handover: Some(Box::new(handover)),
        ..PersistedState::default()
    };
    new.deliver_to(id, ServiceEvent::Configured(past));
    (new, id)
}

/// The service exits by itself a second after each start.
fn exits_after_a_second(simulation: &mut Simulation, db: ServiceId) {
    simulation[db].exits_by_itself = Some((SECOND, Exit::Code(3), Survivors::default()));
}

fn failing(policy: Policy) -> (Simulation, ServiceId) {
    let mut simulation = Simulation::new();
    let db = simulation.add_unconfigured(policy);
    exits_after_a_second(&mut simulation, db);
    simulation.deliver_to(db, ServiceEvent::Configured(PersistedState::default()));
    (simulation, db)
}

#[test]
fn a_running_instance_goes_on_unchanged() {
    let (mut old, db) = Simulation::with_ready_service(policy());
    old.hold(db, MINUTE);
    let before = old.snapshot(db);
    let (mut new, db) = upgraded(&old, db, policy());
    let after = new.snapshot(db);
    assert_eq!(
        (after.phase, after.since, after.reason, after.adopted),
        (Phase::Running, before.since, before.reason, false)
    );
    assert_eq!((after.hold, after.healthy), (before.hold, true));
    assert!(
        new.records(db, RecordKind::Adopted).is_empty()
            && new.records(db, RecordKind::Ready).is_empty()
    );
    new.advance(MINUTE * 2);
    new[db].stop_answering();
    new.advance(SECOND * 30);
    assert_eq!((new.kills(db).len(), new.spawns(db).len()), (1, 1));
}

#[test]
fn a_backoff_wait_continues_and_does_not_begin_anew() {
    let (mut old, db) = failing(policy());
    while old.snapshot(db).phase != Phase::Backoff || old.snapshot(db).life < Life(5) {
        old.advance(SECOND / 10);
    }
    let Some(StateHandover { ended, .. }) = handover(&old, db) else {
        panic!("a wait is a rest");
    };
    assert_eq!(ended.len(), 5);
    let due = old.machine.deadline();
    let (mut new, db) = upgraded(&old, db, policy());
    assert_eq!(
        (new.snapshot(db).phase, new.machine.deadline()),
        (Phase::Backoff, due)
    );
    exits_after_a_second(&mut new, db);
    new.advance(due.since(new.now) + SECOND / 10);
    let begun = new.times_of(db, |action| matches!(action, ServiceAction::Prepare(_)));
    assert_eq!(begun, [due], "not before, and not later");
    new.advance(SECOND * 3);
    let waits = new.records(db, RecordKind::Backoff);
    assert!(
        waits[0].starts_with("starts again in 7"),
        "the sixth consecutive end: {waits:?}"
    );
}

#[test]
fn instances_that_ended_under_the_old_version_count_towards_giving_up() {
    let gives_up = Policy {
        give_up: GiveUp {
            exits: 4,
            within: MINUTE * 5,
        },
        ..policy()
    };
    let (mut old, db) = failing(gives_up);
    while old.snapshot(db).phase != Phase::Backoff || old.snapshot(db).life < Life(3) {
        old.advance(SECOND / 10);
    }
    let (mut new, db) = upgraded(&old, db, gives_up);
    exits_after_a_second(&mut new, db);
    new.advance(SECOND * 10);
    assert_eq!(
        (new.snapshot(db).phase, new.spawns(db).len()),
        (Phase::Parked, 1)
    );
    let (newest, db) = upgraded(&new, db, gives_up);
    assert_eq!(newest.snapshot(db).phase, Phase::Parked);
    assert_eq!(newest.machine.deadline(), new.machine.deadline());
}

#[test]
fn a_service_stopped_by_its_policy_stays_down() {
    let never = Policy {
        restart: Restart::Never,
        ..policy()
    };
    let (mut old, db) = failing(never);
    old.advance(SECOND * 3);
    let (mut new, db) = upgraded(&old, db, never);
    new.advance(MINUTE);
    assert_eq!(
        (new.snapshot(db).phase, new.spawns(db).len()),
        (Phase::Stopped, 0)
    );
    assert_eq!(new.snapshot(db).reason, old.snapshot(db).reason);
    new.request(db, Request::Start);
    new.advance(SECOND);
    assert_eq!(new.spawns(db).len(), 1);
}

#[test]
fn an_adopted_instance_may_end_between_two_versions() {
    let (old, db) = Simulation::with_ready_service(policy());
    let handover = handover(&old, db).expect("at rest");
    let mut new = Simulation::new();
    new.now = old.now;
    let db = new.add_unconfigured(policy());
    new[db].scan_outcome = ScanOutcome::Ended {
        life: handover.life,
        exit: None,
    };
    let past = PersistedState {
        last_life: handover.life,
        handover: Some(Box::new(handover)),
        ..PersistedState::default()
    };
    new.deliver_to(db, ServiceEvent::Configured(past));
    assert_eq!(
        new.snapshot(db).last_exit.map(|(exit, _)| exit),
        Some(Exit::Unknown)
    );
    new.advance(SECOND);
    assert_eq!(new.spawns(db).len(), 1);
}

#[test]
fn no_state_is_handed_over_while_a_start_a_stop_or_a_kill_is_under_way() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    assert!(handover(&simulation, db).is_some());
    simulation[db].obeys_term = false;
    simulation.request(db, Request::Stop);
    assert_eq!(handover(&simulation, db), None, "it is being stopped");
    simulation.advance(MINUTE);
    assert!(handover(&simulation, db).is_some());
    simulation[db].spawn_takes = SECOND;
    simulation.request(db, Request::Start);
    assert_eq!(handover(&simulation, db), None, "it is being started");
    simulation.advance(SECOND * 3);
    simulation[db].stop_answering();
    simulation[db].evidence_takes = SECOND;
    while simulation.snapshot(db).phase != Phase::Wedged {
        assert!(
            simulation.now < Instant::START.after(MINUTE * 10),
            "never wedged"
        );
        simulation.advance(SECOND / 10);
    }
    assert_eq!(handover(&simulation, db), None, "its kill is pending");
}

//! Requested stops and restarts, the shutdown of stayd, and its forced shutdown.

use crate::simulation::{MINUTE, SECOND, Simulation, policy};
use stayd::decide::action::{Action, Persist, ServiceAction};
use stayd::decide::event::{Event, Exit, Life, PersistedState, Request, ServiceEvent, Survivors};
use stayd::decide::snapshot::Phase;

#[test]
fn shutdown_stops_all_services_at_once_and_waits_only_for_running_ones() {
    let mut simulation = Simulation::new();
    let ids = [policy(), policy(), policy()]
        .map(|rules| simulation.add(rules, PersistedState::default()));
    simulation.advance(MINUTE);
    simulation[ids[0]].obeys_term = false;
    simulation.request(ids[1], Request::Stop);
    simulation.advance(SECOND);
    let began = simulation.now;
    simulation.deliver(Event::Shutdown);
    let terminated = |simulation: &Simulation, id| {
        simulation.times_of(id, |action| {
            matches!(action, ServiceAction::Terminate { .. })
        })
    };
    assert_eq!(terminated(&simulation, ids[0]), [began]);
    assert_eq!(
        terminated(&simulation, ids[2]),
        [began],
        "at the same time, not one after the other"
    );
    simulation.advance(MINUTE);
    let finish = simulation
        .log
        .iter()
        .filter(|done| done.action == Action::Finish)
        .map(|done| done.at);
    let finish: Vec<_> = finish.collect();
    assert_eq!(finish.len(), 1);
    assert!(finish[0].since(began) < SECOND * 6);
    assert_eq!(
        simulation.machine.deadline(),
        stayd::decide::clock::Instant::NEVER
    );
}

#[test]
fn a_second_shutdown_request_kills_without_grace() {
    let mut simulation = Simulation::new();
    let slow = simulation.add(policy(), PersistedState::default());
    let starting = simulation.add_unconfigured(policy());
    simulation[starting].spawn_takes = SECOND * 2;
    simulation.advance(SECOND);
    simulation.deliver_to(
        starting,
        ServiceEvent::Configured(PersistedState::default()),
    );
    simulation[slow].obeys_term = false;
    simulation[starting].obeys_term = false;
    simulation.advance(SECOND);
    simulation.deliver(Event::Shutdown);
    simulation.advance(SECOND / 2);
    simulation.deliver(Event::Shutdown);
    assert_eq!(simulation.kills(slow), [simulation.now]);
    simulation.advance(SECOND * 2);
    assert_eq!(
        simulation.kills(starting).len(),
        1,
        "an instance that was being spawned has no grace either"
    );
    assert_eq!(simulation.count(&Action::Finish), 1);
}

#[test]
fn a_forced_shutdown_does_not_wait_for_unkillable_processes() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].unkillable = true;
    simulation[db].obeys_term = false;
    simulation.deliver(Event::Shutdown);
    simulation.advance(MINUTE);
    assert_eq!(
        (simulation.phase(db), simulation.count(&Action::Finish)),
        (Phase::Unkillable, 0)
    );
    simulation.deliver(Event::Shutdown);
    simulation.advance(SECOND);
    assert_eq!(simulation.count(&Action::Finish), 1);
    let retired = simulation.times_of(db, |action| matches!(action, ServiceAction::Retire(_)));
    assert_eq!(retired, [], "its claim stays for the next stayd");
}

#[test]
fn a_stop_outlives_stayd_until_a_start() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation.request(db, Request::Stop);
    simulation.advance(MINUTE * 10);
    assert_eq!(
        (simulation.phase(db), simulation.spawns(db).len()),
        (Phase::Stopped, 1)
    );
    assert_eq!(
        simulation.persisted(db).last(),
        Some(&Persist::Stopped(true))
    );

    let mut next = Simulation::new();
    let past = PersistedState {
        stopped: true,
        last_life: Life(1),
        ..PersistedState::default()
    };
    let db = next.add(policy(), past);
    next.advance(MINUTE * 10);
    assert_eq!(next.spawns(db), []);
    next.request(db, Request::Start);
    next.advance(SECOND);
    assert_eq!(
        (next.phase(db), next.snapshot(db).life),
        (Phase::Running, Life(2))
    );
    assert!(next.persisted(db).contains(&Persist::Stopped(false)));
}

#[test]
fn held_sockets_are_closed_only_when_no_instance_is_on_its_way() {
    let closed = |simulation: &Simulation, db| {
        simulation
            .times_of(db, |action| *action == ServiceAction::CloseSockets)
            .len()
    };
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation.request(db, Request::Restart);
    simulation.advance(MINUTE);
    simulation.end_main_process(db, Life(2), Exit::Code(1), Survivors::default());
    simulation.advance(MINUTE);
    assert_eq!(
        (simulation.phase(db), closed(&simulation, db)),
        (Phase::Running, 0)
    );
    simulation.request(db, Request::Stop);
    simulation.advance(MINUTE);
    assert_eq!(
        (simulation.phase(db), closed(&simulation, db)),
        (Phase::Stopped, 1)
    );
    simulation.request(db, Request::Start);
    simulation.advance(MINUTE);
    simulation.deliver(Event::Shutdown);
    simulation.advance(MINUTE);
    assert_eq!(
        closed(&simulation, db),
        1,
        "the OS supervisor may keep them for the next stayd"
    );

    let mut parked = Simulation::new();
    let past = PersistedState {
        parked: true,
        ..PersistedState::default()
    };
    let db = parked.add(policy(), past);
    parked.advance(SECOND);
    assert_eq!((parked.phase(db), closed(&parked, db)), (Phase::Parked, 1));
}

#[test]
fn a_restart_starts_one_new_instance_without_a_wait() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].obeys_term = false;
    simulation.request(db, Request::Restart);
    simulation.request(db, Request::Restart);
    simulation.advance(SECOND * 6);
    assert_eq!(
        (simulation.spawns(db).len(), simulation.snapshot(db).life),
        (2, Life(2))
    );
    assert_eq!(simulation.phase(db), Phase::Running);
}

#[test]
fn a_stop_ends_members_that_outlive_the_main_process() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation[db].obeys_term = false;
    simulation.request(db, Request::Stop);
    simulation[db].alive = None;
    let survivors = Survivors {
        count: 2,
        ..Survivors::default()
    };
    simulation.deliver_to(
        db,
        ServiceEvent::Exited(Life(1), Exit::Signal(15), survivors),
    );
    let whole = simulation.times_of(db, |action| {
        matches!(action, ServiceAction::Terminate { tree: true, .. })
    });
    assert_eq!(whole, [simulation.now], "the stop signal comes first");
    simulation.advance(SECOND * 6);
    assert_eq!(
        (simulation.kills(db).len(), simulation.phase(db)),
        (1, Phase::Stopped)
    );
}

//! Programs that daemonize, and servers that exit and leave processes behind.

use crate::simulation::{MINUTE, SECOND, Simulation, policy};
use stayd::decide::action::RecordKind;
use stayd::decide::event::{
    Exit, Life, PersistedState, Process, ServiceEvent, ServingEvidence, Survivors,
};
use stayd::decide::policy::Policy;
use stayd::decide::snapshot::Phase;

const SUCCESSOR: Process = Process {
    pid: 900,
    start_time: 9,
};

/// One process of the tree is left.
fn one_left(listens: bool) -> Survivors {
    Survivors {
        count: 1,
        successor: Some(SUCCESSOR),
        evidence: if listens {
            ServingEvidence::Listens
        } else {
            ServingEvidence::Nothing
        },
        ..Survivors::default()
    }
}

#[test]
fn a_program_that_daemonizes_is_supervised_further_and_named() {
    let (mut simulation, db) =
        Simulation::with_service(policy(), PersistedState::default(), |service| {
            service.exits_by_itself = Some((SECOND / 2, Exit::Code(0), one_left(true)));
        });
    simulation.advance(MINUTE * 10);
    assert_eq!(
        (simulation.spawns(db).len(), simulation.snapshot(db).main),
        (1, Some(SUCCESSOR)),
        "no second spawn"
    );
    assert_eq!(simulation.phase(db), Phase::Running);
    let records = simulation.records(db, RecordKind::Daemonized);
    let expected = "daemonizes itself: it exited with status 0 after 0.5 s; its child, pid 900, which listens at its address, is";
    assert!(records[0].contains(expected), "{records:?}");
    simulation[db].exits_by_itself = None;
    simulation.end_main_process(db, Life(1), Exit::Unknown, Survivors::default());
    simulation.advance(SECOND * 40);
    assert_eq!(
        simulation.spawns(db).len(),
        2,
        "when the successor ends, a new instance begins"
    );
}

#[test]
fn a_process_left_by_a_server_that_has_served_is_no_successor() {
    let unasked = || Policy {
        watchdog: None,
        ..policy()
    };
    for (policy, after, respawns) in [
        (unasked(), SECOND / 2, false), // the child may listen a little later
        (unasked(), SECOND * 4, true),
        (policy(), SECOND / 2, true), // it has answered
    ] {
        let (mut simulation, db) =
            Simulation::with_service(policy, PersistedState::default(), |service| {
                service.exits_by_itself = Some((after, Exit::Code(0), one_left(false)));
            });
        simulation.advance(after + SECOND);
        assert_eq!(simulation.spawns(db).len() > 1, respawns);
        assert_eq!(simulation.kills(db).is_empty(), !respawns);
    }
}

#[test]
fn a_server_that_replaces_its_own_binary_is_followed_at_any_age() {
    let (mut simulation, db) = Simulation::with_ready_service(policy());
    simulation.advance(MINUTE * 60);
    simulation.end_main_process(db, Life(1), Exit::Code(0), one_left(true));
    simulation.advance(MINUTE);
    assert_eq!(
        (simulation.spawns(db).len(), simulation.snapshot(db).main),
        (1, Some(SUCCESSOR)),
        "it listens on the port"
    );
    let records = simulation.records(db, RecordKind::Daemonized);
    assert!(
        records[0].contains("replaced its main process"),
        "{records:?}"
    );
}

/// Every process of the service can have inherited the socket, and the kernel accepts connections for all of them.
#[test]
fn a_process_with_a_held_socket_succeeds_a_server_of_any_age_if_a_watchdog_asks_it() {
    let held = Survivors {
        evidence: ServingEvidence::HasHeldSocket,
        ..one_left(false)
    };
    for goes_on in [true, false] {
        let (mut simulation, db) = Simulation::with_ready_service(policy());
        simulation.advance(MINUTE * 60);
        simulation.end_main_process(db, Life(1), Exit::Code(0), held.clone());
        assert_eq!(simulation.snapshot(db).main, Some(SUCCESSOR));
        if !goes_on {
            simulation[db].stop_answering();
        }
        simulation.advance(MINUTE * 5);
        assert_eq!(simulation.kills(db).is_empty(), goes_on);
    }
    let unasked = Policy {
        watchdog: None,
        ..policy()
    };
    let (mut simulation, db) = Simulation::with_ready_service(unasked);
    simulation.advance(MINUTE);
    simulation.end_main_process(db, Life(1), Exit::Code(0), held);
    simulation.advance(SECOND);
    assert_eq!(simulation.spawns(db).len(), 2);
}

#[test]
fn without_port_and_probe_a_process_that_is_left_after_a_second_is_no_successor() {
    let unasked = Policy {
        watchdog: None,
        ..policy()
    };
    let left = Survivors {
        evidence: ServingEvidence::Unknown,
        ..one_left(false)
    };
    for (after, respawns) in [(SECOND / 2, false), (SECOND * 2, true)] {
        let (mut simulation, db) =
            Simulation::with_service(unasked, PersistedState::default(), |service| {
                service.exits_by_itself = Some((after, Exit::Code(0), left.clone()));
            });
        simulation.advance(after + SECOND);
        assert_eq!(simulation.spawns(db).len() > 1, respawns);
    }
}

#[test]
fn a_launcher_that_failed_has_no_successor() {
    let mut simulation = Simulation::new();
    let db = simulation.add_unconfigured(policy());
    simulation.deliver_to(db, ServiceEvent::Configured(PersistedState::default()));
    simulation.advance(SECOND);
    simulation[db].alive = None;
    simulation.deliver_to(
        db,
        ServiceEvent::Exited(Life(1), Exit::Code(1), one_left(true)),
    );
    simulation.advance(SECOND);
    assert_eq!(
        simulation.kills(db).len(),
        1,
        "the rest of the tree is killed before the next instance"
    );
    assert!(simulation.spawns(db)[1] > simulation.kills(db)[0]);
}

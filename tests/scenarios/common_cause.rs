//! When all services fail at once, the host is suspected before the services.

use crate::simulation::{MINUTE, SECOND, Simulation, idle, policy, watchdog};
use stayd::decide::action::RecordKind;
use stayd::decide::clock::Instant;
use stayd::decide::event::{Answer, Event, PersistedState, ResourceSample, ServiceId};
use stayd::decide::policy::{Mode, Policy, Watchdog};
use stayd::decide::snapshot::Phase;

fn three() -> (Simulation, [ServiceId; 3]) {
    three_with(policy())
}

fn three_with(rules: Policy) -> (Simulation, [ServiceId; 3]) {
    let mut simulation = Simulation::new();
    let ids = [rules, rules, rules].map(|rules| simulation.add(rules, PersistedState::default()));
    simulation.advance(MINUTE * 2);
    (simulation, ids)
}

fn silence_all(simulation: &mut Simulation, ids: &[ServiceId]) -> Instant {
    for id in ids {
        simulation[*id].stop_answering();
    }
    simulation.now
}

fn all_kills(simulation: &Simulation, ids: &[ServiceId]) -> Vec<Instant> {
    let mut kills: Vec<Instant> = ids.iter().flat_map(|id| simulation.kills(*id)).collect();
    kills.sort();
    kills
}

#[test]
fn three_services_silent_at_once_are_killed_one_per_window() {
    let (mut simulation, ids) = three();
    let since = silence_all(&mut simulation, &ids);
    simulation.advance(MINUTE);
    assert_eq!(
        all_kills(&simulation, &ids),
        [],
        "no kill in the first window"
    );
    simulation.advance(MINUTE * 9);
    let kills = all_kills(&simulation, &ids);
    assert!(kills[0].since(since) >= MINUTE);
    assert!(
        kills.windows(2).all(|two| two[1].since(two[0]) >= MINUTE),
        "{kills:?}"
    );
    assert!(kills.len() >= 6, "{kills:?}");
    for id in ids {
        assert!(
            simulation.kills(id).len() > 1,
            "each is killed, and again later"
        );
        let suppressed = simulation.records(id, RecordKind::Suppressed);
        assert!(
            suppressed
                .iter()
                .any(|why| why.contains("host is suspected")),
            "{suppressed:?}"
        );
    }
}

#[test]
fn recovery_without_a_kill_ends_the_suspicion() {
    let (mut simulation, ids) = three();
    silence_all(&mut simulation, &ids);
    simulation.advance(SECOND * 30);
    for id in ids {
        simulation[id].answer = Answer::Alive;
    }
    simulation.advance(SECOND * 10);
    assert_eq!(all_kills(&simulation, &ids), []);
    simulation[ids[0]].stop_answering();
    simulation.advance(SECOND * 20);
    assert_eq!(
        simulation.kills(ids[0]).len(),
        1,
        "one silent service alone is killed as usual"
    );
    let recorded = ids
        .iter()
        .flat_map(|id| simulation.records(*id, RecordKind::CommonCause));
    assert_eq!(recorded.count(), 2, "begin and end");
}

#[test]
fn a_void_attempt_is_no_recovery() {
    let (mut simulation, ids) = three();
    silence_all(&mut simulation, &ids);
    simulation.advance(SECOND * 30);
    simulation[ids[0]].sample = ResourceSample {
        traced: true,
        ..idle()
    };
    simulation.advance(SECOND * 25);
    assert_eq!(
        all_kills(&simulation, &ids),
        [],
        "no service has answered: the host stays suspected"
    );
}

#[test]
fn an_answer_after_a_kill_does_not_clear_the_host() {
    let (mut simulation, ids) = three();
    silence_all(&mut simulation, &ids);
    while all_kills(&simulation, &ids).is_empty() {
        simulation.advance(SECOND);
    }
    for id in ids
        .into_iter()
        .filter(|id| !simulation.kills(*id).is_empty())
        .collect::<Vec<_>>()
    {
        simulation[id].answer = Answer::Alive;
    }
    simulation.advance(SECOND * 50);
    assert_eq!(
        all_kills(&simulation, &ids).len(),
        1,
        "the next kill waits for its window"
    );
}

#[test]
fn a_sleep_ends_the_suspicion_and_the_failure_counts() {
    let (mut simulation, ids) = three();
    silence_all(&mut simulation, &ids);
    simulation.advance(SECOND * 50);
    simulation.deliver(Event::Slept(MINUTE * 60));
    simulation.advance(SECOND * 50);
    assert_eq!(all_kills(&simulation, &ids), [], "the window begins anew");
}

#[test]
fn with_failures_1_the_service_that_completes_the_common_cause_is_not_killed() {
    let rules = Policy {
        watchdog: Some(Watchdog {
            failures: 1,
            ..watchdog()
        }),
        ..policy()
    };
    let (mut simulation, ids) = three_with(rules);
    silence_all(&mut simulation, &ids);
    simulation.advance(SECOND * 20);
    assert!(
        all_kills(&simulation, &ids).len() < 3,
        "the third silent service makes the host suspected"
    );
}

#[test]
fn two_services_or_failures_far_apart_are_no_common_cause() {
    let (mut simulation, ids) = three();
    silence_all(&mut simulation, &ids[..2]);
    simulation.advance(SECOND * 20);
    assert_eq!(all_kills(&simulation, &ids).len(), 2);

    let (mut simulation, ids) = three();
    let held = ids[0];
    simulation.hold(held, MINUTE * 60);
    simulation[held].stop_answering();
    simulation.advance(MINUTE * 10);
    silence_all(&mut simulation, &ids[1..]);
    simulation.advance(SECOND * 20);
    assert_eq!(
        all_kills(&simulation, &ids).len(),
        2,
        "the first service fell silent ten minutes earlier"
    );
    assert_eq!(simulation.phase(held), Phase::Suspect);
}

#[test]
fn a_service_that_was_not_asked_in_the_window_refutes_nothing() {
    let slow = Policy {
        watchdog: Some(Watchdog {
            interval: MINUTE * 2,
            ..watchdog()
        }),
        ..policy()
    };
    let (mut simulation, ids) = three();
    simulation.add(slow, PersistedState::default());
    simulation.advance(MINUTE * 2 + SECOND);
    silence_all(&mut simulation, &ids);
    simulation.advance(MINUTE - SECOND);
    assert_eq!(
        all_kills(&simulation, &ids),
        [],
        "all services that were asked since then are silent"
    );
    simulation.advance(MINUTE * 2);
    for id in ids {
        assert!(
            !simulation.kills(id).is_empty(),
            "the slow service is asked and answers: the host is well"
        );
    }
}

#[test]
fn a_service_that_was_silent_before_neither_confirms_nor_refutes() {
    let shadow = Policy {
        watchdog: Some(Watchdog {
            mode: Mode::Shadow,
            ..watchdog()
        }),
        ..policy()
    };
    let (mut simulation, ids) = three();
    let silent = simulation.add(shadow, PersistedState::default());
    simulation.advance(MINUTE * 2);
    simulation[silent].stop_answering();
    simulation.advance(MINUTE * 5);
    silence_all(&mut simulation, &ids);
    simulation.advance(MINUTE - SECOND);
    assert_eq!(
        all_kills(&simulation, &ids),
        [],
        "three services fell silent at once, the fourth had been silent before"
    );

    let (mut simulation, ids) = three();
    let silent = simulation.add(shadow, PersistedState::default());
    simulation.advance(MINUTE * 2);
    simulation[silent].stop_answering();
    simulation.advance(MINUTE * 5);
    silence_all(&mut simulation, &ids[..2]);
    simulation.advance(SECOND * 30);
    assert_eq!(
        all_kills(&simulation, &ids).len(),
        2,
        "two services that fall silent are no common cause, although a third one had been silent before"
    );
}

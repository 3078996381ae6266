//! Exhaustive walks of `decide` up to a bounded number of events, in virtual time, with the design's invariants checked at
//! every step.
//!
//! The model plays the operating system and the users: each action may have each of its possible outcomes, and each
//! outcome may come now or later, also after its instance has ended. A walk begins in the states that its test names, and
//! visits every state that at most `depth` events lead to; states with the same fingerprint are walked once. From every
//! visited state, a shutdown must come to its end, with and without a second request. One, two or three services run in one
//! machine, as each test says; three services are the least for a common cause.
//!
//! The seeded walk at the end goes deeper (up to 60 events) and visits only a random sample. Some walks also give each event
//! to a copy of the machine, which must order the same actions.

mod invariants;
mod possible_events;
mod shutdown;
mod world;

use possible_events::{Choices, FOREIGN, holder, idle, policy, process_of, silence};
use stayd::decide::event::{Answer, Life, PersistedState, ResourceSample, ServiceEvent, ServiceId};
use stayd::decide::policy::{OnLeftover, OnStranger, Policy, Restart, Watchdog};
use stayd::decide::snapshot::Phase;
use std::collections::{HashMap, HashSet};
use std::hash::RandomState;
use world::{Next, SECOND, World};

const DB: ServiceId = ServiceId(0);

#[derive(Default)]
struct Walk {
    /// Fingerprints of visited states, with the greatest number of further events that were walked from each.
    visited: HashMap<u64, usize>,
    hasher: RandomState,
    steps: u64,
    phases: HashSet<Phase>,
}

impl Walk {
    /// Visits everything that at most `depth` events lead to.
    fn walk(&mut self, world: &World, depth: usize) {
        if world.finished {
            return;
        }
        let fingerprint = world.fingerprint(&self.hasher);
        match self.visited.get(&fingerprint) {
            Some(walked) if *walked >= depth => return,
            Some(_) => {}
            None => {
                let services = world.ids().map(|id| world.snapshot(id).phase);
                self.phases.extend(services);
                world.clone().assert_shutdown_ends();
            }
        }
        self.visited.insert(fingerprint, depth);
        if depth == 0 {
            return;
        }
        for next in world.possible() {
            let mut then = world.clone();
            then.happen(next);
            self.steps += 1;
            self.walk(&then, depth - 1);
        }
    }

    fn size(&self) -> String {
        format!("{} steps, {} states", self.steps, self.visited.len())
    }

    /// Checks that the walk has reached these phases, so that it was not empty.
    fn assert_reached(&self, phases: &[Phase]) {
        for phase in phases {
            assert!(self.phases.contains(phase), "{phase:?} was not reached");
        }
    }
}

fn one(policy: Policy, past: PersistedState) -> [(Policy, PersistedState, Choices); 1] {
    [(policy, past, Choices::All)]
}

/// Services that are running, proven and ready.
fn running(services: &[(Policy, Choices)]) -> World {
    let services: Vec<_> = services
        .iter()
        .map(|(policy, choices)| (*policy, PersistedState::default(), *choices))
        .collect();
    let mut world = World::new(&services);
    for id in world.ids() {
        world.event(id, ServiceEvent::Prepared(Life(1)));
        world.event(id, ServiceEvent::Spawned(Life(1), process_of(Life(1))));
    }
    world.happen(Next::Deadline);
    for id in world.ids() {
        world.answer(id, &Answer::Alive, ResourceSample::default());
        assert_eq!(world.snapshot(id).phase, Phase::Running);
    }
    world
}

/// The next attempt of each service gets no answer.
fn all_fall_silent(world: &mut World) {
    world.happen(Next::Deadline);
    for id in world.ids() {
        world.answer(id, &silence(), idle());
    }
}

#[test]
fn every_state_after_the_recovery_scan_of_one_service() {
    let mut walk = Walk::default();
    let replaces = Policy {
        leftover: OnLeftover::Replace,
        ..policy()
    };
    let stopped = PersistedState {
        stopped: true,
        ..proven()
    };
    for (policy, past) in [
        (policy(), PersistedState::default()),
        (policy(), proven()),
        (policy(), stopped),
        (replaces, proven()),
    ] {
        let mut world = World::scanning(&one(policy, past));
        world.repeat_steps = true;
        walk.walk(&world, 5);
    }
    eprintln!("{}", walk.size());
    walk.assert_reached(&[Phase::Starting, Phase::Stopping, Phase::Blocked]);
}

#[test]
fn every_state_after_the_start_of_one_service() {
    let mut walk = Walk::default();
    let stopped = PersistedState {
        stopped: true,
        ..PersistedState::default()
    };
    let parked = PersistedState {
        parked: true,
        last_life: Life(3),
        ..PersistedState::default()
    };
    let held = PersistedState {
        hold: Some((SECOND, "migration".into())),
        ..proven()
    };
    for past in [PersistedState::default(), proven(), stopped, parked, held] {
        walk.walk(&World::new(&one(policy(), past)), 6);
    }
    eprintln!("{}", walk.size());
    walk.assert_reached(&[
        Phase::Stopped,
        Phase::Blocked,
        Phase::Starting,
        Phase::Running,
        Phase::Parked,
    ]);
}

#[test]
fn every_state_around_the_runtime_of_one_service() {
    let mut walk = Walk::default();
    let copies = Policy {
        has_runtime: true,
        ..policy()
    };
    for past in [PersistedState::default(), proven()] {
        let mut world = World::new(&one(copies, past));
        world.repeat_steps = true;
        walk.walk(&world, 7);
    }
    eprintln!("{}", walk.size());
    walk.assert_reached(&[
        Phase::Materializing,
        Phase::Blocked,
        Phase::Starting,
        Phase::Running,
    ]);
}

#[test]
fn every_state_around_a_foreign_process_on_the_port_of_one_service() {
    let attaches = Policy {
        stranger: OnStranger::Attach,
        ..with_first_signal()
    };
    let mut walk = Walk::default();
    for main in [Some(FOREIGN), None] {
        let mut world = World::new(&one(attaches, PersistedState::default()));
        world.event(DB, ServiceEvent::PortHeld(Life(1), holder(main)));
        walk.walk(&world, 6);
        world.happen(Next::Deadline);
        world.answer(DB, &Answer::Alive, ResourceSample::default());
        assert_eq!(world.snapshot(DB).phase, Phase::Attached);
        all_fall_silent(&mut world);
        walk.walk(&world, 6);
    }
    eprintln!("{}", walk.size());
    walk.assert_reached(&[
        Phase::Attached,
        Phase::Starting,
        Phase::Stopped,
        Phase::Backoff,
    ]);
}

#[test]
fn every_state_around_a_wedge_of_one_service() {
    let mut walk = Walk::default();
    let on_failure = Policy {
        restart: Restart::OnFailure,
        ..policy()
    };
    for rules in [policy(), with_first_signal(), on_failure] {
        let mut world = running(&[(rules, Choices::All)]);
        all_fall_silent(&mut world);
        assert_eq!(world.snapshot(DB).phase, Phase::Suspect);
        world.happen(Next::Deadline);
        walk.walk(&world, 6);
    }
    eprintln!("{}", walk.size());
    walk.assert_reached(&[
        Phase::Wedged,
        Phase::Suspect,
        Phase::Stopping,
        Phase::Unkillable,
        Phase::Starting,
        Phase::Running,
    ]);
}

#[test]
fn every_state_of_two_services() {
    let mut walk = Walk::default();
    let pair = [
        (policy(), PersistedState::default(), Choices::All),
        (policy(), proven(), Choices::Few),
    ];
    walk.walk(&World::scanning(&pair), 4);
    walk.walk(&World::new(&pair), 5);
    let mut silent = running(&[(policy(), Choices::All), (policy(), Choices::Few)]);
    all_fall_silent(&mut silent);
    silent.happen(Next::Deadline);
    walk.walk(&silent, 5);
    eprintln!("{}", walk.size());
    walk.assert_reached(&[
        Phase::Running,
        Phase::Wedged,
        Phase::Backoff,
        Phase::Stopped,
        Phase::Blocked,
    ]);
}

#[test]
fn every_state_around_a_common_cause_of_three_services() {
    let mut walk = Walk::default();
    let rules = (policy(), Choices::Few);
    let mut world = running(&[rules, rules, rules]);
    world.happen(Next::Deadline);
    walk.walk(&world, 4);
    for id in world.ids() {
        world.answer(id, &silence(), idle());
    }
    world.happen(Next::Deadline);
    walk.walk(&world, 5);
    eprintln!("{}", walk.size());
    walk.assert_reached(&[
        Phase::Running,
        Phase::Suspect,
        Phase::Wedged,
        Phase::Backoff,
    ]);
}

#[test]
fn a_seeded_sample_of_deep_walks_of_three_services() {
    let seed = std::env::var("WALK_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_u64);
    println!("WALK_SEED={seed}");
    let mut bits = seed;
    for number in 0..2_000 {
        let stranger = if number % 2 == 0 {
            OnStranger::Report
        } else {
            OnStranger::Attach
        };
        let rules = Policy {
            stranger,
            ..policy()
        };
        let service = (rules, PersistedState::default(), Choices::All);
        let mut world = World::new(&[service.clone(), service.clone(), service]);
        world.repeat_steps = true;
        for _ in 0..60 {
            if world.finished {
                break;
            }
            let mut possible = world.possible();
            bits = bits
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let index = usize::try_from(bits >> 33).expect("31 bits") % possible.len();
            let next = possible.swap_remove(index);
            // A shutdown ends a walk: take few of them, so that most walks are long.
            if matches!(next, Next::Shutdown) && !bits.is_multiple_of(16) {
                continue;
            }
            world.happen(next);
        }
        if !world.finished {
            world.assert_shutdown_ends();
        }
    }
}

fn proven() -> PersistedState {
    PersistedState {
        proven: true,
        last_life: Life(7),
        ..PersistedState::default()
    }
}

fn with_first_signal() -> Policy {
    let mut rules = policy();
    rules.watchdog = rules.watchdog.map(|rules| Watchdog {
        first_grace: Some(SECOND),
        ..rules
    });
    rules
}

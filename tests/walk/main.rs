//! A walk of every reachable state of `decide`, in virtual time, with the laws as invariants.
//!
//! The world plays the operating system: each order may have each of its possible outcomes, and each outcome may arrive
//! now or later, also after the life it is about has ended. Two services run side by side in one machine, so that a
//! fact about one can be seen to leave the other alone. Depth is bounded; states already seen are not walked again.

mod ending;
mod law;
mod possible;
mod world;

use stayd::decide::event::{
    Answer, Check, Life, PersistedState, ProbeAttempt, ResourceSample, ServiceEvent,
};
use stayd::decide::policy::{OnLeftover, OnStranger, Policy, Restart, Watchdog};
use stayd::decide::snapshot::Phase;
use std::collections::HashSet;
use std::hash::RandomState;

use possible::{STRANGER, holder, policy, proc_of};
use world::{ID, Next, SECOND, World};

struct Walk {
    seen: HashSet<(u64, usize)>,
    hasher: RandomState,
    steps: u64,
    phases: HashSet<Phase>,
}

impl Walk {
    fn new() -> Self {
        Self {
            seen: HashSet::new(),
            hasher: RandomState::new(),
            steps: 0,
            phases: HashSet::new(),
        }
    }

    fn walk(&mut self, world: &World, depth: usize) {
        if let Some(shown) = world.machine.snapshot(world.now, ID) {
            self.phases.insert(shown.phase);
        }
        if depth == 0 || world.finished {
            if !world.finished {
                world.clone().drains();
            }
            return;
        }
        if !self.seen.insert((world.fingerprint(&self.hasher), depth)) {
            return;
        }
        for next in world.possibilities() {
            let mut then = world.clone();
            then.happen(next);
            self.steps += 1;
            self.walk(&then, depth - 1);
        }
    }
}

/// A world that has come to a running, proven service in its second round.
fn running(policy: Policy) -> World {
    let mut world = World::new(policy, PersistedState::default());
    world.become_true(ServiceEvent::Prepared(Life(1)));
    world.become_true(ServiceEvent::Spawned(Life(1), proc_of(Life(1))));
    world.happen(Next::Deadline);
    answer(&mut world, &Answer::Alive, ResourceSample::default());
    assert_eq!(
        world.machine.snapshot(world.now, ID).expect("there").phase,
        Phase::Running
    );
    world
}

fn answer(world: &mut World, answer: &Answer, sample: ResourceSample) {
    let (life, asked_at, deadline) = world.outside.asked.expect("a question is under way");
    if matches!(answer, Answer::Dead { .. }) {
        world.now = world.now.max(deadline);
    }
    let attempt = ProbeAttempt {
        asked_at,
        deadline,
        answer: answer.clone(),
        latency: world.now.since(asked_at),
        sample,
    };
    world.become_true(ServiceEvent::Probed(life, Check::Liveness, attempt));
}

#[test]
fn every_state_from_what_an_earlier_stayd_has_left() {
    let mut walk = Walk::new();
    let replaces = Policy {
        leftover: OnLeftover::Replace,
        ..policy()
    };
    let proven = PersistedState {
        proven: true,
        last_life: Life(7),
        ..PersistedState::default()
    };
    let stopped = PersistedState {
        stopped: true,
        ..proven.clone()
    };
    for (policy, past) in [
        (policy(), PersistedState::default()),
        (policy(), proven.clone()),
        (policy(), stopped),
        (replaces, proven),
    ] {
        walk.walk(&World::before_the_survey(policy, past), 5);
    }
    eprintln!("{} steps, {} states", walk.steps, walk.seen.len());
}

#[test]
fn every_state_from_the_start() {
    let mut walk = Walk::new();
    for past in [
        PersistedState::default(),
        PersistedState {
            proven: true,
            last_life: Life(7),
            ..PersistedState::default()
        },
        PersistedState {
            stopped: true,
            ..PersistedState::default()
        },
        PersistedState {
            parked: true,
            last_life: Life(3),
            ..PersistedState::default()
        },
        PersistedState {
            hold: Some((SECOND, "migration".into())),
            proven: true,
            ..PersistedState::default()
        },
    ] {
        walk.walk(&World::new(policy(), past), 6);
    }
    eprintln!("{} steps, {} states", walk.steps, walk.seen.len());
    for phase in [
        Phase::Stopped,
        Phase::Blocked,
        Phase::Starting,
        Phase::Running,
        Phase::Parked,
    ] {
        assert!(
            walk.phases.contains(&phase),
            "{phase:?} was reached: the walk is not empty"
        );
    }
}

#[test]
fn every_state_around_a_runtime() {
    let mut walk = Walk::new();
    for past in [
        PersistedState::default(),
        PersistedState {
            proven: true,
            last_life: Life(7),
            ..PersistedState::default()
        },
    ] {
        let copies = Policy {
            has_runtime: true,
            ..policy()
        };
        walk.walk(&World::new(copies, past), 7);
    }
    eprintln!("{} steps, {} states", walk.steps, walk.seen.len());
    for phase in [
        Phase::Materializing,
        Phase::Blocked,
        Phase::Starting,
        Phase::Running,
    ] {
        assert!(
            walk.phases.contains(&phase),
            "{phase:?} was reached: the walk is not empty"
        );
    }
}

#[test]
fn every_state_around_a_stranger() {
    let attaches = Policy {
        stranger: OnStranger::Attach,
        ..with_first()
    };
    let mut walk = Walk::new();
    for main in [Some(STRANGER), None] {
        let mut world = World::new(attaches, PersistedState::default());
        world.become_true(ServiceEvent::PortHeld(Life(1), holder(main)));
        walk.walk(&world, 6);
        world.happen(Next::Deadline);
        answer(&mut world, &Answer::Alive, ResourceSample::default());
        assert_eq!(
            world.machine.snapshot(world.now, ID).expect("there").phase,
            Phase::Attached
        );
        falls_silent(&mut world);
        walk.walk(&world, 6);
    }
    eprintln!("{} steps, {} states", walk.steps, walk.seen.len());
    for phase in [
        Phase::Attached,
        Phase::Starting,
        Phase::Stopped,
        Phase::Backoff,
    ] {
        assert!(
            walk.phases.contains(&phase),
            "{phase:?} was reached: the walk is not empty"
        );
    }
}

#[test]
fn every_state_around_a_wedge() {
    let mut walk = Walk::new();
    for rules in [policy(), with_first(), on_failure()] {
        let mut world = running(rules);
        falls_silent(&mut world);
        assert_eq!(
            world.machine.snapshot(world.now, ID).expect("there").phase,
            Phase::Suspect
        );
        world.happen(Next::Deadline);
        walk.walk(&world, 6);
    }
    eprintln!("{} steps, {} states", walk.steps, walk.seen.len());
    for phase in [
        Phase::Wedged,
        Phase::Suspect,
        Phase::Stopping,
        Phase::Unkillable,
        Phase::Starting,
        Phase::Running,
    ] {
        assert!(
            walk.phases.contains(&phase),
            "{phase:?} was reached: the walk is not empty"
        );
    }
}

#[test]
fn a_seeded_walk_goes_deep() {
    let seed = std::env::var("WALK_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_u64);
    println!("WALK_SEED={seed}");
    let mut bits = seed;
    for attempt in 0..2_000 {
        let stranger = if attempt % 2 == 0 {
            OnStranger::Report
        } else {
            OnStranger::Attach
        };
        let rules = Policy {
            stranger,
            ..policy()
        };
        let mut world = World::new(rules, PersistedState::default());
        for _ in 0..60 {
            if world.finished {
                break;
            }
            let mut possible = world.possibilities();
            // Shutdown ends a walk; keep most of them long.
            bits = bits
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let index = usize::try_from(bits >> 33).expect("31 bits") % possible.len();
            let next = possible.swap_remove(index);
            if matches!(next, Next::Shutdown) && !bits.is_multiple_of(16) {
                continue;
            }
            world.happen(next);
        }
        if !world.finished {
            world.drains();
        }
    }
}

/// One round without an answer.
fn falls_silent(world: &mut World) {
    world.happen(Next::Deadline);
    let silence = Answer::Dead {
        how: "no answer".into(),
    };
    let idle = ResourceSample {
        watched: SECOND,
        ..ResourceSample::default()
    };
    answer(world, &silence, idle);
}

fn with_first() -> Policy {
    let mut rules = policy();
    rules.watchdog = rules.watchdog.map(|rules| Watchdog {
        first_grace: Some(SECOND),
        ..rules
    });
    rules
}

fn on_failure() -> Policy {
    Policy {
        restart: Restart::OnFailure,
        ..policy()
    }
}

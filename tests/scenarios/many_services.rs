//! Many services in one machine: they do not disturb each other, and the cost of an event does not grow with their number.

use crate::simulation::{MINUTE, Preparation, SECOND, Simulation, policy};
use stayd::decide::event::{Answer, PersistedState, Request, ServiceEvent};
use stayd::decide::policy::Policy;
use std::time::Instant;

#[test]
fn two_services_never_disturb_each_other() {
    let mut alone = Simulation::new();
    let lone = alone.add(policy(), PersistedState::default());
    let mut simulation = Simulation::new();
    let undisturbed = simulation.add(policy(), PersistedState::default());
    let disturbed = simulation.add(policy(), PersistedState::default());
    for n in 0..30 {
        let disturbed_service = &mut simulation[disturbed];
        disturbed_service.answer = if n % 2 == 0 {
            crate::simulation::silence()
        } else {
            Answer::Alive
        };
        disturbed_service.obeys_term = n % 3 == 0;
        simulation.request(
            disturbed,
            [Request::Restart, Request::Stop, Request::Start][n % 3].clone(),
        );
        simulation.advance(SECOND * 25);
        alone.advance(SECOND * 25);
    }
    let actions = |simulation: &Simulation, id| simulation.times_of(id, |_| true);
    assert!(simulation.kills(disturbed).len() > 1);
    assert_eq!(
        actions(&simulation, undisturbed),
        actions(&alone, lone),
        "as if the other service were not there"
    );
}

#[test]
fn each_service_of_a_thousand_gets_as_many_actions_as_each_of_ten() {
    let actions_each = |count: usize| {
        let mut simulation = many_services(count);
        let before = simulation.log.len();
        simulation.advance(MINUTE);
        (simulation.log.len() - before) / (count - 1)
    };
    assert_eq!(actions_each(10), 12);
    assert_eq!(
        actions_each(1000),
        12,
        "an event for one service is no event for the others"
    );
}

#[test]
fn the_cost_of_an_event_does_not_grow_with_the_number_of_services() {
    let price = |simulation: &mut Simulation| {
        let began = Instant::now();
        let before = simulation.history.len();
        simulation.advance(MINUTE);
        let events = simulation.history.len() - before;
        began.elapsed().as_nanos() / u128::try_from(events).expect("not so many")
    };
    let (mut few, mut many) = (many_services(20), many_services(1000));
    // The cheapest of five runs is the one that other work on this machine disturbs least.
    let cheapest =
        |simulation: &mut Simulation| (0..5).map(|_| price(simulation)).min().expect("five");
    let (one, other) = (cheapest(&mut few), cheapest(&mut many));
    assert!(
        other < one * 8,
        "{one} ns among 20, {other} ns among 1000: fifty times as many"
    );
}

/// All services are ready except one that never becomes ready, so that the machine must check for READY=1 after every event.
fn many_services(count: usize) -> Simulation {
    let mut simulation = Simulation::new();
    for n in 0..count {
        let id = simulation.add_unconfigured(Policy {
            startup: MINUTE * 600,
            startup_max: MINUTE * 6000,
            ..policy()
        });
        if n + 1 == count {
            simulation[id].preparation = Preparation::Hangs;
        }
        simulation.deliver_to(id, ServiceEvent::Configured(PersistedState::default()));
    }
    simulation.advance(SECOND * 20);
    simulation
}

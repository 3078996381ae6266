//! Scenarios for `decide` in virtual time: each test plays one situation against simulated services.

#[path = "../support/simulation.rs"]
mod simulation;

mod attached;
mod common_cause;
mod health;
mod kill;
mod launchers;
mod many_services;
mod no_kill;
mod recovery;
mod restart;
mod runtimes;
mod start;
mod stop_and_shutdown;
mod upgrade;

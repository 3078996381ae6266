//! `decide` in virtual time: whole stories, each named after the failure mode it is about.

#[path = "../support/stage.rs"]
mod stage;

mod adopting;
mod attaching;
mod common_cause;
mod ending;
mod holding;
mod instance;
mod killing;
mod launchers;
mod runtimes;
mod starting;
mod upgrading;

//! stayd keeps a service *answering*, not merely running.
//!
//! *An event comes in, [`decide`] chooses actions, [`act`] carries them out, and their outcomes come back as events.*
//!
//! The crate is a stack of layers, one module each. `tests/house/layers.rs` reads this table and fails on an import that
//! it does not allow.
//!
//! | layer | what it holds | may import |
//! |---|---|---|
//! | [`decide`] | every decision; pure, compiles alone | nothing |
//! | [`sys`] | the operating system; the only `unsafe` | `decide` |
//! | [`config`] | parses the configuration into its meaning | `decide`, `sys` |
//! | [`act`] | effects, one folder per topic | `decide`, `sys`, `config` |
//! | [`api`] | the control socket, its server and client | `decide`, `sys`, `config` |
//! | [`lint`] | checks plists, units and app bundles | nothing |
//! | [`install`] | renders, installs and removes plists and units | `sys`, `config` |
//! | [`run`] | the loop that joins them; reads the clock | all but `cli`, `install`, `lint` |
//! | [`cli`] | arguments, verbs, exit codes, rendering | all |

pub mod act;
pub mod api;
pub mod cli;
pub mod config;
pub mod decide;
pub mod install;
pub mod lint;
pub mod run;
pub mod sys;

pub use cli::main;

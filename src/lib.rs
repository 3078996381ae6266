//! stayd keeps a service *answering*, not merely running.
//!
//! *A fact comes in, [`decide`] chooses, [`act`] does, and what it did comes back as a fact.*
//!
//! | room | what it holds | may import |
//! |---|---|---|
//! | [`decide`] | every judgement; pure, compiles alone | nothing |
//! | [`sys`] | the operating system; the only `unsafe` | `decide` |
//! | [`config`] | the file, parsed into what it means | `decide`, `sys` |
//! | [`act`] | effects: one file per kind of doing | `decide`, `sys`, `config` |
//! | [`api`] | the control socket, its server and client | `decide`, `sys`, `config` |
//! | [`install`] | plists and units: plan, then apply | `sys`, `config` |
//! | [`run`] | the loop that joins them; reads the clock | all but `cli`, `install` |
//! | [`cli`] | arguments, verbs, exit codes, rendering | all |

pub mod act;
pub mod api;
pub mod cli;
pub mod config;
pub mod decide;
pub mod install;
pub mod run;
pub mod sys;

pub use cli::main;

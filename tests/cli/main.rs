//! Tests of the program as scripts see it: exit statuses, stdout, stderr and the demo.

mod daemon;
mod demo;
mod documents;
mod exit_statuses;
mod explain;
mod instances;
mod manual;
mod messages;
mod output;
mod records;
#[path = "../support/reference/mod.rs"]
mod reference;
mod requests;
mod runtime;
mod status;
mod verify;
#[path = "../support/wait.rs"]
mod wait;

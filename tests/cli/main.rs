//! The program as scripts see it: exit statuses, what is on stdout and what on stderr,
//! and the demo.

mod demo;
mod documents;
mod explain;
mod manual;
mod printing;
mod runtime;
mod stage;
mod statuses;
mod steering;
#[path = "../support/wait.rs"]
mod wait;

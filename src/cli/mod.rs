//! The command line: verbs become exit statuses, answers become text or JSON.

pub mod args;
mod demo;
mod exec;
mod exit;
mod find;
mod journal;
mod logs;
mod screen;
mod status;
mod wishes;
mod words;

/// Runs the program.
#[must_use]
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}

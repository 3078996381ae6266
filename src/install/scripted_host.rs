//! A host for tests: its commands answer what the test has scripted, and its clock goes on only while it waits.

use super::host::{Host, Ran, Running};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;

/// A command as one text, and how it ends.
pub(super) type Answer = (&'static str, i32, &'static str);

/// Answers each command with the next answer for it, and the last answer for ever.
pub(super) struct ScriptedHost {
    answers: Vec<(String, VecDeque<Ran>)>,
    /// The commands in their order.
    pub(super) commands: Vec<String>,
    /// Who answers, from this time on.
    pub(super) answering: Option<(Duration, Running)>,
    /// Whether services of an earlier stayd may run until the next command with this word.
    pub(super) claims_until: Option<&'static str>,
    now: Duration,
}

impl ScriptedHost {
    /// Commands that are not in the script do not exist.
    pub(super) fn new(script: &[Answer]) -> Self {
        let mut host = Self {
            answers: Vec::new(),
            commands: Vec::new(),
            answering: None,
            claims_until: None,
            now: Duration::from_secs(1000),
        };
        for (command, code, output) in script {
            let ran = Ran {
                code: Some(*code),
                output: (*output).into(),
            };
            match host.answers.iter_mut().find(|(known, _)| known == command) {
                Some((_, answers)) => answers.push_back(ran),
                None => host.answers.push(((*command).into(), [ran].into())),
            }
        }
        host
    }

    /// A supervised stayd answers from now on.
    pub(super) fn answers(mut self, pid: i32) -> Self {
        let running = Running {
            pid,
            supervised: true,
            config_is_newer: false,
        };
        self.answering = Some((Duration::ZERO, running));
        self
    }

    /// The commands without their program, each once in a row.
    pub(super) fn steps(&self) -> Vec<&str> {
        let mut steps: Vec<_> = self.commands.iter().map(String::as_str).collect();
        steps.dedup();
        steps
    }

    /// How long it has waited.
    pub(super) fn waited(&self) -> Duration {
        self.now.saturating_sub(Duration::from_secs(1000))
    }
}

impl Host for ScriptedHost {
    fn run(&mut self, argv: &[&str], _within: Duration) -> io::Result<Ran> {
        let command = argv.join(" ");
        self.commands.push(command.clone());
        if self.claims_until.is_some_and(|word| command.contains(word)) {
            self.claims_until = None;
        }
        let known = self.answers.iter_mut().find(|(known, _)| *known == command);
        let (_, answers) = known.ok_or(io::ErrorKind::NotFound)?;
        let next = if answers.len() > 1 {
            answers.pop_front()
        } else {
            answers.front().cloned()
        };
        next.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn running(&mut self) -> Option<Running> {
        let (from, running) = self.answering?;
        (self.waited() >= from).then_some(running)
    }

    fn verify(&mut self, _file: &Path) -> Vec<String> {
        Vec::new()
    }

    fn has_claims(&mut self) -> bool {
        self.claims_until.is_some()
    }

    fn now(&self) -> Duration {
        self.now
    }

    fn pause(&mut self, length: Duration) {
        self.now += length;
    }

    fn say(&mut self, _step: &str) {}
}

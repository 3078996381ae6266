//! Evidence for one kill: collected off the loop, kept in the journal, said in a line.

use super::environment;
use super::evidence::{self, Subject};
use super::launch::{Launch, Mark};
use super::prepare::EXEC_DEADLINE;
use super::shared::Shared;
use super::tree::Tree;
use super::ward::{Living, Ward};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;

/// The kernel's part of the evidence takes no longer than this.
const LOOK_MAX: Duration = Duration::from_millis(280);
/// The extra command may take this long; then it is killed.
const COMMAND_MAX: Duration = Duration::from_secs(5);
/// Stack of the thread that looks.
const STACK_BYTES: usize = 256 * 1024;

/// Looks, keeps what was seen, then runs the extra command.
pub(super) async fn testify(shared: &Rc<Shared>, ward: &Rc<Ward>, living: &Rc<Living>) {
    let Some(subject) = subject(shared, ward, living) else {
        return;
    };
    let (answer, taken) = oneshot::channel();
    let looker = std::thread::Builder::new()
        .name("evidence".into())
        .stack_size(STACK_BYTES);
    let started = looker.spawn(move || {
        // Nobody waits any more when the kill has come first.
        let _ = answer.send(evidence::take(subject, LOOK_MAX));
    });
    if let Err(error) = started {
        tracing::warn!(service = ward.config.name, "cannot take evidence: {error}");
        return;
    }
    if let Ok(evidence) = taken.await {
        tracing::warn!(service = ward.config.name, "evidence: {}", evidence.summary);
        shared.store.evidence(
            &ward.config.name,
            living.life.0,
            evidence.summary,
            evidence.text,
        );
    }
    // A person's own collector may do anything to the process: not to a stranger's.
    if let (Some(argv), None) = (&ward.config.evidence, living.stranger.get()) {
        run_command(shared, ward, living, argv).await;
    }
}

fn subject(shared: &Shared, ward: &Ward, living: &Living) -> Option<Subject> {
    let transcript = ward.transcript.borrow().iter().cloned().collect();
    if let Some(stranger) = living.stranger.get() {
        return Some(Subject {
            main: stranger,
            members: Vec::new(),
            port: ward.config.port,
            transcript,
            last_lines: Vec::new(),
        });
    }
    let tree = living.tree.borrow();
    let tree = tree.as_ref()?;
    let members = tree.members().into_iter().map(|member| member.process);
    let last_lines = shared
        .output
        .borrow()
        .last_lines(&ward.config.name, evidence::LAST_LINES_MAX);
    Some(Subject {
        main: tree.main,
        members: members.filter(|process| *process != tree.main).collect(),
        port: ward.config.port,
        transcript,
        last_lines: last_lines.unwrap_or_default(),
    })
}

/// The person's own collector: bounded, and nothing of it is left when it is over.
async fn run_command(shared: &Shared, ward: &Ward, living: &Living, argv: &[String]) {
    let surroundings =
        environment::of_a_question(shared, ward, living, environment::READ_WITHIN).await;
    let Ok(surroundings) = surroundings else {
        return;
    };
    let Ok(mark) = Mark::fresh().map(Some) else {
        return;
    };
    let launch = Launch {
        argv: ward.in_place(argv),
        surroundings,
        fds: Vec::new(),
        cgroup: None,
        mark: mark.clone(),
    };
    let running = match shared.nursery.start(launch, EXEC_DEADLINE).await {
        Ok(running) => running,
        Err(failure) => {
            tracing::warn!(
                service = ward.config.name,
                "the evidence command: {}",
                failure.message
            );
            return;
        }
    };
    let mut tree = Tree::of_child(running.process);
    tree.marked(mark);
    let ended = tokio::time::timeout(COMMAND_MAX, running.exit)
        .await
        .is_ok();
    if !ended {
        tracing::warn!(
            service = ward.config.name,
            "the evidence command took too long; it is killed"
        );
    }
    if !ended || !tree.is_surely_gone() {
        shared.nursery.undertaker().end(tree).await;
    }
}

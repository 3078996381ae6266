//! Evidence for one kill: collected off the loop, kept in the journal, said in a line.

use crate::act::context::SharedContext;
use crate::act::context::{Instance, ServiceContext};
use crate::act::evidence::{self, Subject};
use crate::act::lifecycle::environment;
use crate::act::lifecycle::prepare::EXEC_DEADLINE;
use crate::act::spawn::launch::{CommandToken, Launch};
use crate::act::tree::Tree;
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
pub(crate) async fn testify(
    shared: &Rc<SharedContext>,
    context: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
) {
    let Some(subject) = subject(shared, context, instance) else {
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
        tracing::warn!(
            service = context.config.name,
            "cannot take evidence: {error}"
        );
        return;
    }
    if let Ok(evidence) = taken.await {
        tracing::warn!(
            service = context.config.name,
            "evidence: {}",
            evidence.summary
        );
        shared.store.evidence(
            &context.config.name,
            instance.life.0,
            evidence.summary,
            evidence.text,
        );
    }
    // A person's own collector may do anything to the process: not to a foreign's.
    if let (Some(argv), None) = (&context.config.evidence, instance.foreign.get()) {
        run_command(shared, context, instance, argv).await;
    }
}

fn subject(
    shared: &SharedContext,
    context: &ServiceContext,
    instance: &Instance,
) -> Option<Subject> {
    let transcript = context.transcript.borrow().iter().cloned().collect();
    if let Some(foreign) = instance.foreign.get() {
        return Some(Subject {
            main: foreign,
            members: Vec::new(),
            port: context.config.port,
            transcript,
            last_lines: Vec::new(),
        });
    }
    let tree = instance.tree.borrow();
    let tree = tree.as_ref()?;
    let members = tree.members().into_iter().map(|member| member.process);
    let last_lines = shared
        .output
        .borrow()
        .last_lines(&context.config.name, evidence::LAST_LINES_MAX);
    Some(Subject {
        main: tree.main,
        members: members.filter(|process| *process != tree.main).collect(),
        port: context.config.port,
        transcript,
        last_lines: last_lines.unwrap_or_default(),
    })
}

/// The person's own collector: bounded, and nothing of it is left when it is over.
async fn run_command(
    shared: &SharedContext,
    context: &ServiceContext,
    instance: &Instance,
    argv: &[String],
) {
    let surroundings =
        environment::of_a_question(shared, context, instance, environment::READ_WITHIN).await;
    let Ok(surroundings) = surroundings else {
        return;
    };
    let Ok(mark) = CommandToken::fresh().map(Some) else {
        return;
    };
    let launch = Launch {
        argv: context.expand_runtime(argv),
        surroundings,
        fds: Vec::new(),
        cgroup: None,
        mark: mark.clone(),
    };
    let running = match shared.spawner.start(launch, EXEC_DEADLINE).await {
        Ok(running) => running,
        Err(failure) => {
            tracing::warn!(
                service = context.config.name,
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
            service = context.config.name,
            "the evidence command took too long; it is killed"
        );
    }
    if !ended || !tree.is_surely_gone() {
        shared.spawner.tree_killer().end(tree).await;
    }
}

//! Collects evidence before a kill: collects it off the loop, writes it to the journal, and runs the user's own command.

use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::evidence::{self, EvidenceTarget, LastLines};
use crate::act::failpoint::{Failpoint, reached};
use crate::act::lifecycle::environment;
use crate::act::lifecycle::prepare::EXEC_TIMEOUT;
use crate::act::off_loop::{OffLoopError, off_loop, on_thread};
use crate::act::output;
use crate::act::spawn::launch::Launch;
use crate::act::spawn::short_command::ShortCommand;
use crate::act::tree::Tree;
use crate::decide::event::{Life, ServiceEvent};
use crate::sys::process::Process;
use crate::sys::reserve;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

/// The most time for the part that reads tables of the kernel.
const COLLECT_MAX: Duration = Duration::from_millis(280);
/// A thread that has returned nothing within this time hangs in the kernel. The kill does not wait so long: its bound is
/// shorter.
const THREAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The most time for the user's command; then stayd kills it.
const COMMAND_MAX: Duration = Duration::from_secs(5);

/// Collects evidence for at most `within`, and reports to the loop when that is done.
pub(crate) async fn collect(
    shared: Rc<SharedContext>,
    service: Rc<ServiceContext>,
    life: Life,
    within: Duration,
) {
    reached(Failpoint::BeforeEvidence);
    if let Some(instance) = service.instance(life) {
        let work = collect_and_store(&shared, &service, &instance);
        // Do not wait longer for evidence, because the kill is more important.
        let _ = tokio::time::timeout(within, work).await;
    }
    reached(Failpoint::AfterEvidence);
    let event = ServiceEvent::EvidenceCollected(life);
    shared.send(service.id, event).await;
}

async fn collect_and_store(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
) {
    let Some((mut target, tree)) = target(shared, service, instance) else {
        return;
    };
    let work = move || {
        reserve::with(|| {
            target.members = tree.as_ref().map(others_of).unwrap_or_default();
            evidence::collect(target, COLLECT_MAX)
        })
    };
    match off_loop("evidence", THREAD_TIMEOUT, work).await {
        Ok(evidence) => {
            tracing::warn!(service = service.name(), "evidence: {}", evidence.summary);
            let (summary, text) = (evidence.summary, evidence.text);
            let life = instance.life.0;
            shared
                .journal
                .attach_evidence(service.name(), life, summary, text);
        }
        Err(error @ OffLoopError::NoThread(_)) => {
            return tracing::warn!(service = service.name(), "cannot collect evidence: {error}");
        }
        Err(OffLoopError::TimedOut(_)) => {}
    }
    // The user's command may do anything to the process, so it is not run for a foreign process.
    if let (Some(argv), None) = (&service.config.evidence, instance.foreign()) {
        run_command(shared, service, instance, argv).await;
    }
}

/// The members of the tree besides the main process.
fn others_of(tree: &Tree) -> Vec<Process> {
    let members = tree.members().into_iter().map(|member| member.process);
    members.filter(|process| *process != tree.main).collect()
}

/// What the evidence is about, without the members, and the tree whose members are to be read; none if nothing runs.
fn target(
    shared: &SharedContext,
    service: &ServiceContext,
    instance: &Instance,
) -> Option<(EvidenceTarget, Option<Tree>)> {
    let transcript = service.transcript.lines();
    if let Some(foreign) = instance.foreign() {
        let target = EvidenceTarget {
            main: foreign,
            members: Vec::new(),
            port: service.config.port,
            transcript,
            last_lines: LastLines::Read(Vec::new()),
        };
        return Some((target, None));
    }
    let tree = instance.tree.get()?;
    let target = EvidenceTarget {
        main: tree.main,
        members: Vec::new(),
        port: service.config.port,
        transcript,
        last_lines: last_lines(shared, service),
    };
    Some((target, Some(tree)))
}

/// Reads the last lines that the service wrote, on a thread of its own.
fn last_lines(shared: &SharedContext, service: &ServiceContext) -> LastLines {
    let folder = shared.output.log_folder(service.name());
    let (send, lines) = mpsc::channel();
    let reading = move || {
        let lines = output::tail(&folder, evidence::LAST_LINES_MAX);
        // Fails only when the evidence is complete without them.
        let _ = send.send(lines.unwrap_or_default());
    };
    match on_thread("last lines", reading) {
        Ok(_ended) => LastLines::BeingRead(lines),
        Err(_no_thread) => LastLines::Read(Vec::new()),
    }
}

/// Runs the user's evidence command for a bounded time, and leaves nothing of it behind.
async fn run_command(
    shared: &SharedContext,
    service: &ServiceContext,
    instance: &Instance,
    argv: &[String],
) {
    let within = environment::READ_TIMEOUT;
    let exec_context = environment::of_a_command(shared, service, instance, within).await;
    let Ok(exec_context) = exec_context else {
        return;
    };
    let launch = Launch {
        argv: service.expand_runtime(argv),
        exec_context,
        fds: Vec::new(),
        cgroup: None,
        command_token: None,
    };
    let started = ShortCommand::start(&shared.spawner, launch, EXEC_TIMEOUT).await;
    let mut command = match started {
        Ok(command) => command,
        Err(failure) => {
            return tracing::warn!(
                service = service.name(),
                "the evidence command: {}",
                failure.message
            );
        }
    };
    let ended = tokio::time::timeout(COMMAND_MAX, command.exit()).await;
    if ended.is_err() {
        tracing::warn!(
            service = service.name(),
            "the evidence command took too long; it is killed"
        );
    }
    command.end().await;
}

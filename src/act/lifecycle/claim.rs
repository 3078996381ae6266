//! Writes the claim of an instance, and retries while the disk refuses it.

use crate::act::claims::{Claim, ClaimError};
use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::failpoint::{Failpoint, reached};
use crate::act::output::InstanceOutput;
use crate::act::tree::Tree;
use crate::decide::event::Life;
use crate::sys::process::Process;
use std::rc::Rc;
use std::time::Duration;

/// The most time to read the processes of one service. Until then its attempt waits, and nothing else does.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// The interval between two attempts to write a claim that the disk refused.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Writes the intent before the spawn, so that the next stayd can find the instance whenever this one crashes. If the disk
/// refuses the claim, supervision continues.
pub(super) fn write_intent(
    shared: &Rc<SharedContext>,
    service: &ServiceContext,
    instance: &Instance,
    output: &InstanceOutput,
) {
    let config = &service.config;
    let root = service.runtimes.root();
    let command = config.command_in(root.as_deref());
    let claim = Claim {
        pid: None,
        start_time: None,
        boot_id: shared.boot.0.clone(),
        pid_ns: shared.boot.1,
        token: instance.token.clone(),
        life: instance.life.0,
        claim_fd: output.claim_file,
        claim_fd_number: Some(service.sockets.claim_fd()),
        first: None,
        ready: false,
        ending: false,
        ended: None,
        uid: None,
        members: Vec::new(),
        command_key: Some(config.command_key()),
        program: command.first().map(Into::into).unwrap_or_default(),
        user: config.user.clone(),
        env_key: Some(config.env_key()),
        fingerprint: service.runtimes.id().map(|id| id.0),
        workspace: config.cwd_in(root.as_deref()),
        runtime: root,
        port: config.port,
        started_at: None,
    };
    reached(Failpoint::BeforeIntent);
    let intended = shared.claims.record_intent(&config.name, claim);
    reached(Failpoint::AfterIntent);
    retry_until_written(shared, service, intended);
}

/// Completes the claim with the main process.
pub(crate) fn set_main_process(
    shared: &Rc<SharedContext>,
    service: &ServiceContext,
    life: Life,
    main: Process,
) {
    let at = humantime::format_rfc3339_millis(shared.stamp_now()).to_string();
    let named = shared
        .claims
        .set_main_process(service.name(), life, main, at);
    retry_until_written(shared, service, named);
}

/// Records members that have left the tree, in memory and in the claim, while there is evidence for them.
pub(crate) async fn record_members(
    shared: &SharedContext,
    service: &ServiceContext,
    instance: &Instance,
) {
    let update = |tree: Option<&mut Tree>| {
        tree.map(Tree::update_members);
    };
    if let Some(reading) = instance.tree.read(READ_TIMEOUT, update).await {
        record_changed(shared, service, instance, reading.changed_members);
    }
}

/// Writes the members that a reading of the tree has found to the claim.
pub(crate) fn record_changed(
    shared: &SharedContext,
    service: &ServiceContext,
    instance: &Instance,
    changed_members: Option<Vec<Process>>,
) {
    if let Some(members) = changed_members {
        add_members(shared, service, instance, &members);
    }
}

/// Records an orphan that was proven by evidence which it may lose, or which proves nothing to the next stayd.
pub(crate) fn record_member(
    shared: &SharedContext,
    service: &ServiceContext,
    instance: &Instance,
    orphan: Process,
) {
    // With `kill = "group"` a process outside the group is left alone, by the next stayd too.
    if !service.config.kill_group_only && instance.tree.add_member(orphan) {
        add_members(shared, service, instance, &[orphan]);
    }
}

fn add_members(
    shared: &SharedContext,
    service: &ServiceContext,
    instance: &Instance,
    members: &[Process],
) {
    let claims = &shared.claims;
    if let Err(error) = claims.add_members(service.name(), instance.life, members) {
        tracing::warn!(service = service.name(), "{error}");
    }
}

/// Records in the claim that the instance became ready.
pub(crate) fn record_ready(shared: &Rc<SharedContext>, service: &ServiceContext, life: Life) {
    let written = shared.claims.mark_ready(service.name(), life);
    retry_until_written(shared, service, written);
}

/// Warns when a claim is only in memory, and retries in the background until the disk accepts it.
pub(crate) fn retry_until_written(
    shared: &Rc<SharedContext>,
    service: &ServiceContext,
    written: Result<(), ClaimError>,
) {
    if let Err(error) = written {
        tracing::warn!(service = service.name(), "{error}");
        let shared = Rc::clone(shared);
        tokio::task::spawn_local(async move {
            while !shared.claims.retry_unsaved() {
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        });
    }
}

//! Adopts a proven instance of an earlier stayd: continues with its output, its sockets and its messages.

use super::inherited::InheritedInstances;
use crate::act::claims::Claim;
use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::lifecycle::materialize::adopt_runtime;
use crate::act::lifecycle::service_messages::offer_socket;
use crate::act::lifecycle::service_user::look_up_user;
use crate::act::tree::cgroups::InstanceCgroup;
use crate::act::tree::{Member, Tree};
use crate::decide::action::{Record, RecordKind};
use crate::decide::event::Life;
use crate::sys::process::Process;
use crate::sys::spawn::User;
use std::rc::Rc;

/// The tree as stayd supervises it from now on. `tree` is the one that was scanned, `members` are its proven members.
pub(super) fn proven_tree(
    service: &ServiceContext,
    claim: &Claim,
    mut tree: Tree,
    main: Option<Process>,
    members: &[Member],
) -> Tree {
    let first = claim.first.map(Process::from).or(main);
    tree.main = main.or(claim.main()).unwrap_or(Process::NONE);
    tree.claimed = Process::NONE;
    let session = first.map_or(0, |first| first.pid);
    // While a member is in the session, no other session gets its id. The id of an empty session may belong to another
    // session by now.
    let is_ours = members.iter().any(|member| member.stat.sid == session);
    tree.session = if is_ours { session } else { 0 };
    tree.first_start_time = first.map_or(0, |first| first.start_time);
    let outside = members
        .iter()
        .filter(|member| member.stat.sid != tree.session && member.process != tree.main);
    tree.members = outside.map(|member| member.process).collect();
    tree.group_only = service.config.kill_group_only;
    tree
}

/// Makes the claimed instance the present one. From then on it differs from a spawned instance only in its parent.
pub(super) async fn adopt(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    inherited: &InheritedInstances,
    claim: Claim,
    tree: Tree,
    main: Option<Process>,
) {
    let life = Life(claim.life);
    let cgroup = InstanceCgroup::existing(tree.cgroup.clone());
    let instance = Instance::with_cgroup(life, claim.token.clone(), cgroup);
    instance.tree.set_claim_file(tree.claim_file);
    instance.tree.set(tree);
    let instance = service.begin(instance);
    let (fingerprint, runtime) = (claim.fingerprint.as_deref(), claim.runtime.as_deref());
    adopt_runtime(shared, service, fingerprint, runtime);
    let inherited = inherited.take(service.name());
    let resumed = inherited.map(|mut inherited| inherited.resume(shared, service, &instance));
    let resumed = resumed.unwrap_or_default();
    if !resumed.output {
        capture_output(shared, service, &claim);
    }
    shared.claims.adopt(service.name(), claim);
    if service.config.offers_notify_socket() && !resumed.notify_socket {
        offer_socket_again(shared, service, &instance).await;
    }
    recover_sockets(shared, service, &instance).await;
    match main {
        // Fails if it has ended since it was found; the caller handles that.
        Some(main) => drop(instance.main.set_not_spawned(main)),
        None => instance.main.set_ended(),
    }
}

/// Continues to capture the output of an instance that an earlier stayd started.
pub(super) fn capture_output(shared: &SharedContext, service: &ServiceContext, claim: &Claim) {
    let config = &service.config;
    let (life, file) = (Life(claim.life), claim.claim_fd);
    let captured = shared.output.adopt(&config.name, life, &config.log, file);
    if let Err(error) = captured {
        tracing::warn!(
            service = config.name,
            "{error}; what it writes is lost until its next start"
        );
    }
}

/// Binds the notify socket again at the path that the instance uses.
pub(super) async fn offer_socket_again(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
) {
    let user = look_up_user(service).await;
    let offered = user.and_then(|user| {
        let owner = user.as_ref().map(User::ids);
        offer_socket(shared, service, instance, owner)
    });
    if let Err(failure) = offered {
        tracing::warn!(service = service.name(), "{}", failure.message);
    }
}

/// Gets the service's sockets, and records which ones stayd could not get. The instance still has these.
pub(super) async fn recover_sockets(
    shared: &SharedContext,
    service: &ServiceContext,
    instance: &Instance,
) {
    for missing in service.sockets.recover(instance.tree.get()).await {
        let sentence = format!(
            "cannot hold its socket {} beyond the end of this instance: {}; stayd binds it again for the next one, and \
             connections are refused in between",
            missing.address, missing.cause
        );
        tracing::warn!(service = service.name(), "{sentence}");
        let record = Record {
            kind: RecordKind::Adopted,
            life: Some(instance.life),
            sentence,
            facts: Vec::new(),
        };
        shared.journal.record(Some(service.name()), &record);
    }
}

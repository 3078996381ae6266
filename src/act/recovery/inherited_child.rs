//! Continues an inherited instance whose main process is a child of this process.
//!
//! A child keeps its pid until it is reaped, so the handed-over pid still names the same child, dead or alive, and stayd waits
//! for its exit status as before. Processes that are not our children are searched for and proven like those of any earlier
//! stayd.

use super::adopt::{capture_output, offer_socket_again, recover_sockets};
use super::adoptable::adoptable;
use super::inherited::InheritedInstance;
use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::lifecycle::claim::retry_until_written;
use crate::act::lifecycle::materialize::adopt_runtime;
use crate::act::lifecycle::start::main_ended;
use crate::act::process_exit::exit_of;
use crate::act::spawn::spawner::RunningChild;
use crate::act::tree::Tree;
use crate::act::tree::cgroups::InstanceCgroup;
use crate::decide::event::{Exit, Life, ScanOutcome, ServiceEvent};
use crate::sys::identity;
use crate::sys::process::Process;
use std::rc::Rc;

/// Continues an instance whose main process is our child, and reports the end of that process when it comes.
pub(super) async fn continue_instance(
    shared: Rc<SharedContext>,
    service: Rc<ServiceContext>,
    mut inherited: InheritedInstance,
) {
    let Some(RunningChild {
        process,
        handle,
        exit,
    }) = inherited.child.take()
    else {
        return;
    };
    let claim = &inherited.claim;
    let life = Life(claim.life);
    let cgroup = InstanceCgroup::existing(shared.cgroups.of(service.name(), life));
    let instance = Instance::with_cgroup(life, claim.token.clone(), cgroup);
    instance.tree.set_claim_file(Some(claim.inherited_file()));
    instance.main.set_spawned(handle);
    let tree = tree_of(&service, &instance, &inherited, process);
    instance.tree.set(tree);
    let instance = service.begin(instance);
    resume_or_recover(&shared, &service, &instance, &mut inherited).await;
    let adoptable = adoptable(&service, &inherited.claim, Some(process));
    let written = shared.claims.record_intent(service.name(), inherited.claim);
    retry_until_written(&shared, &service, written);
    let event = ServiceEvent::RecoveryScanned(ScanOutcome::Adoptable(adoptable));
    shared.send(service.id, event).await;
    let exit = exit.await.map_or(Exit::Unknown, exit_of);
    main_ended(&shared, &service, &instance, exit).await;
}

/// Continues with the instance's runtime, output, notify socket and sockets. Recovers what the version before did not hand
/// over as after a crash.
async fn resume_or_recover(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
    inherited: &mut InheritedInstance,
) {
    let resumed = inherited.resume(shared, service, instance);
    let claim = &inherited.claim;
    let (fingerprint, runtime) = (claim.fingerprint.as_deref(), claim.runtime.as_deref());
    adopt_runtime(shared, service, fingerprint, runtime);
    if !resumed.output {
        capture_output(shared, service, claim);
    }
    if service.config.offers_notify_socket() && !resumed.notify_socket {
        offer_socket_again(shared, service, instance).await;
    }
    recover_sockets(shared, service, instance).await;
}

/// The tree as the version before recorded it.
fn tree_of(
    service: &ServiceContext,
    instance: &Instance,
    inherited: &InheritedInstance,
    main: Process,
) -> Tree {
    let claim = &inherited.claim;
    let first = claim.first.map_or(main, Process::from);
    let mut tree = if inherited.adopted {
        Tree::new_adopted(main, first.pid, first.start_time)
    } else {
        Tree::new(main, identity::euid())
    };
    tree.session = first.pid;
    tree.first_start_time = first.start_time;
    tree.uid = claim.uid.unwrap_or_else(identity::euid);
    claim.token.as_str().clone_into(&mut tree.token);
    tree.claim_file = instance.tree.claim_file();
    tree.cgroup = instance.cgroup.path();
    tree.members = claim.members.iter().copied().map(Into::into).collect();
    tree.group_only = service.config.kill_group_only;
    tree
}

//! Restores the files of running instances that a cleaner of temporary files, a logout or a user has deleted.

use super::adopt::offer_socket_again;
use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::output::FifoNames;
use crate::decide::event::Life;
use std::rc::Rc;

/// Why silence is no verdict after the file of the notify socket was deleted.
pub(crate) const NOTIFY_SOCKET_LOST: &str = "the file of its notify socket was deleted";

/// What was deleted.
#[derive(Debug, Default)]
pub struct DeletedFiles {
    /// The files that are there again, in words: "the claim of db".
    pub restored: Vec<String>,
    /// The services whose instance has lost the file behind its claim fd, under every name. The next stayd cannot prove that
    /// such an instance is its own.
    pub unprovable: Vec<String>,
}

/// Restores the claims, the names of the FIFOs, and the notify sockets.
pub(crate) fn restore(shared: &Rc<SharedContext>, services: &[Rc<ServiceContext>]) -> DeletedFiles {
    let claims = shared.claims.restore_deleted().into_iter();
    let mut found = DeletedFiles {
        restored: claims
            .map(|service| format!("the claim of {service}"))
            .collect(),
        unprovable: Vec::new(),
    };
    for service in services {
        let Some(instance) = service.current() else {
            continue;
        };
        restore_instance(shared, service, &instance, &mut found);
    }
    found
}

fn restore_instance(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
    found: &mut DeletedFiles,
) {
    let name = service.name();
    let claim = shared.claims.get(name);
    if claim.is_some_and(|claim| Life(claim.life) == instance.life) {
        match shared.output.restore_fifo_names(name, instance.life) {
            FifoNames::Complete => {}
            FifoNames::OneWasMissing => found.restored.push(format!("the FIFO of {name}")),
            FifoNames::Lost => found.unprovable.push(name.to_owned()),
        }
    }
    if instance.messages.is_file_lost() {
        found.restored.push(format!("the notify socket of {name}"));
        // An attempt that has begun before may miss the messages in between.
        drop(instance.checks.heartbeat.open_gap(NOTIFY_SOCKET_LOST));
        let (shared, service) = (Rc::clone(shared), Rc::clone(service));
        let instance = Rc::clone(instance);
        tokio::task::spawn_local(async move {
            offer_socket_again(&shared, &service, &instance).await;
        });
    }
}

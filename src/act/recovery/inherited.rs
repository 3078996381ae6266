//! The instances that the version of stayd before an upgrade handed over in this process.

use crate::act::claims::Claim;
use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::lifecycle::service_messages;
use crate::act::notify::socket::NotifySocket;
use crate::act::spawn::spawner::RunningChild;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

/// One instance as this version receives it.
#[derive(Debug)]
pub struct InheritedInstance {
    pub(super) claim: Claim,
    pub(super) child: Option<RunningChild>,
    pub(super) adopted: bool,
    /// While this is open the instance's output has a reader.
    pub(super) output: Option<File>,
    pub(super) notify: Option<(OwnedFd, PathBuf)>,
}

/// The instances that the version before handed over, by service, until the recovery scan takes them.
#[derive(Debug, Default)]
pub(crate) struct InheritedInstances(RefCell<BTreeMap<String, InheritedInstance>>);

/// Which parts of an instance continue without being opened again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Resumed {
    pub(super) output: bool,
    pub(super) notify_socket: bool,
}

impl InheritedInstances {
    /// These instances.
    pub(crate) const fn new(instances: BTreeMap<String, InheritedInstance>) -> Self {
        Self(RefCell::new(instances))
    }

    /// Takes the instance of this service.
    pub(super) fn take(&self, service: &str) -> Option<InheritedInstance> {
        self.0.borrow_mut().remove(service)
    }

    /// Takes the instance of this service, if its main process is our child.
    pub(super) fn take_child(&self, service: &str) -> Option<InheritedInstance> {
        let mut left = self.0.borrow_mut();
        left.get(service)?.child.as_ref()?;
        left.remove(service)
    }

    /// The claim of this service's instance. It is newer than the claim on disk, which the disk may have refused.
    pub(super) fn claim(&self, service: &str) -> Option<Claim> {
        Some(self.0.borrow().get(service)?.claim.clone())
    }
}

impl InheritedInstance {
    /// Continues to read its output and its notify socket.
    pub(super) fn resume(
        &mut self,
        shared: &Rc<SharedContext>,
        service: &Rc<ServiceContext>,
        instance: &Rc<Instance>,
    ) -> Resumed {
        let config = &service.config;
        let output = self.output.take().is_some_and(|reader| {
            let output = &shared.output;
            let resumed = output.adopt_inherited(&config.name, instance.life, &config.log, reader);
            resumed.is_ok()
        });
        let notify_socket = self.notify.take().is_some_and(|(socket, path)| {
            let socket = NotifySocket::resume(socket, path);
            socket.is_ok_and(|socket| {
                service_messages::receive_from(shared, service, instance, socket);
                true
            })
        });
        Resumed {
            output,
            notify_socket,
        }
    }
}

//! Watches a foreign process on the service's port in place of an instance.

use crate::act::context::{ServiceContext, SharedContext};
use crate::act::foreign::attach::until_it_leaves;
use crate::config::PortAddresses;
use crate::decide::event::{Life, ServiceEvent};
use crate::sys::process::Process;
use crate::sys::socket::Listener;
use std::rc::Rc;

/// Watches `foreign` while the instance `life` is the present one, and reports when it leaves the port.
pub(crate) async fn attach(
    shared: Rc<SharedContext>,
    service: Rc<ServiceContext>,
    life: Life,
    foreign: Option<Process>,
) {
    let (Some(instance), Some(port)) = (service.instance(life), service.config.port) else {
        return;
    };
    instance.set_foreign(foreign);
    let addresses = PortAddresses::of(&service.config);
    let in_the_way = |mut listeners: Vec<Listener>| {
        listeners.retain(|listener| !service.sockets.holds(listener));
        addresses.in_the_way(&listeners, service.config.policy.stranger)
    };
    let departure = tokio::select! {
        departure = until_it_leaves(foreign, port, in_the_way) => departure,
        () = instance.retired() => return,
    };
    let event = ServiceEvent::ForeignProcessLeft(life, departure);
    shared.send(service.id, event).await;
}

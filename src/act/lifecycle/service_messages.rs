//! Receives the messages of an instance over its notify socket, and accepts only those from the instance's own tree.

use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::notify::socket::NotifySocket;
use crate::act::spawn::launch::temporary;
use crate::decide::event::{ServiceEvent, ServiceMessage, SpawnFailure};
use std::rc::Rc;

/// Offers the instance a notify socket of its own, and gives it to `owner` (uid, gid) if that is another user.
pub(crate) fn offer_socket(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
    owner: Option<(u32, u32)>,
) -> Result<(), SpawnFailure> {
    let name = format!("{}.{}", service.name(), shared.state_key);
    let bound = NotifySocket::bind(&shared.runtime_dir, &name, owner);
    let socket = bound.map_err(|error| {
        temporary(format!(
            "cannot offer it a notify socket: {error}; trying again"
        ))
    })?;
    receive_from(shared, service, instance, socket);
    Ok(())
}

/// Receives from `socket` until the instance is retired.
pub(crate) fn receive_from(
    shared: &Rc<SharedContext>,
    service: &Rc<ServiceContext>,
    instance: &Rc<Instance>,
    socket: NotifySocket,
) {
    let socket = Rc::new(socket);
    let receiving = receive(
        Rc::clone(shared),
        Rc::clone(service),
        Rc::clone(instance),
        Rc::clone(&socket),
    );
    let task = tokio::task::spawn_local(receiving).abort_handle();
    instance.messages.begin(socket, task);
}

async fn receive(
    shared: Rc<SharedContext>,
    service: Rc<ServiceContext>,
    instance: Rc<Instance>,
    socket: Rc<NotifySocket>,
) {
    loop {
        let message = match socket.next().await {
            Ok(message) => message,
            Err(error) => {
                return tracing::warn!(
                    service = service.name(),
                    "cannot read its notify socket: {error}; its messages are lost until its next start"
                );
            }
        };
        if message.sender.is_some_and(|pid| !is_member(&instance, pid)) {
            continue;
        }
        for message in message.fields {
            if message == ServiceMessage::Watchdog {
                instance.checks.heartbeat.beat();
            }
            let event = ServiceEvent::Notified(instance.life, message);
            shared.send(service.id, event).await;
        }
    }
}

/// Whether the sender belongs to the instance. A sender that has ended already cannot be proven, so its message is ignored.
fn is_member(instance: &Instance, pid: i32) -> bool {
    let main = instance.main.process();
    main.is_some_and(|main| main.pid == pid) || instance.tree.has_member(pid)
}

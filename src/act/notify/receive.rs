//! What a service says about itself over its notify socket: believed only from its own tree.

use super::socket::NotifySocket;
use crate::act::context::SharedContext;
use crate::act::context::{Instance, ServiceContext};
use crate::decide::event::{ServiceEvent, ServiceMessage};
use std::rc::Rc;

/// Hears until the life is retired.
pub(crate) async fn hear(
    shared: Rc<SharedContext>,
    context: Rc<ServiceContext>,
    instance: Rc<Instance>,
    socket: Rc<NotifySocket>,
) {
    loop {
        let message = match socket.next().await {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(
                    service = context.config.name,
                    "cannot hear its notify socket: {error}; it is not heard until its next life"
                );
                return;
            }
        };
        if !message.sender.is_none_or(|pid| is_member(&instance, pid)) {
            continue;
        }
        if let Some(status) = message.status {
            instance.status.replace(Some(status));
        }
        for told in message.told {
            if told == ServiceMessage::Watchdog {
                instance.heartbeat.beat();
            }
            shared
                .tell(context.id, ServiceEvent::Notified(instance.life, told))
                .await;
        }
    }
}

/// A sender that has gone by now cannot be proven, and is not believed.
fn is_member(instance: &Instance, pid: i32) -> bool {
    let is_main = instance
        .main
        .borrow()
        .as_ref()
        .is_some_and(|main| main.process.pid == pid);
    is_main
        || instance.tree.borrow().as_ref().is_some_and(|tree| {
            tree.members()
                .iter()
                .any(|member| member.process.pid == pid)
        })
}

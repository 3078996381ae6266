//! What a service says about itself over its notify socket: believed only from its own tree.

use super::notify_socket::NotifySocket;
use super::shared::Shared;
use super::ward::{Living, Ward};
use crate::decide::event::{Fact, Told};
use std::rc::Rc;

/// Hears until the life is retired.
pub(super) async fn hear(
    shared: Rc<Shared>,
    ward: Rc<Ward>,
    living: Rc<Living>,
    socket: Rc<NotifySocket>,
) {
    loop {
        let message = match socket.next().await {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(
                    service = ward.config.name,
                    "cannot hear its notify socket: {error}; it is not heard until its next life"
                );
                return;
            }
        };
        if !message.sender.is_none_or(|pid| is_member(&living, pid)) {
            continue;
        }
        if let Some(status) = message.status {
            living.status.replace(Some(status));
        }
        for told in message.told {
            if told == Told::Watchdog {
                living.heartbeat.beat();
            }
            shared.tell(ward.id, Fact::Told(living.life, told)).await;
        }
    }
}

/// A sender that has gone by now cannot be proven, and is not believed.
fn is_member(living: &Living, pid: i32) -> bool {
    let is_main = living
        .main
        .borrow()
        .as_ref()
        .is_some_and(|main| main.process.pid == pid);
    is_main
        || living.tree.borrow().as_ref().is_some_and(|tree| {
            tree.members()
                .iter()
                .any(|member| member.process.pid == pid)
        })
}

//! Keeps the notify socket of one instance and the task that receives from it.

use super::socket::NotifySocket;
use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use tokio::task::AbortHandle;

/// Receives the messages of one instance, if stayd offers it a notify socket.
#[derive(Debug, Default)]
pub(crate) struct MessageReceiver {
    socket: RefCell<Option<Rc<NotifySocket>>>,
    task: RefCell<Option<AbortHandle>>,
}

impl MessageReceiver {
    /// Stores `socket` and the task that receives from it.
    pub(crate) fn begin(&self, socket: Rc<NotifySocket>, task: AbortHandle) {
        self.socket.replace(Some(socket));
        self.task.replace(Some(task));
    }

    /// The path that the instance gets as NOTIFY_SOCKET.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        let socket = self.socket.borrow();
        socket.as_ref().map(|socket| socket.path().to_owned())
    }

    /// Stops receiving and removes the socket.
    pub(crate) fn end(&self) {
        self.stop_task();
        self.socket.replace(None);
    }

    /// Stops receiving and returns the socket for the next version of stayd. Messages that arrive meanwhile wait in it.
    pub(crate) fn hand_over(&self) -> Option<(OwnedFd, PathBuf)> {
        self.stop_task();
        let socket = self.socket.borrow();
        let socket = socket.as_ref()?;
        Some((socket.hand_over().ok()?, socket.path().to_owned()))
    }

    fn stop_task(&self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

//! Keeps the notify sockets of one instance and the tasks that receive from them.

use super::socket::NotifySocket;
use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use tokio::task::AbortHandle;

/// Receives the messages of one instance, if stayd offers it a notify socket.
///
/// If the file of the socket is deleted, there is a second socket at the same path. A service that has connected itself to the
/// first one is still heard over that.
#[derive(Debug, Default)]
pub(crate) struct MessageReceiver {
    /// The newest is the last.
    sockets: RefCell<Vec<(Rc<NotifySocket>, AbortHandle)>>,
}

impl MessageReceiver {
    /// Stores `socket` and the task that receives from it. Of the sockets before, keeps the last one.
    pub(crate) fn begin(&self, socket: Rc<NotifySocket>, task: AbortHandle) {
        let mut sockets = self.sockets.borrow_mut();
        let surplus = sockets.len().saturating_sub(1);
        for (_, task) in sockets.drain(..surplus) {
            task.abort();
        }
        sockets.push((socket, task));
    }

    /// The path that the instance gets as NOTIFY_SOCKET.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        let sockets = self.sockets.borrow();
        sockets.last().map(|(socket, _)| socket.path().to_owned())
    }

    /// Whether the file of the socket was deleted or replaced.
    pub(crate) fn is_file_lost(&self) -> bool {
        let sockets = self.sockets.borrow();
        sockets
            .last()
            .is_some_and(|(socket, _)| socket.is_file_lost())
    }

    /// Stops receiving and removes the socket.
    pub(crate) fn end(&self) {
        self.stop_tasks();
        for (socket, _) in self.sockets.take() {
            // The task drops the socket when the loop runs it the next time. Before stayd exits, the loop does not run again.
            socket.remove_file();
        }
    }

    /// Stops receiving and returns the socket for the next version of stayd. Messages that arrive meanwhile wait in it.
    pub(crate) fn hand_over(&self) -> Option<(OwnedFd, PathBuf)> {
        self.stop_tasks();
        let sockets = self.sockets.borrow();
        let (socket, _) = sockets.last()?;
        Some((socket.hand_over().ok()?, socket.path().to_owned()))
    }

    fn stop_tasks(&self) {
        for (_, task) in self.sockets.borrow().iter() {
            task.abort();
        }
    }
}

//! The state of an instance's preparation: its output, its env_file's variables, and whether it was cancelled.

use crate::act::output::InstanceOutput;
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use tokio::sync::Notify;

/// Names and values of an env_file, in the order of the file.
pub(crate) type Variables = Vec<(String, String)>;

/// The preparation of one instance.
#[derive(Debug, Default)]
pub(crate) struct Preparation {
    /// Taken by the spawn.
    output: RefCell<Option<InstanceOutput>>,
    /// The env_file, once it was read for this instance.
    variables: RefCell<Option<Rc<Variables>>>,
    cancelled: Notify,
    is_cancelled: Cell<bool>,
}

impl Preparation {
    /// Stores the ends of the output for the spawn.
    pub(crate) fn set_output(&self, output: InstanceOutput) {
        self.output.replace(Some(output));
    }

    /// Takes the ends of the output.
    pub(crate) fn take_output(&self) -> Option<InstanceOutput> {
        self.output.take()
    }

    /// Copies of the write ends for stdout and stderr; none: the output is not open.
    pub(crate) fn copy_output(&self) -> Option<io::Result<(OwnedFd, OwnedFd)>> {
        let output = self.output.borrow();
        let output = output.as_ref()?;
        let copies = output.stdout.try_clone();
        Some(copies.and_then(|stdout| Ok((stdout, output.stderr.try_clone()?))))
    }

    /// The variables of the env_file, if they were read.
    pub(crate) fn variables(&self) -> Option<Rc<Variables>> {
        self.variables.borrow().clone()
    }

    /// Stores the variables of the env_file, so that every program that is started for this instance gets the same ones.
    pub(crate) fn set_variables(&self, variables: Rc<Variables>) {
        self.variables.replace(Some(variables));
    }

    /// Ends the preparation because of a request.
    pub(crate) fn cancel(&self) {
        self.is_cancelled.set(true);
        self.cancelled.notify_one();
    }

    /// Whether it was cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.is_cancelled.get()
    }

    /// Returns when it is cancelled.
    pub(crate) async fn cancelled(&self) {
        self.cancelled.notified().await;
    }
}

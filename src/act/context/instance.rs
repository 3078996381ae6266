//! The state of one instance, from its preparation until it is retired.

use super::{MainProcess, Preparation};
use crate::act::claims::Token;
use crate::act::notify::MessageReceiver;
use crate::act::probe::Checks;
use crate::act::tree::InstanceTree;
use crate::act::tree::cgroups::InstanceCgroup;
use crate::decide::event::Life;
use crate::sys::process::Process;
use std::cell::Cell;
use tokio::sync::Notify;

/// One instance of a service, or a foreign process that stayd watches in its place.
#[derive(Debug)]
pub(crate) struct Instance {
    /// The number of the instance.
    pub(crate) life: Life,
    /// In the environment of every process of the instance.
    pub(crate) token: Token,
    pub(crate) preparation: Preparation,
    pub(crate) main: MainProcess,
    pub(crate) tree: InstanceTree,
    pub(crate) cgroup: InstanceCgroup,
    pub(crate) messages: MessageReceiver,
    pub(crate) checks: Checks,
    foreign: Cell<Option<Process>>,
    retired: Notify,
}

impl Instance {
    /// An instance without preparation, process or cgroup.
    pub(crate) fn new(life: Life, token: Token) -> Self {
        Self::with_cgroup(life, token, InstanceCgroup::default())
    }

    /// An instance that an earlier stayd began, with its cgroup.
    pub(crate) fn with_cgroup(life: Life, token: Token, cgroup: InstanceCgroup) -> Self {
        Self {
            life,
            token,
            preparation: Preparation::default(),
            main: MainProcess::default(),
            tree: InstanceTree::default(),
            cgroup,
            messages: MessageReceiver::default(),
            checks: Checks::default(),
            foreign: Cell::default(),
            retired: Notify::new(),
        }
    }

    /// The foreign process that stayd watches. stayd keeps no tree of it and no handle to signal it.
    pub(crate) fn foreign(&self) -> Option<Process> {
        self.foreign.get()
    }

    /// Sets the foreign process that stayd watches; none: it is hidden from stayd.
    pub(crate) fn set_foreign(&self, process: Option<Process>) {
        self.foreign.set(process);
    }

    /// The main process, or the foreign process in its place.
    pub(crate) fn watched_process(&self) -> Option<Process> {
        self.main.process().or(self.foreign())
    }

    /// Ends all tasks that wait for this instance.
    pub(crate) fn retire(&self) {
        self.retired.notify_waiters();
    }

    /// Returns when the instance is retired.
    pub(crate) async fn retired(&self) {
        self.retired.notified().await;
    }
}

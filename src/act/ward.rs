//! What is at hand for one service: its present life, its prober, what was last seen of its tree.

use super::change::Change;
use super::claim::Token;
use super::environment::Variables;
use super::helper::Helper;
use super::materialize::Runtimes;
use super::notify_socket::NotifySocket;
use super::output::LifeOutput;
use super::probe::{Heartbeat, Prober};
use super::sockets::Sockets;
use super::tree::{Tree, Usage};
use crate::config;
use crate::config::runtime::in_place;
use crate::decide::clock::Moment;
use crate::decide::event::{Check, Life, ServiceId};
use crate::sys::process::{Handle, Host, Process};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

/// The probe's last answers, kept for the evidence.
pub(super) const TRANSCRIPT_MAX: usize = 20;

/// One service's desk.
pub(super) struct Ward {
    pub(super) id: ServiceId,
    pub(super) config: config::Service,
    /// The life that is being prepared, runs, or is being ended.
    pub(super) life: RefCell<Option<Rc<Living>>>,
    /// Held for its lives.
    pub(super) sockets: Sockets,
    /// What the probe answered, newest last.
    pub(super) transcript: RefCell<VecDeque<String>>,
    /// Reads the env_file; here only while its last question hangs.
    pub(super) reader: RefCell<Option<Helper>>,
    /// What its lives run from.
    pub(super) runtimes: Runtimes,
    /// What a parked service waits for.
    pub(super) change: Change,
}

/// One life, from its preparation until it is retired.
pub(super) struct Living {
    pub(super) life: Life,
    pub(super) token: Token,
    /// Taken by the spawn.
    pub(super) output: RefCell<Option<LifeOutput>>,
    pub(super) tree: RefCell<Option<Tree>>,
    pub(super) main: RefCell<Option<Arc<Handle>>>,
    /// The main process is reaped; the kill's outcome waits for it.
    pub(super) main_gone: watch::Sender<bool>,
    /// A wish came between: the preparation ends.
    pub(super) cancelled: Notify,
    pub(super) cancel_asked: Cell<bool>,
    /// What the kernel had killed for want of memory when the life began, where it tells.
    pub(super) oom_kills: Cell<Option<u64>>,
    /// The life is retired: whoever still asks it gives up.
    pub(super) over: Notify,
    /// Where the service talks to us, if that is offered.
    pub(super) notify: RefCell<Option<Rc<NotifySocket>>>,
    pub(super) hearing: RefCell<Option<AbortHandle>>,
    pub(super) heartbeat: Heartbeat,
    /// What it last said as STATUS.
    pub(super) status: RefCell<Option<String>>,
    /// Device and inode of the claim fd's file.
    pub(super) claim_file: Cell<Option<(u64, u64)>>,
    /// Its cgroup, where it has one of its own.
    pub(super) cgroup: RefCell<Option<PathBuf>>,
    /// The same, open; taken by the spawn.
    pub(super) birthplace: RefCell<Option<OwnedFd>>,
    /// Somebody else's process, which is only looked at: there is no tree then, and no handle to signal by.
    pub(super) stranger: Cell<Option<Process>>,
    /// The descendant that took its launcher's place.
    pub(super) heir: Cell<Option<Process>>,
    liveness: RefCell<Asked>,
    readiness: RefCell<Asked>,
    pub(super) baseline: Cell<Option<Baseline>>,
    /// When it was last looked for members that have left the tree.
    pub(super) looked_for_leavers_at: Cell<Option<Moment>>,
    /// The listener that was last found in, or outside of, the tree.
    pub(super) listener: RefCell<Option<(u64, Option<String>)>>,
    /// The stop signal went to the whole tree; its end is looked for after each reaped orphan.
    pub(super) ending_tree: Cell<bool>,
    /// The env_file, once it was read for this life.
    pub(super) variables: RefCell<Option<Rc<Variables>>>,
}

/// A check's prober; a round takes it out, so that there is never a second one under way.
pub(super) enum Asked {
    Never,
    UnderWay,
    Ready(Box<Prober>),
}

/// Use of CPU and disk at one moment.
#[derive(Clone, Copy)]
pub(super) struct Baseline {
    pub(super) at: Moment,
    pub(super) tree: Usage,
    pub(super) host: Host,
}

impl Ward {
    pub(super) fn new(id: ServiceId, config: config::Service) -> Self {
        Self {
            id,
            config,
            life: RefCell::new(None),
            sockets: Sockets::default(),
            transcript: RefCell::new(VecDeque::new()),
            reader: RefCell::new(None),
            runtimes: Runtimes::default(),
            change: Change::default(),
        }
    }

    /// The life with this number, if it is the present one.
    pub(super) fn living(&self, life: Life) -> Option<Rc<Living>> {
        self.life
            .borrow()
            .as_ref()
            .filter(|living| living.life == life)
            .map(Rc::clone)
    }

    /// Takes the present life away, if it is this one.
    pub(super) fn take(&self, life: Life) -> Option<Rc<Living>> {
        self.life.borrow_mut().take_if(|living| living.life == life)
    }

    pub(super) fn note_answer(&self, line: String) {
        let mut transcript = self.transcript.borrow_mut();
        if transcript.len() == TRANSCRIPT_MAX {
            transcript.pop_front();
        }
        transcript.push_back(line);
    }

    /// argv with the present runtime's root in the place of its name.
    pub(super) fn in_place(&self, argv: &[String]) -> Vec<String> {
        let root = self.runtimes.root();
        let word = |word: &String| in_place(word, root.as_deref());
        argv.iter().map(word).collect()
    }

    /// How readiness or liveness is asked.
    pub(super) fn probe(&self, check: Check) -> Option<&config::Probe> {
        match check {
            Check::Liveness => self.config.probe.as_ref(),
            Check::Readiness => self.config.ready.as_ref(),
        }
    }
}

impl Living {
    pub(super) fn new(life: Life, token: Token) -> Self {
        Self {
            life,
            token,
            output: RefCell::new(None),
            tree: RefCell::new(None),
            main: RefCell::new(None),
            main_gone: watch::Sender::new(false),
            cancelled: Notify::new(),
            cancel_asked: Cell::new(false),
            oom_kills: Cell::new(None),
            over: Notify::new(),
            notify: RefCell::new(None),
            hearing: RefCell::new(None),
            claim_file: Cell::new(None),
            cgroup: RefCell::new(None),
            birthplace: RefCell::new(None),
            heartbeat: Heartbeat::default(),
            status: RefCell::new(None),
            stranger: Cell::new(None),
            heir: Cell::new(None),
            liveness: RefCell::new(Asked::Never),
            readiness: RefCell::new(Asked::Never),
            baseline: Cell::new(None),
            looked_for_leavers_at: Cell::new(None),
            listener: RefCell::new(None),
            ending_tree: Cell::new(false),
            variables: RefCell::new(None),
        }
    }

    pub(super) fn prober(&self, check: Check) -> &RefCell<Asked> {
        match check {
            Check::Liveness => &self.liveness,
            Check::Readiness => &self.readiness,
        }
    }
}

//! What is at hand for one service: its present life, its prober, what was last seen of its tree.

use crate::act::claims::Token;
use crate::act::helper::Helper;
use crate::act::lifecycle::environment::Variables;
use crate::act::notify::socket::NotifySocket;
use crate::act::output::InstanceOutput;
use crate::act::probe::{Heartbeat, Prober};
use crate::act::runtime::change::Change;
use crate::act::runtime::materialize::Runtimes;
use crate::act::sockets::Sockets;
use crate::act::tree::{Tree, Usage};
use crate::config;
use crate::config::runtime::expand_runtime;
use crate::decide::clock::Instant;
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
pub(crate) const TRANSCRIPT_MAX: usize = 20;

/// One service's desk.
pub(crate) struct ServiceContext {
    pub(crate) id: ServiceId,
    pub(crate) config: config::Service,
    /// The life that is being prepared, runs, or is being ended.
    pub(crate) life: RefCell<Option<Rc<Instance>>>,
    /// Held for its lives.
    pub(crate) sockets: Sockets,
    /// What the probe answered, newest last.
    pub(crate) transcript: RefCell<VecDeque<String>>,
    /// Reads the env_file; here only while its last question hangs.
    pub(crate) reader: RefCell<Option<Helper>>,
    /// What its lives run from.
    pub(crate) runtimes: Runtimes,
    /// What a parked service waits for.
    pub(crate) change: Change,
}

/// One life, from its preparation until it is retired.
pub(crate) struct Instance {
    pub(crate) life: Life,
    pub(crate) token: Token,
    /// Taken by the spawn.
    pub(crate) output: RefCell<Option<InstanceOutput>>,
    pub(crate) tree: RefCell<Option<Tree>>,
    pub(crate) main: RefCell<Option<Arc<Handle>>>,
    /// The main process is reaped; the kill's outcome waits for it.
    pub(crate) main_gone: watch::Sender<bool>,
    /// A wish came between: the preparation ends.
    pub(crate) cancelled: Notify,
    pub(crate) cancel_asked: Cell<bool>,
    /// What the kernel had killed for want of memory when the life began, where it tells.
    pub(crate) oom_kills: Cell<Option<u64>>,
    /// The life is retired: whoever still asks it gives up.
    pub(crate) over: Notify,
    /// Where the service talks to us, if that is offered.
    pub(crate) notify: RefCell<Option<Rc<NotifySocket>>>,
    pub(crate) hearing: RefCell<Option<AbortHandle>>,
    pub(crate) heartbeat: Heartbeat,
    /// What it last said as STATUS.
    pub(crate) status: RefCell<Option<String>>,
    /// Device and inode of the claim fd's file.
    pub(crate) claim_file: Cell<Option<(u64, u64)>>,
    /// Its cgroup, where it has one of its own.
    pub(crate) cgroup: RefCell<Option<PathBuf>>,
    /// The same, open; taken by the spawn.
    pub(crate) birthplace: RefCell<Option<OwnedFd>>,
    /// Somebody else's process, which is only looked at: there is no tree then, and no handle to signal by.
    pub(crate) foreign: Cell<Option<Process>>,
    /// The descendant that took its launcher's place.
    pub(crate) successor: Cell<Option<Process>>,
    liveness: RefCell<Asked>,
    readiness: RefCell<Asked>,
    pub(crate) baseline: Cell<Option<Baseline>>,
    /// When it was last looked for members that have left the tree.
    pub(crate) looked_for_leavers_at: Cell<Option<Instant>>,
    /// The listener that was last found in, or outside of, the tree.
    pub(crate) listener: RefCell<Option<(u64, Option<String>)>>,
    /// The stop signal went to the whole tree; its end is looked for after each reaped orphan.
    pub(crate) ending_tree: Cell<bool>,
    /// The env_file, once it was read for this life.
    pub(crate) variables: RefCell<Option<Rc<Variables>>>,
}

/// A check's prober; a round takes it out, so that there is never a second one under way.
pub(crate) enum Asked {
    Never,
    UnderWay,
    Ready(Box<Prober>),
}

/// Use of CPU and disk at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Baseline {
    pub(crate) at: Instant,
    pub(crate) tree: Usage,
    pub(crate) host: Host,
}

impl ServiceContext {
    pub(crate) fn new(id: ServiceId, config: config::Service) -> Self {
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
    pub(crate) fn instance(&self, life: Life) -> Option<Rc<Instance>> {
        self.life
            .borrow()
            .as_ref()
            .filter(|instance| instance.life == life)
            .map(Rc::clone)
    }

    /// Takes the present life away, if it is this one.
    pub(crate) fn take(&self, life: Life) -> Option<Rc<Instance>> {
        self.life
            .borrow_mut()
            .take_if(|instance| instance.life == life)
    }

    pub(crate) fn note_answer(&self, line: String) {
        let mut transcript = self.transcript.borrow_mut();
        if transcript.len() == TRANSCRIPT_MAX {
            transcript.pop_front();
        }
        transcript.push_back(line);
    }

    /// argv with the present runtime's root in the place of its name.
    pub(crate) fn expand_runtime(&self, argv: &[String]) -> Vec<String> {
        let root = self.runtimes.root();
        let word = |word: &String| expand_runtime(word, root.as_deref());
        argv.iter().map(word).collect()
    }

    /// How readiness or liveness is asked.
    pub(crate) fn probe(&self, check: Check) -> Option<&config::Probe> {
        match check {
            Check::Liveness => self.config.probe.as_ref(),
            Check::Readiness => self.config.ready.as_ref(),
        }
    }
}

impl Instance {
    pub(crate) fn new(life: Life, token: Token) -> Self {
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
            foreign: Cell::new(None),
            successor: Cell::new(None),
            liveness: RefCell::new(Asked::Never),
            readiness: RefCell::new(Asked::Never),
            baseline: Cell::new(None),
            looked_for_leavers_at: Cell::new(None),
            listener: RefCell::new(None),
            ending_tree: Cell::new(false),
            variables: RefCell::new(None),
        }
    }

    pub(crate) fn prober(&self, check: Check) -> &RefCell<Asked> {
        match check {
            Check::Liveness => &self.liveness,
            Check::Readiness => &self.readiness,
        }
    }
}

//! The state that effects keep for one service.

use super::{Instance, SharedContext};
use crate::act::helper::HelperClient;
use crate::act::probe::Transcript;
use crate::act::runtime::in_use::ServiceRuntimes;
use crate::act::runtime::program_watch::ProgramWatch;
use crate::act::sockets::Sockets;
use crate::act::tree::Tree;
use crate::config;
use crate::config::runtime::expand_runtime;
use crate::decide::event::{Check, Life, ServiceId};
use std::cell::RefCell;
use std::rc::Rc;

/// One service: its configuration, its present instance, and what continues from instance to instance.
#[derive(Debug)]
pub(crate) struct ServiceContext {
    pub(crate) id: ServiceId,
    pub(crate) config: config::Service,
    /// The instance that is being prepared, runs, or is being ended.
    instance: RefCell<Option<Rc<Instance>>>,
    pub(crate) sockets: Sockets,
    /// The probe's last answers, for the evidence.
    pub(crate) transcript: Transcript,
    /// Reads the env_file.
    pub(crate) env_file: HelperClient,
    pub(crate) runtimes: ServiceRuntimes,
    /// Watches for a changed program while the service is parked.
    pub(crate) program_watch: ProgramWatch,
}

impl ServiceContext {
    /// A service without an instance.
    pub(crate) fn new(id: ServiceId, config: config::Service, shared: &SharedContext) -> Self {
        Self {
            id,
            instance: RefCell::default(),
            sockets: Sockets::new(&config, Rc::clone(&shared.received)),
            transcript: Transcript::default(),
            env_file: HelperClient::new(&shared.helpers),
            runtimes: ServiceRuntimes::new(&shared.helpers),
            program_watch: ProgramWatch::new(&shared.helpers),
            config,
        }
    }

    /// The name in the configuration.
    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    /// The present instance.
    pub(crate) fn current(&self) -> Option<Rc<Instance>> {
        self.instance.borrow().clone()
    }

    /// The present instance, if it has this number; none for an action or an event about an older instance.
    pub(crate) fn instance(&self, life: Life) -> Option<Rc<Instance>> {
        self.current().filter(|instance| instance.life == life)
    }

    /// Makes `instance` the present one.
    pub(crate) fn begin(&self, instance: Instance) -> Rc<Instance> {
        let instance = Rc::new(instance);
        self.instance.replace(Some(Rc::clone(&instance)));
        instance
    }

    /// Removes and returns the present instance, if it has this number.
    pub(crate) fn take(&self, life: Life) -> Option<Rc<Instance>> {
        let mut current = self.instance.borrow_mut();
        current.take_if(|instance| instance.life == life)
    }

    /// The tree of the present instance, including processes outside its process group even if a kill ends only that group.
    pub(crate) fn whole_tree(&self) -> Option<Tree> {
        let mut tree = self.current()?.tree.get()?;
        tree.group_only = false;
        Some(tree)
    }

    /// `argv` with `{runtime}` replaced by the root of the runtime in use.
    pub(crate) fn expand_runtime(&self, argv: &[String]) -> Vec<String> {
        let root = self.runtimes.root();
        let word = |word: &String| expand_runtime(word, root.as_deref());
        argv.iter().map(word).collect()
    }

    /// The configuration of a check.
    pub(crate) fn probe(&self, check: Check) -> Option<&config::Probe> {
        match check {
            Check::Liveness => self.config.probe.as_ref(),
            Check::Readiness => self.config.ready.as_ref(),
        }
    }
}

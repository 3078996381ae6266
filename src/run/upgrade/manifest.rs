//! The manifest of an in-place upgrade: what one version hands over to the next, and the meaning of each descriptor.

use crate::act::recovery::InheritedInstance;
use crate::act::recovery::handover::{InheritedDescriptors, InstanceHandover, SocketHandover};
use crate::act::sockets::HeldSocket;
use crate::act::spawn::spawner::Spawner;
use crate::api::wire;
use crate::decide::handover::StateHandover;
use crate::run::control::InheritedSocket;
use crate::run::state_lock::InheritedLocks;
use crate::sys::handover::{self, Handover};
use crate::sys::limits::OpenFilesLimit;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// The version of the manifest's form. Raise it with every change of the manifest or of [`StateHandover`], so that no version
/// reads a form that it does not know.
///
/// - 4: the limit of open files that stayd was given.
/// - 2: plain names, and the state of a service is written as the type that `decide` itself uses.
pub const FORMAT: u32 = 4;

/// The manifest. A descriptor is its place in the list of descriptors that are handed over with it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// [`FORMAT`]
    pub(super) format: u32,
    pub(super) upgrade: wire::Upgrade,
    /// When this process became stayd (RFC 3339).
    pub(super) started_at: String,
    /// When the loop's clock began, on the awake-time clock of the system.
    pub(super) clock_began: Duration,
    /// Descriptor of the lock in the state folder.
    pub(super) lock: usize,
    /// Descriptor of the lock in the runtime folder.
    pub(super) second_lock: Option<usize>,
    /// Descriptor of the control socket.
    pub(super) listener: usize,
    /// Path of the control socket.
    pub(super) socket: PathBuf,
    /// The gid of the control group.
    pub(super) group: Option<u32>,
    /// Soft and hard limit of open files that this process was given before it raised its own.
    pub(super) open_files: Option<(u64, u64)>,
    pub(super) services: BTreeMap<String, ServiceHandover>,
    /// The sockets that stayd holds for services.
    pub(super) sockets: Vec<SocketHandover>,
}

/// One service.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ServiceHandover {
    /// The state of its state machine.
    pub(super) state: Option<StateHandover>,
    /// Its instance.
    pub(super) instance: Option<InstanceHandover>,
}

/// What the previous version handed over.
#[derive(Debug)]
pub struct InheritedState {
    pub(in crate::run) locks: Option<InheritedLocks>,
    pub(in crate::run) socket: Option<InheritedSocket>,
    pub(in crate::run) clock_began: Duration,
    pub(in crate::run) started_at: String,
    pub(in crate::run) open_files: Option<OpenFilesLimit>,
    pub(in crate::run) upgrade: wire::Upgrade,
    /// The state of each service's state machine.
    pub(in crate::run) services: BTreeMap<String, StateHandover>,
    /// The sockets that stayd holds for services.
    pub(in crate::run) held: Vec<HeldSocket>,
    instances: BTreeMap<String, InstanceHandover>,
    descriptors: InheritedDescriptors,
}

impl InheritedState {
    /// What was handed over to this process, if anything was.
    ///
    /// # Errors
    /// The handover cannot be read. If stayd ends now, the next one adopts the services.
    pub fn receive() -> Result<Option<Self>, String> {
        let Some(number) = std::env::var_os(handover::VARIABLE) else {
            return Ok(None);
        };
        let number = number.to_string_lossy();
        let (fds, text) = Handover::receive(&number).map_err(|error| {
            format!("cannot read the handover of the previous version: {error}")
        })?;
        Self::open(fds, &text).map(Some)
    }

    /// Reads the manifest `text` and takes its descriptors from `fds`.
    pub(super) fn open(fds: Vec<OwnedFd>, text: &[u8]) -> Result<Self, String> {
        let manifest: Manifest = serde_json::from_slice(text).map_err(|error| {
            format!("cannot parse the manifest of the previous version: {error}")
        })?;
        let mut descriptors = InheritedDescriptors::new(fds);
        let locks = descriptors.take(manifest.lock).map(|lock| InheritedLocks {
            lock,
            second: manifest
                .second_lock
                .and_then(|place| descriptors.take(place)),
        });
        let socket = descriptors
            .take(manifest.listener)
            .map(|listener| InheritedSocket {
                listener,
                path: manifest.socket,
                group: manifest.group,
            });
        let held = manifest.sockets.into_iter();
        let held = held
            .filter_map(|socket| socket.receive(&mut descriptors))
            .collect();
        let (mut services, mut instances) = (BTreeMap::new(), BTreeMap::new());
        for (name, ServiceHandover { state, instance }) in manifest.services {
            if let Some(state) = state {
                services.insert(name.clone(), state);
            }
            if let Some(instance) = instance {
                instances.insert(name, instance);
            }
        }
        Ok(Self {
            locks,
            socket,
            clock_began: manifest.clock_began,
            started_at: manifest.started_at,
            open_files: manifest
                .open_files
                .map(|(soft, hard)| OpenFilesLimit { soft, hard }),
            upgrade: manifest.upgrade,
            services,
            held,
            instances,
            descriptors,
        })
    }

    /// Takes the instances. Call it before any child is reaped.
    pub(in crate::run) fn take_instances(
        &mut self,
        spawner: &Spawner,
    ) -> BTreeMap<String, InheritedInstance> {
        let instances = std::mem::take(&mut self.instances).into_iter();
        instances
            .map(|(name, instance)| (name, instance.receive(spawner, &mut self.descriptors)))
            .collect()
    }
}

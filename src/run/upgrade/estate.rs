//! What one version leaves to the next: descriptors, and a text that says what each of them is.

use crate::act::recovery::handover::{
    InheritedDescriptors, InheritedInstance, InstanceHandover, SocketHandover,
};
use crate::act::sockets::Held;
use crate::act::spawn::spawner::Spawner;
use crate::api::wire;
use crate::decide::state::StateHandover;
use crate::run::desk::LeftSocket;
use crate::run::home::LeftLocks;
use crate::sys::handover::{self, Parcel};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// Number of the manifest's format. It is raised with every change of the manifest or of
/// [`StateHandover`](crate::decide::state::StateHandover), so that a version never reads a form that it does not know.
///
/// - 2: the state of a service is written as the type that `decide` itself uses.
pub const FORMAT: u32 = 2;

/// The text.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Estate {
    /// [`FORMAT`]
    pub(super) format: u32,
    pub(super) upgrade: wire::Upgrade,
    /// Since when this process is stayd.
    pub(super) started_at: String,
    /// When the loop's clock began, on the system's own.
    pub(super) clock_began: Duration,
    pub(super) lock: usize,
    pub(super) deputy: Option<usize>,
    pub(super) listener: usize,
    pub(super) socket: PathBuf,
    pub(super) group: Option<u32>,
    pub(super) services: BTreeMap<String, ServiceLeft>,
    /// Held for them.
    pub(super) sockets: Vec<SocketHandover>,
}

/// One service.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ServiceLeft {
    pub(super) carried: Option<StateHandover>,
    pub(super) life: Option<InstanceHandover>,
}

/// What the version before has left, in hand.
#[derive(Debug)]
pub struct Inheritance {
    pub(in crate::run) locks: Option<LeftLocks>,
    pub(in crate::run) socket: Option<LeftSocket>,
    pub(in crate::run) clock_began: Duration,
    pub(in crate::run) started_at: String,
    pub(in crate::run) upgrade: wire::Upgrade,
    pub(in crate::run) carried: BTreeMap<String, StateHandover>,
    pub(in crate::run) held: Vec<Held>,
    lives: BTreeMap<String, InstanceHandover>,
    descriptors: InheritedDescriptors,
}

impl Inheritance {
    /// What was left to this process, if anything was.
    ///
    /// # Errors
    /// Something was, and cannot be understood: whoever starts us again will adopt the services.
    pub fn find() -> Result<Option<Self>, String> {
        let Some(number) = std::env::var_os(handover::VARIABLE) else {
            return Ok(None);
        };
        let number = number.to_string_lossy();
        let (fds, text) = Parcel::receive(&number)
            .map_err(|error| format!("cannot read what the version before has left: {error}"))?;
        Self::open(fds, &text).map(Some)
    }

    pub(super) fn open(fds: Vec<OwnedFd>, text: &[u8]) -> Result<Self, String> {
        let estate: Estate = serde_json::from_slice(text).map_err(|error| {
            format!("cannot understand what the version before has left: {error}")
        })?;
        let mut descriptors = InheritedDescriptors::new(fds);
        let locks = descriptors.take(estate.lock).map(|lock| LeftLocks {
            lock,
            deputy: estate.deputy.and_then(|place| descriptors.take(place)),
        });
        let socket = descriptors
            .take(estate.listener)
            .map(|listener| LeftSocket {
                listener,
                path: estate.socket,
                group: estate.group,
            });
        let held = estate.sockets.into_iter();
        let held = held
            .filter_map(|left| left.receive(&mut descriptors))
            .collect();
        let (mut carried, mut lives) = (BTreeMap::new(), BTreeMap::new());
        for (name, service) in estate.services {
            if let Some(handover) = service.carried {
                carried.insert(name.clone(), handover);
            }
            if let Some(life) = service.life {
                lives.insert(name, life);
            }
        }
        Ok(Self {
            locks,
            socket,
            clock_began: estate.clock_began,
            started_at: estate.started_at,
            upgrade: estate.upgrade,
            carried,
            held,
            lives,
            descriptors,
        })
    }

    /// The lives. To be called before anything is reaped.
    pub(in crate::run) fn lives(
        &mut self,
        spawner: &Spawner,
    ) -> BTreeMap<String, InheritedInstance> {
        let lives = std::mem::take(&mut self.lives).into_iter();
        lives
            .map(|(name, life)| (name, life.receive(spawner, &mut self.descriptors)))
            .collect()
    }
}

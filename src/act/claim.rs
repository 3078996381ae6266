//! Claims: what we wrote down about a process before it could run, so that a later stayd can prove it ours.
//!
//! One file for each service, replaced in one step. It is not fsynced: a power loss ends the boot, and with it
//! every claim of that boot. Whatever is wrong with a claim makes it *unverifiable*, and what is
//! unverifiable is left alone.

mod file;
#[cfg(test)]
mod tests;

pub use file::Reading;

use super::state_dir::StateDir;
use crate::decide::event::Life;
use crate::sys::process::{self, Process};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Members kept in a claim; the oldest are dropped first, the main process never.
pub const MEMBERS_MAX: usize = 256;

/// 128 random bits in a life's environment (`STAYD_TOKEN`), as 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// A fresh one from the system's generator.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn fresh() -> io::Result<Self> {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bytes))))
    }

    /// Its 32 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_well_formed(&self) -> bool {
        self.0.len() == 32 && self.0.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// The file behind a life's claim fd. Inodes are reused at once, so its birth belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimFile {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub inode: u64,
    /// When it was made, nanoseconds since 1970; 0 where the file system does not say.
    pub birth: u64,
}

/// A process as a claim names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its number.
    pub pid: i32,
    /// Kernel start time, see [`Process::birth`].
    pub birth: u64,
}

impl From<Process> for Member {
    fn from(process: Process) -> Self {
        Self {
            pid: process.pid,
            birth: process.birth,
        }
    }
}

impl From<Member> for Process {
    fn from(member: Member) -> Self {
        Self {
            pid: member.pid,
            birth: member.birth,
        }
    }
}

/// STATE/claims/SERVICE.json, as the contract lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The main process's number; none between the intent and the spawn.
    pub pid: Option<i32>,
    /// Its kernel start time.
    pub birth: Option<u64>,
    /// The boot it was written in.
    pub boot_id: String,
    /// Inode of the pid namespace that `pid` counts in; 0 where there are none.
    pub pid_ns: u64,
    /// The life's mark in its environment.
    pub token: Token,
    /// Which life.
    pub life: u32,
    /// What the life's claim fd is.
    pub claim_fd: ClaimFile,
    /// The process that the life began with, whose number is its session's; the main process may be its heir.
    #[serde(default)]
    pub first: Option<Member>,
    /// It was told to end.
    #[serde(default)]
    pub ending: bool,
    /// The user it ran as.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Processes of the life seen outside its tree.
    pub members: Vec<Member>,
    /// The program file.
    pub program: PathBuf,
    /// A hash of its whole command, which may hold secrets.
    #[serde(default)]
    pub command_key: Option<String>,
    /// The user it was to run as, by the name in the configuration.
    #[serde(default)]
    pub user: Option<String>,
    /// A hash of the variables it was given, which may hold secrets. None: from a stayd that wrote neither this nor `user`.
    #[serde(default)]
    pub env_key: Option<String>,
    /// Of its runtime, when it has one.
    pub fingerprint: Option<String>,
    /// Path of that runtime.
    pub runtime: Option<PathBuf>,
    /// Working directory.
    pub workspace: PathBuf,
    /// The port it must own.
    pub port: Option<u16>,
    /// When the main process started, RFC 3339.
    pub started_at: Option<String>,
}

impl Claim {
    /// The main process, once there is one.
    #[must_use]
    pub fn main(&self) -> Option<Process> {
        Some(Process {
            pid: self.pid?,
            birth: self.birth?,
        })
    }
}

/// What the disk says about each service that has a claim below `state`, an instance's folder that may be anybody's:
/// nothing is made there or changed.
///
/// # Errors
/// When the folder cannot be read; one that is not there has no claims.
pub fn read_all(state: &Path) -> io::Result<Vec<(String, Reading)>> {
    let dir = StateDir::claims_below(state);
    let services = match file::services(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        services => services?,
    };
    let read = |service: String| {
        let reading = file::read(&dir, &service);
        (service, reading)
    };
    Ok(services.into_iter().map(read).collect())
}

/// A claim could not be written.
#[derive(Debug)]
pub struct ClaimError {
    path: PathBuf,
    error: io::Error,
}

impl std::fmt::Display for ClaimError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "cannot write the claim {}: {}; kept in memory and tried again",
            self.path.display(),
            self.error
        )
    }
}

impl std::error::Error for ClaimError {}

/// A claim in memory, and whether the disk has this version of it.
#[derive(Debug)]
struct Held {
    claim: Claim,
    saved: bool,
}

/// All claims of this instance.
#[derive(Debug)]
pub struct Claims {
    dir: PathBuf,
    held: BTreeMap<String, Held>,
}

impl Claims {
    /// The claims in `state`. Reads nothing yet.
    #[must_use]
    pub fn new(state: &StateDir) -> Self {
        Self {
            dir: state.claims(),
            held: BTreeMap::new(),
        }
    }

    /// What the disk says about `service`, with suspicion.
    #[must_use]
    pub fn read(&self, service: &str) -> Reading {
        file::read(&self.dir, service)
    }

    /// Services that have a claim on disk, also those no longer configured.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn services(&self) -> io::Result<Vec<String>> {
        file::services(&self.dir)
    }

    /// Writes the intent to start a life, before there is a process: `claim.pid` is none.
    ///
    /// # Errors
    /// [`ClaimError`] when the disk refuses; the claim is right in memory and [`Claims::retry`] writes it. Until then a
    /// stayd that dies leaves nothing by which the next one could know this life.
    pub fn intend(&mut self, service: &str, claim: Claim) -> Result<(), ClaimError> {
        let written = file::write(&self.dir, service, &claim);
        let saved = written.is_ok();
        self.held.insert(service.to_owned(), Held { claim, saved });
        written.map_err(|error| self.refused(service, error))
    }

    /// Takes over what was read from disk: its process is supervised again.
    pub fn adopt(&mut self, service: &str, claim: Claim) {
        self.held
            .insert(service.to_owned(), Held { claim, saved: true });
    }

    /// The intent became a process: `exec` succeeded at `started_at` (RFC 3339). Also for an heir that takes
    /// the place of a launcher. Nothing happens when `life` is not the claimed one.
    ///
    /// # Errors
    /// [`ClaimError`] when the disk refuses; the claim is right in memory and [`Claims::retry`] writes it.
    pub fn name_main(
        &mut self,
        service: &str,
        life: Life,
        main: Process,
        started_at: String,
    ) -> Result<(), ClaimError> {
        self.change(service, life, |claim| {
            claim.first.get_or_insert(main.into());
            claim.uid = claim.uid.or_else(|| process::uid(main.pid).ok());
            claim.pid = Some(main.pid);
            claim.birth = Some(main.birth);
            claim.started_at = Some(started_at);
        })
    }

    /// The life is told to end: whoever finds it later goes on with that.
    ///
    /// # Errors
    /// As [`Claims::name_main`].
    pub fn end(&mut self, service: &str, life: Life) -> Result<(), ClaimError> {
        self.change(service, life, |claim| claim.ending = true)
    }

    /// Adds processes of the life that were seen outside its tree. Writes only when one is new.
    ///
    /// # Errors
    /// As [`Claims::name_main`].
    pub fn add_members(
        &mut self,
        service: &str,
        life: Life,
        seen: &[Process],
    ) -> Result<(), ClaimError> {
        let known = self
            .held
            .get(service)
            .map_or(&[][..], |held| &held.claim.members);
        let new: Vec<Member> = seen
            .iter()
            .map(|&process| Member::from(process))
            .filter(|member| !known.contains(member))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        self.change(service, life, |claim| {
            claim.members.extend(new);
            let surplus = claim.members.len().saturating_sub(MEMBERS_MAX);
            claim.members.drain(..surplus);
        })
    }

    /// The claim as we hold it.
    #[must_use]
    pub fn get(&self, service: &str) -> Option<&Claim> {
        self.held.get(service).map(|held| &held.claim)
    }

    /// The life is over and nothing of it is left: its claim goes. A newer life's claim stays.
    ///
    /// # Errors
    /// What unlink(2) says; a claim that is gone already is success.
    pub fn release(&mut self, service: &str, life: Life) -> io::Result<()> {
        if self
            .held
            .get(service)
            .is_none_or(|held| held.claim.life != life.0)
        {
            return Ok(());
        }
        file::remove(&self.dir, service)?;
        self.held.remove(service);
        Ok(())
    }

    /// Services whose claim on disk is older than the truth, because the disk refused it.
    pub fn unsaved(&self) -> impl Iterator<Item = &str> {
        self.held
            .iter()
            .filter(|(_, held)| !held.saved)
            .map(|(service, _)| service.as_str())
    }

    /// The folder was made anew: everything that is held is written again; true when nothing is left over.
    pub fn rewrite(&mut self) -> bool {
        for held in self.held.values_mut() {
            held.saved = false;
        }
        self.retry()
    }

    /// Writes again what the disk refused; true when nothing is left over.
    pub fn retry(&mut self) -> bool {
        for (service, held) in self.held.iter_mut().filter(|(_, held)| !held.saved) {
            held.saved = file::write(&self.dir, service, &held.claim).is_ok();
        }
        self.unsaved().next().is_none()
    }

    fn change(
        &mut self,
        service: &str,
        life: Life,
        edit: impl FnOnce(&mut Claim),
    ) -> Result<(), ClaimError> {
        let Some(held) = self
            .held
            .get_mut(service)
            .filter(|held| held.claim.life == life.0)
        else {
            return Ok(());
        };
        edit(&mut held.claim);
        let written = file::write(&self.dir, service, &held.claim);
        held.saved = written.is_ok();
        written.map_err(|error| self.refused(service, error))
    }

    fn refused(&self, service: &str, error: io::Error) -> ClaimError {
        ClaimError {
            path: file::path(&self.dir, service),
            error,
        }
    }
}

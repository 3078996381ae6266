//! Claims: what we wrote down about a process before it could run, so that a later stayd can prove it ours.
//!
//! One file for each service, replaced in one step. It is not fsynced: a power loss ends the boot, and with it
//! every claim of that boot. Whatever is wrong with a claim makes it *unverifiable*, and what is
//! unverifiable is left alone.

mod file;
mod record;
#[cfg(test)]
mod tests;

pub use file::Reading;
pub use record::{Claim, ClaimFile, Ended, Member, Token};

use crate::act::dirs::state_dir::StateDir;
use crate::decide::event::{Exit, Life};
use crate::sys::process::{self, Process};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Members kept in a claim; the oldest are dropped first, the main process never.
pub const MEMBERS_MAX: usize = 256;

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
    held: RefCell<BTreeMap<String, Held>>,
}

impl Claims {
    /// The claims in `state`. Reads nothing yet.
    #[must_use]
    pub fn new(state: &StateDir) -> Self {
        Self {
            dir: state.claims(),
            held: RefCell::default(),
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
    pub fn intend(&self, service: &str, claim: Claim) -> Result<(), ClaimError> {
        let written = file::write(&self.dir, service, &claim);
        let saved = written.is_ok();
        self.held
            .borrow_mut()
            .insert(service.to_owned(), Held { claim, saved });
        written.map_err(|error| self.refused(service, error))
    }

    /// Takes over what was read from disk: its process is supervised again.
    pub fn adopt(&self, service: &str, claim: Claim) {
        self.held
            .borrow_mut()
            .insert(service.to_owned(), Held { claim, saved: true });
    }

    /// The intent became a process: `exec` succeeded at `started_at` (RFC 3339). Also for an heir that takes
    /// the place of a launcher. Nothing happens when `life` is not the claimed one.
    ///
    /// # Errors
    /// [`ClaimError`] when the disk refuses; the claim is right in memory and [`Claims::retry`] writes it.
    pub fn name_main(
        &self,
        service: &str,
        life: Life,
        main: Process,
        started_at: String,
    ) -> Result<(), ClaimError> {
        self.change(service, life, |claim| {
            claim.first.get_or_insert(main.into());
            claim.uid = claim.uid.or_else(|| process::uid(main.pid).ok());
            claim.pid = Some(main.pid);
            claim.start_time = Some(main.start_time);
            claim.started_at = Some(started_at);
        })
    }

    /// The life is told to end: whoever finds it later goes on with that.
    ///
    /// # Errors
    /// As [`Claims::name_main`].
    pub fn end(&self, service: &str, life: Life) -> Result<(), ClaimError> {
        self.change(service, life, |claim| claim.ending = true)
    }

    /// The life is over, and none follows by itself: the claim stays until [`Claims::release_ended`], so that the next
    /// stayd, if this one does not end in order, does not take the service for one that has not run yet.
    ///
    /// # Errors
    /// As [`Claims::name_main`].
    pub fn conclude(&self, service: &str, life: Life, exit: Exit) -> Result<(), ClaimError> {
        self.change(service, life, |claim| claim.ended = Some(exit.into()))
    }

    /// stayd ends in order: the next one begins everything anew.
    pub fn release_ended(&self) {
        let ended: Vec<_> = self
            .held
            .borrow()
            .iter()
            .filter(|(_, held)| held.claim.ended.is_some())
            .map(|(service, held)| (service.clone(), Life(held.claim.life)))
            .collect();
        for (service, life) in ended {
            if let Err(error) = self.release(&service, life) {
                tracing::warn!(service, "cannot remove its claim: {error}");
            }
        }
    }

    /// Adds processes of the life that were seen outside its tree. Writes only when one is new.
    ///
    /// # Errors
    /// As [`Claims::name_main`].
    pub fn add_members(
        &self,
        service: &str,
        life: Life,
        seen: &[Process],
    ) -> Result<(), ClaimError> {
        let new: Vec<Member> = {
            let held = self.held.borrow();
            let known = held
                .get(service)
                .map_or(&[][..], |held| &held.claim.members);
            seen.iter()
                .map(|&process| Member::from(process))
                .filter(|member| !known.contains(member))
                .collect()
        };
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
    pub fn get(&self, service: &str) -> Option<Claim> {
        let held = self.held.borrow();
        held.get(service).map(|held| held.claim.clone())
    }

    /// The life is over and nothing of it is left: its claim goes. A newer life's claim stays.
    ///
    /// # Errors
    /// What unlink(2) says; a claim that is gone already is success.
    pub fn release(&self, service: &str, life: Life) -> io::Result<()> {
        if self
            .held
            .borrow()
            .get(service)
            .is_none_or(|held| held.claim.life != life.0)
        {
            return Ok(());
        }
        file::remove(&self.dir, service)?;
        self.held.borrow_mut().remove(service);
        Ok(())
    }

    /// Services whose claim on disk is older than the truth, because the disk refused it.
    pub fn unsaved(&self) -> Vec<String> {
        self.held
            .borrow()
            .iter()
            .filter(|(_, held)| !held.saved)
            .map(|(service, _)| service.clone())
            .collect()
    }

    /// The folder was made anew: everything that is held is written again; true when nothing is left over.
    pub fn rewrite(&self) -> bool {
        for held in self.held.borrow_mut().values_mut() {
            held.saved = false;
        }
        self.retry()
    }

    /// Writes again what the disk refused; true when nothing is left over.
    pub fn retry(&self) -> bool {
        let mut held = self.held.borrow_mut();
        for (service, held) in held.iter_mut().filter(|(_, held)| !held.saved) {
            held.saved = file::write(&self.dir, service, &held.claim).is_ok();
        }
        held.values().all(|held| held.saved)
    }

    fn change(
        &self,
        service: &str,
        life: Life,
        edit: impl FnOnce(&mut Claim),
    ) -> Result<(), ClaimError> {
        let mut held = self.held.borrow_mut();
        let Some(held) = held
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

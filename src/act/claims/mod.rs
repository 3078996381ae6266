//! Claims: files that record each started process, so that a later stayd can prove that the process is its own.
//!
//! Each service has one file, which is replaced atomically. It is not fsynced: a power loss ends the boot, and claims
//! are valid only within their boot. A claim with any defect is *unverifiable*, and stayd does not touch the processes
//! that an unverifiable claim names.

mod file;
mod record;
#[cfg(test)]
mod tests;

pub use file::ClaimOnDisk;
pub use record::{Claim, ClaimFile, RecordedExit, RecordedProcess, Token};

use crate::act::dirs::state_dir::{StateDir, create_folder};
use crate::decide::event::{Exit, Life};
use crate::sys::process::{self, Process};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The largest number of members in a claim. The oldest are dropped first; the main process is never dropped.
pub const MEMBERS_MAX: usize = 256;

/// Reads the claim of every service that has one below `state`, without creating or changing anything. `state` may
/// belong to another user.
///
/// # Errors
/// When the folder cannot be read. A missing folder is an empty list.
pub fn read_all(state: &Path) -> io::Result<Vec<(String, ClaimOnDisk)>> {
    let dir = StateDir::claims_below(state);
    let services = match file::services(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        services => services?,
    };
    let read = |service: String| {
        let on_disk = file::read(&dir, &service);
        (service, on_disk)
    };
    Ok(services.into_iter().map(read).collect())
}

/// A claim could not be written to disk.
#[derive(Debug)]
pub struct ClaimError {
    path: PathBuf,
    error: io::Error,
}

impl std::fmt::Display for ClaimError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "cannot write the claim {}: {}; stayd keeps it in memory and tries again",
            self.path.display(),
            self.error
        )
    }
}

impl std::error::Error for ClaimError {}

/// A claim in memory, and whether this version of it is on disk.
#[derive(Debug)]
struct CachedClaim {
    claim: Claim,
    is_saved: bool,
}

/// The claims of this stayd: in memory, and as files in STATE/claims.
#[derive(Debug)]
pub struct Claims {
    dir: PathBuf,
    by_service: RefCell<BTreeMap<String, CachedClaim>>,
}

impl Claims {
    /// The claims in `state`. Reads nothing from disk.
    #[must_use]
    pub fn new(state: &StateDir) -> Self {
        Self {
            dir: state.claims(),
            by_service: RefCell::default(),
        }
    }

    /// Reads and verifies the claim of `service` on disk.
    #[must_use]
    pub fn read(&self, service: &str) -> ClaimOnDisk {
        file::read(&self.dir, service)
    }

    /// The services that have a claim on disk, including services that are no longer configured.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn services(&self) -> io::Result<Vec<String>> {
        file::services(&self.dir)
    }

    /// Writes a claim before its process exists, with `claim.pid` none.
    ///
    /// # Errors
    /// [`ClaimError`] when the claim cannot be written. The claim in memory is correct and [`Claims::retry_unsaved`]
    /// writes it later. If stayd dies before that, the next stayd has nothing by which it could recognize this
    /// instance.
    pub fn record_intent(&self, service: &str, claim: Claim) -> Result<(), ClaimError> {
        let written = file::write(&self.dir, service, &claim);
        let is_saved = written.is_ok();
        self.insert(service, CachedClaim { claim, is_saved });
        written.map_err(|error| self.error(service, error))
    }

    /// Takes over a claim that was read from disk: stayd supervises its process again.
    pub fn adopt(&self, service: &str, claim: Claim) {
        let is_saved = true;
        self.insert(service, CachedClaim { claim, is_saved });
    }

    /// Records the main process of instance `life`: a process whose `exec` succeeded at `started_at` (RFC 3339), or the
    /// successor of a launcher. Does nothing when the claim is about another instance.
    ///
    /// # Errors
    /// [`ClaimError`] when the claim cannot be written. The claim in memory is correct and [`Claims::retry_unsaved`]
    /// writes it later.
    pub fn set_main_process(
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

    /// Records that the instance was ready. A stayd that adopts it does not wait for its start again.
    ///
    /// # Errors
    /// As [`Claims::set_main_process`].
    pub fn mark_ready(&self, service: &str, life: Life) -> Result<(), ClaimError> {
        self.change(service, life, |claim| claim.ready = true)
    }

    /// Records that stayd has begun to end the instance. A stayd that adopts it continues to end it.
    ///
    /// # Errors
    /// As [`Claims::set_main_process`].
    pub fn mark_ending(&self, service: &str, life: Life) -> Result<(), ClaimError> {
        self.change(service, life, |claim| claim.ending = true)
    }

    /// Records that the instance has ended and that no restart follows. The claim stays until
    /// [`Claims::release_ended`]: if stayd crashes before that, the next stayd must not treat the service as one that has not
    /// run yet.
    ///
    /// # Errors
    /// As [`Claims::set_main_process`].
    pub fn record_exit(&self, service: &str, life: Life, exit: Exit) -> Result<(), ClaimError> {
        self.change(service, life, |claim| claim.ended = Some(exit.into()))
    }

    /// Removes the claims of ended instances, because stayd shuts down in order: the next stayd starts every service.
    pub fn release_ended(&self) {
        let ended: Vec<_> = self
            .by_service
            .borrow()
            .iter()
            .filter(|(_, cached)| cached.claim.ended.is_some())
            .map(|(service, cached)| (service.clone(), Life(cached.claim.life)))
            .collect();
        for (service, life) in ended {
            if let Err(error) = self.release(&service, life) {
                tracing::warn!(
                    service,
                    "cannot remove its claim: {error}; the next stayd treats the service as ended and does not start it"
                );
            }
        }
    }

    /// Adds processes of the instance that were seen outside its tree. Writes only when at least one is new.
    ///
    /// # Errors
    /// As [`Claims::set_main_process`].
    pub fn add_members(
        &self,
        service: &str,
        life: Life,
        seen: &[Process],
    ) -> Result<(), ClaimError> {
        let new: Vec<RecordedProcess> = {
            let by_service = self.by_service.borrow();
            let known = by_service
                .get(service)
                .map_or(&[][..], |cached| &cached.claim.members);
            seen.iter()
                .map(|&process| RecordedProcess::from(process))
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

    /// The claim of `service` in memory.
    #[must_use]
    pub fn get(&self, service: &str) -> Option<Claim> {
        let by_service = self.by_service.borrow();
        by_service.get(service).map(|cached| cached.claim.clone())
    }

    /// Removes the claim of instance `life`, because no process of it is left. A newer instance's claim stays.
    ///
    /// # Errors
    /// Errors of unlink(2), except that a missing file is success.
    pub fn release(&self, service: &str, life: Life) -> io::Result<()> {
        if self
            .by_service
            .borrow()
            .get(service)
            .is_none_or(|cached| cached.claim.life != life.0)
        {
            return Ok(());
        }
        file::remove(&self.dir, service)?;
        self.by_service.borrow_mut().remove(service);
        Ok(())
    }

    /// The services whose claim on disk is outdated because it could not be written.
    #[must_use]
    pub fn unsaved(&self) -> Vec<String> {
        self.by_service
            .borrow()
            .iter()
            .filter(|(_, cached)| !cached.is_saved)
            .map(|(service, _)| service.clone())
            .collect()
    }

    /// Writes every claim again whose file was deleted. Returns the services whose claim was missing and is on disk again; a
    /// claim that cannot be written counts as unsaved.
    pub fn restore_deleted(&self) -> Vec<String> {
        let mut by_service = self.by_service.borrow_mut();
        let mut restored = Vec::new();
        for (service, cached) in by_service.iter_mut().filter(|(_, cached)| cached.is_saved) {
            if !file::is_missing(&self.dir, service) {
                continue;
            }
            let written = create_folder(&self.dir)
                .and_then(|()| file::write(&self.dir, service, &cached.claim));
            cached.is_saved = written.is_ok();
            if cached.is_saved {
                restored.push(service.clone());
            }
        }
        restored
    }

    /// Writes again the claims that could not be written. Returns true when all are on disk.
    pub fn retry_unsaved(&self) -> bool {
        let mut by_service = self.by_service.borrow_mut();
        for (service, cached) in by_service.iter_mut().filter(|(_, cached)| !cached.is_saved) {
            cached.is_saved = file::write(&self.dir, service, &cached.claim).is_ok();
        }
        by_service.values().all(|cached| cached.is_saved)
    }

    fn insert(&self, service: &str, cached: CachedClaim) {
        self.by_service
            .borrow_mut()
            .insert(service.to_owned(), cached);
    }

    fn change(
        &self,
        service: &str,
        life: Life,
        edit: impl FnOnce(&mut Claim),
    ) -> Result<(), ClaimError> {
        let mut by_service = self.by_service.borrow_mut();
        let Some(cached) = by_service
            .get_mut(service)
            .filter(|cached| cached.claim.life == life.0)
        else {
            return Ok(());
        };
        edit(&mut cached.claim);
        let written = file::write(&self.dir, service, &cached.claim);
        cached.is_saved = written.is_ok();
        written.map_err(|error| self.error(service, error))
    }

    fn error(&self, service: &str, error: io::Error) -> ClaimError {
        ClaimError {
            path: file::path(&self.dir, service),
            error,
        }
    }
}

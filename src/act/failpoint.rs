//! Failpoints: named places in the code at which a debug build kills itself or panics, so that tests can interrupt
//! stayd between two steps.
//!
//! `STAYD_DIE_AT=BeforeIntent` sends SIGKILL to the process at that place; `STAYD_DIE_AT=panic:BeforeIntent` panics
//! there, as a bug of stayd would. Every effect that takes more than one step has a failpoint between the steps, and a
//! test goes through all of them. A release build contains none of this.

use std::ffi::OsString;

#[cfg(debug_assertions)]
const DIE_AT: &str = "STAYD_DIE_AT";

/// A place between two steps that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failpoint {
    /// The instance has its FIFO; its claim is not written yet.
    BeforeIntent,
    /// The spare file holds the new claim and is not exchanged with the old one yet.
    ClaimHalfWritten,
    /// The claim names an instance that has no process yet.
    AfterIntent,
    /// The process runs; the claim does not name it yet.
    Forked,
    /// The claim names the process; no event about it is sent yet.
    MainProcessRecorded,
    /// Ownership of an earlier stayd's instance is proven; the instance is not adopted yet.
    OwnershipProven,
    /// The instance is adopted; no event about it is sent yet.
    Adopted,
    /// The stop signal is sent.
    Terminated,
    /// The main process is reaped; no event about it is sent yet.
    Reaped,
    /// A kill is pending; evidence is not collected yet.
    BeforeEvidence,
    /// Evidence is collected; the process still runs.
    AfterEvidence,
    /// One member of the tree is killed.
    FirstKilled,
    /// The tree is gone; its claim still exists.
    TreeEmpty,
    /// The claim is about to be removed.
    BeforeRelease,
    /// The claim is removed; its spare file still exists.
    HalfReleased,
    /// The claim is removed; the FIFO still exists.
    AfterRelease,
    /// The log file is full and about to be rotated.
    BeforeRotation,
    /// The older log files are renamed; the current one is not.
    HalfRotated,
    /// Rotation is done; there is no current log file.
    AfterRotation,
    /// All work is suspended for the upgrade; nothing is handed over yet.
    UpgradeReady,
    /// Everything is handed over; the new version is not executed yet.
    BeforeExec,
    /// The new version runs and has taken over nothing yet.
    NewVersionStarted,
    /// The new version has its locks, its socket and its journal, but no service yet.
    ControlTakenOver,
    /// The folder for a runtime's copy exists; copying has not begun.
    CopyBegun,
    /// The runtime is copied; it has no listing and is not renamed into place.
    Copied,
    /// The listing is written; the copy is not renamed into place.
    Listed,
    /// The copy is in its place; its service does not use it yet.
    Published,
}

impl Failpoint {
    /// The failpoints in a helper that copies a runtime.
    pub const RUNTIME_COPY: [Self; 4] =
        [Self::CopyBegun, Self::Copied, Self::Listed, Self::Published];
    /// The failpoints in stayd itself.
    pub const ALL: [Self; 23] = [
        Self::BeforeIntent,
        Self::ClaimHalfWritten,
        Self::AfterIntent,
        Self::Forked,
        Self::MainProcessRecorded,
        Self::OwnershipProven,
        Self::Adopted,
        Self::Terminated,
        Self::Reaped,
        Self::BeforeEvidence,
        Self::AfterEvidence,
        Self::FirstKilled,
        Self::TreeEmpty,
        Self::BeforeRelease,
        Self::HalfReleased,
        Self::AfterRelease,
        Self::BeforeRotation,
        Self::HalfRotated,
        Self::AfterRotation,
        Self::UpgradeReady,
        Self::BeforeExec,
        Self::NewVersionStarted,
        Self::ControlTakenOver,
    ];

    /// The value of `STAYD_DIE_AT` that selects this failpoint: the name of the variant.
    #[must_use]
    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

/// The variable that a debug build passes to a helper, so that the helper can die at one of its own failpoints.
#[cfg(debug_assertions)]
pub(crate) fn environment_for_helper() -> Option<(OsString, OsString)> {
    std::env::var_os(DIE_AT).map(|name| (DIE_AT.into(), name))
}

/// A release build passes no variable to its helpers.
#[cfg(not(debug_assertions))]
pub(crate) const fn environment_for_helper() -> Option<(OsString, OsString)> {
    None
}

/// Kills the process with SIGKILL if this is a debug build and `STAYD_DIE_AT` names `failpoint`; returns otherwise.
///
/// # Panics
/// If `STAYD_DIE_AT` is `panic:` and the name of `failpoint`, or names no failpoint: the test that set it would test nothing.
#[cfg(debug_assertions)]
pub(crate) fn reached(failpoint: Failpoint) {
    static SELECTED: std::sync::LazyLock<Option<String>> = std::sync::LazyLock::new(|| {
        let selected = std::env::var(DIE_AT).ok()?;
        let name = selected.strip_prefix("panic:").unwrap_or(&selected);
        let mut known = Failpoint::ALL.into_iter().chain(Failpoint::RUNTIME_COPY);
        let exists = known.any(|known| known.name() == name);
        assert!(exists, "{DIE_AT} names no failpoint: {selected}");
        Some(selected)
    });
    let Some(selected) = &*SELECTED else { return };
    let to_panic = selected.strip_prefix("panic:");
    if to_panic.unwrap_or(selected) != failpoint.name() {
        return;
    }
    assert!(
        to_panic.is_none(),
        "panic requested by {DIE_AT} at {failpoint:?}"
    );
    let _does_not_return = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
}

/// Does nothing in a release build.
#[cfg(not(debug_assertions))]
pub(crate) const fn reached(_: Failpoint) {}

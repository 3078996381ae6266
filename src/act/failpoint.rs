//! Named steps at which a debug build can be told to die, as by SIGKILL: `STAYD_DIE_AT=BeforeIntent`; or, as by a bug of
//! ours, to panic: `STAYD_DIE_AT=panic:BeforeIntent`.
//!
//! Whatever stayd does in more than one step can be cut in two. A test goes through all steps; a release has none of it.

use std::ffi::OsString;

#[cfg(debug_assertions)]
const DIE_AT: &str = "STAYD_DIE_AT";

/// A moment between two things that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failpoint {
    /// The life has its FIFO, and the claim does not know it.
    BeforeIntent,
    /// The spare file holds the new claim, and has not changed places with the old one.
    ClaimHalfWritten,
    /// The claim names a life without a process.
    AfterIntent,
    /// The process runs, and the claim does not name it.
    Forked,
    /// The claim names the process, and nobody else has heard of it.
    Named,
    /// An earlier stayd's life is proven, and not in hand.
    Proven,
    /// It is in hand, and nobody has heard of it.
    TakenInHand,
    /// The stop signal is sent.
    Terminated,
    /// The main process is reaped, and nobody has heard of it.
    Reaped,
    /// KillPending, and not looked at.
    BeforeEvidence,
    /// Looked at, and alive.
    AfterEvidence,
    /// One member of the tree is killed.
    FirstKilled,
    /// The tree is gone, and its claim is not.
    TreeEmpty,
    /// The claim is about to go.
    BeforeRelease,
    /// The claim is gone, and its spare file is not.
    HalfReleased,
    /// The claim is gone, and the FIFO is not.
    AfterRelease,
    /// The log file is full.
    BeforeRotation,
    /// The elder log files have moved, and the current one has not.
    HalfRotated,
    /// There is no current log file.
    AfterRotation,
    /// Everything is at rest for a new version, and nothing is left to it.
    AtRest,
    /// Everything is left to the new version, which does not run.
    BeforeExec,
    /// The new version runs, and has not taken anything in hand.
    Received,
    /// The new version has its locks, its socket and its journal, and no service.
    TakenOver,
    /// A runtime is about to be copied, and has its folder.
    CopyBegun,
    /// It is copied, and neither listed nor in its place.
    Copied,
    /// It is listed, and not in its place.
    Listed,
    /// It is in its place, and its service does not know of it.
    Published,
}

impl Failpoint {
    /// Those of a helper that copies a runtime.
    pub const OF_A_COPY: [Self; 4] = [Self::CopyBegun, Self::Copied, Self::Listed, Self::Published];
    /// Every step of stayd itself.
    pub const ALL: [Self; 23] = [
        Self::BeforeIntent,
        Self::ClaimHalfWritten,
        Self::AfterIntent,
        Self::Forked,
        Self::Named,
        Self::Proven,
        Self::TakenInHand,
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
        Self::AtRest,
        Self::BeforeExec,
        Self::Received,
        Self::TakenOver,
    ];

    /// Its name in `STAYD_DIE_AT`: the variant's own.
    #[must_use]
    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

/// What a helper of a debug build has to be given to die where it was told to.
#[cfg(debug_assertions)]
pub(crate) fn handed_on() -> Option<(OsString, OsString)> {
    std::env::var_os(DIE_AT).map(|step| (DIE_AT.into(), step))
}

/// A release hands nothing on.
#[cfg(not(debug_assertions))]
pub(crate) const fn handed_on() -> Option<(OsString, OsString)> {
    None
}

/// `step` is reached: a debug build that was told to die here does, and returns in no other case.
///
/// # Panics
/// When it was told to.
#[cfg(debug_assertions)]
pub(crate) fn reached(step: Failpoint) {
    static TOLD: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var(DIE_AT).ok());
    let Some(named) = &*TOLD else { return };
    let bug = named.strip_prefix("panic:");
    if bug.unwrap_or(named) != step.name() {
        return;
    }
    assert!(bug.is_none(), "told to panic at {step:?}");
    let _does_not_return = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
}

/// A release goes on.
#[cfg(not(debug_assertions))]
pub(crate) const fn reached(_: Failpoint) {}

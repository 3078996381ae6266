//! An upgrade in progress: its stage, and what it waits for.

use super::self_check::CheckedProgram;
use crate::api::backend::PendingUpgrade;
use crate::decide::action::{self, Record, RecordValue};
use crate::decide::clock::Instant;
use crate::run::state_lock::InheritedLocks;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The time between two checks whether it has ended.
const CHECK_EVERY: Duration = Duration::from_millis(10);

/// An upgrade in progress.
pub(in crate::run) struct UpgradeAttempt {
    /// Receives the answer for the client.
    pub(super) reply: PendingUpgrade,
    pub(super) stage: Stage,
}

pub(super) enum Stage {
    /// The self-check of the new program runs.
    Checking(JoinHandle<Result<CheckedProgram, String>>),
    /// The loop waits until no work is in progress.
    Waiting {
        program: CheckedProgram,
        until: Instant,
    },
    /// No work is in progress.
    Ready {
        program: CheckedProgram,
        descriptors: EssentialDescriptors,
    },
}

/// The descriptors without which a new version cannot run, duplicated before this version closes anything.
#[derive(Debug)]
pub(super) struct EssentialDescriptors {
    pub(super) locks: InheritedLocks,
    pub(super) listener: OwnedFd,
}

/// What an upgrade in progress waits for.
pub(in crate::run) enum Progress {
    /// The self-check has ended.
    Checked(Result<CheckedProgram, String>),
    /// It is time to check whether work is in progress.
    CheckQuiescence,
}

/// Waits for the next progress of the upgrade; forever if there is none.
pub(in crate::run) async fn progress(upgrade: &mut Option<UpgradeAttempt>) -> Progress {
    match upgrade.as_mut().map(|upgrade| &mut upgrade.stage) {
        None => std::future::pending().await,
        Some(Stage::Waiting { .. } | Stage::Ready { .. }) => {
            tokio::time::sleep(CHECK_EVERY).await;
            Progress::CheckQuiescence
        }
        Some(Stage::Checking(task)) => {
            // The join cannot fail: the task is never aborted, and a panic aborts the process.
            let checked = task.await;
            Progress::Checked(
                checked.unwrap_or_else(|_join_error| Err("its self-check was lost".into())),
            )
        }
    }
}

/// The journal's record of an upgrade.
pub(in crate::run) fn record(sentence: &str, is_done: bool) -> Record {
    Record {
        kind: action::RecordKind::Upgraded,
        life: None,
        sentence: sentence.into(),
        facts: vec![("done", RecordValue::Flag(is_done))],
    }
}

//! In-place upgrade: a new version of stayd replaces this one in the same process and keeps its children, locks and sockets.
//!
//! 1. Self-check (`self_check`): this version opens the new program once and runs it with a hidden command. The program reads
//!    the same configuration, and reports its state folder and whether it understands the manifest. On any error this
//!    version keeps running.
//! 2. Quiescence (`attempt`, `steps`): the loop keeps running until no work is in progress: no probe attempt, no start, no kill. If
//!    that takes too long, this version keeps running, and nothing has changed.
//! 3. Handover (`handover`, `manifest`): clients get their answers, output and journal are closed, the manifest and the
//!    descriptors are written down, and signals are blocked.
//! 4. execve(2). The new version starts as usual, except that it already holds the locks and the listening socket, and that
//!    its services are still its children. If execve(2) fails, this version starts again in the same way.

mod attempt;
mod handover;
mod manifest;
mod self_check;
mod steps;
mod threads;

pub use manifest::{FORMAT, InheritedState};
pub use self_check::{SelfCheckReport, VERB};

pub(super) use attempt::{UpgradeAttempt, progress, record};
pub(super) use handover::PreparedUpgrade;

//! The tree killer: kills process trees, each on a thread of its own, and lets stayd wait for these threads before it ends.

use super::{KillOutcome, Member, Tree};
use crate::act::off_loop::{OffLoopError, off_loop};
use crate::sys::process::State;
use crate::sys::reaper::Reaped;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as blocking;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The most time for one kill. A tree that still has members then is reported as unkillable.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest number of reaped processes that wait for the loop.
const REAPED_MAX: usize = 1024;
/// How often a kill in the background is attempted, each time for [`KILL_TIMEOUT`], because nothing else would repeat it.
const ATTEMPTS_MAX: u32 = 12;
/// The pause before another attempt to create a thread.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Stack of a killing thread: it walks tables of the kernel and sends signals.
const STACK_BYTES: usize = 256 * 1024;

/// Kills process trees. Clones share the queue of reaped processes.
#[derive(Clone, Debug)]
pub struct TreeKiller {
    exits: mpsc::Sender<Reaped>,
    /// Each thread that starts or kills children holds a clone; [`KillThreads`] ends with the last one.
    at_work: blocking::Sender<Infallible>,
    /// How many threads are killing.
    killing: Arc<AtomicUsize>,
}

/// Waits for the threads that start or kill children.
#[derive(Debug)]
pub struct KillThreads(blocking::Receiver<Infallible>);

/// Returns a tree killer, the queue of processes that its kills have reaped (the loop empties it), and a handle to wait for
/// its threads.
#[must_use]
pub fn open() -> (TreeKiller, mpsc::Receiver<Reaped>, KillThreads) {
    let (exits, ended) = mpsc::channel(REAPED_MAX);
    let (at_work, threads) = blocking::channel();
    let tree_killer = TreeKiller {
        exits,
        at_work,
        killing: Arc::default(),
    };
    (tree_killer, ended, KillThreads(threads))
}

impl TreeKiller {
    /// Sends SIGKILL to the tree until no member is left, for at most five seconds. None: the system cannot create a thread.
    pub async fn end(&self, tree: Tree) -> Option<KillOutcome> {
        self.start(tree, 1)?.await.ok()
    }

    /// The same for about a minute, whether or not anything waits for the outcome.
    pub(crate) fn begin(&self, tree: Tree) -> Option<oneshot::Receiver<KillOutcome>> {
        self.start(tree, ATTEMPTS_MAX)
    }

    /// Whether a thread is killing. The exits that such a thread has reaped may not have reached the loop yet.
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        self.killing.load(Ordering::SeqCst) > 0
    }

    fn start(&self, tree: Tree, attempts: u32) -> Option<oneshot::Receiver<KillOutcome>> {
        let (send, outcome) = oneshot::channel();
        let Self {
            exits,
            at_work,
            killing,
        } = self.clone();
        killing.fetch_add(1, Ordering::SeqCst);
        let thread = std::thread::Builder::new()
            .name("kill".into())
            .stack_size(STACK_BYTES);
        let started = thread.spawn(move || {
            let _at_work = at_work;
            let kill = || {
                tree.clone().kill(KILL_TIMEOUT, &|reaped| {
                    // Fails only when the loop, which empties this queue, has ended.
                    let _ = exits.blocking_send(reaped);
                })
            };
            let mut outcome = kill();
            for _ in 1..attempts {
                if outcome.left == 0 {
                    break;
                }
                outcome = kill();
            }
            // Fails only when nothing waits for the outcome.
            let _ = send.send(outcome);
            killing.fetch_sub(1, Ordering::SeqCst);
        });
        match started {
            Ok(_) => Some(outcome),
            Err(error) => {
                self.killing.fetch_sub(1, Ordering::SeqCst);
                tracing::error!("cannot make a thread to kill with: {error}; trying again");
                None
            }
        }
    }
}

impl KillThreads {
    /// Blocks until no thread starts or kills children any more and every tree killer is dropped. Returns false when a
    /// thread was stuck for longer than `within`.
    #[must_use]
    pub fn wait(&self, within: Duration) -> bool {
        self.0.recv_timeout(within) == Err(blocking::RecvTimeoutError::Disconnected)
    }
}

/// A kill in the background, for whose end a caller can wait later.
#[derive(Debug)]
pub(crate) struct PendingKill {
    tree: Tree,
    tree_killer: TreeKiller,
    outcome: Option<oneshot::Receiver<KillOutcome>>,
}

impl PendingKill {
    /// Begins the kill.
    pub(crate) fn of(tree: Tree, tree_killer: TreeKiller) -> Self {
        let outcome = tree_killer.begin(tree.clone());
        Self {
            tree,
            tree_killer,
            outcome,
        }
    }

    /// A member that is in uninterruptible sleep, so that SIGKILL has no effect on it yet. The scan runs on a thread of its
    /// own, for at most `within`.
    ///
    /// # Errors
    /// The scan did not end in time.
    pub(crate) async fn stuck_member(
        &self,
        within: Duration,
    ) -> Result<Option<Member>, OffLoopError> {
        let tree = self.tree.clone();
        let is_stuck = |member: &Member| member.stat.state == State::Uninterruptible;
        let search = move || tree.members().into_iter().find(is_stuck);
        off_loop("stuck", within, search).await
    }

    /// Returns when nothing of the tree is left. The future may be dropped and made again.
    pub(crate) async fn done(&mut self) {
        loop {
            if let Some(outcome) = &mut self.outcome {
                if outcome.await.is_ok_and(|outcome| outcome.left == 0) {
                    return;
                }
            } else {
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            self.outcome = self.tree_killer.begin(self.tree.clone());
        }
    }
}

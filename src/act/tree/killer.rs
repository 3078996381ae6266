//! Ends trees, each on a thread of its own, and lets the end of stayd wait until that is done.

use crate::act::tree::{KillOutcome, Tree};
use crate::sys::reaper::Reaped;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as blocking;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A tree that SIGKILL has not ended by then has a name: unkillable.
const KILL_DEADLINE: Duration = Duration::from_secs(5);
/// Ended processes that may wait for the loop.
const REAPED_MAX: usize = 1024;
/// What nobody waits for is struck at so often, each time for as long: nobody else would try again.
const STRIKES_MAX: u32 = 12;
/// Between two tries to make a thread.
const RETRY: Duration = Duration::from_millis(100);
/// Stack of the thread that kills: it walks and signals.
const STACK_BYTES: usize = 256 * 1024;

/// Ends trees; clones share the queue and the wake.
#[derive(Clone, Debug)]
pub struct TreeKiller {
    exits: mpsc::Sender<Reaped>,
    /// Held by each thread that starts or ends children; the wake ends with the last one.
    at_work: blocking::Sender<Infallible>,
    /// How many threads end children now.
    striking: Arc<AtomicUsize>,
}

/// The end of all undertaking.
#[derive(Debug)]
pub struct Wake(blocking::Receiver<Infallible>);

/// An undertaker, the queue of processes that its kills have reaped (the loop empties it), and its wake.
#[must_use]
pub fn open() -> (TreeKiller, mpsc::Receiver<Reaped>, Wake) {
    let (exits, ended) = mpsc::channel(REAPED_MAX);
    let (at_work, wake) = blocking::channel();
    let tree_killer = TreeKiller {
        exits,
        at_work,
        striking: Arc::default(),
    };
    (tree_killer, ended, Wake(wake))
}

impl TreeKiller {
    /// SIGKILLs the tree until nothing is left, or for five seconds; none when there was no thread to be had.
    pub async fn end(&self, tree: Tree) -> Option<KillOutcome> {
        self.strike(tree, 1)?.await.ok()
    }

    /// The same for about a minute, whether or not anybody waits for the outcome.
    pub(crate) fn begin(&self, tree: Tree) -> Option<oneshot::Receiver<KillOutcome>> {
        self.strike(tree, STRIKES_MAX)
    }

    /// Whether a thread ends something; what it reaps on the way may not have been told yet.
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        self.striking.load(Ordering::SeqCst) > 0
    }

    fn strike(&self, tree: Tree, strikes: u32) -> Option<oneshot::Receiver<KillOutcome>> {
        let (answer, outcome) = oneshot::channel();
        let Self {
            exits,
            at_work,
            striking,
        } = self.clone();
        striking.fetch_add(1, Ordering::SeqCst);
        let thread = std::thread::Builder::new()
            .name("kill".into())
            .stack_size(STACK_BYTES);
        let started = thread.spawn(move || {
            let _at_work = at_work;
            let strike = || {
                tree.clone().kill(KILL_DEADLINE, &|reaped| {
                    // The loop empties this queue; when it has ended, nobody wants to know.
                    let _ = exits.blocking_send(reaped);
                })
            };
            let mut outcome = strike();
            for _ in 1..strikes {
                if outcome.left == 0 {
                    break;
                }
                outcome = strike();
            }
            // The same holds for the outcome.
            let _ = answer.send(outcome);
            striking.fetch_sub(1, Ordering::SeqCst);
        });
        match started {
            Ok(_) => Some(outcome),
            Err(error) => {
                self.striking.fetch_sub(1, Ordering::SeqCst);
                tracing::error!("cannot make a thread to kill with: {error}; trying again");
                None
            }
        }
    }
}

impl Wake {
    /// Blocks until no thread starts or ends children any more and every undertaker is dropped; false when one was stuck
    /// for longer than `within`.
    #[must_use]
    pub fn wait(&self, within: Duration) -> bool {
        self.0.recv_timeout(within) == Err(blocking::RecvTimeoutError::Disconnected)
    }
}

/// The end of a tree that nobody waits for at once.
#[derive(Debug)]
pub(crate) struct PendingKill {
    tree: Tree,
    tree_killer: TreeKiller,
    outcome: Option<oneshot::Receiver<KillOutcome>>,
}

impl PendingKill {
    /// Begins it.
    pub(crate) fn of(tree: Tree, tree_killer: TreeKiller) -> Self {
        let outcome = tree_killer.begin(tree.clone());
        Self {
            tree,
            tree_killer,
            outcome,
        }
    }

    /// Returns when nothing of it is left. May be given up and asked again.
    pub(crate) async fn done(&mut self) {
        loop {
            if let Some(outcome) = &mut self.outcome {
                if outcome.await.is_ok_and(|outcome| outcome.left == 0) {
                    return;
                }
            } else {
                tokio::time::sleep(RETRY).await;
            }
            self.outcome = self.tree_killer.begin(self.tree.clone());
        }
    }
}

//! The spawner: starts children on threads of its own and reports to the waiting task how each child ended.

use super::launch::{self, Launch};
pub use super::launch::{Environment, ExecContext, clean_environment};
use crate::act::tree::killer::{self, TreeKiller};
use crate::act::tree::{CommandToken, Tree};
use crate::decide::clock::in_words;
use crate::decide::event::SpawnFailure;
use crate::sys::process::{Handle, Process};
use crate::sys::reaper::{self, Reaped, Status};
use crate::sys::signal;
use crate::sys::spawn::{self, Child, PendingSpawn};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, oneshot};

/// The largest number of threads that start children, including those that hang in a file system.
const THREADS_MAX: usize = 32;
/// Stack of such a thread: it prepares a plan and calls vfork.
const THREAD_STACK_BYTES: usize = 256 * 1024;
/// The largest number of exits that are kept until the start that they may belong to has returned.
const EARLY_EXITS_MAX: usize = 1024;
/// [`Spawner::reap_during`] reaps at most this many processes at once.
const REAP_MAX: usize = 64;

/// A child that runs its program.
#[derive(Debug)]
pub struct RunningChild {
    /// Its identity.
    pub process: Process,
    /// Signals exactly this process. Dropping it does not end the process.
    pub handle: Arc<Handle>,
    /// Receives its exit status when it is reaped.
    pub exit: oneshot::Receiver<Status>,
}

/// Starts children and routes their exits; clones share everything. Belongs to one thread.
#[derive(Clone, Debug)]
pub struct Spawner(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    tree_killer: TreeKiller,
    /// The processes that the tree killer has reaped, in a program without a loop that empties this queue.
    ended: RefCell<Option<mpsc::Receiver<Reaped>>>,
    /// A thread that waits for work. It is kept because making one costs more than the spawn.
    idle: RefCell<Option<SpawnThread>>,
    /// Each spawn thread holds a clone: the count is one more than there are threads.
    threads: Arc<()>,
    /// Starts that have not returned.
    under_way: Cell<usize>,
    waiting: RefCell<HashMap<i32, oneshot::Sender<Status>>>,
    /// Exits that were reaped before their start returned.
    early: RefCell<HashMap<i32, Status>>,
}

impl Default for Spawner {
    fn default() -> Self {
        Self::new()
    }
}

impl Spawner {
    /// A spawner for a program without a loop; see [`Spawner::reap_during`].
    #[must_use]
    pub fn new() -> Self {
        let (tree_killer, ended, _) = killer::open();
        let spawner = Self::with(tree_killer);
        spawner.0.ended.replace(Some(ended));
        spawner
    }

    /// A spawner whose children `tree_killer` kills.
    #[must_use]
    pub fn with(tree_killer: TreeKiller) -> Self {
        Self(Rc::new(Inner {
            tree_killer,
            ended: RefCell::default(),
            idle: RefCell::default(),
            threads: Arc::default(),
            under_way: Cell::default(),
            waiting: RefCell::default(),
            early: RefCell::default(),
        }))
    }

    /// The tree killer for the children of this spawner.
    #[must_use]
    pub fn tree_killer(&self) -> &TreeKiller {
        &self.0.tree_killer
    }

    /// Starts a program and returns when it runs.
    ///
    /// After `timeout` the spawner abandons the start (a chdir or exec on a dead mount hangs for as long as the mount is
    /// dead). If the child starts later, the spawner kills it. The same holds when this future is dropped.
    ///
    /// # Errors
    /// The step that failed, in a sentence.
    pub async fn start(
        &self,
        launch: Launch,
        timeout: Duration,
    ) -> Result<RunningChild, SpawnFailure> {
        let name = launch.argv.first().cloned().unwrap_or_default();
        let thread = self.idle_thread(&name)?;
        let _under_way = UnderWay::begin(&self.0);
        let (reply, started) = oneshot::channel();
        thread.give(SpawnRequest { launch, reply }, &name)?;
        let outcome = tokio::time::timeout(timeout, started).await;
        match outcome {
            Ok(Ok(result)) => {
                self.0.idle.replace(Some(thread));
                result.map(|started| self.register(started))
            }
            Ok(Err(_)) => Err(launch::temporary(format!(
                "cannot start {name}: the thread that starts children has ended"
            ))),
            Err(_) => Err(launch::temporary(format!(
                "cannot start {name}: exec did not return within {}; its disk may be gone",
                in_words(timeout)
            ))),
        }
    }

    /// Takes over a child that the version of stayd before an upgrade has started in this process. Call this before any
    /// child is reaped.
    ///
    /// # Errors
    /// The process does not exist.
    pub fn inherit(&self, process: Process) -> io::Result<RunningChild> {
        let handle = Arc::new(Handle::open(process)?);
        let (waiter, exit) = oneshot::channel();
        self.0.waiting.borrow_mut().insert(process.pid, waiter);
        Ok(RunningChild {
            process,
            handle,
            exit,
        })
    }

    /// Children that were started here and are not reaped yet.
    #[must_use]
    pub fn unreaped(&self) -> Vec<i32> {
        self.0.waiting.borrow().keys().copied().collect()
    }

    /// Whether a start has not returned, even if it was abandoned.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        let idle = usize::from(self.0.idle.borrow().is_some());
        self.0.under_way.get() > 0 || Arc::strong_count(&self.0.threads) > 1 + idle
    }

    /// Passes the exit of a reaped process to the waiting task. Returns it when the process was not started here: an orphan.
    pub fn reaped(&self, reaped: Reaped) -> Option<Reaped> {
        if let Some(waiter) = self.0.waiting.borrow_mut().remove(&reaped.pid) {
            // Fails only if the receiver was dropped, so that nothing waits for this exit.
            let _ = waiter.send(reaped.status);
            return None;
        }
        if !reaped.spawn_pending {
            return Some(reaped);
        }
        let mut early = self.0.early.borrow_mut();
        if early.len() < EARLY_EXITS_MAX {
            early.insert(reaped.pid, reaped.status);
        }
        None
    }

    /// Runs `work` in a program that has no loop, and meanwhile reaps children on SIGCHLD.
    pub async fn reap_during<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            done = work => done,
            () = self.reap_forever() => unreachable!("reaping has no end"),
        }
    }

    async fn reap_forever(&self) {
        let (Ok(mut signals), Some(mut ended)) = (child_signals(), self.0.ended.take()) else {
            return std::future::pending().await;
        };
        let mut bytes = [0; REAP_MAX];
        loop {
            for reaped in reaper::reap_exited(REAP_MAX) {
                self.reaped(reaped);
            }
            tokio::select! {
                Some(reaped) = ended.recv() => {
                    self.reaped(reaped);
                }
                read = signals.read(&mut bytes) => if read.is_err() {
                    return std::future::pending().await;
                }
            }
        }
    }
}

impl Spawner {
    fn idle_thread(&self, name: &str) -> Result<SpawnThread, SpawnFailure> {
        if let Some(idle) = self.0.idle.take() {
            return Ok(idle);
        }
        if Arc::strong_count(&self.0.threads) > THREADS_MAX {
            return Err(launch::temporary(format!(
                "cannot start {name}: {THREADS_MAX} other starts hang in the system"
            )));
        }
        SpawnThread::new(Arc::clone(&self.0.threads), self.0.tree_killer.clone()).map_err(|error| {
            launch::temporary(format!(
                "cannot start {name}: cannot make a thread: {error}"
            ))
        })
    }

    /// Connects a child with its exit, which the reaper may have seen already.
    fn register(&self, mut started: StartedChild) -> RunningChild {
        let handle = started.take();
        let process = handle.process;
        let (waiter, exit) = oneshot::channel();
        match self.0.early.borrow_mut().remove(&process.pid) {
            Some(status) => {
                // The receiver exists, so this cannot fail.
                let _ = waiter.send(status);
            }
            None => {
                self.0.waiting.borrow_mut().insert(process.pid, waiter);
            }
        }
        RunningChild {
            process,
            handle,
            exit,
        }
    }
}

/// Counts a start while it is under way. Drops the early exits when no start is under way any more.
struct UnderWay(Rc<Inner>);

impl UnderWay {
    fn begin(inner: &Rc<Inner>) -> Self {
        inner.under_way.set(inner.under_way.get() + 1);
        Self(Rc::clone(inner))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let left = self.0.under_way.get() - 1;
        self.0.under_way.set(left);
        if left == 0 {
            self.0.early.borrow_mut().clear();
        }
    }
}

/// A thread that starts children, because vfork holds its caller until exec has read the program.
#[derive(Debug)]
struct SpawnThread(blocking::SyncSender<SpawnRequest>);

struct SpawnRequest {
    launch: Launch,
    reply: oneshot::Sender<Result<StartedChild, SpawnFailure>>,
}

impl SpawnThread {
    fn new(threads: Arc<()>, tree_killer: TreeKiller) -> io::Result<Self> {
        let (requests, inbox) = blocking::sync_channel::<SpawnRequest>(1);
        std::thread::Builder::new()
            .name("spawn".into())
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || {
                let _counted = threads;
                // The kernel delivers SIGCHLD to the thread that started the child, unless that thread blocks signals. With
                // signals blocked, the loop gets it at once.
                signal::block_all();
                for SpawnRequest { launch, reply } in inbox {
                    // Fails if nothing waits any more; dropping the reply then kills the child.
                    let _ = reply.send(start(launch, &tree_killer));
                }
            })?;
        Ok(Self(requests))
    }

    /// Sends a request to the thread, which must be idle, so this never blocks.
    fn give(&self, request: SpawnRequest, name: &str) -> Result<(), SpawnFailure> {
        self.0.try_send(request).map_err(|_| {
            launch::temporary(format!(
                "cannot start {name}: the thread that starts children does not take it"
            ))
        })
    }
}

fn start(launch: Launch, tree_killer: &TreeKiller) -> Result<StartedChild, SpawnFailure> {
    let name = launch.argv.first().cloned().unwrap_or_default();
    let cwd = launch.exec_context.cwd.clone();
    let user = launch.exec_context.user.clone();
    let command_token = launch.command_token.clone();
    match spawn::spawn(launch.plan()?) {
        Ok(Child {
            process,
            pidfd,
            pending_spawn,
        }) => Ok(StartedChild {
            handle: Arc::new(Handle { process, fd: pidfd }),
            command_token,
            tree_killer: tree_killer.clone(),
            taken: false,
            _pending_spawn: pending_spawn,
        }),
        Err(error) => Err(launch::explain(error, &name, &cwd, user.as_deref())),
    }
}

/// A started child that the waiting task has not taken yet. Dropping it kills the child.
struct StartedChild {
    handle: Arc<Handle>,
    command_token: Option<CommandToken>,
    tree_killer: TreeKiller,
    taken: bool,
    /// Until this is dropped the reaper keeps the child's exit for the spawner.
    _pending_spawn: PendingSpawn,
}

impl StartedChild {
    fn take(&mut self) -> Arc<Handle> {
        self.taken = true;
        Arc::clone(&self.handle)
    }
}

impl Drop for StartedChild {
    fn drop(&mut self) {
        if !self.taken {
            // Also kill the processes that the child has started by now.
            let mut tree = Tree::of_child(self.handle.process);
            tree.set_token(self.command_token.take());
            let _ = self.tree_killer.begin(tree);
        }
    }
}

fn child_signals() -> io::Result<tokio::net::UnixStream> {
    let (reader, writer) = std::os::unix::net::UnixStream::pair()?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, writer)?;
    reader.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(reader)
}

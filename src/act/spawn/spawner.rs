//! The nursery: starts children off the loop and tells each one's waiter how it ended.

use super::launch::{self, CommandToken, Launch};
pub use super::launch::{Environment, Surroundings, clean_environment, forget_our_user};
use crate::act::tree::Tree;
use crate::act::tree::killer::{self, TreeKiller};
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

/// Threads that start children, those stuck in a dead file system included.
const SPAWNERS_MAX: usize = 32;
/// Stack of each; it prepares a plan and calls vfork.
const SPAWNER_STACK_BYTES: usize = 256 * 1024;
/// Exits that are kept until the start they may belong to has returned.
const EARLY_EXITS_MAX: usize = 1024;
/// Reaped at once by [`Spawner::attend`].
const REAP_MAX: usize = 64;

/// A child that runs its program.
#[derive(Debug)]
pub struct Running {
    /// Who.
    pub process: Process,
    /// Signals exactly this process. Dropping it leaves the process alone.
    pub handle: Arc<Handle>,
    /// How it ends, once it is reaped.
    pub exit: oneshot::Receiver<Status>,
}

/// Starts children and routes their exits; clones share everything. Belongs to one thread.
#[derive(Clone, Debug)]
pub struct Spawner(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    tree_killer: TreeKiller,
    /// What the undertaker has reaped, where no loop empties the queue.
    ended: RefCell<Option<mpsc::Receiver<Reaped>>>,
    /// A thread that waits for work; kept, because making one costs more than the spawn.
    idle: RefCell<Option<SpawnThread>>,
    /// Each spawner thread holds a share: one more than there are threads.
    census: Arc<()>,
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
    /// An empty nursery in a program without a loop; see [`Spawner::attend`].
    #[must_use]
    pub fn new() -> Self {
        let (tree_killer, ended, _) = killer::open();
        let spawner = Self::with(tree_killer);
        spawner.0.ended.replace(Some(ended));
        spawner
    }

    /// An empty nursery; what is started in it is ended by `tree_killer`.
    #[must_use]
    pub fn with(tree_killer: TreeKiller) -> Self {
        Self(Rc::new(Inner {
            tree_killer,
            ended: RefCell::default(),
            idle: RefCell::default(),
            census: Arc::default(),
            under_way: Cell::default(),
            waiting: RefCell::default(),
            early: RefCell::default(),
        }))
    }

    /// Ends what was started here.
    #[must_use]
    pub fn tree_killer(&self) -> &TreeKiller {
        &self.0.tree_killer
    }

    /// Starts a program and returns when it runs.
    ///
    /// At `deadline` the start is given up (a chdir or exec on a dead mount hangs for as long as the mount is dead);
    /// a process that comes of it later is killed. The same holds when this future is dropped.
    ///
    /// # Errors
    /// The step that failed, in a sentence.
    pub async fn start(&self, launch: Launch, deadline: Duration) -> Result<Running, SpawnFailure> {
        let name = launch.argv.first().cloned().unwrap_or_default();
        let spawner = self.spawner(&name)?;
        let _under_way = UnderWay::begin(&self.0);
        let (answer, newborn) = oneshot::channel();
        spawner.give(Errand { launch, answer }, &name)?;
        let outcome = tokio::time::timeout(deadline, newborn).await;
        match outcome {
            Ok(Ok(result)) => {
                self.0.idle.replace(Some(spawner));
                result.map(|newborn| self.register(newborn))
            }
            Ok(Err(_)) => Err(launch::passing(format!(
                "cannot start {name}: the thread that starts children has ended"
            ))),
            Err(_) => Err(launch::passing(format!(
                "cannot start {name}: exec did not return within {}; its disk may be gone",
                in_words(deadline)
            ))),
        }
    }

    /// Waits for the end of a child, not reaped yet, that the program started whose place this one has taken. To be
    /// called before anything is reaped.
    ///
    /// # Errors
    /// It is no such child.
    pub fn inherit(&self, process: Process) -> io::Result<Running> {
        let handle = Arc::new(Handle::open(process)?);
        let (waiter, exit) = oneshot::channel();
        self.0.waiting.borrow_mut().insert(process.pid, waiter);
        Ok(Running {
            process,
            handle,
            exit,
        })
    }

    /// Children whose end somebody waits for, or has ceased to wait for.
    #[must_use]
    pub fn unreaped(&self) -> Vec<i32> {
        self.0.waiting.borrow().keys().copied().collect()
    }

    /// Whether a start has not returned, be it given up.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        let idle = usize::from(self.0.idle.borrow().is_some());
        self.0.under_way.get() > 0 || Arc::strong_count(&self.0.census) > 1 + idle
    }

    /// Tells the waiter of a reaped process. Returns it when nobody waits for it: a stranger.
    pub fn reaped(&self, reaped: Reaped) -> Option<Reaped> {
        if let Some(waiter) = self.0.waiting.borrow_mut().remove(&reaped.pid) {
            // Whoever dropped the receiver does not want to know.
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

    /// Runs `work` in a program that has no loop, reaping on SIGCHLD meanwhile.
    pub async fn attend<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            done = work => done,
            () = self.reap_for_ever() => unreachable!("reaping has no end"),
        }
    }

    async fn reap_for_ever(&self) {
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
    fn spawner(&self, name: &str) -> Result<SpawnThread, SpawnFailure> {
        if let Some(idle) = self.0.idle.take() {
            return Ok(idle);
        }
        if Arc::strong_count(&self.0.census) > SPAWNERS_MAX {
            return Err(launch::passing(format!(
                "cannot start {name}: {SPAWNERS_MAX} other starts hang in the system"
            )));
        }
        SpawnThread::new(Arc::clone(&self.0.census), self.0.tree_killer.clone()).map_err(|error| {
            launch::passing(format!(
                "cannot start {name}: cannot make a thread: {error}"
            ))
        })
    }

    /// Connects a child with its exit, which may have been reaped already.
    fn register(&self, mut newborn: Newborn) -> Running {
        let handle = newborn.take();
        let process = handle.process;
        let (waiter, exit) = oneshot::channel();
        match self.0.early.borrow_mut().remove(&process.pid) {
            Some(status) => {
                // The receiver is at hand, so this cannot fail.
                let _ = waiter.send(status);
            }
            None => {
                self.0.waiting.borrow_mut().insert(process.pid, waiter);
            }
        }
        Running {
            process,
            handle,
            exit,
        }
    }
}

/// Counts a start while it is under way; early exits are kept no longer than that.
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
struct SpawnThread(blocking::SyncSender<Errand>);

struct Errand {
    launch: Launch,
    answer: oneshot::Sender<Result<Newborn, SpawnFailure>>,
}

impl SpawnThread {
    fn new(census: Arc<()>, tree_killer: TreeKiller) -> io::Result<Self> {
        let (errands, inbox) = blocking::sync_channel::<Errand>(1);
        std::thread::Builder::new()
            .name("spawn".into())
            .stack_size(SPAWNER_STACK_BYTES)
            .spawn(move || {
                let _counted = census;
                // Whoever starts a child gets its SIGCHLD, unless it holds signals: then the loop has it at once.
                signal::block_all();
                for Errand { launch, answer } in inbox {
                    // Nobody waits any more: dropping the answer kills what was born.
                    let _ = answer.send(give_birth(launch, &tree_killer));
                }
            })?;
        Ok(Self(errands))
    }

    /// Never blocks: only an idle spawner is given an errand.
    fn give(&self, errand: Errand, name: &str) -> Result<(), SpawnFailure> {
        self.0.try_send(errand).map_err(|_| {
            launch::passing(format!(
                "cannot start {name}: the thread that starts children does not take it"
            ))
        })
    }
}

fn give_birth(launch: Launch, tree_killer: &TreeKiller) -> Result<Newborn, SpawnFailure> {
    let name = launch.argv.first().cloned().unwrap_or_default();
    let cwd = launch.surroundings.cwd.clone();
    let user = launch.surroundings.user.clone();
    let mark = launch.mark.clone();
    match spawn::spawn(launch.plan()?) {
        Ok(Child {
            process,
            pidfd,
            pending_spawn,
        }) => Ok(Newborn {
            handle: Arc::new(Handle { process, fd: pidfd }),
            mark,
            tree_killer: tree_killer.clone(),
            taken: false,
            _pending_spawn: pending_spawn,
        }),
        Err(error) => Err(launch::explain(error, &name, &cwd, user.as_deref())),
    }
}

/// A child that nobody has taken yet; killed if nobody does.
struct Newborn {
    handle: Arc<Handle>,
    mark: Option<CommandToken>,
    tree_killer: TreeKiller,
    taken: bool,
    /// Until this ends the reaper keeps the child's exit for us.
    _pending_spawn: PendingSpawn,
}

impl Newborn {
    fn take(&mut self) -> Arc<Handle> {
        self.taken = true;
        Arc::clone(&self.handle)
    }
}

impl Drop for Newborn {
    fn drop(&mut self) {
        if !self.taken {
            // And what it has started by now.
            let mut tree = Tree::of_child(self.handle.process);
            tree.marked(self.mark.take());
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

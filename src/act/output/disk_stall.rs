//! Discards output from FIFOs that fill up while the output thread hangs in a disk operation, so that no service blocks
//! on a slow disk. Discarded bytes are counted.
//!
//! A kernel timer is armed when the output thread begins a turn and disarmed when the turn ends. The thread in this
//! module waits for the timer, so it wakes only when a turn takes too long. A disk that hangs inside splice(2) keeps
//! the FIFO that is being moved locked. The writer of that FIFO then blocks too, so this thread empties all other FIFOs
//! before that one.

use crate::sys::clock;
use crate::sys::pipe::{self, Drained};
use crate::sys::signal;
use crate::sys::timer::Timer;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// A turn that takes this long hangs in the disk. From then on a FIFO that is more than half full is emptied to half.
const STALLED_AFTER: Duration = Duration::from_secs(1);
/// The wait before a stall is confirmed. If stayd itself was stopped or got no CPU, its output thread normally continues
/// within this time, also on a busy machine, and nothing is discarded.
const CONFIRM_AFTER: Duration = Duration::from_millis(500);
/// The interval between two checks of the FIFOs during a stall.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);
/// The timer value that wakes the thread at once, to end it.
const AT_ONCE: Duration = Duration::from_millis(1);
/// Bytes read and discarded at a time.
const DISCARD_BYTES: usize = 64 * 1024;
/// The stack size of the thread, which only reads into a buffer on the heap.
const STACK_BYTES: usize = 128 * 1024;

/// The read end of an instance's FIFO, shared by the output thread and the guard.
#[derive(Debug)]
pub(super) struct SharedFifo {
    fifo: File,
    capacity: usize,
    /// Bytes that the guard discarded and the output thread has not asked for yet.
    discarded: AtomicU64,
    is_moving: AtomicBool,
}

impl SharedFifo {
    /// `fifo` is a read end opened with O_NONBLOCK; `capacity` is the size of the pipe in bytes.
    pub(super) const fn new(fifo: File, capacity: usize) -> Self {
        Self {
            fifo,
            capacity,
            discarded: AtomicU64::new(0),
            is_moving: AtomicBool::new(false),
        }
    }

    /// The read end.
    pub(super) const fn fifo(&self) -> &File {
        &self.fifo
    }

    /// The size of the pipe in bytes.
    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// The number of bytes discarded since the last call.
    pub(super) fn take_discarded(&self) -> u64 {
        self.discarded.swap(0, Ordering::SeqCst)
    }

    /// Whether bytes were discarded since the last call of [`Self::take_discarded`].
    pub(super) fn has_discarded(&self) -> bool {
        self.discarded.load(Ordering::SeqCst) > 0
    }

    /// Discards the oldest bytes until the FIFO is at most half full.
    fn discard_to_half(&self, buffer: &mut [u8]) -> io::Result<()> {
        while pipe::bytes_waiting(&self.fifo)? > self.capacity / 2 {
            let Drained::Bytes(count) = pipe::read(&self.fifo, buffer)? else {
                break;
            };
            self.discarded.fetch_add(count as u64, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// Detects turns of the output thread that hang, and empties the registered FIFOs meanwhile.
#[derive(Debug)]
pub(super) struct DiskStallGuard {
    timer: Timer,
    /// Incremented at the start and at the end of each turn: odd during a turn.
    turns: AtomicU64,
    is_stopping: AtomicBool,
    fifos: Mutex<Vec<Arc<SharedFifo>>>,
}

impl DiskStallGuard {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system cannot create the timer or the thread.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let guard = Arc::new(Self {
            timer: Timer::new()?,
            turns: AtomicU64::new(0),
            is_stopping: AtomicBool::new(false),
            fifos: Mutex::default(),
        });
        let thread_guard = Arc::clone(&guard);
        thread::Builder::new()
            .name("disk-stall".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                signal::block_all(); // the loop handles signals
                thread_guard.run();
            })?;
        Ok(guard)
    }

    pub(super) fn register(&self, fifo: Arc<SharedFifo>) {
        self.lock().push(fifo);
    }

    pub(super) fn unregister(&self, fifo: &Arc<SharedFifo>) {
        self.lock().retain(|known| !Arc::ptr_eq(known, fifo));
    }

    /// Runs `turn`, in which the output thread moves bytes out of `fifo`, under the timer.
    pub(super) fn run_turn<T>(&self, fifo: &SharedFifo, turn: impl FnOnce() -> T) -> T {
        fifo.is_moving.store(true, Ordering::SeqCst);
        self.turns.fetch_add(1, Ordering::SeqCst);
        // timerfd_settime(2) has no known failure here. If it failed, services would block on a disk that hangs.
        let _ = self.timer.set(STALLED_AFTER);
        let result = turn();
        self.turns.fetch_add(1, Ordering::SeqCst);
        // If the timer expires nevertheless, the thread sees that no turn is in progress.
        let _ = self.timer.clear();
        fifo.is_moving.store(false, Ordering::SeqCst);
        result
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        let _ = self.timer.set(AT_ONCE);
    }

    fn run(&self) {
        let mut buffer = vec![0; DISCARD_BYTES];
        while self.timer.wait().is_ok() && !self.is_stopping.load(Ordering::SeqCst) {
            let turn = self.turns.load(Ordering::SeqCst);
            let is_stalled = || turn % 2 == 1 && self.turns.load(Ordering::SeqCst) == turn;
            clock::sleep(CONFIRM_AFTER);
            while is_stalled() {
                for fifo in self.fifos().iter().take_while(|_| is_stalled()) {
                    // The output thread reports a FIFO that cannot be read.
                    let _ = fifo.discard_to_half(&mut buffer);
                }
                clock::sleep(CHECK_INTERVAL);
            }
        }
    }

    /// A copy of the registered FIFOs, the one that is being moved last. Reading may block, so it must not happen under
    /// the lock.
    fn fifos(&self) -> Vec<Arc<SharedFifo>> {
        let mut fifos = self.lock().clone();
        fifos.sort_by_key(|fifo| fifo.is_moving.load(Ordering::SeqCst));
        fifos
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<SharedFifo>>> {
        self.fifos.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

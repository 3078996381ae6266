//! Empties FIFOs while the pump hangs in the disk: no service waits for a disk, and what is lost is counted.
//!
//! A timer of the kernel's is set when a turn begins and cleared when it ends, so the thread that waits for it wakes for
//! nothing but a turn that takes too long. A disk that hangs within splice(2) itself locks the FIFO that is being moved;
//! then that one's writer waits too, and all others are relieved before it.

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

/// A turn that takes so long hangs in the disk: a FIFO more than half full is emptied, not waited for.
const HANGS_AFTER: Duration = Duration::from_secs(1);
/// But stayd itself may have been stopped, or starved; then its pump goes on within this time.
const SECOND_LOOK_AFTER: Duration = Duration::from_millis(100);
/// Between two looks while the pump hangs.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Until a thread that is to end is woken.
const AT_ONCE: Duration = Duration::from_millis(1);
/// Thrown away at once.
const DISCARD_BYTES: usize = 64 * 1024;
/// Reading into a buffer needs little stack.
const STACK_BYTES: usize = 128 * 1024;

/// A FIFO that can be emptied behind the pump's back.
#[derive(Debug)]
pub(super) struct Valve {
    fifo: File,
    capacity: usize,
    /// Taken since the pump has last asked, in bytes.
    taken: AtomicU64,
    is_moving: AtomicBool,
}

impl Valve {
    /// For a read end, opened O_NONBLOCK, of a FIFO that holds `capacity` bytes.
    pub(super) const fn new(fifo: File, capacity: usize) -> Self {
        Self {
            fifo,
            capacity,
            taken: AtomicU64::new(0),
            is_moving: AtomicBool::new(false),
        }
    }

    /// The read end.
    pub(super) const fn fifo(&self) -> &File {
        &self.fifo
    }

    /// What it holds, in bytes.
    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes thrown away since the last call.
    pub(super) fn taken(&self) -> u64 {
        self.taken.swap(0, Ordering::SeqCst)
    }

    /// Whether bytes were thrown away since then.
    pub(super) fn was_opened(&self) -> bool {
        self.taken.load(Ordering::SeqCst) > 0
    }

    /// Throws the oldest away until it is half empty.
    fn relieve(&self, buffer: &mut [u8]) -> io::Result<()> {
        while pipe::bytes_waiting(&self.fifo)? > self.capacity / 2 {
            let Drained::Bytes(count) = pipe::read(&self.fifo, buffer)? else {
                break;
            };
            self.taken.fetch_add(count as u64, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// Watches the pump's turns.
#[derive(Debug)]
pub(super) struct Relief {
    timer: Timer,
    /// Odd while a turn is under way.
    turns: AtomicU64,
    is_over: AtomicBool,
    valves: Mutex<Vec<Arc<Valve>>>,
}

impl Relief {
    /// Starts the thread that waits.
    ///
    /// # Errors
    /// The system gives no timer or no thread.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let relief = Arc::new(Self {
            timer: Timer::new()?,
            turns: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            valves: Mutex::default(),
        });
        let waiting = Arc::clone(&relief);
        thread::Builder::new()
            .name("relief".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                signal::block_all(); // they are for the loop
                waiting.wait_for_hangs();
            })?;
        Ok(relief)
    }

    pub(super) fn watch(&self, valve: Arc<Valve>) {
        self.lock().push(valve);
    }

    pub(super) fn forget(&self, valve: &Arc<Valve>) {
        self.lock().retain(|known| !Arc::ptr_eq(known, valve));
    }

    /// Runs one turn of the pump, which moves out of `valve`.
    pub(super) fn attend<T>(&self, valve: &Valve, turn: impl FnOnce() -> T) -> T {
        valve.is_moving.store(true, Ordering::SeqCst);
        self.turns.fetch_add(1, Ordering::SeqCst);
        // Were it refused, a service would wait for a disk that hangs.
        let _ = self.timer.set(HANGS_AFTER);
        let result = turn();
        self.turns.fetch_add(1, Ordering::SeqCst);
        // A timer that goes off nonetheless finds no turn under way.
        let _ = self.timer.clear();
        valve.is_moving.store(false, Ordering::SeqCst);
        result
    }

    /// Ends the thread.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = self.timer.set(AT_ONCE);
    }

    fn wait_for_hangs(&self) {
        let mut buffer = vec![0; DISCARD_BYTES];
        while self.timer.wait().is_ok() && !self.is_over.load(Ordering::SeqCst) {
            let turn = self.turns.load(Ordering::SeqCst);
            let hangs = || turn % 2 == 1 && self.turns.load(Ordering::SeqCst) == turn;
            clock::sleep(SECOND_LOOK_AFTER);
            while hangs() {
                for valve in self.valves().iter().take_while(|_| hangs()) {
                    // A FIFO that cannot be read is the pump's to tell.
                    let _ = valve.relieve(&mut buffer);
                }
                clock::sleep(LOOK_EVERY);
            }
        }
    }

    /// The one being moved comes last. A list of its own, because reading may hang and the lock must not.
    fn valves(&self) -> Vec<Arc<Valve>> {
        let mut valves = self.lock().clone();
        valves.sort_by_key(|valve| valve.is_moving.load(Ordering::SeqCst));
        valves
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Valve>>> {
        self.valves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

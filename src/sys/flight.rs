//! Children in flight: born, but not yet known to whoever listens for exits.
//!
//! A child can be dead before its [`spawn`](super::spawn::spawn) has returned, and the reaper must be able to say
//! so: an exit that nobody expects looks just like a stranger's. Each spawn therefore owns a slot from before the
//! fork until its caller has told the loop. On Linux the kernel itself writes the pid there before the child runs.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many spawns may be under way at once; one more is refused with EAGAIN.
const FLIGHTS_MAX: usize = 64;

const FREE: i32 = 0;
const NO_PID_YET: i32 = -1;

struct Slot {
    pid: AtomicI32,
    /// Left by the reaper when the child was reaped in flight: after that nobody can ask the kernel any more.
    start_time: AtomicU64,
}

static SLOTS: [Slot; FLIGHTS_MAX] = [const {
    Slot {
        pid: AtomicI32::new(FREE),
        start_time: AtomicU64::new(0),
    }
}; FLIGHTS_MAX];

/// The children that came to exec and are not reaped.
static TABLE: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Held while a dead child is looked at and reaped; no call made under it ever blocks.
pub(super) fn table() -> MutexGuard<'static, BTreeSet<i32>> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child's time in flight; ends when dropped.
#[derive(Debug)]
pub struct Flight {
    slot: usize,
}

impl Flight {
    /// A free slot, if there is one.
    pub(super) fn take() -> Option<Self> {
        let slot = SLOTS.iter().position(|slot| {
            slot.pid
                .compare_exchange(FREE, NO_PID_YET, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        })?;
        Some(Self { slot })
    }

    /// Where the child's pid is to be written.
    pub(super) fn pid(&self) -> &'static AtomicI32 {
        &SLOTS[self.slot].pid
    }

    /// From now on the child is known as ours until it is reaped, which it may have been already.
    pub(super) fn arrived(&self) {
        let mut table = table();
        if self.birth_if_reaped().is_none() {
            table.insert(self.pid().load(Ordering::Acquire));
        }
    }

    /// The child's birth, if it has been reaped already.
    pub(super) fn birth_if_reaped(&self) -> Option<u64> {
        match SLOTS[self.slot].start_time.load(Ordering::Acquire) {
            0 => None,
            start_time => Some(start_time),
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let _table = table();
        SLOTS[self.slot].start_time.store(0, Ordering::Release);
        SLOTS[self.slot].pid.store(FREE, Ordering::Release);
    }
}

/// Strikes `pid` off and says whether it is in flight; if so its birth is kept for the spawn. Call it before reaping.
pub(super) fn note_end(
    table: &mut BTreeSet<i32>,
    pid: i32,
    start_time: impl FnOnce() -> Option<u64>,
) -> bool {
    table.remove(&pid);
    let Some(slot) = slot_of(pid) else {
        return false;
    };
    slot.start_time
        .store(start_time().unwrap_or(0), Ordering::Release);
    true
}

/// Knows `pid` as one that came out of a spawn of the program whose place this one has taken.
pub(super) fn inherit(pid: i32) {
    table().insert(pid);
}

/// Whether `pid` came out of a spawn of ours, in flight or not, and is not reaped.
pub(super) fn is_ours(pid: i32) -> bool {
    knows(&table(), pid)
}

/// The same for who has the table already.
pub(super) fn knows(table: &BTreeSet<i32>, pid: i32) -> bool {
    table.contains(&pid) || slot_of(pid).is_some()
}

/// Whether `pid` is all that came out of our spawns and is left of it, and nothing is in flight.
pub(super) fn is_all(pid: i32) -> bool {
    let table = table();
    table.len() == 1
        && table.contains(&pid)
        && SLOTS
            .iter()
            .all(|slot| [FREE, pid].contains(&slot.pid.load(Ordering::Acquire)))
}

fn slot_of(pid: i32) -> Option<&'static Slot> {
    SLOTS
        .iter()
        .find(|slot| slot.pid.load(Ordering::Acquire) == pid)
}

//! Children in flight: born, but not yet known to whoever listens for exits.
//!
//! A child can be dead before its [`spawn`](super::spawn::spawn) has returned, and the reaper must be able to say
//! so: an exit that nobody expects looks just like a stranger's. Each spawn therefore owns a slot from before the
//! fork until its caller has told the loop. On Linux the kernel itself writes the pid there before the child runs.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many spawns may be under way at once; one more is refused with EAGAIN.
const FLIGHTS_MAX: usize = 64;

const FREE: i32 = 0;
const NO_PID_YET: i32 = -1;

struct Slot {
    pid: AtomicI32,
    /// Left by the reaper when the child was reaped in flight: after that nobody can ask the kernel any more.
    birth: AtomicU64,
}

static SLOTS: [Slot; FLIGHTS_MAX] = [const {
    Slot {
        pid: AtomicI32::new(FREE),
        birth: AtomicU64::new(0),
    }
}; FLIGHTS_MAX];

static TABLE: Mutex<()> = Mutex::new(());

/// Held while a dead child is looked at and reaped; no call made under it ever blocks.
pub(super) fn table() -> MutexGuard<'static, ()> {
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

    /// The child's birth, if it has been reaped already.
    pub(super) fn birth_if_reaped(&self) -> Option<u64> {
        match SLOTS[self.slot].birth.load(Ordering::Acquire) {
            0 => None,
            birth => Some(birth),
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let _table = table();
        SLOTS[self.slot].birth.store(0, Ordering::Release);
        SLOTS[self.slot].pid.store(FREE, Ordering::Release);
    }
}

/// Whether `pid` is in flight; if so its birth is kept for the spawn. Call it with [`table`] held, before reaping.
pub(super) fn note_end(pid: i32, birth: impl FnOnce() -> Option<u64>) -> bool {
    let Some(slot) = SLOTS
        .iter()
        .find(|slot| slot.pid.load(Ordering::Acquire) == pid)
    else {
        return false;
    };
    slot.birth.store(birth().unwrap_or(0), Ordering::Release);
    true
}

//! The table of children that [`spawn`](super::spawn::spawn) started, including those whose spawn is still pending.
//!
//! A spawn is pending from before the fork until its caller drops the [`PendingSpawn`], which is when the loop has recorded
//! the pid. A child can end before its spawn has returned. Without this table its exit would look like the exit of a foreign
//! process that was reparented to stayd. Each spawn therefore reserves a slot before the fork. On Linux the kernel itself
//! writes the pid into the slot before the child runs.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The most spawns that may be pending at once; another one fails with EAGAIN.
const PENDING_MAX: usize = 64;

const FREE: i32 = 0;
const NO_PID_YET: i32 = -1;

struct Slot {
    pid: AtomicI32,
    /// Set by the reaper when it reaps the child while the spawn is pending: the kernel no longer has the value then.
    start_time: AtomicU64,
}

static SLOTS: [Slot; PENDING_MAX] = [const {
    Slot {
        pid: AtomicI32::new(FREE),
        start_time: AtomicU64::new(0),
    }
}; PENDING_MAX];

/// The pids of children that have called execve and are not reaped.
static TABLE: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Locks the table. The reaper holds the lock while it finds an ended child and reaps it. No call under the lock blocks.
pub(super) fn table() -> MutexGuard<'static, BTreeSet<i32>> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pending spawn: the loop has not recorded its child yet. Dropping this ends the state.
#[derive(Debug)]
pub struct PendingSpawn {
    slot: usize,
}

impl PendingSpawn {
    /// Reserves a slot; none when all are in use.
    pub(super) fn reserve() -> Option<Self> {
        let slot = SLOTS.iter().position(|slot| {
            slot.pid
                .compare_exchange(FREE, NO_PID_YET, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        })?;
        Some(Self { slot })
    }

    /// The place to which the child's pid is written.
    pub(super) fn pid(&self) -> &'static AtomicI32 {
        &SLOTS[self.slot].pid
    }

    /// Adds the child to the table, unless the reaper has already reaped it.
    pub(super) fn register(&self) {
        let mut table = table();
        if self.start_time_if_reaped().is_none() {
            table.insert(self.pid().load(Ordering::Acquire));
        }
    }

    /// The child's start time, if the child was already reaped.
    pub(super) fn start_time_if_reaped(&self) -> Option<u64> {
        match SLOTS[self.slot].start_time.load(Ordering::Acquire) {
            0 => None,
            start_time => Some(start_time),
        }
    }
}

impl Drop for PendingSpawn {
    fn drop(&mut self) {
        let _table = table();
        SLOTS[self.slot].start_time.store(0, Ordering::Release);
        SLOTS[self.slot].pid.store(FREE, Ordering::Release);
    }
}

/// Removes `pid` from the table and returns whether its spawn is pending; in that case the start time is stored for the
/// spawn. Call it before reaping.
pub(super) fn note_exit(
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

/// Adds `pid`, a child that the previous program in this process had spawned.
pub(super) fn register_inherited(pid: i32) {
    table().insert(pid);
}

/// Whether `pid` came out of a spawn of stayd, pending or not, and is not reaped.
pub(super) fn is_spawned(pid: i32) -> bool {
    contains(&table(), pid)
}

/// The same as [`is_spawned`], for a caller that holds the lock on the table.
pub(super) fn contains(table: &BTreeSet<i32>, pid: i32) -> bool {
    table.contains(&pid) || slot_of(pid).is_some()
}

/// Whether `pid` is the only spawned child that is not reaped, and no other spawn is pending.
pub(super) fn is_only_child(pid: i32) -> bool {
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

//! Wakes the loop at the deadline of the state machine, with one kernel timer.

use crate::decide::clock::Instant;
use crate::sys;
use std::cell::Cell;

/// A timer for one deadline.
pub(super) struct DeadlineTimer {
    /// `None` where the system has no such descriptor; then the runtime's own timer serves.
    timer: Option<sys::timer::AsyncTimer>,
    set_to: Cell<Instant>,
}

impl DeadlineTimer {
    /// A timer that is not set. Call it inside the runtime.
    pub(super) fn new() -> Self {
        Self {
            timer: sys::timer::AsyncTimer::new().ok(),
            set_to: Cell::new(Instant::NEVER),
        }
    }

    /// Returns at `due`, not before; never if `due` is [`Instant::NEVER`].
    pub(super) async fn wait(&self, due: Instant, now: Instant) {
        if due == Instant::NEVER {
            return std::future::pending().await;
        }
        if due <= now {
            return;
        }
        match &self.timer {
            Some(timer) if self.set(timer, due, now) && timer.expired().await.is_ok() => {
                self.set_to.set(Instant::NEVER);
            }
            _ => tokio::time::sleep(due.since(now)).await,
        }
    }

    /// Whether the timer expires at `due`. Setting it costs a system call, and most steps do not change the deadline.
    fn set(&self, timer: &sys::timer::AsyncTimer, due: Instant, now: Instant) -> bool {
        if self.set_to.get() != due {
            let set = timer.set(due.since(now)).is_ok();
            self.set_to.set(if set { due } else { Instant::NEVER });
        }
        self.set_to.get() == due
    }
}

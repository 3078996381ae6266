//! The loop's own alarm: one wake-up when something is due.

use crate::decide::clock::Instant;
use crate::sys;
use std::cell::Cell;

/// Rings when the machine has something due.
pub(super) struct Alarm {
    /// None where the system has no such descriptor; then the runtime's timers have to do.
    bell: Option<sys::timer::AsyncTimer>,
    set_to: Cell<Instant>,
}

impl Alarm {
    /// Unset. Call it inside the runtime.
    pub(super) fn new() -> Self {
        Self {
            bell: sys::timer::AsyncTimer::new().ok(),
            set_to: Cell::new(Instant::NEVER),
        }
    }

    /// Returns at `due`, not before; never if that is [`Instant::NEVER`].
    pub(super) async fn wait(&self, due: Instant, now: Instant) {
        if due == Instant::NEVER {
            return std::future::pending().await;
        }
        if due <= now {
            return;
        }
        match &self.bell {
            Some(bell) if self.set(bell, due, now) && bell.expired().await.is_ok() => {
                self.set_to.set(Instant::NEVER);
            }
            _ => tokio::time::sleep(due.since(now)).await,
        }
    }

    /// True when it will ring at `due`. Setting costs a system call: most steps leave the next deadline as it was.
    fn set(&self, bell: &sys::timer::AsyncTimer, due: Instant, now: Instant) -> bool {
        if self.set_to.get() != due {
            let set = bell.set(due.since(now)).is_ok();
            self.set_to.set(if set { due } else { Instant::NEVER });
        }
        self.set_to.get() == due
    }
}

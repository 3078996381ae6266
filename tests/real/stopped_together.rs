//! stayd and its service are stopped at the same time, as by a laptop's lid, a virtual machine's pause, or `kill -STOP` to all.

use crate::support::wait_until;
use crate::support::watchdog::WithCanary;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

#[test]
fn a_service_that_was_stopped_together_with_stayd_is_not_killed() {
    const PAUSE: Duration = Duration::from_secs(2); // ten intervals
    let services = WithCanary::new("", |_| {});
    let both = [services.daemon.pid(), services.subject].map(Pid::from_raw);
    for pid in both {
        kill(pid, Signal::SIGSTOP).expect("stopped");
    }
    let stopped = Instant::now();
    wait_until("the pause is over", PAUSE * 5, || stopped.elapsed() > PAUSE);
    for pid in both {
        kill(pid, Signal::SIGCONT).expect("continued");
    }
    services.assert_outlives_canary();
}

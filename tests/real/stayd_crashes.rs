//! stayd is killed at random moments, and once at each failpoint: one copy of the service runs and no log line is lost.

use super::support::counting_service::CountingService;
use super::support::daemon::Stayd;
use stayd::act::failpoint::Failpoint;
use std::time::{Duration, Instant};

/// How often stayd is killed, unless STAYD_SOAK_ROUNDS is set, as by `make soak`.
const KILLS: usize = 40;
/// The environment variable with the seed of the random moments; without it the seed is always the same.
const SEED: &str = "STAYD_SOAK_SEED";
/// Size of a log file. With the thousand files that are kept, no line of `make soak` is dropped.
const LOG_SIZE: &str = "16KiB";
/// How many failpoints are tried at the same time.
const FAILPOINTS_AT_ONCE: usize = 7;

#[test]
fn after_kills_at_random_moments_one_copy_runs_and_no_line_is_lost() {
    let counted = CountingService::new();
    let kills = std::env::var("STAYD_SOAK_ROUNDS").map_or(KILLS, |text| {
        text.parse().expect("STAYD_SOAK_ROUNDS is a number")
    });
    let mut random = Random::from_environment();
    let mut daemon = Stayd::start_at_once(&counted.config(LOG_SIZE));
    for _ in 0..kills {
        wait_for_moment(Duration::from_millis(random.below(120)));
        if random.below(3) == 0 {
            kill_newest_instance(&counted);
            wait_for_moment(Duration::from_millis(random.below(8)));
        }
        daemon = daemon.kill_and_restart_at_once();
    }
    let daemon = daemon.kill_and_restart();
    counted.assert_whole(daemon, &format!("seed {}", random.seed));
}

#[test]
#[cfg_attr(
    not(debug_assertions),
    ignore = "only a debug build has the failpoints"
)]
fn after_a_crash_at_each_failpoint_one_copy_runs_and_no_line_is_lost() {
    for failpoints in Failpoint::ALL.chunks(FAILPOINTS_AT_ONCE) {
        std::thread::scope(|scope| {
            for &failpoint in failpoints {
                scope.spawn(move || crash_and_recover(failpoint));
            }
        });
    }
}

fn crash_and_recover(failpoint: Failpoint) {
    let counted = CountingService::new();
    let dead = crash_at(&counted, failpoint);
    counted.set_healthy(true);
    counted.assert_whole(dead.restart(), &failpoint.name());
}

/// Brings a stayd to this failpoint and returns it when it has died there.
fn crash_at(counted: &CountingService, failpoint: Failpoint) -> Stayd {
    let config = counted.watched_config();
    let start = || Stayd::start_with_failpoint(&config, &failpoint.name());
    let mut daemon = match failpoint {
        Failpoint::BeforeIntent
        | Failpoint::ClaimHalfWritten
        | Failpoint::AfterIntent
        | Failpoint::Forked
        | Failpoint::MainProcessRecorded
        | Failpoint::BeforeRotation
        | Failpoint::HalfRotated
        | Failpoint::AfterRotation => start(),
        Failpoint::OwnershipProven | Failpoint::Adopted => {
            let first = Stayd::start(&config);
            first.wait_state("s", "running");
            first.kill_and_restart_with_failpoint(&failpoint.name())
        }
        Failpoint::Terminated => {
            let daemon = running(start());
            daemon.signal(libc::SIGTERM);
            daemon
        }
        Failpoint::Reaped
        | Failpoint::BeforeEvidence
        | Failpoint::AfterEvidence
        | Failpoint::FirstKilled
        | Failpoint::TreeEmpty
        | Failpoint::BeforeRelease
        | Failpoint::HalfReleased
        | Failpoint::AfterRelease => {
            let daemon = running(start());
            counted.set_healthy(false);
            daemon
        }
        Failpoint::UpgradeReady
        | Failpoint::BeforeExec
        | Failpoint::NewVersionStarted
        | Failpoint::ControlTakenOver => {
            let daemon = running(start());
            // The client fails, because stayd dies before it answers.
            daemon.client(&["upgrade"]);
            daemon
        }
        Failpoint::CopyBegun | Failpoint::Copied | Failpoint::Listed | Failpoint::Published => {
            unreachable!("{failpoint:?} is in a helper, and this service has no runtime")
        }
    };
    assert!(
        !daemon.wait().success(),
        "{failpoint:?}: {}",
        daemon.output()
    );
    daemon
}

/// Waits until the service has answered once: only then does its silence lead to a kill.
fn running(daemon: Stayd) -> Stayd {
    let daemon = daemon.wait_until_open();
    daemon.wait_service("s", "healthy", |service| service["healthy"] == true);
    daemon
}

/// Kills the main process of the service, so that the next kill of stayd may fall between two instances.
fn kill_newest_instance(counted: &CountingService) {
    let newest = counted.mains().last().copied();
    let stat = newest.and_then(|pid| stayd::sys::process::stat(pid).ok());
    let handle = stat.and_then(|stat| stayd::sys::process::Handle::open(stat.process).ok());
    if let Some(handle) = handle {
        // It may have ended meanwhile.
        let _ = handle.signal(libc::SIGKILL);
    }
}

/// Lets time pass, because the moment of the kill is what is tested. It spins, since a sleep is not exact enough.
fn wait_for_moment(delay: Duration) {
    let end = Instant::now() + delay;
    while Instant::now() < end {
        std::thread::yield_now();
    }
}

/// The generator splitmix64: the same seed gives the same moments.
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    fn from_environment() -> Self {
        let seed = std::env::var(SEED).map_or(1, |text| text.parse().expect("a number"));
        Self { seed, state: seed }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

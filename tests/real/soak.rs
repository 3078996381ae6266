//! stayd dies: at random moments, over and over, and so does its service; and once at each named step.

use super::support::counting_service::CountingService;
use super::support::daemon::Stayd;
use stayd::act::failpoint::Failpoint;
use std::time::{Duration, Instant};

/// `make soak` sets more.
const ROUNDS: usize = 40;
/// The rounds begin with the same seed each time, or with this.
const SEED: &str = "STAYD_SOAK_SEED";
/// Of a log file: with the thousand that are kept it is enough for `make soak`.
const LOG_SIZE: &str = "16KiB";
/// Steps tried at the same time.
const STEPS_AT_ONCE: usize = 7;

#[test]
fn deaths_at_random_leave_one_copy_and_every_line() {
    let counted = CountingService::new();
    let attempts = std::env::var("STAYD_SOAK_ROUNDS").map_or(ROUNDS, |text| {
        text.parse().expect("STAYD_SOAK_ROUNDS is a number")
    });
    let mut dice = Dice::from_environment();
    let mut daemon = Stayd::start_at_once(&counted.config(LOG_SIZE));
    for _ in 0..attempts {
        pass(Duration::from_millis(dice.below(120)));
        if dice.below(3) == 0 {
            kill_the_newest(&counted);
            pass(Duration::from_millis(dice.below(8)));
        }
        daemon = daemon.kill_and_restart_at_once();
    }
    let daemon = daemon.kill_and_restart();
    counted.assert_whole(daemon, &format!("seed {}", dice.seed));
}

#[test]
#[cfg_attr(
    not(debug_assertions),
    ignore = "only a debug build knows the named steps"
)]
fn a_death_at_each_named_step_leaves_one_copy_and_every_line() {
    for steps in Failpoint::ALL.chunks(STEPS_AT_ONCE) {
        std::thread::scope(|scope| {
            for &step in steps {
                scope.spawn(move || die_at(step));
            }
        });
    }
}

fn die_at(step: Failpoint) {
    let counted = CountingService::new();
    let dead = provoke(&counted, step);
    counted.set_fit(true);
    counted.assert_whole(dead.restart(), &step.name());
}

/// A stayd that has died at `step`.
fn provoke(counted: &CountingService, step: Failpoint) -> Stayd {
    let config = counted.watched_config();
    let start = || Stayd::start_with_failpoint(&config, &step.name());
    let mut daemon = match step {
        Failpoint::BeforeIntent
        | Failpoint::ClaimHalfWritten
        | Failpoint::AfterIntent
        | Failpoint::Forked
        | Failpoint::Named
        | Failpoint::BeforeRotation
        | Failpoint::HalfRotated
        | Failpoint::AfterRotation => start(),
        Failpoint::Proven | Failpoint::TakenInHand => {
            let first = Stayd::start(&config);
            first.wait_state("s", "running");
            first.kill_and_restart_with_failpoint(&step.name())
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
            counted.set_fit(false);
            daemon
        }
        Failpoint::AtRest | Failpoint::BeforeExec | Failpoint::Received | Failpoint::TakenOver => {
            let daemon = running(start());
            // Whoever asks for it sees a stayd that ends.
            daemon.client(&["upgrade"]);
            daemon
        }
        Failpoint::CopyBegun | Failpoint::Copied | Failpoint::Listed | Failpoint::Published => {
            unreachable!("{step:?} is a helper's, and this service is not copied")
        }
    };
    assert!(!daemon.wait().success(), "{step:?}: {}", daemon.output());
    daemon
}

/// Its service has answered once, so that silence condemns it.
fn running(daemon: Stayd) -> Stayd {
    let daemon = daemon.wait_until_open();
    daemon.wait_service("s", "healthy", |service| service["healthy"] == true);
    daemon
}

/// The service dies, too: then stayd is killed between two lives.
fn kill_the_newest(counted: &CountingService) {
    let newest = counted.mains().last().copied();
    let instance = newest.and_then(|pid| stayd::sys::process::stat(pid).ok());
    let handle = instance.and_then(|stat| stayd::sys::process::Handle::open(stat.process).ok());
    if let Some(handle) = handle {
        // It may have ended meanwhile.
        let _ = handle.signal(libc::SIGKILL);
    }
}

/// What is tested are moments: time has to pass.
fn pass(span: Duration) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        std::thread::yield_now();
    }
}

/// splitmix64: the same seed, the same moments.
struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
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

//! stayd dies at random moments, over and over, and so does its service.

use super::support::TempDir;
use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::wait_until;
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

/// `make soak` sets more.
const ROUNDS: usize = 40;
/// The rounds begin with the same seed each time, or with this.
const SEED: &str = "STAYD_SOAK_SEED";

/// Counts its own copies with a lock, and numbers its lines; its life is in each.
const SERVICE: &str = "\
import fcntl, os, sys, time
lock = open('DIR/lock', 'w')
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    open('DIR/second-copy', 'a').write('%d\\n' % os.getpid())
life, n = os.environ['STAYD_LIFE'], 0
open('DIR/pids', 'a').write('%d\\n' % os.getpid())
while True:
    n += 1
    sys.stdout.write('%s %d\\n' % (life, n))
    sys.stdout.flush()
    time.sleep(0.003)
";

#[test]
fn item_90_deaths_at_random_leave_one_copy_and_every_line() {
    let shared = TempDir::new();
    let script = SERVICE.replace("DIR", &shared.path().display().to_string());
    let argv = serde_json::to_string(&["python3", "-c", &script]).expect("JSON is TOML here");
    let config = format!(
        "[service.s]\ncommand = {argv}\nbackoff = {{ min = \"1ms\", max = \"5ms\" }}\ngive_up = {{ exits = 1000, within = \"1s\" }}\n\
         [service.s.log]\nto = \"file\"\n"
    );
    let rounds = std::env::var("STAYD_SOAK_ROUNDS").map_or(ROUNDS, |text| {
        text.parse().expect("STAYD_SOAK_ROUNDS is a number")
    });
    let mut dice = Dice::from_environment();
    let mut daemon = Stayd::start_at_once(&config);
    for _ in 0..rounds {
        pass(Duration::from_millis(dice.below(120)));
        if dice.below(3) == 0 {
            kill_the_newest(&shared);
            pass(Duration::from_millis(dice.below(8)));
        }
        daemon = daemon.killed_and_again_at_once();
    }
    let mut daemon = daemon.killed_and_again();
    let last = daemon.wait_state("s", "running");
    let living = i32::try_from(last["pid"].as_i64().expect("a pid")).expect("a pid");
    wait_until("its own line about itself", SOON, || {
        pids(&shared).contains(&living)
    });
    let alive: Vec<i32> = pids(&shared)
        .into_iter()
        .filter(|&pid| is_alive(pid))
        .collect();
    assert_eq!(alive, [living], "seed {}", dice.seed);
    assert!(!shared.join("second-copy").exists(), "seed {}", dice.seed);
    daemon.stop();
    assert!(!is_alive(living));
    assert_no_line_is_missing(&daemon, dice.seed);
}

fn assert_no_line_is_missing(daemon: &Stayd, seed: u64) {
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    let logs = daemon.state_dir().join("logs/s");
    let text = fs::read_to_string(logs.join("current.log")).expect("the log");
    for line in text.lines() {
        let (life, number) = line
            .split_once(' ')
            .unwrap_or_else(|| panic!("torn: {line:?}"));
        let expected = next.entry(life.to_owned()).or_insert(1);
        assert_eq!(number, expected.to_string(), "life {life}, seed {seed}");
        *expected += 1;
    }
    assert!(!next.is_empty());
}

fn pids(shared: &TempDir) -> Vec<i32> {
    let text = fs::read_to_string(shared.join("pids")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// The service dies, too: then stayd is killed between two lives.
fn kill_the_newest(shared: &TempDir) {
    let newest = pids(shared).last().copied();
    let living = newest.and_then(|pid| stayd::sys::process::stat(pid).ok());
    let handle = living.and_then(|stat| stayd::sys::process::Handle::open(stat.process).ok());
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

//! What a materialized runtime costs, beside `cp -r`, `b3sum` and `find -newer` in the same run: `make bench`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use stayd::act::runtime::cache::{Cache, Materialized};
use stayd::act::runtime::copy::Progress;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Rounds of each kind, one after the other; their median counts.
const ROUNDS: usize = 5;
/// A runtime as they are: a thousand small files, some large ones.
const SMALL_FILES: usize = 1000;
const SMALL_BYTES: usize = 40_000;
const LARGE_FILES: usize = 6;
const LARGE_BYTES: usize = 50_000_000;
/// At least this share of the speed of `cp -r` and `b3sum` one after the other.
const SHARE_MIN: f64 = 0.7;
/// An unchanged source of a thousand files is decided within this.
const DECISION_MAX: Duration = Duration::from_millis(10);
/// `find` looks at the same files; the fixed price of a start is counted apart.
const MANY_FILES: usize = 20_000;
/// Stamps are trusted when they are older than this, see the cache.
const OLD_ENOUGH: Duration = Duration::from_secs(4);

fn main() {
    // `cargo bench` passes --bench, `cargo test --benches` does not: then nothing is measured.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    // Where the state folder would be: on a disk, not in memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    copying(dir.path());
    deciding(dir.path(), SMALL_FILES);
    deciding(dir.path(), MANY_FILES);
}

fn copying(dir: &Path) {
    let source = dir.join("source");
    plant(&source, SMALL_FILES, SMALL_BYTES);
    for nth in 0..LARGE_FILES {
        fs::write(source.join(format!("large{nth}")), noise(LARGE_BYTES, nth)).expect("written");
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for attempt in 0..ROUNDS {
        let target = dir.join(format!("copy{attempt}"));
        theirs.push(timed(|| {
            run(Command::new("cp").arg("-r").arg(&source).arg(&target));
            run(Command::new("sync").arg("-f").arg(&target));
            run(Command::new("sh")
                .args(["-c", "find \"$1\" -type f -print0 | xargs -0 b3sum", "sh"])
                .arg(&source));
        }));
        fs::remove_dir_all(target).expect("removed");
        let state = dir.join(format!("state{attempt}"));
        ours.push(timed(|| assert!(make(&state, &source).copied.is_some())));
        fs::remove_dir_all(state).expect("removed");
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let share = theirs.as_secs_f64() / ours.as_secs_f64();
    println!(
        "copy, hash and sync of {} files, {} MB: {ours:.0?}; cp -r, sync -f and b3sum {theirs:.0?}: {share:.2} of their \
         speed (at least {SHARE_MIN})",
        SMALL_FILES + LARGE_FILES,
        (SMALL_FILES * SMALL_BYTES + LARGE_FILES * LARGE_BYTES) / 1_000_000
    );
}

fn deciding(dir: &Path, files: usize) {
    let source = dir.join(format!("source{files}"));
    plant(&source, files, 1000);
    std::thread::sleep(OLD_ENOUGH);
    let state = dir.join(format!("decided{files}"));
    let made = make(&state, &source);
    let reference = state.join("runtime/.lock");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(timed(|| {
            let mut find = Command::new("find");
            run(find
                .arg(&source)
                .arg("-newer")
                .arg(&reference)
                .stdout(Stdio::null()));
        }));
        ours.push(timed(|| {
            let again = make(&state, &source);
            assert_eq!(
                (&again.fingerprint, again.copied),
                (&made.fingerprint, None)
            );
            let cache = Cache::of(&state);
            let held = cache.lock().expect("held");
            assert!(
                held.verify(&made.fingerprint)
                    .expect("checked")
                    .altered
                    .is_empty()
            );
        }));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let micros = |time: Duration, files: usize| time.as_secs_f64() * 1e6 / files as f64;
    println!(
        "an unchanged source of {files} files and its copy looked at: {ours:.1?} (at most {DECISION_MAX:?} for {SMALL_FILES}), \
         {:.2} µs a file of both; find -newer over the source alone {theirs:.1?}, {:.2} µs a file (at least ours)",
        micros(ours, 2 * files),
        micros(theirs, files)
    );
}

fn make(state: &Path, source: &Path) -> Materialized {
    let cache = Cache::of(state);
    let held = cache.lock().expect("held");
    let made = held.materialize("s", source, false, &Progress::default());
    made.expect("made")
}

/// Files in folders of a hundred.
fn plant(source: &Path, files: usize, bytes: usize) {
    for nth in 0..files {
        let folder: PathBuf = source.join(format!("d{}", nth / 100));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(format!("f{nth}")), noise(bytes, nth)).expect("written");
    }
}

fn noise(bytes: usize, seed: usize) -> Vec<u8> {
    let mut state = seed as u64 | 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_le_bytes()[7]
    };
    (0..bytes).map(|_| next()).collect()
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn run(command: &mut Command) {
    let output = command.output().expect("coreutils, findutils and b3sum");
    assert!(output.status.success(), "{command:?}");
}

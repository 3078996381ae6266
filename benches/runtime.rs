//! Measures what a materialized runtime costs, beside `cp -r`, `b3sum` and `find -newer` in the same run: `make bench`.
//!
//! `b3sum` is a Debian package of its own. Without it the copy is measured and compared with nothing.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use stayd::act::runtime::cache::{Cache, Materialized};
use stayd::act::runtime::copy::Progress;
use stayd::act::runtime::source::Source;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often each measurement is made, in turn with the one that it is compared with; their median is reported.
const RUNS: usize = 5;
/// A typical runtime has a thousand small files and some large ones.
const SMALL_FILES: usize = 1000;
const SMALL_BYTES: usize = 40_000;
const LARGE_FILES: usize = 6;
const LARGE_BYTES: usize = 50_000_000;
/// stayd has to reach at least this share of the speed of `cp -r`, `sync -f` and `b3sum` one after the other.
const SHARE_MIN: f64 = 0.7;
/// stayd has to see within this time that a source of a thousand files is unchanged.
const DECISION_MAX: Duration = Duration::from_millis(10);
/// So many files that the time per file, and not the start of `find`, decides the comparison.
const MANY_FILES: usize = 20_000;
/// The cache trusts modification times that are older than this.
const OLD_ENOUGH: Duration = Duration::from_secs(4);

fn main() {
    // `cargo bench` passes --bench. `cargo test --benches` does not, and then nothing is measured.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    // A state dir lies on a disk, so the folder must not be on a tmpfs as /tmp may be.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    measure_copy(dir.path());
    measure_decision(dir.path(), SMALL_FILES);
    measure_decision(dir.path(), MANY_FILES);
}

/// Measures a first copy of a source.
fn measure_copy(dir: &Path) {
    let source = dir.join("source");
    write_files(&source, SMALL_FILES, SMALL_BYTES);
    for nth in 0..LARGE_FILES {
        fs::write(source.join(format!("large{nth}")), noise(LARGE_BYTES, nth)).expect("written");
    }
    let is_comparable = has_b3sum();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for nth in 0..RUNS {
        if is_comparable {
            let target = dir.join(format!("copy{nth}"));
            theirs.push(timed(|| copy_sync_and_hash(&source, &target)));
            fs::remove_dir_all(target).expect("removed");
        }
        let state = dir.join(format!("state{nth}"));
        ours.push(timed(|| assert!(make(&state, &source).copied.is_some())));
        fs::remove_dir_all(state).expect("removed");
    }
    let ours = median(ours);
    let comparison = if is_comparable {
        let theirs = median(theirs);
        let share = theirs.as_secs_f64() / ours.as_secs_f64();
        format!(
            "cp -r, sync -f and b3sum {theirs:.0?}: {share:.2} of their speed (at least {SHARE_MIN})"
        )
    } else {
        "nothing to compare it with".to_owned()
    };
    println!(
        "copy, hash and sync of {} files, {} MB: {ours:.0?}; {comparison}",
        SMALL_FILES + LARGE_FILES,
        (SMALL_FILES * SMALL_BYTES + LARGE_FILES * LARGE_BYTES) / 1_000_000
    );
}

/// Whether `b3sum` can be run here. Prints the Debian package when it is missing.
fn has_b3sum() -> bool {
    let version = Command::new("b3sum").arg("--version").output();
    let found = version.is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: the comparison with b3sum (Debian's package b3sum)");
    }
    found
}

/// What a shell script would do in place of stayd.
fn copy_sync_and_hash(source: &Path, target: &Path) {
    run(Command::new("cp").arg("-r").arg(source).arg(target));
    run(Command::new("sync").arg("-f").arg(target));
    run(Command::new("sh")
        .args(["-c", "find \"$1\" -type f -print0 | xargs -0 b3sum", "sh"])
        .arg(source));
}

/// Measures how long stayd takes to see that a source and its copy are unchanged.
fn measure_decision(dir: &Path, files: usize) {
    let source = dir.join(format!("source{files}"));
    write_files(&source, files, 1000);
    // The files have to become as old as those of a source that was installed some time ago.
    std::thread::sleep(OLD_ENOUGH);
    let state = dir.join(format!("decided{files}"));
    let made = make(&state, &source);
    let reference = state.join("runtime/.lock");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
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
        "check of an unchanged source of {files} files and of its copy: {ours:.1?} (at most {DECISION_MAX:?} for {SMALL_FILES}), \
         {:.2} µs per file of both; find -newer over the source alone {theirs:.1?}, {:.2} µs per file (at least ours)",
        micros(ours, 2 * files),
        micros(theirs, files)
    );
}

/// Materializes the source in this state dir, as stayd does before a start.
fn make(state: &Path, source: &Path) -> Materialized {
    let cache = Cache::of(state);
    let held = cache.lock().expect("held");
    let made = held.materialize(
        "s",
        &Source::read_as_caller(source),
        false,
        &Progress::default(),
    );
    made.expect("made")
}

/// Writes that many files of that size, a hundred per folder.
fn write_files(source: &Path, files: usize, bytes: usize) {
    for nth in 0..files {
        let folder: PathBuf = source.join(format!("d{}", nth / 100));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(format!("f{nth}")), noise(bytes, nth)).expect("written");
    }
}

/// Pseudo-random bytes, which do not compress.
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

/// Runs the command to its end, and panics with its complaint if it fails.
fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}, {complaint}",
        output.status
    );
}

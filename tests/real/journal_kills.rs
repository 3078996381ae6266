//! The journal after a SIGKILL of its process: in the middle of writes, and right after it has confirmed a save.

use super::journal::{BOOT, WITHIN, everything, open_in, query, record, wait};
use super::support::{TempDir, wait_for};
use stayd::act::journal::{EventQuery, QUEUED_RECORDS_MAX};
use stayd::decide::action::{Persist, RecordKind};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The environment variable that names the folder in which the test's child writes until it is killed.
const WRITE_IN: &str = "STAYD_TEST_WRITE_IN";

#[test]
fn a_kill_in_the_middle_of_writes_loses_no_record_that_was_confirmed() {
    if let Some(dir) = std::env::var_os(WRITE_IN) {
        return write_until_killed(Path::new(&dir));
    }
    let dir = TempDir::new();
    let mut child = Command::new(std::env::current_exe().expect("the test program"))
        .args(["--exact", "--nocapture"])
        .arg("journal_kills::a_kill_in_the_middle_of_writes_loses_no_record_that_was_confirmed")
        .env(WRITE_IN, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let written: u64 = wait_for("a few thousand records", WITHIN, || {
        let line = lines.next()?.ok()?;
        line.strip_prefix("on disk: ")?
            .parse()
            .ok()
            .filter(|id| *id > 3_000)
    });
    child.kill().expect("killed");
    child.wait().expect("reaped");

    let (store, past) = open_in(dir.path(), BOOT);
    let found = everything(&store);
    assert!(
        !dir.join("journal.db.corrupt-1").exists(),
        "the file is valid"
    );
    assert!(
        found.len() as u64 >= written,
        "{} of {written}",
        found.len()
    );
    assert!(
        found
            .iter()
            .map(|entry| entry.id)
            .eq(1..=found.len() as u64)
    );
    let last_life = past.of("db", "probe").last_life;
    assert_eq!(u64::from(last_life.0), found.len() as u64);
}

/// The environment variable that names the folder in which the test's child saves and is killed.
const SAVE_IN: &str = "STAYD_TEST_SAVE_IN";

/// More than one batch of records waits when the request is saved.
#[test]
fn a_request_that_was_saved_outlives_an_immediate_kill() {
    if let Some(dir) = std::env::var_os(SAVE_IN) {
        return save_and_be_killed(Path::new(&dir));
    }
    let dir = TempDir::new();
    let ended = Command::new(std::env::current_exe().expect("the test program"))
        .args(["--exact", "--nocapture"])
        .arg("journal_kills::a_request_that_was_saved_outlives_an_immediate_kill")
        .env(SAVE_IN, dir.path())
        .stdout(Stdio::null())
        .status()
        .expect("the child");
    assert_eq!(ended.signal(), Some(libc::SIGKILL));
    let (store, past) = open_in(dir.path(), BOOT);
    assert_eq!(everything(&store).len(), QUEUED_RECORDS_MAX);
    assert!(past.of("db", "probe").stopped);
}

fn save_and_be_killed(dir: &Path) {
    let (store, _past) = open_in(dir, BOOT);
    for number in 1..=QUEUED_RECORDS_MAX {
        store.record(
            Some("db"),
            &record(RecordKind::Ready, u32::try_from(number).expect("few"), "r"),
        );
    }
    store.persist("db", "probe", &Persist::Stopped(true));
    wait(store.flush()).expect("saved");
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).expect("raise");
}

/// Writes records without end and prints after every hundredth that it is on disk: the journal answers a query after it
/// has written the records before it.
fn write_until_killed(dir: &Path) {
    let (store, _past) = open_in(dir, BOOT);
    let last = EventQuery {
        limit: 1,
        ..EventQuery::default()
    };
    for number in 1.. {
        store.record(Some("db"), &record(RecordKind::Ready, number, "r"));
        if number % 100 == 0 {
            query(&store, last.clone());
            println!("on disk: {number}");
            std::io::stdout().flush().expect("the parent reads");
        }
    }
}

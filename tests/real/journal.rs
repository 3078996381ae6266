//! The journal on real disks: what it answers, and what it keeps over a close, a reboot, a damaged file and a full disk.

#[cfg(target_os = "linux")]
use crate::support::alone;
use crate::support::{TempDir, wait_until};
use stayd::act::dirs::state_dir::StateDir;
use stayd::act::journal::{
    EVENTS_MAX, EventQuery, Journal, JournalEntry, LOST_KIND, PersistedStates, QUEUED_RECORDS_MAX,
};
use stayd::decide::action::{Persist, Record, RecordKind, RecordValue};
use stayd::decide::event::Life;
use std::fs::{self, OpenOptions};
#[cfg(target_os = "linux")]
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

/// A generous deadline for what the journal's thread does in the background.
pub(super) const WITHIN: Duration = Duration::from_secs(20);
/// The boot id that the tests give.
pub(super) const BOOT: &str = "this boot";

pub(super) fn open_in(dir: &Path, boot_id: &str) -> (Journal, PersistedStates) {
    let state = StateDir::open(dir, None).expect("a state folder");
    Journal::open(&state, boot_id)
}

/// A record with one fact of each type.
pub(super) fn record(kind: RecordKind, life: u32, sentence: &str) -> Record {
    Record {
        kind,
        life: Some(Life(life)),
        sentence: sentence.to_owned(),
        facts: vec![
            ("rounds", RecordValue::Number(3)),
            ("silent_ms", RecordValue::Millis(3400)),
            ("traced", RecordValue::Flag(false)),
            ("said", RecordValue::Text("nothing".to_owned())),
        ],
    }
}

pub(super) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
        .block_on(future)
}

pub(super) fn query(store: &Journal, query: EventQuery) -> Vec<JournalEntry> {
    wait(store.events(query)).expect("the journal answers")
}

/// All records, oldest first.
pub(super) fn everything(store: &Journal) -> Vec<JournalEntry> {
    let limit = usize::MAX;
    query(
        store,
        EventQuery {
            limit,
            ..EventQuery::default()
        },
    )
}

#[test]
fn records_reach_subscribers_at_once_and_are_found_by_service_id_time_and_kind() {
    let dir = TempDir::new();
    let (store, _past) = open_in(dir.path(), BOOT);
    let mut subscription = store.subscribe();
    store.record(
        Some("db"),
        &record(RecordKind::Started, 1, "first instance"),
    );
    store.record(Some("web"), &record(RecordKind::Killed, 1, "no answer"));
    store.record(None, &record(RecordKind::Slept, 1, "the machine slept"));

    let received: Vec<_> = std::iter::from_fn(|| subscription.try_recv().ok()).collect();
    let found = everything(&store);
    assert_eq!(
        found.iter().map(|entry| entry.id).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert!(
        found.iter().eq(received.iter().map(AsRef::as_ref)),
        "{found:?}"
    );
    let facts =
        serde_json::json!({"rounds": 3, "silent_ms": 3400, "traced": false, "said": "nothing"});
    assert_eq!(serde_json::Value::from(found[1].facts.clone()), facts);

    let limited = EventQuery {
        limit: 2,
        ..EventQuery::default()
    };
    assert_eq!(query(&store, limited.clone()), found[1..]);
    let about_db = EventQuery {
        service: Some("db".to_owned()),
        ..limited.clone()
    };
    assert_eq!(query(&store, about_db), found[..1]);
    let after = EventQuery {
        after_id: Some(2),
        ..limited.clone()
    };
    assert_eq!(query(&store, after), found[2..]);
    let decisions = EventQuery {
        decisions_only: true,
        ..limited.clone()
    };
    assert_eq!(query(&store, decisions), found[1..2]);
    let later = EventQuery {
        since: Some(found[2].at),
        ..limited
    };
    assert!(query(&store, later).is_empty());
}

#[test]
fn evidence_belongs_to_the_last_kill_of_its_instance() {
    let dir = TempDir::new();
    let (store, _past) = open_in(dir.path(), BOOT);
    store.attach_evidence("db", 2, "waits for a lock".to_owned(), "stacks".to_owned());
    store.record(
        Some("db"),
        &record(RecordKind::Killed, 1, "another instance"),
    );
    store.record(Some("db"), &record(RecordKind::Killed, 2, "TERM"));
    store.record(Some("db"), &record(RecordKind::Killed, 2, "KILL"));
    store.record(Some("db"), &record(RecordKind::Ready, 3, "no incident"));

    let incidents = wait(store.incidents(10)).expect("incidents");
    let summaries: Vec<_> = incidents
        .iter()
        .map(|one| one.evidence_summary.as_deref())
        .collect();
    assert_eq!(summaries, [None, None, Some("waits for a lock")]);
    assert!(incidents.iter().all(|one| one.evidence.is_none()));
    let last = wait(store.incident(3))
        .expect("answers")
        .expect("an incident");
    assert_eq!(last.evidence.as_deref(), Some("stacks"));
    assert_eq!(wait(store.incident(4)), Ok(None));
}

#[test]
fn a_close_keeps_records_and_requests_in_a_file_of_mode_0600() {
    let dir = TempDir::new();
    let (store, past) = open_in(dir.path(), BOOT);
    assert_eq!(past.of("db", "probe"), Default::default());
    store.record(Some("db"), &record(RecordKind::Started, 7, "an instance"));
    store.record_life("web", 4);
    store.persist("db", "probe", &Persist::Stopped(true));
    store.persist("db", "probe", &Persist::Proven);
    store.persist(
        "db",
        "probe",
        &Persist::Hold(Some((WITHIN, "backup".to_owned()))),
    );
    let before = everything(&store);
    store.close();
    let mode = fs::metadata(dir.join("journal.db"))
        .expect("file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let (store, past) = open_in(dir.path(), BOOT);
    assert_eq!(everything(&store), before);
    let db = past.of("db", "probe");
    assert!(db.stopped && db.proven && !db.parked);
    assert_eq!(db.last_life, Life(7));
    let (left, reason) = db.hold.expect("held");
    assert!(left <= WITHIN && reason == "backup");
    assert!(!past.of("db", "another probe").proven);
    assert_eq!(past.of("web", "probe").last_life, Life(4));
    store.record(None, &record(RecordKind::Slept, 1, "next"));
    assert_eq!(everything(&store).last().map(|entry| entry.id), Some(2));
}

#[test]
fn a_requested_stop_ends_with_the_boot_and_a_parked_state_does_not() {
    let dir = TempDir::new();
    let (store, _past) = open_in(dir.path(), BOOT);
    store.persist("db", "probe", &Persist::Stopped(true));
    store.persist("db", "probe", &Persist::Parked(true));
    store.close();
    let (_store, past) = open_in(dir.path(), "another boot");
    let db = past.of("db", "probe");
    assert!(!db.stopped && db.parked);
}

#[test]
fn a_file_that_is_no_database_is_set_aside_and_ids_do_not_begin_again() {
    let dir = TempDir::new();
    fs::write(dir.join("journal.db"), "no database\n".repeat(1000)).expect("write");
    let (store, past) = open_in(dir.path(), BOOT);
    assert_eq!(past.of("db", "probe"), Default::default());
    store.record(Some("db"), &record(RecordKind::Started, 1, "goes on"));
    assert_eq!(everything(&store).len(), 1);
    assert!(
        everything(&store)[0].id > 1_000_000,
        "an id is not used twice"
    );
    assert!(dir.join("journal.db.corrupt-1").exists());
}

#[test]
fn a_damaged_file_is_set_aside() {
    let dir = TempDir::new();
    let (store, _past) = open_in(dir.path(), BOOT);
    for number in 0..500 {
        store.record(
            Some("db"),
            &record(RecordKind::Ready, 1, &number.to_string()),
        );
    }
    store.close();
    let path = dir.join("journal.db");
    let file = OpenOptions::new().write(true).open(&path).expect("open");
    file.write_all_at(&[0xa5; 8192], 8192).expect("overwritten");

    let (store, _past) = open_in(dir.path(), BOOT);
    assert!(dir.join("journal.db.corrupt-1").exists());
    store.record(None, &record(RecordKind::Slept, 1, "goes on"));
    assert_eq!(everything(&store).len(), 1);
    store.close();
    let (store, _past) = open_in(dir.path(), BOOT);
    assert_eq!(everything(&store).len(), 1);
}

#[test]
fn a_file_with_a_later_schema_is_set_aside_unchanged() {
    let dir = TempDir::new();
    let (store, _past) = open_in(dir.path(), BOOT);
    store.record(None, &record(RecordKind::Slept, 1, "from before"));
    store.close();
    let path = dir.join("journal.db");
    let file = rusqlite::Connection::open(&path).expect("a valid file after the close");
    file.pragma_update(None, "user_version", 1_000)
        .expect("a later schema");
    drop(file);

    let (store, _past) = open_in(dir.path(), BOOT);
    assert!(everything(&store).is_empty());
    let aside = rusqlite::Connection::open(dir.join("journal.db.corrupt-1")).expect("the old file");
    let count = aside.query_row("SELECT count(*) FROM events", [], |row| row.get(0));
    assert_eq!(count, Ok(1));
}

#[test]
fn records_that_cannot_be_written_are_held_up_to_a_bound_and_the_lost_ones_counted() {
    let dir = TempDir::new();
    fs::create_dir(dir.join("journal.db")).expect("a folder in the way");
    let (store, _past) = open_in(dir.path(), BOOT);
    let count = 10 * QUEUED_RECORDS_MAX;
    for number in 0..count {
        store.record(
            Some("db"),
            &record(RecordKind::Ready, 1, &number.to_string()),
        );
    }
    let held = everything(&store);
    assert!(
        held.len() <= 2 * QUEUED_RECORDS_MAX,
        "{} are held",
        held.len()
    );
    let gaps: Vec<_> = held
        .iter()
        .filter(|entry| entry.kind == LOST_KIND)
        .collect();
    let lost: u64 = gaps
        .iter()
        .filter_map(|gap| gap.facts["count"].as_u64())
        .sum();
    assert_eq!(lost as usize + held.len() - gaps.len(), count);
    assert!(held.is_sorted_by(|a, b| a.id < b.id));

    fs::remove_dir(dir.join("journal.db")).expect("the folder is removed");
    let path = dir.join("journal.db");
    wait_until("the journal is written again", WITHIN, || {
        fs::metadata(&path).is_ok_and(|meta| meta.is_file())
    });
    store.close();
    let (store, _past) = open_in(dir.path(), BOOT);
    assert_eq!(everything(&store), held);
}

#[test]
fn above_the_bound_the_oldest_records_are_removed() {
    let dir = TempDir::new();
    let (store, _past) = open_in(dir.path(), BOOT);
    let max = usize::try_from(EVENTS_MAX).expect("fits");
    for number in 0..max + 2_000 {
        store.record(Some("db"), &record(RecordKind::Ready, 1, "r"));
        if number % 100 == 0 {
            // The journal answers after it has written the records before the query, so that its queue cannot overflow.
            query(
                &store,
                EventQuery {
                    limit: 1,
                    ..EventQuery::default()
                },
            );
        }
    }
    let found = everything(&store);
    assert!((max..max + 1_000).contains(&found.len()), "{}", found.len());
    assert!(found.iter().all(|entry| entry.kind != LOST_KIND));
    assert_eq!(found.last().map(|entry| entry.id), Some(EVENTS_MAX + 2_000));
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs root"]
fn a_full_disk_loses_no_record_and_the_journal_writes_again_when_there_is_room() {
    alone(|| {
        let disk = crate::support::disk::Disk::tmpfs(4, "mode=0700");
        let filler = disk.path().join("filler");
        let (store, _past) = open_in(disk.path(), BOOT);
        fill_disk(&filler);
        for number in 0..900 {
            store.record(
                Some("db"),
                &record(RecordKind::Ready, 1, &number.to_string().repeat(50)),
            );
        }
        store.persist("db", "probe", &Persist::Stopped(true));
        assert_eq!(
            everything(&store).len(),
            900,
            "the journal answers from memory"
        );
        fs::remove_file(&filler).expect("the disk has room again");
        store.close();

        let (store, past) = open_in(disk.path(), BOOT);
        assert_eq!(everything(&store).len(), 900);
        assert!(past.of("db", "probe").stopped);
        store.close();
    });
}

/// Writes the file until the disk is full.
#[cfg(target_os = "linux")]
fn fill_disk(filler: &Path) {
    let mut file = fs::File::create(filler).expect("create");
    while file.write_all(&[0; 4096]).is_ok() {}
}

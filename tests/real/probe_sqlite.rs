//! The `sqlite:` probe asks real database files through a real helper process.

use crate::support::probing::{
    LONG, SHORT, assert_dead, assert_degraded, assert_no_verdict, context, probe, with_spawner,
};
use crate::support::{TempDir, alone, wait_until};
use rusqlite::Connection;
use stayd::act::helper::{Helper, HelperError};
use stayd::act::probe::Prober;
use stayd::act::probe::SqliteRequest;
use stayd::act::process_info::CommandLine;
use stayd::act::spawn::spawner::Spawner;
use stayd::config::{Probe, Target};
use stayd::decide::event::Answer;
use stayd::sys::process;
use stayd::sys::reaper;
use std::path::{Path, PathBuf};

/// Makes a database with one table in this journal mode, and keeps it open.
fn database(path: &Path, journal: &str) -> Connection {
    let database = Connection::open(path).expect("a database");
    database
        .execute_batch(&format!(
            "PRAGMA journal_mode={journal}; CREATE TABLE t (a); INSERT INTO t VALUES (1);"
        ))
        .expect("filled");
    database
}

fn probe_of(path: &Path, write: bool) -> Probe {
    probe(Target::Sqlite {
        path: path.into(),
        write,
    })
}

fn prober(spawner: &Spawner, probe: &Probe) -> Prober {
    Prober::new(probe, context(spawner))
}

/// The files in the folder, sorted.
fn names(dir: &TempDir) -> Vec<PathBuf> {
    let mut names: Vec<_> = std::fs::read_dir(dir.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_that_answers_is_alive_and_the_probe_changes_no_file() {
    alone(|| {
        with_spawner(async |spawner| {
            for journal in ["DELETE", "WAL"] {
                let dir = TempDir::new();
                let path = dir.join("state.db");
                let service = database(&path, journal);
                let before = (names(&dir), std::fs::read(&path).expect("read"));
                for write in [false, true] {
                    let answer = prober(&spawner, &probe_of(&path, write)).ask(LONG).await;
                    assert_eq!(answer, Answer::Alive, "{journal}, write={write}");
                }
                assert_eq!(
                    before,
                    (names(&dir), std::fs::read(&path).expect("read")),
                    "{journal}"
                );
                drop(service);
            }
        });
    });
}

#[test]
fn a_wal_database_that_no_process_has_open_is_not_opened() {
    alone(|| {
        with_spawner(async |spawner| {
            let dir = TempDir::new();
            let path = dir.join("state.db");
            drop(database(&path, "WAL"));
            let before = names(&dir);
            assert_eq!(before.len(), 1);
            let answer = prober(&spawner, &probe_of(&path, false)).ask(LONG).await;
            assert_no_verdict(&answer, &["open in no process", "-shm"]);
            assert_eq!(names(&dir), before, "the probe creates no file");
        });
    });
}

#[test]
fn a_locked_file_is_degraded_and_names_the_holder_of_the_lock() {
    alone(|| {
        with_spawner(async |spawner| {
            let dir = TempDir::new();
            let path = dir.join("state.db");
            let service = database(&path, "DELETE");
            let holder = format!("locked by pid {} (", std::process::id());
            service.execute_batch("BEGIN EXCLUSIVE").expect("locked");
            let mut reader = prober(&spawner, &probe_of(&path, false));
            assert_degraded(&reader.ask(SHORT * 2).await, &[&holder, "300 ms"]);
            service
                .execute_batch("ROLLBACK; BEGIN IMMEDIATE")
                .expect("locked for writing");
            assert_eq!(reader.ask(LONG).await, Answer::Alive);
            let mut writer = prober(&spawner, &probe_of(&path, true));
            assert_degraded(&writer.ask(SHORT * 2).await, &[&holder]);
            service.execute_batch("ROLLBACK").expect("unlocked");
            assert_eq!(writer.ask(LONG).await, Answer::Alive);
        });
    });
}

#[test]
fn a_file_in_wal_mode_that_is_locked_for_writing_is_degraded_and_names_the_holder() {
    alone(|| {
        with_spawner(async |spawner| {
            let dir = TempDir::new();
            let path = dir.join("state.db");
            let service = database(&path, "WAL");
            service.execute_batch("BEGIN IMMEDIATE").expect("locked");
            let mut writer = prober(&spawner, &probe_of(&path, true));
            let holder = format!("locked by pid {} (", std::process::id());
            assert_degraded(&writer.ask(SHORT * 2).await, &[&holder]);
        });
    });
}

#[test]
fn missing_deleted_replaced_damaged_foreign_and_empty_files_have_answers_of_their_own() {
    alone(|| {
        with_spawner(async |spawner| {
            let dir = TempDir::new();
            let path = dir.join("state.db");
            let mut kept = prober(&spawner, &probe_of(&path, false));
            assert_dead(&kept.ask(LONG).await, &["does not exist"]);
            let service = database(&path, "DELETE");
            assert_eq!(kept.ask(LONG).await, Answer::Alive);
            std::fs::remove_file(&path).expect("deleted");
            assert_dead(&kept.ask(LONG).await, &["does not exist"]);
            drop(database(&path, "DELETE"));
            let other = dir.join("other.db");
            drop(database(&other, "DELETE"));
            std::fs::rename(&other, &path).expect("replaced");
            assert_degraded(&kept.ask(LONG).await, &["replaced by another file"]);
            drop(service);
            std::fs::write(
                &path,
                b"SQLite format 3\0 and then nothing that makes sense".repeat(100),
            )
            .expect("damaged");
            assert_degraded(&kept.ask(LONG).await, &["damaged"]);
            std::fs::write(&path, b"hello").expect("written");
            assert_degraded(&kept.ask(LONG).await, &["not a SQLite database"]);
            // A prober that has never seen a database there cannot know whether the path is right.
            let first = prober(&spawner, &probe_of(&path, false)).ask(LONG).await;
            assert_no_verdict(&first, &["not a SQLite database"]);
            std::fs::write(&path, b"").expect("emptied");
            assert_degraded(&kept.ask(LONG).await, &["empty"]);
        });
    });
}

#[test]
fn a_configured_query_is_asked_and_a_refused_one_is_degraded_without_its_secrets() {
    alone(|| {
        with_spawner(async |spawner| {
            let dir = TempDir::new();
            let path = dir.join("state.db");
            let _service = database(&path, "WAL");
            let ask = async |query: &str, shown: &str| {
                let asked = Probe {
                    query: Some(query.into()),
                    query_shown: Some(shown.into()),
                    ..probe_of(&path, false)
                };
                prober(&spawner, &asked).ask(LONG).await
            };
            assert_eq!(
                ask("SELECT a FROM t", "SELECT a FROM t").await,
                Answer::Alive
            );
            let bad = "SELECT b FROM t";
            assert_degraded(
                &ask(bad, bad).await,
                &["no such column: b", "fix the query"],
            );
            let writing = "DELETE FROM t";
            assert_degraded(&ask(writing, writing).await, &["read-only"]);
            let secret = ask("SELECT hunter2", "SELECT ${KEY}").await;
            assert_degraded(&secret, &["not quoted"]);
            assert!(!format!("{secret:?}").contains("hunter2"));
        });
    });
}

#[test]
fn a_helper_that_hangs_is_killed_at_the_deadline_and_replaced() {
    alone(|| {
        with_spawner(async |spawner| {
            let dir = TempDir::new();
            let path = dir.join("state.db");
            let service = database(&path, "DELETE");
            let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
            let hanging = Probe {
                query: Some(endless.into()),
                query_shown: Some(endless.into()),
                ..probe_of(&path, false)
            };
            let mut hanging = prober(&spawner, &hanging);
            for _ in 0..3 {
                assert_dead(
                    &hanging.ask(SHORT).await,
                    &["timed out after 300 ms waiting for the answer from the SQLite file"],
                );
            }
            let other = prober(&spawner, &probe_of(&path, false)).ask(LONG).await;
            assert_eq!(other, Answer::Alive);
            drop(hanging);
            drop(service);
        });
        wait_until("no helper is left", LONG, || {
            reaper::reap_exited(64);
            reaper::own_children().is_ok_and(|left| left.is_empty())
        });
    });
}

#[test]
fn a_helper_is_kept_between_requests_leaks_no_descriptor_and_is_replaced_when_it_hangs() {
    alone(|| {
        with_spawner(async |spawner| {
            let dir = TempDir::new();
            let path = dir.join("state.db");
            let _service = database(&path, "WAL");
            let mut helper = Helper::new(spawner.clone(), context(&spawner).program);
            let own = || CommandLine {
                pid: std::process::id().cast_signed(),
            };
            let line = helper.ask(own(), LONG).await.expect("a reply");
            assert!(line.contains("real"), "{line}");
            let pid = helper.pid().expect("the helper runs");
            let asked = SqliteRequest {
                path,
                write: true,
                query: None,
                secret: false,
                busy_ms: 1000,
            };
            helper.ask(asked.clone(), LONG).await.expect("a reply");
            let before = (open_files("self"), open_files(&pid.to_string()));
            assert!(before.0.is_some());
            for _ in 0..200 {
                helper.ask(asked.clone(), LONG).await.expect("a reply");
            }
            assert_eq!(helper.pid(), Some(pid));
            assert_eq!((open_files("self"), open_files(&pid.to_string())), before);
            let stat = process::stat(pid).expect("the helper");
            let handle = process::Handle::open(stat.process).expect("the helper");
            handle.signal(libc::SIGSTOP).expect("stopped");
            assert_eq!(helper.ask(own(), SHORT).await, Err(HelperError::Silent));
            helper.ask(own(), LONG).await.expect("a new helper replies");
            assert_ne!(helper.pid(), Some(pid));
        });
    });
}

/// The number of open files; none where only root may see them, as of a helper.
fn open_files(pid: &str) -> Option<usize> {
    Some(std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

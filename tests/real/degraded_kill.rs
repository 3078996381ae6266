//! `degraded = "kill"`: answers that are errors lead to a kill, with the same excuses as silence.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::postgres::Postgres;
use super::support::service::pid;
use super::support::watchdog::{watched_service, with_python_handler};
use super::support::{free_port, http_get, wait_until};
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// A crash recovery of some seconds may take this long on a busy machine.
const RECOVERY_MAX: Duration = Duration::from_secs(120);

/// A service that answers 503 from `GET /break` on, after `work` at each request.
fn breaking_service(port: u16, work: &str, busy_grace: &str) -> String {
    let handler = format!(
        "    if self.path=='/break': open('DIR/broken','w').close()\n    if os.path.exists('DIR/broken'):\n      {work}\n      \
         self.send_response(503);self.end_headers();return"
    );
    let config = watched_service("s", port, "", "degraded = \"kill\"").replace(
        "busy_grace = \"0s\"",
        &format!("busy_grace = \"{busy_grace}\""),
    );
    with_python_handler(port, &handler, &config)
}

fn says(daemon: &Stayd, kind: &str, words: &str) -> bool {
    let is_it = |event: &Value| {
        let message = event["message"].as_str();
        event["kind"] == kind && message.is_some_and(|message| message.contains(words))
    };
    daemon.events().iter().any(is_it)
}

#[test]
fn a_service_that_answers_only_errors_is_killed_and_the_sentence_says_that_it_answered() {
    let port = free_port();
    let daemon = Stayd::start(&breaking_service(port, "pass", "0s"));
    let subject = pid(&daemon.wait_state("s", "running"));
    http_get(port, "/break").expect("broken");
    wait_until("it is killed", SOON, || !is_alive(subject));
    wait_until("the sentence says why", SOON, || {
        says(
            &daemon,
            "killed",
            "killed: only errors in answer to GET /query in 3 probes (",
        ) && says(&daemon, "killed", "503")
    });
}

#[test]
fn a_service_that_works_while_it_answers_errors_has_the_busy_grace() {
    let port = free_port();
    let work = "end=time.time()+0.15\n      while time.time()<end: pass";
    let daemon = Stayd::start(&breaking_service(port, work, "60s"));
    let subject = pid(&daemon.wait_state("s", "running"));
    http_get(port, "/break").expect("broken");
    wait_until("the work suppresses the kill", SOON, || {
        says(
            &daemon,
            "spared",
            "only errors in answer to GET /query, but busy (using ",
        ) || !is_alive(subject)
    });
    assert!(is_alive(subject), "{}", daemon.output());
}

/// The database works for longer than `startup` allows, and answers each login with an error meanwhile.
#[test]
fn a_crash_recovery_that_takes_longer_than_the_startup_budget_comes_up_in_its_first_instance() {
    const STARTUP_MS: u64 = 600;
    const SETTINGS: [&str; 2] = ["max_wal_size=8GB", "checkpoint_timeout=1h"];
    let mut postgres = Postgres::prepared();
    postgres.launch(&SETTINGS);
    postgres.wait_ready();
    postgres.sql("CREATE TABLE t AS SELECT g, md5(g::text) AS s FROM generate_series(1, 600000) g");
    postgres.sql("CREATE INDEX ON t (s)");
    for _ in 0..2 {
        postgres.sql("UPDATE t SET s = md5(s)");
    }
    postgres.crash();
    let config = super::postgres_service::config(
        &postgres,
        &SETTINGS,
        ("postgres", "postgres"),
        &format!("startup = {{ within = \"{STARTUP_MS}ms\" }}"),
    )
    .replace("failures = 3", "failures = 3\ndegraded = \"kill\"")
    .replace("500ms", "200ms");
    let daemon = Stayd::start(&config);
    wait_until("the recovery is over", RECOVERY_MAX, || {
        let shown = daemon.service("db");
        assert_eq!(shown["life"], 1, "{}", daemon.output());
        shown["healthy"] == true
    });
    assert_eq!(daemon.count("killed"), 0, "{}", daemon.output());
    assert_eq!(postgres.sql("SELECT count(*) FROM t"), "600000");
    let events = daemon.events();
    let startup = events.iter().find(|event| event["kind"] == "ready");
    let startup = startup.and_then(|event| event["facts"]["startup_ms"].as_u64());
    assert!(
        startup.is_some_and(|took| took > 2 * STARTUP_MS),
        "the recovery was too short for this test: {startup:?} ms"
    );
}

/// It holds an exclusive lock while it copies its database, for longer than `failures` attempts, and works on.
const BACKUP: &str = r#"
import os, sqlite3, time
db = sqlite3.connect("app.db", isolation_level=None)
db.execute("CREATE TABLE IF NOT EXISTS t (x)")
open("ready", "w").close()
while not os.path.exists("backup"):
    time.sleep(0.02)
db.execute("BEGIN EXCLUSIVE")
with open("copy", "wb", buffering=0) as copy:
    while not os.path.exists("enough"):
        copy.write(bytes(512 * 1024))
        copy.seek(0)
        time.sleep(0.05)
db.execute("COMMIT")
open("done", "w").close()
while True:
    time.sleep(1)
"#;

#[test]
fn a_backup_that_locks_the_database_has_the_busy_grace() {
    let config = format!(
        "name = \"backup\"\n[service.s]\ncommand = [\"python3\", \"-c\", \"\"\"{}\"\"\"]\n\
         [service.s.watchdog]\nprobe = \"sqlite:app.db?write=1\"\ninterval = \"300ms\"\ntimeout = \"200ms\"\n\
         failures = 3\ndegraded = \"kill\"\nbusy_grace = \"60s\"\n",
        BACKUP.replace('"', "'")
    );
    let daemon = Stayd::start(&config);
    daemon.wait_service("s", "healthy", |service| service["healthy"] == true);
    let subject = pid(&daemon.service("s"));
    let file = |name: &str| daemon.dir().join(name);
    fs::write(file("backup"), "").expect("a file");
    wait_until("the work suppresses the kill", SOON, || {
        says(&daemon, "spared", "busy (") || !is_alive(subject)
    });
    fs::write(file("enough"), "").expect("a file");
    wait_until("the backup is done", SOON, || {
        file("done").exists() || !is_alive(subject)
    });
    daemon.wait_service("s", "healthy", |service| service["healthy"] == true);
    assert_eq!(pid(&daemon.service("s")), subject, "{}", daemon.output());
    assert_eq!(daemon.count("killed"), 0);
}

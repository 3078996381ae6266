//! PostgreSQL from Debian's packages as the supervised service, asked over its own protocol.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::postgres::{Postgres, database_user};
use super::support::strace_process;
use super::support::{alone, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use stayd::sys::{process, reaper};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A supervised PostgreSQL; `probe` is the userinfo and database of the probe's URL.
fn config(
    postgres: &Postgres,
    settings: &[&str],
    (user, database): (&str, &str),
    more: &str,
) -> String {
    let argv = serde_json::to_string(&postgres.command(settings)).expect("JSON is TOML here");
    let run_as =
        database_user().map_or_else(String::new, |user| format!("user = \"{}\"", user.name));
    let port = postgres.port();
    format!(
        r#"
[service.db]
command = {argv}
cwd = "/"
{run_as}
port = {port}
stop = {{ signal = "INT", grace = "10s" }}
backoff = {{ min = "10ms" }}
{more}
[service.db.watchdog]
probe = "postgres://{user}@127.0.0.1:{port}/{database}"
interval = "500ms"
timeout = "500ms"
failures = 3
"#
    )
}

fn pid(service: &Value) -> i32 {
    i32::try_from(service["pid"].as_i64().expect("a pid")).expect("a pid")
}

/// Rounds go on for a while, and nothing is killed.
fn stays(daemon: &Stayd, before: &Value, class: &str) {
    daemon.wait_service("db", class, |service| {
        service["probes"][0]["class"] == class
    });
    let mut attempts = 0;
    let mut last = Value::Null;
    wait_until("six more rounds have come", SOON, || {
        let now = daemon.service("db")["probes"][0]["last_ok_at"].clone();
        attempts += u32::from(now != last);
        last = now;
        attempts > 6
    });
    assert_eq!(pid(&daemon.service("db")), pid(before));
    assert_eq!(daemon.count("killed"), 0, "{}", daemon.output());
}

#[test]
fn a_frozen_postgres_is_killed_as_a_whole_tree_and_answers_again() {
    let postgres = Postgres::prepared();
    let daemon = Stayd::start(&config(&postgres, &[], ("postgres", "postgres"), ""));
    let before = daemon.wait_state("db", "running");
    assert_eq!(before["healthy"], true);
    let tree = postgres.processes();
    assert!(tree.len() > 3, "its children too: {tree:?}");
    postgres.freeze();
    wait_until("the whole frozen tree is gone", SOON, || {
        tree.iter().all(|pid| !is_alive(*pid))
    });
    let after = daemon.wait_service("db", "answering again", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    assert_ne!(pid(&before), pid(&after));
    assert_eq!(postgres.sql("SELECT 1"), "1");
    let reason = after["reason"].as_str().expect("a reason");
    assert!(
        reason.starts_with("killed: no answer to SELECT 1 in 3 probes"),
        "{reason}"
    );
    assert!(reason.ends_with("stopped by a signal"), "{reason}");
}

/// Traced it is void; left as it is, stopped, it is a wedge.
#[test]
fn item_9_a_debugger_on_the_backend_that_the_probe_talks_to_is_one_on_the_service() {
    let postgres = Postgres::prepared();
    let daemon = Stayd::start(&config(&postgres, &[], ("postgres", "postgres"), ""));
    daemon.wait_state("db", "running");
    let others = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let backend: i32 = postgres.sql(others).parse().expect("the probe's alone");
    let mut tracer = strace_process(backend);
    wait_until("traced", SOON, || {
        process::tracer(backend).is_ok_and(|tracer| tracer.is_some())
    });
    kill(Pid::from_raw(backend), Signal::SIGSTOP).expect("a signal");
    let clock = Instant::now();
    wait_until("more rounds than condemn have gone by", SOON, || {
        clock.elapsed() > Duration::from_secs(5)
    });
    let held = daemon.service("db");
    assert_eq!(
        (&held["life"], &held["probes"][0]["class"]),
        (&1.into(), &"void".into())
    );
    assert_eq!(daemon.count("killed"), 0, "{}", daemon.output());
    tracer.kill().expect("released");
    tracer.wait().expect("strace");
    daemon.wait_service("db", "its next life", |service| {
        service["state"] == "running" && service["life"] == 2
    });
}

/// Its children have sessions of their own, and wrote over the environment that carried the token.
#[test]
fn item_52_an_adopted_postgresql_is_killed_as_a_whole_tree() {
    alone(|| reaping_orphans("postgres", an_adopted_postgresql_is_killed_as_a_whole_tree));
}

/// As a prompt init does: a PostgreSQL that finds its predecessor's number in use, by a zombie too, does not start.
fn reaping_orphans(name: &str, test: impl FnOnce()) {
    let done = AtomicBool::new(false);
    reaper::become_subreaper().expect("a subreaper");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                reap_zombies(name);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let finished = Finished(&done);
        test();
        drop(finished);
    });
}

/// Set when the test ends, however it ends.
struct Finished<'a>(&'a AtomicBool);

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn reap_zombies(name: &str) {
    for pid in process::own_children().unwrap_or_default() {
        let is_orphan = |stat: process::Stat| stat.comm == name && !stat.is_alive();
        if process::stat(pid).is_ok_and(is_orphan) {
            // Nobody else waits for it.
            let _ = nix::sys::wait::waitpid(Pid::from_raw(pid), None);
        }
    }
}

fn an_adopted_postgresql_is_killed_as_a_whole_tree() {
    let postgres = Postgres::prepared();
    let first = Stayd::start(&config(&postgres, &[], ("postgres", "postgres"), ""));
    let before = first.wait_service("db", "ready", |service| service["healthy"] == true);
    let second = first.kill_and_restart();
    let adopted = second.wait_service("db", "ready again", |service| service["healthy"] == true);
    assert_eq!(
        (pid(&adopted), &adopted["ownership"]),
        (pid(&before), &"adopted".into())
    );
    let tree = postgres.processes();
    assert!(tree.len() > 3, "its children too: {tree:?}");
    postgres.freeze();
    wait_until("the whole frozen tree is gone", SOON, || {
        tree.iter().all(|pid| !is_alive(*pid))
    });
    second.wait_service("db", "answering again", |service| {
        service["healthy"] == true && service["life"] == 2
    });
    assert_eq!(postgres.sql("SELECT 1"), "1");
}

#[test]
fn item_19_a_refused_login_and_a_missing_database_are_no_kill() {
    for (user, database) in [("nobody", "postgres"), ("postgres", "nowhere")] {
        let postgres = Postgres::prepared();
        let daemon = Stayd::start(&config(&postgres, &[], (user, database), ""));
        let before = daemon.wait_state("db", "running");
        stays(&daemon, &before, "degraded");
    }
}

#[test]
fn item_18_too_many_connections_are_no_kill() {
    let postgres = Postgres::prepared();
    let settings = [
        "max_connections=3",
        "superuser_reserved_connections=0",
        "max_wal_senders=0",
    ];
    let daemon = Stayd::start(&config(&postgres, &settings, ("postgres", "postgres"), ""));
    let before = daemon.wait_state("db", "running");
    // The probe keeps one of three; the others are taken until nobody else comes in.
    let mut takers = Vec::new();
    wait_until("every seat is taken", SOON, || {
        let full = postgres.try_sql("SELECT 1").is_err();
        if !full {
            takers.push(postgres.hold_connection());
        }
        full
    });
    let before_pid = pid(&before);
    assert!(is_alive(before_pid));
    stays(&daemon, &before, "alive");
}

#[test]
fn a_read_only_transaction_is_no_kill() {
    let postgres = Postgres::prepared();
    let settings = ["default_transaction_read_only=on"];
    let config = config(&postgres, &settings, ("postgres", "postgres"), "").replace(
        "interval =",
        "query = \"CREATE TABLE probe_was_here (x int)\"\ninterval =",
    );
    let daemon = Stayd::start(&config);
    let before = daemon.wait_state("db", "running");
    stays(&daemon, &before, "degraded");
}

#[test]
fn a_wrong_probe_url_kills_nothing() {
    let postgres = Postgres::prepared();
    let right = config(
        &postgres,
        &[],
        ("postgres", "postgres"),
        "startup = { within = \"1s\" }",
    );
    let elsewhere = super::support::free_port();
    let wrong = right.replace(
        &format!("@127.0.0.1:{}/", postgres.port()),
        &format!("@127.0.0.1:{elsewhere}/"),
    );
    let daemon = Stayd::start(&wrong);
    let before = daemon.wait_state("db", "unproven");
    wait_until("it is spared, and said so", SOON, || {
        daemon.count("spared") > 0
    });
    assert_eq!(pid(&daemon.service("db")), pid(&before));
    assert_eq!(daemon.count("killed"), 0);
}

#[test]
fn item_15_a_slow_recovery_inside_startup_is_not_killed() {
    let mut postgres = Postgres::prepared();
    postgres.launch(&[]);
    postgres.wait_ready();
    postgres
        .sql("CREATE TABLE t AS SELECT g, repeat('x', 500) AS s FROM generate_series(1, 20000) g");
    postgres.crash();
    // The debugging delay of the startup process itself: recovery takes seconds, as on a large database.
    let config = config(
        &postgres,
        &["log_min_messages=debug1"],
        ("postgres", "postgres"),
        "startup = { within = \"60s\" }",
    )
    .replace("cwd = \"/\"", "cwd = \"/\"\nbefore = [\"true\"]");
    let daemon = Stayd::start(&config);
    let found = daemon.wait_state("db", "running");
    assert_eq!(found["life"], 1, "{}", daemon.output());
    assert_eq!(daemon.count("killed"), 0);
    assert_eq!(postgres.sql("SELECT count(*) FROM t"), "20000");
    let _ = Duration::ZERO;
}

//! PostgreSQL from Debian's packages is the supervised service, and stayd probes it over its own protocol.

use super::support::daemon::{SOON, Stayd, is_alive};
use super::support::postgres::{HeldConnection, Postgres, database_user};
use super::support::service::pid;
use super::support::strace_process;
use super::support::{SetOnDrop, alone, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use stayd::sys::{process, reaper};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The configuration of a supervised PostgreSQL; the pair is the user and the database of the probe's URL.
pub(super) fn config(
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

/// Lets other load on this machine suppress a kill for half a second at most.
fn without_long_grace(config: &str) -> String {
    config.replace("interval =", "busy_grace = \"100ms\"\ninterval =")
}

/// Settings of a server for three clients.
const FEW: [&str; 3] = [
    "max_connections=3",
    "superuser_reserved_connections=0",
    "max_wal_senders=0",
];

/// Takes connections of a server with [`FEW`] until it refuses one more. The probe keeps one.
fn take_all_connections(postgres: &Postgres) -> Vec<HeldConnection> {
    let mut clients = Vec::new();
    wait_until("every connection is in use", SOON, || {
        let full = postgres.try_sql("SELECT 1").is_err();
        if !full {
            clients.push(postgres.hold_connection());
        }
        full
    });
    clients
}

/// Twice as many attempts as the configured `failures`: enough for a kill if the attempts counted as dead.
const ATTEMPTS: u32 = 6;

/// Waits until the probe's attempts are in this class, and then for [`ATTEMPTS`] more of them.
fn wait_attempts(daemon: &Stayd, class: &str) {
    daemon.wait_service("db", class, |service| {
        service["probes"][0]["class"] == class
    });
    let mut attempts = 0;
    let mut last = Value::Null;
    // `status` has no number of the attempt; two attempts differ in their latency, which has a resolution of 10 µs.
    wait_until("more probe attempts than a kill needs", SOON, || {
        let latency = daemon.service("db")["probes"][0]["latency_ms"].clone();
        attempts += u32::from(latency != last);
        last = latency;
        attempts > ATTEMPTS
    });
}

/// Fails unless the service goes on through many attempts of this class.
fn assert_not_killed(daemon: &Stayd, before: &Value, class: &str) {
    wait_attempts(daemon, class);
    let after = daemon.service("db");
    assert_eq!(after["probes"][0]["class"], class, "{after}");
    assert_eq!(pid(&after), pid(before));
    assert_eq!(daemon.count("killed"), 0, "{}", daemon.output());
}

#[test]
fn a_frozen_postgres_is_killed_as_a_whole_tree_and_answers_again() {
    let postgres = Postgres::prepared();
    let daemon = Stayd::start(&config(&postgres, &[], ("postgres", "postgres"), ""));
    let before = daemon.wait_state("db", "running");
    assert_eq!(before["healthy"], true);
    let tree = postgres.processes();
    assert!(tree.len() > 3, "the postmaster and its children: {tree:?}");
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
    assert!(reason.contains("stopped by a signal; last: "), "{reason}");
}

/// While the backend is traced, the attempts are void. When the tracer leaves it stopped, the attempts are dead. A fresh
/// login would be alive, but here it is refused.
#[test]
fn a_debugger_on_the_backend_of_the_probes_connection_makes_the_attempts_void() {
    let postgres = Postgres::prepared();
    let config = without_long_grace(&config(&postgres, &FEW, ("postgres", "postgres"), ""));
    let daemon = Stayd::start(&config);
    daemon.wait_state("db", "running");
    let backend = postgres.kept_backend();
    let clients = take_all_connections(&postgres);
    let mut tracer = strace_process(backend);
    wait_until("the backend is traced", SOON, || {
        process::tracer(backend).is_ok_and(|tracer| tracer.is_some())
    });
    kill(Pid::from_raw(backend), Signal::SIGSTOP).expect("a signal");
    wait_attempts(&daemon, "void");
    let traced = daemon.service("db");
    assert_eq!(
        (&traced["life"], &traced["probes"][0]["class"]),
        (&1.into(), &"void".into())
    );
    assert_eq!(daemon.count("killed"), 0, "{}", daemon.output());
    tracer.kill().expect("strace lets the backend go");
    tracer.wait().expect("strace is reaped");
    daemon.wait_service("db", "the next instance", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    drop(clients);
}

/// One hanging server process concerns one client. Here that is the probe, and every other client is served.
#[test]
fn a_hanging_server_process_of_the_probes_own_connection_kills_nothing() {
    let postgres = Postgres::prepared();
    // The note lasts from the end of one attempt to that of the next.
    let config = config(&postgres, &[], ("postgres", "postgres"), "")
        .replace("interval = \"500ms\"", "interval = \"1s\"");
    let daemon = Stayd::start(&config);
    let before = daemon.wait_state("db", "running");
    let backend = postgres.kept_backend();
    kill(Pid::from_raw(backend), Signal::SIGSTOP).expect("a signal");
    let noted = daemon.wait_service("db", "a fresh login", |service| {
        let reason = service["reason"].as_str().unwrap_or_default();
        reason.contains("a fresh login is answered")
    });
    assert_eq!(
        (&noted["state"], &noted["reason"]),
        (
            &"running".into(),
            &"answering; the kept connection is silent; a fresh login is answered".into()
        )
    );
    assert_eq!(postgres.sql("SELECT 1"), "1", "others are served");
    assert_not_killed(&daemon, &before, "alive");
    assert_eq!(daemon.service("db")["reason"], "answering again");
}

/// The postmaster is not the main process here, whose SIGSTOP is seen without a question.
#[test]
fn a_stopped_postmaster_is_killed_although_existing_connections_are_served() {
    let postgres = Postgres::prepared();
    let plain = serde_json::to_string(&postgres.command(&[])).expect("JSON is TOML here");
    let launched = plain.replacen('[', r#"["/bin/sh", "-c", "\"$@\" & wait", "sh", "#, 1);
    let config = config(&postgres, &[], ("postgres", "postgres"), "").replace(&plain, &launched);
    let config = without_long_grace(&config);
    let daemon = Stayd::start(&config);
    daemon.wait_state("db", "running");
    let postmaster = postgres.postmaster().expect("a postmaster");
    kill(Pid::from_raw(postmaster), Signal::SIGSTOP).expect("a signal");
    daemon.wait_service("db", "a fresh login without an answer", |service| {
        let reason = service["reason"].as_str().unwrap_or_default();
        reason.contains("a fresh login gets no answer")
            && reason.contains("the kept connection answers")
    });
    daemon.wait_service("db", "answering again", |service| {
        service["state"] == "running" && service["life"] == 2
    });
    assert_eq!(daemon.count("killed"), 1, "{}", daemon.output());
    assert_eq!(postgres.sql("SELECT 1"), "1");
}

/// Statements that lock the table, or an index that each query needs, against every query. A transaction has the lock until
/// its end, VACUUM FULL while it copies the table and builds its indexes.
const LOCKING: [&str; 4] = [
    "BEGIN; ALTER TABLE orders ADD b int",
    "BEGIN; TRUNCATE orders",
    "BEGIN; REINDEX TABLE orders",
    "SET test.slow = on; VACUUM FULL orders",
];

/// The table that the probe asks. To build its index takes 100 s in a session with `test.slow`.
const ORDERS: &str = "\
CREATE TABLE orders (a int);
INSERT INTO orders SELECT generate_series(1, 1000);
CREATE FUNCTION slow(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('test.slow', true) = 'on' THEN PERFORM pg_sleep(0.1); END IF;
  RETURN a;
END $$;
CREATE INDEX ON orders (slow(a));
";

/// The client that has such a lock: its server process, whether that is active, and its last statement.
const LOCK_HOLDER: &str = "\
SELECT DISTINCT pid, state, query FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE application_name = 'psql' AND mode = 'AccessExclusiveLock' AND granted AND pid <> pg_backend_pid()";

#[test]
fn a_statement_that_locks_the_probed_table_kills_nothing() {
    let postgres = Postgres::prepared();
    let config = config(&postgres, &[], ("postgres", "postgres"), "").replace(
        "interval =",
        "query = \"SELECT count(*) FROM orders WHERE false\"\ninterval =",
    );
    let daemon = Stayd::start(&config);
    let before = daemon.wait_state("db", "running");
    postgres.sql(ORDERS);
    for statement in LOCKING {
        wait_attempts(&daemon, "alive");
        let client = postgres.hold_transaction(statement);
        let (state, last) = match statement.split_once("; ") {
            Some(("BEGIN", last)) => ("idle in transaction", last),
            Some((_, last)) => ("active", last),
            None => panic!("two statements"),
        };
        let expected = format!("|{state}|{last};");
        let mut holder = String::new();
        wait_until("it has its lock", SOON, || {
            holder = postgres.sql(LOCK_HOLDER);
            holder.ends_with(&expected)
        });
        daemon.wait_service("db", "waiting for the lock", |service| {
            let reason = service["reason"].as_str().unwrap_or_default();
            reason.contains("the query waits for a lock")
        });
        assert_not_killed(&daemon, &before, "degraded");
        assert_eq!(
            postgres.sql(LOCK_HOLDER),
            holder,
            "the same one all the time"
        );
        drop(client);
        // A server process notices only between two statements that its client has gone.
        let pid = holder.split('|').next().expect("its process");
        postgres.sql(&format!("SELECT pg_terminate_backend({pid})"));
    }
    wait_attempts(&daemon, "alive");
}

/// PostgreSQL's children have sessions of their own and overwrite the environment that carries the token.
#[test]
fn an_adopted_postgresql_is_killed_as_a_whole_tree_and_answers_again() {
    alone(|| reaping_orphans("postgres", an_adopted_postgresql_is_killed_as_a_whole_tree));
}

/// Runs `test` while a thread reaps orphaned processes of this name, as an init does.
///
/// PostgreSQL does not start while the pid of its predecessor is in use, and a zombie uses it.
fn reaping_orphans(name: &str, test: impl FnOnce()) {
    let done = AtomicBool::new(false);
    reaper::become_subreaper().expect("a subreaper");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                reap_zombies(name);
                std::thread::sleep(REAP_EVERY);
            }
        });
        let finished = SetOnDrop(&done);
        test();
        drop(finished);
    });
}

/// How often [`reaping_orphans`] looks for zombies.
const REAP_EVERY: Duration = Duration::from_millis(5);

fn reap_zombies(name: &str) {
    for pid in reaper::own_children().unwrap_or_default() {
        let is_orphan = |stat: process::Stat| stat.comm == name && !stat.is_alive();
        if process::stat(pid).is_ok_and(is_orphan) {
            // No other part of this process waits for it.
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
    assert!(tree.len() > 3, "the postmaster and its children: {tree:?}");
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
fn a_refused_login_or_a_missing_database_is_degraded_and_kills_nothing() {
    for (user, database) in [("nobody", "postgres"), ("postgres", "nowhere")] {
        let postgres = Postgres::prepared();
        let daemon = Stayd::start(&config(&postgres, &[], (user, database), ""));
        let before = daemon.wait_state("db", "running");
        assert_not_killed(&daemon, &before, "degraded");
    }
}

#[test]
fn a_server_without_free_connections_is_not_killed() {
    let postgres = Postgres::prepared();
    let daemon = Stayd::start(&config(&postgres, &FEW, ("postgres", "postgres"), ""));
    let before = daemon.wait_state("db", "running");
    let _clients = take_all_connections(&postgres);
    daemon.wait_service("db", "a refused login", |service| {
        let reason = service["reason"].as_str().unwrap_or_default();
        reason.contains("too many connections") && reason.contains("the kept connection answers")
    });
    assert_not_killed(&daemon, &before, "degraded");
}

#[test]
fn a_query_refused_in_a_read_only_transaction_is_degraded_and_kills_nothing() {
    let postgres = Postgres::prepared();
    let settings = ["default_transaction_read_only=on"];
    let config = config(&postgres, &settings, ("postgres", "postgres"), "").replace(
        "interval =",
        "query = \"CREATE TABLE probe_was_here (x int)\"\ninterval =",
    );
    let daemon = Stayd::start(&config);
    let before = daemon.wait_state("db", "running");
    assert_not_killed(&daemon, &before, "degraded");
}

/// On SIGTERM PostgreSQL refuses new clients and waits until the last one has left: a smart shutdown.
#[test]
fn a_stop_does_not_wait_for_the_connection_of_the_probe() {
    let postgres = Postgres::prepared();
    let config =
        config(&postgres, &[], ("postgres", "postgres"), "").replace("\"INT\"", "\"TERM\"");
    let daemon = Stayd::start(&config);
    daemon.wait_service("db", "asked", |service| service["healthy"] == true);
    let stopped = daemon.client(&["stop", "db"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert_eq!(daemon.count("killed"), 0, "{}", daemon.output());
    let control = postgres.data().join("postmaster.pid");
    assert!(!control.exists(), "the server has ended in order");
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
    let other_port = super::support::free_port();
    let wrong = right.replace(
        &format!("@127.0.0.1:{}/", postgres.port()),
        &format!("@127.0.0.1:{other_port}/"),
    );
    let daemon = Stayd::start(&wrong);
    let before = daemon.wait_state("db", "unproven");
    wait_until("the suppressed kill is recorded", SOON, || {
        daemon.count("spared") > 0
    });
    assert_eq!(pid(&daemon.service("db")), pid(&before));
    assert_eq!(daemon.count("killed"), 0);
}

#[test]
fn a_crash_recovery_within_the_startup_budget_is_not_killed() {
    let mut postgres = Postgres::prepared();
    postgres.launch(&[]);
    postgres.wait_ready();
    postgres
        .sql("CREATE TABLE t AS SELECT g, repeat('x', 500) AS s FROM generate_series(1, 20000) g");
    postgres.crash();
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
}

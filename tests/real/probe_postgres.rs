//! The `postgres://` probe asks a real PostgreSQL.

use crate::support::pgbouncer::PgBouncer;
use crate::support::postgres::{PASSWORD, Postgres};
use crate::support::probing::{LONG, SHORT, assert_dead, assert_degraded, probe, prober, words};
use crate::support::wait_until;
use libc::{SIGCONT, SIGSTOP};
use stayd::act::probe::Prober;
use stayd::config::{Endpoint, Probe, Target};
use stayd::decide::event::Answer;
use stayd::sys::process::{self, Handle, State};
use std::time::{Duration, Instant};

/// A probe that logs in as this user with [`PASSWORD`].
fn probe_as(postgres: &Postgres, user: &str) -> Probe {
    probe(Target::Postgres {
        at: Endpoint::Tcp("127.0.0.1".into(), postgres.port()),
        user: user.into(),
        password: Some(PASSWORD.into()),
        database: "postgres".into(),
    })
}

fn with_query(probe: Probe, query: &str) -> Probe {
    Probe {
        query: Some(query.into()),
        query_shown: Some(query.into()),
        ..probe
    }
}

/// Time for a login and a lock_timeout of half of it on a busy machine.
const ONE_SECOND: Duration = Duration::from_secs(1);

/// A process that is stopped by SIGSTOP until this is dropped.
struct Stopped(Handle);

impl Stopped {
    fn process(pid: i32) -> Self {
        let stat = process::stat(pid).expect("a process");
        let handle = Handle::open(stat.process).expect("a handle");
        handle.signal(SIGSTOP).expect("a signal");
        wait_until("it is stopped", LONG, || {
            process::stat(pid).is_ok_and(|stat| stat.state == State::Stopped)
        });
        Self(handle)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // One that was killed meanwhile needs no signal.
        let _ = self.0.signal(SIGCONT);
    }
}

/// Asks until the answer is alive: a session that a client has closed may hold its connection a little longer.
async fn connect(prober: &mut Prober) {
    let end = Instant::now() + LONG;
    loop {
        match prober.ask(LONG).await {
            Answer::Alive => return,
            answer => assert!(Instant::now() < end, "{answer:?}"),
        }
    }
}

/// How many sessions stayd has on the server.
fn sessions(postgres: &Postgres) -> String {
    postgres.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stayd'")
}

#[tokio::test(flavor = "current_thread")]
async fn every_way_to_log_in_is_alive_and_one_connection_is_kept() {
    let postgres = Postgres::start();
    for user in ["postgres", "app", "old", "plain"] {
        let mut kept = prober(&probe_as(&postgres, user));
        for _ in 0..3 {
            assert_eq!(kept.ask(LONG).await, Answer::Alive, "as {user}");
        }
        assert_eq!(sessions(&postgres), "1", "as {user}");
        drop(kept);
        wait_until("the session ends with its probe", LONG, || {
            sessions(&postgres) == "0"
        });
    }
    let mut by_socket = prober(&probe(Target::Postgres {
        at: Endpoint::Unix(
            postgres
                .socket_dir()
                .join(format!(".s.PGSQL.{}", postgres.port())),
        ),
        user: "app".into(),
        password: None,
        database: "postgres".into(),
    }));
    assert_eq!(by_socket.ask(LONG).await, Answer::Alive);
}

#[tokio::test(flavor = "current_thread")]
async fn a_refused_login_is_degraded_and_the_reason_names_the_probes_settings() {
    let postgres = Postgres::start();
    let ask = async |target: Target| prober(&probe(target)).ask(LONG).await;
    let target = |user: &str, password: Option<&str>, database: &str| Target::Postgres {
        at: Endpoint::Tcp("127.0.0.1".into(), postgres.port()),
        user: user.into(),
        password: password.map(Into::into),
        database: database.into(),
    };
    let wrong = ask(target("app", Some("wrong"), "postgres")).await;
    assert_degraded(
        &wrong,
        &[
            "refuses the login",
            "28P01",
            "check the probe's user and password",
        ],
    );
    let rejected = ask(target("nobody", Some(PASSWORD), "postgres")).await;
    assert_degraded(&rejected, &["refuses the login", "28000"]);
    let missing = ask(target("app", Some(PASSWORD), "no_such")).await;
    assert_degraded(
        &missing,
        &["no such database", "3D000", "check the probe's URL"],
    );
    let without = ask(target("app", None, "postgres")).await;
    assert_degraded(&without, &["asks for a password"]);
    for answer in [wrong, rejected, missing, without] {
        assert!(!words(&answer).contains(PASSWORD), "{answer:?}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_refused_query_is_degraded_and_asked_again_at_the_next_attempt() {
    let postgres = Postgres::start();
    let app = probe_as(&postgres, "postgres");
    let mut bad = prober(&with_query(app.clone(), "SELEC 1"));
    for _ in 0..2 {
        assert_degraded(
            &bad.ask(LONG).await,
            &["refuses the query", "42601", "fix the query"],
        );
    }
    let read_only = with_query(app.clone(), "BEGIN READ ONLY; CREATE TABLE t (a int)");
    assert_degraded(&prober(&read_only).ask(LONG).await, &["read-only", "25006"]);
    let endless = with_query(
        app.clone(),
        "SELECT repeat('x', 1000) FROM generate_series(1, 100000)",
    );
    assert_degraded(
        &prober(&endless).ask(LONG).await,
        &["the answer to the query is too long", "fix the query"],
    );
    let secret = Probe {
        query_shown: Some("SELECT ${KEY}".into()),
        ..with_query(app, "SELECT hunter3")
    };
    let answer = prober(&secret).ask(LONG).await;
    assert_degraded(&answer, &["refuses the query", "not quoted"]);
    assert!(!words(&answer).contains("hunter3"));
}

#[tokio::test(flavor = "current_thread")]
async fn a_login_refused_for_too_many_connections_is_degraded() {
    let postgres = Postgres::start_with(&["max_connections=3", "superuser_reserved_connections=0"]);
    let mut clients: Vec<_> = (0..3)
        .map(|_| prober(&probe_as(&postgres, "app")))
        .collect();
    for client in &mut clients {
        assert_eq!(client.ask(LONG).await, Answer::Alive);
    }
    let answer = prober(&probe_as(&postgres, "app")).ask(LONG).await;
    assert_degraded(&answer, &["too many connections", "53300"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_stopped_server_is_dead_at_the_deadline_and_alive_again_when_it_continues() {
    let postgres = Postgres::start();
    let mut kept = prober(&probe_as(&postgres, "app"));
    assert_eq!(kept.ask(LONG).await, Answer::Alive);
    let backend = postgres.kept_backend();
    postgres.freeze();
    for _ in 0..2 {
        let answer = tokio::time::timeout(LONG, kept.ask(SHORT)).await;
        assert_dead(
            &answer.expect("the attempt ends at its own deadline"),
            &["timed out after 300 ms waiting for the answer to SELECT 1"],
        );
    }
    postgres.thaw();
    assert_eq!(kept.ask(LONG).await, Answer::Alive);
    wait_until("only the kept connection is left", LONG, || {
        sessions(&postgres) == "1"
    });
    assert_eq!(postgres.kept_backend(), backend, "through dead attempts");
}

/// A postmaster with frozen storage goes on refusing logins, so that only the kept connection shows the wedge.
#[tokio::test(flavor = "current_thread")]
async fn silence_on_the_kept_connection_is_dead_while_new_logins_are_refused() {
    let postgres = Postgres::start_with(&["max_connections=3", "superuser_reserved_connections=0"]);
    let mut kept = prober(&probe_as(&postgres, "app"));
    assert_eq!(kept.ask(LONG).await, Answer::Alive);
    let backend = postgres.kept_backend();
    let mut others = [1, 2].map(|_| prober(&probe_as(&postgres, "app")));
    for other in &mut others {
        connect(other).await;
    }
    let stopped = Stopped::process(backend);
    let silent = "timed out after 1 s waiting for the answer to SELECT 1";
    // The first attempt logs in only after most of its time.
    assert_dead(&kept.ask(ONE_SECOND).await, &[silent]);
    for _ in 0..2 {
        assert_dead(
            &kept.ask(ONE_SECOND).await,
            &[
                silent,
                "a fresh login is refused: it has too many connections",
            ],
        );
    }
    drop(stopped);
    drop(others);
    wait_until("the others are gone", LONG, || sessions(&postgres) == "1");
    assert_eq!(
        kept.ask(LONG).await,
        Answer::Alive,
        "the late answer is read first, then the new one"
    );
    assert_eq!(postgres.kept_backend(), backend);
}

/// One hanging server process concerns one client. Here it is that of the probe.
#[tokio::test(flavor = "current_thread")]
async fn a_fresh_login_that_is_answered_replaces_a_silent_kept_connection() {
    let postgres = Postgres::start();
    let mut kept = prober(&probe_as(&postgres, "app"));
    assert_eq!(kept.ask(LONG).await, Answer::Alive);
    let backend = postgres.kept_backend();
    let stopped = Stopped::process(backend);
    let note = "the kept connection is silent; a fresh login is answered";
    assert_eq!(
        kept.ask(ONE_SECOND).await,
        Answer::AliveWithNote { note: note.into() }
    );
    assert_eq!(kept.ask(LONG).await, Answer::Alive);
    drop(stopped);
    wait_until("the silent session ends", LONG, || {
        sessions(&postgres) == "1" && postgres.kept_backend() != backend
    });
}

/// A stopped postmaster serves no new client, while the processes of existing connections go on.
#[tokio::test(flavor = "current_thread")]
async fn fresh_logins_without_an_answer_are_dead_although_the_kept_connection_answers() {
    let postgres = Postgres::start();
    let mut kept = prober(&probe_as(&postgres, "app"));
    assert_eq!(kept.ask(LONG).await, Answer::Alive);
    let backend = postgres.kept_backend();
    let stopped = Stopped::process(postgres.postmaster().expect("a postmaster"));
    for _ in 0..5 {
        assert_eq!(kept.ask(LONG).await, Answer::Alive);
    }
    let sixth = kept.ask(ONE_SECOND).await;
    let (what, kept_answers) = (
        "a fresh login gets no answer",
        "the kept connection answers",
    );
    assert_dead(&sixth, &[what, kept_answers, "the answer to the login"]);
    for _ in 0..3 {
        assert_dead(&kept.ask(ONE_SECOND).await, &[what, kept_answers]);
    }
    drop(stopped);
    assert_eq!(kept.ask(LONG).await, Answer::Alive);
    assert_eq!(postgres.kept_backend(), backend);
}

#[tokio::test(flavor = "current_thread")]
async fn fresh_logins_that_are_refused_are_degraded_while_the_kept_connection_answers() {
    let postgres = Postgres::start_with(&["max_connections=3", "superuser_reserved_connections=0"]);
    let mut clients = [1, 2, 3].map(|_| prober(&probe_as(&postgres, "app")));
    for client in &mut clients {
        assert_eq!(client.ask(LONG).await, Answer::Alive);
    }
    let [mut kept, second, third] = clients;
    for _ in 0..5 {
        assert_eq!(kept.ask(LONG).await, Answer::Alive);
    }
    for _ in 0..3 {
        let refused = kept.ask(LONG).await;
        assert_degraded(
            &refused,
            &[
                "too many connections",
                "53300",
                "the kept connection answers",
            ],
        );
    }
    drop((second, third));
    wait_until("connections are free", LONG, || sessions(&postgres) == "1");
    assert_eq!(kept.ask(LONG).await, Answer::Alive);
}

/// Waits until a transaction holds a lock that conflicts with every query.
fn wait_for_exclusive_lock(postgres: &Postgres) {
    let locks = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted";
    wait_until("the transaction has its lock", LONG, || {
        postgres.sql(locks) != "0"
    });
}

#[tokio::test(flavor = "current_thread")]
async fn a_query_that_waits_for_a_lock_or_takes_too_long_is_degraded() {
    let postgres = Postgres::start();
    postgres.sql("CREATE TABLE orders (a int PRIMARY KEY); GRANT ALL ON orders TO app");
    let app = || probe_as(&postgres, "app");
    let orders = || with_query(app(), "SELECT count(*) FROM orders WHERE false");
    let mut kept = prober(&orders());
    assert_eq!(kept.ask(ONE_SECOND).await, Answer::Alive);
    for statement in [
        "ALTER TABLE orders ADD b int",
        "TRUNCATE orders",
        "REINDEX TABLE orders",
    ] {
        let migration = postgres.hold_transaction(&format!("BEGIN; {statement}"));
        wait_for_exclusive_lock(&postgres);
        for _ in 0..2 {
            let answer = kept.ask(ONE_SECOND).await;
            assert_degraded(&answer, &["the query waits for a lock", "55P03"]);
        }
        let first = prober(&orders()).ask(ONE_SECOND).await;
        assert_degraded(&first, &["the query waits for a lock", "55P03"]);
        drop(migration);
        wait_until("the lock is free", LONG, || {
            postgres
                .try_sql("SET lock_timeout = 100; SELECT 1 FROM orders")
                .is_ok()
        });
        assert_eq!(kept.ask(ONE_SECOND).await, Answer::Alive);
    }
    let mut slow = prober(&with_query(app(), "SELECT pg_sleep(3600)"));
    for _ in 0..2 {
        let answer = slow.ask(ONE_SECOND).await;
        assert_degraded(&answer, &["longer than its statement_timeout", "57014"]);
    }
}

/// The console of PgBouncer knows only its own commands: neither a limit for a query nor two statements in one message.
#[tokio::test(flavor = "current_thread")]
async fn a_server_that_refuses_limits_in_every_form_is_asked_without_them() {
    let postgres = Postgres::start();
    let pooler = PgBouncer::start(&postgres);
    let console = probe(Target::Postgres {
        at: Endpoint::Tcp("127.0.0.1".into(), pooler.port()),
        user: "postgres".into(),
        password: None,
        database: "pgbouncer".into(),
    });
    let mut kept = prober(&with_query(console.clone(), "SHOW VERSION"));
    for _ in 0..8 {
        assert_eq!(kept.ask(LONG).await, Answer::Alive);
    }
    let mut wrong = prober(&with_query(console, "SHOW NOTHING"));
    for _ in 0..2 {
        let said = "it answers with an error: invalid command 'SHOW NOTHING'";
        assert_degraded(&wrong.ask(LONG).await, &[said]);
    }
}

/// PgBouncer refuses a login with startup parameters that it does not know, and shares its connections among its clients.
#[tokio::test(flavor = "current_thread")]
async fn a_probe_through_pgbouncer_sets_its_limits_for_its_own_queries_only() {
    let postgres = Postgres::start();
    postgres.sql("CREATE TABLE orders (a int)");
    let pooler = PgBouncer::start(&postgres);
    let through_pooler = probe(Target::Postgres {
        at: Endpoint::Tcp("127.0.0.1".into(), pooler.port()),
        user: "postgres".into(),
        password: None,
        database: "postgres".into(),
    });
    let mut kept = prober(&with_query(
        through_pooler.clone(),
        "SELECT count(*) FROM orders",
    ));
    for _ in 0..8 {
        assert_eq!(kept.ask(LONG).await, Answer::Alive);
    }
    let settings = "SELECT 1 / (setting = '0')::int FROM pg_settings WHERE name ~ '^(lock|statement)_timeout$'";
    let limits = prober(&with_query(through_pooler, settings))
        .ask(LONG)
        .await;
    assert_degraded(&limits, &["division by zero"]);
    assert_eq!(
        postgres.sql_on(pooler.port(), "SHOW lock_timeout"),
        "0",
        "the one connection of the pool has no limit for other clients"
    );
    let migration = postgres.hold_transaction("BEGIN; ALTER TABLE orders ADD b int");
    wait_for_exclusive_lock(&postgres);
    for _ in 0..2 {
        let answer = kept.ask(ONE_SECOND).await;
        assert_degraded(&answer, &["the query waits for a lock", "55P03"]);
    }
    drop(migration);
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_closed_by_the_server_is_replaced_within_the_same_attempt() {
    let mut postgres = Postgres::start();
    let mut kept = prober(&probe_as(&postgres, "app"));
    assert_eq!(kept.ask(LONG).await, Answer::Alive);
    postgres.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'stayd'",
    );
    wait_until("the session ends", LONG, || sessions(&postgres) == "0");
    assert_eq!(kept.ask(LONG).await, Answer::Alive);
    postgres.crash();
    assert_dead(&kept.ask(LONG).await, &["connection refused by "]);
    postgres.launch(&[]);
    postgres.wait_ready();
    assert_eq!(kept.ask(LONG).await, Answer::Alive);
}

#[tokio::test(flavor = "current_thread")]
async fn a_server_in_recovery_is_degraded_and_counts_as_starting() {
    let mut postgres = Postgres::start();
    postgres.crash();
    // A restore command that never ends keeps the server in recovery; without recovery.signal it would not run it.
    std::fs::write(postgres.data().join("recovery.signal"), "").expect("recovery.signal");
    postgres.launch(&["restore_command=sleep 3600"]);
    let mut prober = prober(&probe_as(&postgres, "app"));
    let end = tokio::time::Instant::now() + LONG;
    loop {
        match prober.ask(LONG).await {
            Answer::Degraded { said, starting } => {
                assert!(
                    starting && said.contains("not ready") && said.contains("57P03"),
                    "{said}"
                );
                return;
            }
            answer => {
                assert_dead(&answer, &["connection refused by "]);
                assert!(tokio::time::Instant::now() < end);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

//! The `postgres://` probe asks a real PostgreSQL.

use crate::support::postgres::{PASSWORD, Postgres};
use crate::support::probing::{LONG, SHORT, assert_dead, assert_degraded, probe, prober, words};
use crate::support::wait_until;
use stayd::config::{Endpoint, Probe, Target};
use stayd::decide::event::Answer;
use std::time::Duration;

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
    assert_eq!(
        sessions(&postgres),
        "1",
        "the connection is kept through dead attempts"
    );
}

/// A postmaster with frozen storage goes on refusing logins, so that only the kept connection shows the wedge.
#[tokio::test(flavor = "current_thread")]
async fn silence_on_the_kept_connection_is_dead_although_new_logins_are_answered() {
    let postgres = Postgres::start_with(&["max_connections=3", "superuser_reserved_connections=0"]);
    let mut lock_holder = prober(&with_query(
        probe_as(&postgres, "app"),
        "SELECT pg_advisory_lock(1)",
    ));
    assert_eq!(lock_holder.ask(LONG).await, Answer::Alive);
    let mut waiting = prober(&with_query(
        probe_as(&postgres, "app"),
        "SELECT pg_advisory_lock(1)",
    ));
    let mut third = prober(&probe_as(&postgres, "app"));
    assert_eq!(third.ask(LONG).await, Answer::Alive);
    for _ in 0..3 {
        assert_dead(
            &waiting.ask(SHORT).await,
            &["waiting for the answer to the query"],
        );
        let new_login = prober(&probe_as(&postgres, "app")).ask(LONG).await;
        assert_degraded(&new_login, &["too many connections"]);
    }
    drop(lock_holder);
    assert_eq!(
        waiting.ask(LONG).await,
        Answer::Alive,
        "the late answer is read first, then the new one"
    );
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

//! The `postgres://` probe against a real PostgreSQL.

use crate::support::postgres::{PASSWORD, Postgres};
use crate::support::probing::{LONG, SHORT, assert_dead, assert_degraded, probe, prober, words};
use crate::support::wait_until;
use stayd::config::{Endpoint, Probe, Target};
use stayd::decide::event::Answer;
use std::time::Duration;

fn question(postgres: &Postgres, user: &str) -> Probe {
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

fn sessions(postgres: &Postgres) -> String {
    postgres.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stayd'")
}

#[tokio::test(flavor = "current_thread")]
async fn alive_by_every_way_to_log_in_on_one_kept_connection() {
    let postgres = Postgres::start();
    for user in ["postgres", "app", "old", "plain"] {
        let mut kept = prober(&question(&postgres, user));
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
async fn item_19_a_refused_login_is_degraded_and_names_the_probe() {
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
async fn item_18_a_query_that_is_refused_is_degraded_and_the_next_round_goes_on() {
    let postgres = Postgres::start();
    let app = question(&postgres, "postgres");
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
        &["endless answer", "fix the query"],
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
async fn item_18_too_many_connections_is_degraded() {
    let postgres = Postgres::start_with(&["max_connections=3", "superuser_reserved_connections=0"]);
    let mut clients: Vec<_> = (0..3)
        .map(|_| prober(&question(&postgres, "app")))
        .collect();
    for guest in &mut clients {
        assert_eq!(guest.ask(LONG).await, Answer::Alive);
    }
    let answer = prober(&question(&postgres, "app")).ask(LONG).await;
    assert_degraded(&answer, &["too many connections", "53300"]);
}

#[tokio::test(flavor = "current_thread")]
async fn item_31_a_stopped_server_is_dead_at_the_deadline_and_alive_again_afterwards() {
    let postgres = Postgres::start();
    let mut kept = prober(&question(&postgres, "app"));
    assert_eq!(kept.ask(LONG).await, Answer::Alive);
    postgres.freeze();
    for _ in 0..2 {
        let asked_at = tokio::time::Instant::now();
        assert_dead(
            &kept.ask(SHORT).await,
            &["no answer to SELECT 1 within 300 ms"],
        );
        assert!(asked_at.elapsed() < SHORT + Duration::from_secs(1));
    }
    postgres.thaw();
    assert_eq!(kept.ask(LONG).await, Answer::Alive);
    assert_eq!(
        sessions(&postgres),
        "1",
        "the connection outlived its dead rounds"
    );
}

/// With its storage frozen the postmaster goes on refusing logins; only the kept connection tells.
#[tokio::test(flavor = "current_thread")]
async fn silence_on_the_kept_connection_is_dead_whatever_a_new_login_says() {
    let postgres = Postgres::start_with(&["max_connections=3", "superuser_reserved_connections=0"]);
    let mut kept = prober(&with_query(
        question(&postgres, "app"),
        "SELECT pg_advisory_lock(1)",
    ));
    assert_eq!(kept.ask(LONG).await, Answer::Alive);
    let mut silent = prober(&with_query(
        question(&postgres, "app"),
        "SELECT pg_advisory_lock(1)",
    ));
    let mut guest = prober(&question(&postgres, "app"));
    assert_eq!(guest.ask(LONG).await, Answer::Alive);
    for _ in 0..3 {
        assert_dead(&silent.ask(SHORT).await, &["no answer to the query"]);
        let newcomer = prober(&question(&postgres, "app")).ask(LONG).await;
        assert_degraded(&newcomer, &["too many connections"]);
    }
    drop(kept);
    assert_eq!(
        silent.ask(LONG).await,
        Answer::Alive,
        "the late answer, then a new one"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_that_the_server_closed_is_made_anew_in_the_same_round() {
    let mut postgres = Postgres::start();
    let mut kept = prober(&question(&postgres, "app"));
    assert_eq!(kept.ask(LONG).await, Answer::Alive);
    postgres.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'stayd'",
    );
    wait_until("the session ends", LONG, || sessions(&postgres) == "0");
    assert_eq!(kept.ask(LONG).await, Answer::Alive);
    postgres.crash();
    assert_dead(&kept.ask(LONG).await, &["refuses the connection"]);
    postgres.launch(&[]);
    postgres.wait_ready();
    assert_eq!(kept.ask(LONG).await, Answer::Alive);
}

#[tokio::test(flavor = "current_thread")]
async fn item_15_a_server_that_recovers_says_that_it_is_starting() {
    let mut postgres = Postgres::start();
    postgres.crash();
    // Without its standby's signal it would be over in a moment; a restore command that never ends holds it there.
    std::fs::write(postgres.data().join("recovery.signal"), "").expect("recovery.signal");
    postgres.launch(&["restore_command=sleep 3600"]);
    let mut starting = prober(&question(&postgres, "app"));
    let end = tokio::time::Instant::now() + LONG;
    loop {
        match starting.ask(LONG).await {
            Answer::Degraded { said, starting } => {
                assert!(
                    starting && said.contains("not ready") && said.contains("57P03"),
                    "{said}"
                );
                return;
            }
            answer => {
                assert_dead(&answer, &["refuses the connection"]);
                assert!(tokio::time::Instant::now() < end);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

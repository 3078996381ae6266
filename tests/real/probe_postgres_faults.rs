//! The `postgres://` probe asks servers that break PostgreSQL's protocol: every attempt has bounds, and says what it saw.

use crate::support::byte_server::serve;
use crate::support::probing::{LONG, assert_dead, assert_degraded, probe, prober, words};
use stayd::config::{Endpoint, Target};
use stayd::decide::event::Answer;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

async fn ask(port: u16) -> Answer {
    let target = Target::Postgres {
        at: Endpoint::Tcp("127.0.0.1".into(), port),
        user: "app".into(),
        password: Some("hunter2".into()),
        database: "postgres".into(),
    };
    prober(&probe(target)).ask(LONG).await
}

/// A message of the server: a tag, the length and the body.
fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a length");
    [&[tag], &length.to_be_bytes()[..], body].concat()
}

/// Accepts the login without a password.
fn accepted() -> Vec<u8> {
    [message(b'R', &[0, 0, 0, 0]), message(b'Z', b"I")].concat()
}

/// Reads a message of the client, which is small enough to arrive in one piece.
fn read(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let count = stream.read(&mut bytes).unwrap_or(0);
    bytes.truncate(count);
    bytes
}

/// A server that sends each of `answers` after one more message of the client, and then `again` until the client leaves.
fn server(answers: Vec<Vec<u8>>, again: Vec<u8>) -> u16 {
    serve(move |mut stream| {
        for answer in &answers {
            read(&mut stream);
            let _ = stream.write_all(answer);
        }
        let mut written = Ok(());
        while written.is_ok() && !again.is_empty() {
            written = stream.write_all(&again);
        }
        // Nothing of the client may be unread, or the close becomes a reset.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        while !read(&mut stream).is_empty() {}
    })
}

#[tokio::test(flavor = "current_thread")]
async fn messages_without_end_are_dead_long_before_the_deadline() {
    let began = Instant::now();
    let notice = message(b'N', b"SNOTICE\0C00000\0Mstill here\0\0");
    let tiny = message(b'S', b"");
    for again in [&notice, &tiny] {
        let in_the_login = server(vec![notice.clone()], again.clone());
        let after_it = server(vec![message(b'R', &[0, 0, 0, 0])], again.clone());
        let after_the_query = server(vec![accepted(), notice.clone()], again.clone());
        for (port, waited_for) in [
            (in_the_login, "answer to the login"),
            (after_it, "answer to the login"),
            (after_the_query, "answer to SELECT 1"),
        ] {
            // Instead of a login, an unexpected message ends it at once.
            let is_refused_at_once = port == in_the_login && again == &tiny;
            let how = if is_refused_at_once {
                "not PostgreSQL".to_owned()
            } else {
                format!("messages without end while waiting for the {waited_for}")
            };
            assert_dead(&ask(port).await, &[&how]);
        }
    }
    let rows = server(vec![accepted(), notice], message(b'D', b""));
    assert_degraded(&ask(rows).await, &["too long", "fix the query"]);
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "current_thread")]
async fn an_error_is_quoted_with_a_bound_and_only_with_a_real_sqlstate() {
    let long = "9".repeat(100_000);
    let error = format!("SFATAL\0C{long}\0Mno: {long}\0\0");
    let answer = ask(server(vec![message(b'E', error.as_bytes())], Vec::new())).await;
    assert_degraded(&answer, &["it refuses the login: no: 999", "(no SQLSTATE)"]);
    assert!(words(&answer).len() < 300, "{answer:?}");
    let answer = ask(server(
        vec![
            accepted(),
            [message(b'E', error.as_bytes()), message(b'Z', b"I")].concat(),
        ],
        Vec::new(),
    ))
    .await;
    assert_degraded(&answer, &["no: 999", "(no SQLSTATE)"]);
    assert!(words(&answer).len() < 300, "{answer:?}");
}

/// The error of a SCRAM exchange is a text of the server's.
#[tokio::test(flavor = "current_thread")]
async fn a_failed_scram_exchange_is_quoted_with_a_bound() {
    let port = serve(|mut stream| {
        read(&mut stream);
        let offer = [&[0, 0, 0, 10][..], b"SCRAM-SHA-256\0\0"].concat();
        let _ = stream.write_all(&message(b'R', &offer));
        let first = String::from_utf8_lossy(&read(&mut stream)).into_owned();
        let nonce = first.split("r=").nth(1).unwrap_or_default();
        let challenge = format!("\0\0\0\u{b}r={nonce}x,s=AAAA,i=1");
        let _ = stream.write_all(&message(b'R', challenge.as_bytes()));
        read(&mut stream);
        let refusal = format!("\0\0\0\u{c}e={}", "no".repeat(50_000));
        let _ = stream.write_all(&message(b'R', refusal.as_bytes()));
        while !read(&mut stream).is_empty() {}
    });
    let answer = ask(port).await;
    assert_degraded(&answer, &["the login failed: ", "nono"]);
    assert!(words(&answer).len() < 300, "{answer:?}");
}

/// Each exchange costs as much CPU as the server demands.
#[tokio::test(flavor = "current_thread")]
async fn a_login_runs_one_scram_exchange_at_most() {
    let offer = message(b'R', &[&[0, 0, 0, 10][..], b"SCRAM-SHA-256\0\0"].concat());
    let answer = ask(server(vec![offer.clone(), offer], Vec::new())).await;
    assert_degraded(&answer, &["authentication of kind 10"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_server_that_closes_resets_or_speaks_another_protocol_is_dead() {
    let closes = server(vec![Vec::new()], Vec::new());
    assert_dead(
        &ask(closes).await,
        &["closed the connection early (before the answer to the login)"],
    );
    let closes = server(vec![accepted(), Vec::new()], Vec::new());
    assert_dead(
        &ask(closes).await,
        &["closed the connection early (before the answer to SELECT 1)"],
    );
    let resets = serve(|stream| {
        let _ = stream.peek(&mut [0]);
    });
    assert_dead(
        &ask(resets).await,
        &["connection reset while waiting for the answer to the login"],
    );
    let web = server(
        vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()],
        Vec::new(),
    );
    assert_dead(
        &ask(web).await,
        &["not PostgreSQL: \"HTTP/1.1 400 Bad Request\""],
    );
    let odd = server(vec![message(b'Z', b"I")], Vec::new());
    assert_dead(
        &ask(odd).await,
        &["not PostgreSQL: a message 'Z' in answer to the login"],
    );
}

/// A server that sheds load refuses at accept, before it reads the login, and its kernel resets the connection.
#[tokio::test(flavor = "current_thread")]
async fn a_refusal_before_a_reset_is_an_answer_each_time() {
    let error = message(b'E', b"SFATAL\0C53300\0Msorry\0\0");
    let at_accept = {
        let error = error.clone();
        serve(move |mut stream| {
            let _ = stream.write_all(&error);
        })
    };
    let before_the_read = serve(move |mut stream| {
        let _ = stream.peek(&mut [0]);
        let _ = stream.write_all(&error);
    });
    for _ in 0..50 {
        for port in [at_accept, before_the_read] {
            assert_degraded(&ask(port).await, &["too many connections: sorry (53300)"]);
        }
    }
}

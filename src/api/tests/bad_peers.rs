//! Peers that send nonsense, too much, too slowly or too often, or that may not.

use super::{House, in_a_house, in_a_house_with};
use crate::api::client::ClientError;
use crate::api::routes::Gate;
use crate::api::{limits, wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

pub(super) async fn connect(house: &House) -> UnixStream {
    UnixStream::connect(house.path())
        .await
        .expect("a connection")
}

/// Sends all of these bytes, as a plain client does, and only then reads until the server hangs up.
pub(super) async fn say(house: &House, bytes: &[u8]) -> String {
    let mut stream = connect(house).await;
    stream.write_all(bytes).await.expect("nothing is reset");
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .await
        .expect("nothing is reset");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Asks for `target` and reads the answer.
pub(super) async fn ask(house: &House, method: &str, target: &str) -> String {
    say(
        house,
        format!("{method} {target} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes(),
    )
    .await
}

pub(super) async fn is_well(house: &House) {
    let status: wire::Status = house
        .client()
        .get("/v1/status")
        .await
        .expect("everybody else is served");
    assert_eq!(status.services.len(), 1);
}

#[test]
fn malformed_requests_get_a_4xx() {
    in_a_house(|house| async move {
        for bytes in [
            "\x16\x03\x01\x02\x00 hello\r\n\r\n",
            "GET\r\n\r\n",
            "GET / HTTP/9.9\r\n\r\n",
        ] {
            let answer = say(&house, bytes.as_bytes()).await;
            assert!(
                answer.starts_with("HTTP/1.1 400")
                    && answer.contains("\r\n\r\n{\"error\":{\"kind\":\"bad-request\""),
                "{bytes:?} got {answer:?}"
            );
        }
        let answer = say(&house, b"GET /v2/status HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.1 404") && answer.contains("\"no-route\""),
            "{answer}"
        );
        let answer = say(&house, b"DELETE /v1/status HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
        let answer = say(
            &house,
            b"GET /v1/services/nope/why HTTP/1.1\r\nhost: x\r\n\r\n",
        )
        .await;
        assert!(answer.contains("there is db"), "{answer}");
        let answer = say(
            &house,
            b"GET /v1/events?since=never HTTP/1.1\r\nhost: x\r\n\r\n",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        is_well(&house).await;
    });
}

#[test]
fn oversized_headers_and_bodies_get_a_4xx() {
    in_a_house(|house| async move {
        let header = format!(
            "GET /v1/status HTTP/1.1\r\nx: {}\r\n\r\n",
            "a".repeat(2 * limits::HEADER_BYTES_MAX)
        );
        let answer = say(&house, header.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 431") && answer.contains("\"head-too-large\""),
            "{answer:.200}"
        );
        let length = limits::BODY_BYTES_MAX + 1;
        let body = format!(
            "POST /v1/services/db/hold HTTP/1.1\r\ncontent-length: {length}\r\n\r\n{}",
            "a".repeat(length)
        );
        let answer = say(&house, body.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 413") && answer.contains("\"too-large\""),
            "{answer:.200}"
        );
        is_well(&house).await;
    });
}

#[test]
fn a_peer_that_dribbles_is_let_go() {
    in_a_house(|house| async move {
        let mut idle = connect(&house).await;
        idle.write_all(b"GET /v1/status HT")
            .await
            .expect("a beginning");
        let unfinished = b"POST /v1/services/db/hold HTTP/1.1\r\ncontent-length: 10\r\n\r\n{";
        let (slow_body, ()) = tokio::join!(say(&house, unfinished), is_well(&house));
        assert!(slow_body.starts_with("HTTP/1.1 408"), "{slow_body}");
        let mut rest = Vec::new();
        let _reset = idle.read_to_end(&mut rest).await;
        assert!(house.asked.borrow().is_empty());
    });
}

#[test]
fn more_followers_than_seats_are_told_so() {
    in_a_house(|house| async move {
        let mut followers = Vec::new();
        for _ in 0..limits::LONG_REQUESTS_MAX {
            followers.push(house.client().follow("/v1/events").await.expect("a seat"));
        }
        let refused = house
            .client()
            .follow("/v1/events")
            .await
            .expect_err("no seat is left");
        assert!(
            matches!(&refused, ClientError::Refused(fault) if fault.kind == "busy"),
            "{refused}"
        );
        is_well(&house).await;
        drop(followers);
        // A seat comes free when the server has noticed that its follower has gone.
        while house.client().follow("/v1/events").await.is_err() {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn strangers_learn_nothing_and_change_nothing() {
    if nix::unistd::geteuid().is_root() {
        // Root is never a stranger; tests/api_peers.rs asks as another user.
        return;
    }
    let another = nix::unistd::geteuid().as_raw() + 1;
    in_a_house_with(
        Gate::new(another, None).expect("no group"),
        |house| async move {
            let refused = house
                .client()
                .get::<wire::Status>("/v1/status")
                .await
                .expect_err("a stranger");
            assert!(matches!(refused, ClientError::Permission(_)), "{refused}");
            let alive: wire::Answering = house
                .client()
                .get("/livez")
                .await
                .expect("livez is for all");
            assert!(alive.ok);
        },
    );
}

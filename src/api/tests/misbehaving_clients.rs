//! Clients that send malformed requests, too much or too slowly, or open too many streams.

use super::{TestServer, with_server};
use crate::api::client::ClientError;
use crate::api::{limits, wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

pub(super) async fn connect(server: &TestServer) -> UnixStream {
    UnixStream::connect(server.path())
        .await
        .expect("a connection")
}

/// Sends all of these bytes and only then reads until the server hangs up, as a simple client does.
pub(super) async fn send(server: &TestServer, bytes: &[u8]) -> String {
    let mut stream = connect(server).await;
    stream.write_all(bytes).await.expect("no reset");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("no reset");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends a request without a body and returns the answer.
pub(super) async fn request(server: &TestServer, method: &str, target: &str) -> String {
    send(
        server,
        format!("{method} {target} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes(),
    )
    .await
}

pub(super) async fn assert_status_works(server: &TestServer) {
    let status: wire::Status = server
        .client()
        .get("/v1/status")
        .await
        .expect("other clients are served");
    assert_eq!(status.services.len(), 1);
}

#[test]
fn malformed_requests_get_a_4xx_answer() {
    with_server(|server| async move {
        for bytes in [
            "\x16\x03\x01\x02\x00 hello\r\n\r\n",
            "GET\r\n\r\n",
            "GET / HTTP/9.9\r\n\r\n",
        ] {
            let answer = send(&server, bytes.as_bytes()).await;
            assert!(
                answer.starts_with("HTTP/1.1 400")
                    && answer.contains("\r\n\r\n{\"error\":{\"kind\":\"bad-request\""),
                "{bytes:?} got {answer:?}"
            );
        }
        let answer = send(&server, b"GET /v2/status HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.1 404") && answer.contains("\"no-route\""),
            "{answer}"
        );
        let answer = send(&server, b"DELETE /v1/status HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.1 405") && answer.contains("\r\nallow: GET\r\n"),
            "{answer}"
        );
        let answer = send(
            &server,
            b"GET /v1/services/nope/why HTTP/1.1\r\nhost: x\r\n\r\n",
        )
        .await;
        assert!(answer.contains("the services are db"), "{answer}");
        let answer = send(
            &server,
            b"GET /v1/events?since=never HTTP/1.1\r\nhost: x\r\n\r\n",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert_status_works(&server).await;
    });
}

#[test]
fn oversized_headers_and_bodies_get_a_4xx_answer() {
    with_server(|server| async move {
        let header = format!(
            "GET /v1/status HTTP/1.1\r\nx: {}\r\n\r\n",
            "a".repeat(2 * limits::HEADER_BYTES_MAX)
        );
        let answer = send(&server, header.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 431") && answer.contains("\"head-too-large\""),
            "{answer:.200}"
        );
        let length = limits::BODY_BYTES_MAX + 1;
        let body = format!(
            "POST /v1/services/db/hold HTTP/1.1\r\ncontent-length: {length}\r\n\r\n{}",
            "a".repeat(length)
        );
        let answer = send(&server, body.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 413") && answer.contains("\"too-large\""),
            "{answer:.200}"
        );
        assert_status_works(&server).await;
    });
}

#[test]
fn an_incomplete_request_times_out() {
    with_server(|server| async move {
        let mut idle = connect(&server).await;
        idle.write_all(b"GET /v1/status HT").await.expect("a part");
        let unfinished = b"POST /v1/services/db/hold HTTP/1.1\r\ncontent-length: 10\r\n\r\n{";
        let (slow_body, ()) = tokio::join!(send(&server, unfinished), assert_status_works(&server));
        assert!(slow_body.starts_with("HTTP/1.1 408"), "{slow_body}");
        let mut rest = Vec::new();
        let _reset = idle.read_to_end(&mut rest).await;
        assert!(server.commands.borrow().is_empty());
    });
}

#[test]
fn followers_over_the_limit_get_busy() {
    with_server(|server| async move {
        let mut followers = Vec::new();
        for _ in 0..limits::LONG_REQUESTS_MAX {
            followers.push(
                server
                    .client()
                    .follow("/v1/events")
                    .await
                    .expect("a stream"),
            );
        }
        let refused = server
            .client()
            .follow("/v1/events")
            .await
            .expect_err("over the limit");
        assert!(
            matches!(&refused, ClientError::Refused(error) if error.kind == "busy"),
            "{refused}"
        );
        assert_status_works(&server).await;
        drop(followers);
        // A permit is released when the server notices that its client has hung up.
        while server.client().follow("/v1/events").await.is_err() {
            tokio::task::yield_now().await;
        }
    });
}

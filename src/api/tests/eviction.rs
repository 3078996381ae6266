//! More clients than connections: idle connections are evicted, and `status` is answered at once.

use super::misbehaving_clients::{assert_status_works, connect};
use super::{TestServer, with_server};
use crate::api::limits;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Well below [`limits::HEADER_WITHIN`] and [`limits::BODY_WITHIN`], after which the connections would end anyway.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Three times as many as the server serves at once.
const CONNECTIONS: usize = 3 * limits::CONNECTIONS_MAX;

/// Opens this many connections that each send `text` and read nothing.
async fn flood(server: &TestServer, text: &str) -> Vec<UnixStream> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = connect(server).await;
        // An evicted connection cannot be written to.
        let _evicted = stream.write_all(text.as_bytes()).await;
        connections.push(stream);
    }
    connections
}

async fn assert_status_works_at_once(server: &TestServer) {
    timeout(AT_ONCE, assert_status_works(server))
        .await
        .expect("idle connections do not delay other clients");
}

#[test]
fn silent_connections_do_not_delay_other_clients() {
    with_server(|server| async move {
        let mut idle = flood(&server, "").await;
        assert_status_works_at_once(&server).await;
        let mut first = String::new();
        let oldest = idle.first_mut().expect("connections");
        oldest.read_to_string(&mut first).await.expect("an answer");
        assert!(
            first.contains("408") && first.contains("\"too-slow\""),
            "{first}"
        );
    });
}

#[test]
fn incomplete_requests_do_not_delay_other_clients() {
    with_server(|server| async move {
        for part in [
            "GET /v1/status HTTP/1.1\r\nho",
            "POST /v1/services/db/hold HTTP/1.1\r\ncontent-length: 10\r\n\r\n{",
        ] {
            let _stopped = flood(&server, part).await;
            assert_status_works_at_once(&server).await;
        }
        assert!(server.commands.borrow().is_empty());
    });
}

#[test]
fn clients_that_do_not_read_or_hang_up_do_not_delay_other_clients() {
    with_server(|server| async move {
        for request in [
            "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n",
            "GET /v1/services/db/logs?n=10000 HTTP/1.1\r\nhost: x\r\n\r\n",
        ] {
            let _lingering = flood(&server, request).await;
            assert_status_works_at_once(&server).await;
        }
    });
}

#[test]
fn followers_are_never_evicted() {
    with_server(|server| async move {
        let mut follower = server
            .client()
            .follow("/v1/events")
            .await
            .expect("a stream");
        let _idle = flood(&server, "").await;
        assert_status_works_at_once(&server).await;
        server.journal.record("killed", "db");
        let event = follower.next().await.expect("still served").expect("one");
        assert_eq!(event.kind, "killed");
    });
}

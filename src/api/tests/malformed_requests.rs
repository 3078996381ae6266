//! Invalid parameters, unknown paths and incomplete exchanges each get an error answer.

use super::misbehaving_clients::{assert_status_works, connect, request, send};
use super::{TestServer, with_server};
use crate::api::limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn assert_error(server: &TestServer, method: &str, target: &str, status: u16) {
    let answer = request(server, method, target).await;
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} "))
            && answer.contains("\r\n\r\n{\"error\":{\"kind\":\""),
        "{method} {target:.100} got {answer:.300}"
    );
}

#[test]
fn invalid_numbers_are_rejected() {
    with_server(|server| async move {
        for since in [
            "99999999999999d",
            "18446744073709551615s",
            "18446744073709551616",
            "99999999999999999999999y",
            "-5",
            "1e400",
            "0x10",
            "NaN",
            "292277026597-01-01T00:00:00Z",
            "2026-13-45T99:99:99Z",
            "%00",
            "%",
            "%F0%9F",
        ] {
            for target in [
                format!("/v1/services/db/why?since={since}"),
                format!("/v1/events?since={since}"),
            ] {
                assert_error(&server, "GET", &target, 400).await;
            }
        }
        for count in ["0", "-1", "10001", "18446744073709551616", "1.5", "", "ten"] {
            for target in [
                format!("/v1/events?limit={count}"),
                format!("/v1/incidents?limit={count}"),
                format!("/v1/services/db/why?limit={count}"),
                format!("/v1/services/db/logs?n={count}"),
            ] {
                assert_error(&server, "GET", &target, 400).await;
            }
        }
        assert_error(&server, "GET", "/v1/incidents/18446744073709551616", 400).await;
        assert_error(&server, "GET", "/v1/incidents/18446744073709551615", 404).await;
        assert_error(&server, "POST", "/v1/services/db/stop?wait=perhaps", 400).await;
        assert_status_works(&server).await;
    });
}

#[test]
fn unknown_paths_and_methods_are_rejected() {
    with_server(|server| async move {
        for (method, target, status) in [
            ("GET", "/", 404),
            ("GET", "/v1/services/d%62/why", 404),
            ("GET", "/v1/services/../status", 404),
            ("GET", "/v1/services/%2e%2e%2f/logs", 404),
            ("BREW", "/v1/status", 405),
            ("PUT", "/v1/services/db", 404),
            ("OPTIONS", "*", 404),
            ("GET", "http://elsewhere/v1/nothing", 404),
        ] {
            assert_error(&server, method, target, status).await;
        }
        let long = format!("/{}", "a".repeat(limits::HEADER_BYTES_MAX / 2));
        assert_error(&server, "GET", &long, 404).await;
        assert_status_works(&server).await;
    });
}

#[test]
fn http_1_0_pipelined_and_incomplete_requests_do_no_harm() {
    with_server(|server| async move {
        let old = send(&server, b"GET /livez HTTP/1.0\r\n\r\n").await;
        assert!(old.starts_with("HTTP/1.0 200"), "{old}");
        let twice = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2);
        let once = send(&server, &twice).await;
        assert_eq!(once.matches("HTTP/1.1 200").count(), 1, "{once}");
        let mut half = connect(&server).await;
        half.write_all(b"GET /v1/status HT").await.expect("a part");
        half.shutdown().await.expect("half closed");
        let mut answer = String::new();
        half.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.contains("\"bad-request\""), "{answer}");
        let mut gone = connect(&server).await;
        gone.write_all(b"POST /v1/services/db/stop HTTP/1.1\r\ncontent-length: 9\r\n\r\n{")
            .await
            .expect("a part");
        drop(gone);
        assert_status_works(&server).await;
        assert!(server.commands.borrow().is_empty());
    });
}

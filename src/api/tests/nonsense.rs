//! Parameters, paths and conversations that make no sense: each gets an answer that says so.

use super::bad_peers::{ask, connect, is_well, say};
use super::{House, in_a_house};
use crate::api::limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn is_refused(house: &House, method: &str, target: &str, status: u16) {
    let answer = ask(house, method, target).await;
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} "))
            && answer.contains("\r\n\r\n{\"error\":{\"kind\":\""),
        "{method} {target:.100} got {answer:.300}"
    );
}

#[test]
fn absurd_numbers_are_refused_by_name() {
    in_a_house(|house| async move {
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
                is_refused(&house, "GET", &target, 400).await;
            }
        }
        for count in ["0", "-1", "10001", "18446744073709551616", "1.5", "", "ten"] {
            for target in [
                format!("/v1/events?limit={count}"),
                format!("/v1/incidents?limit={count}"),
                format!("/v1/services/db/why?limit={count}"),
                format!("/v1/services/db/logs?n={count}"),
            ] {
                is_refused(&house, "GET", &target, 400).await;
            }
        }
        is_refused(&house, "GET", "/v1/incidents/18446744073709551616", 400).await;
        is_refused(&house, "GET", "/v1/incidents/18446744073709551615", 404).await;
        is_refused(&house, "POST", "/v1/services/db/stop?wait=perhaps", 400).await;
        is_well(&house).await;
    });
}

#[test]
fn paths_and_methods_that_do_not_exist_are_named() {
    in_a_house(|house| async move {
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
            is_refused(&house, method, target, status).await;
        }
        let long = format!("/{}", "a".repeat(limits::HEADER_BYTES_MAX / 2));
        is_refused(&house, "GET", &long, 404).await;
        is_well(&house).await;
    });
}

#[test]
fn old_clients_pipelines_and_half_requests_cost_nobody_anything() {
    in_a_house(|house| async move {
        let old = say(&house, b"GET /livez HTTP/1.0\r\n\r\n").await;
        assert!(old.starts_with("HTTP/1.0 200"), "{old}");
        let twice = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2);
        let once = say(&house, &twice).await;
        assert_eq!(once.matches("HTTP/1.1 200").count(), 1, "{once}");
        let mut half = connect(&house).await;
        half.write_all(b"GET /v1/status HT").await.expect("a half");
        half.shutdown().await.expect("half closed");
        let mut answer = String::new();
        half.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.contains("\"bad-request\""), "{answer}");
        let mut gone = connect(&house).await;
        gone.write_all(b"POST /v1/services/db/stop HTTP/1.1\r\ncontent-length: 9\r\n\r\n{")
            .await
            .expect("a half");
        drop(gone);
        is_well(&house).await;
        assert!(house.asked.borrow().is_empty());
    });
}

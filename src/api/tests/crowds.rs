//! More peers than places: whoever only takes up room makes room, and `status` is answered at once.

use super::bad_peers::{connect, is_well};
use super::{House, in_a_house};
use crate::api::limits;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Far from [`limits::HEADER_WITHIN`] and [`limits::BODY_WITHIN`], by which a crowd would go of itself.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Three times as many as there are places.
const CROWD: usize = 3 * limits::CONNECTIONS_MAX;

/// So many connections that have each said `words` and read nothing.
async fn crowd(house: &House, words: &str) -> Vec<UnixStream> {
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut stream = connect(house).await;
        // One that has been sent away cannot be written to.
        let _sent_away = stream.write_all(words.as_bytes()).await;
        crowd.push(stream);
    }
    crowd
}

async fn is_well_at_once(house: &House) {
    timeout(AT_ONCE, is_well(house))
        .await
        .expect("nobody is kept waiting by a crowd");
}

#[test]
fn a_crowd_that_says_nothing_keeps_nobody_waiting() {
    in_a_house(|house| async move {
        let mut idle = crowd(&house, "").await;
        is_well_at_once(&house).await;
        let mut first = String::new();
        let oldest = idle.first_mut().expect("a crowd");
        oldest.read_to_string(&mut first).await.expect("a goodbye");
        assert!(
            first.contains("408") && first.contains("\"too-slow\""),
            "{first}"
        );
    });
}

#[test]
fn a_crowd_that_stops_in_the_middle_keeps_nobody_waiting() {
    in_a_house(|house| async move {
        for beginning in [
            "GET /v1/status HTTP/1.1\r\nho",
            "POST /v1/services/db/hold HTTP/1.1\r\ncontent-length: 10\r\n\r\n{",
        ] {
            let _stopped = crowd(&house, beginning).await;
            is_well_at_once(&house).await;
        }
        assert!(house.asked.borrow().is_empty());
    });
}

#[test]
fn a_crowd_that_does_not_read_or_leave_keeps_nobody_waiting() {
    in_a_house(|house| async move {
        for asked in [
            "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n",
            "GET /v1/services/db/logs?n=10000 HTTP/1.1\r\nhost: x\r\n\r\n",
        ] {
            let _lingering = crowd(&house, asked).await;
            is_well_at_once(&house).await;
        }
    });
}

#[test]
fn whoever_waits_for_an_outcome_is_never_sent_away() {
    in_a_house(|house| async move {
        let mut follower = house.client().follow("/v1/events").await.expect("a seat");
        let _idle = crowd(&house, "").await;
        is_well_at_once(&house).await;
        house.book.write("killed", "db");
        let event = follower.next().await.expect("still served").expect("one");
        assert_eq!(event.kind, "killed");
    });
}

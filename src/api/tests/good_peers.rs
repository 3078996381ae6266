//! What a client gets.

use super::in_a_house;
use crate::api::client::{ANSWER_WITHIN, Client, ClientError};
use crate::api::desk::Ask;
use crate::api::wire::{
    Answering, Events, HoldRequest, Incident, Incidents, Lines, Requested, Status,
};
use crate::decide::event::Request;
use serde_json::json;
use std::time::Duration;

async fn ask(client: &Client, verb: &str) -> Result<Requested, ClientError> {
    client
        .post(
            &format!("/v1/services/db/{verb}"),
            &json!({}),
            ANSWER_WITHIN,
        )
        .await
}

#[test]
fn status_journal_incidents_and_logs_are_shown() {
    in_a_house(|house| async move {
        house.book.write("started", "db");
        house.book.write("killed", "db");
        let client = house.client();
        let status: Status = client.get("/v1/status").await.expect("status");
        assert_eq!((status.schema, status.services[0].name.as_str()), (1, "db"));
        let events: Events = client
            .get("/v1/events?since=1&service=db")
            .await
            .expect("events");
        assert_eq!(events.events.len(), 1);
        let why: Events = client
            .get("/v1/services/db/why?since=7d")
            .await
            .expect("why");
        assert_eq!(why.events[0].kind, "killed");
        let incidents: Incidents = client.get("/v1/incidents").await.expect("incidents");
        assert_eq!(incidents.incidents[0].event.id, 2);
        let incident: Incident = client.get("/v1/incidents/2").await.expect("incident");
        assert!(incident.evidence.is_some());
        let logs: Lines = client.get("/v1/services/db/logs?n=3").await.expect("logs");
        assert_eq!(logs.lines, ["db speaks"; 3]);
        let ready: Answering = client.get("/readyz").await.expect("readyz");
        assert!(ready.ok);
    });
}

#[test]
fn wishes_are_taken_and_their_outcome_is_told() {
    in_a_house(|house| async move {
        let client = house.client();
        let stopped = ask(&client, "stop?wait=1").await.expect("stop");
        assert!(stopped.done && stopped.service.state == "stopped");
        let started = ask(&client, "start?wait=1").await.expect("start");
        assert!(started.done && started.service.life == 2);
        let restarted = ask(&client, "restart?wait=1").await.expect("restart");
        assert!(restarted.done && restarted.service.life == 3);
        ask(&client, "reload").await.expect("reload");
        ask(&client, "release").await.expect("release");
        let requests = [Request::Stop, Request::Start, Request::Restart].map(Ask::Request);
        let expected = requests
            .into_iter()
            .chain([Ask::Reload, Ask::Request(Request::Release)]);
        assert_eq!(*house.asked.borrow(), expected.collect::<Vec<_>>());
    });
}

#[test]
fn a_wish_that_does_not_come_true_says_why() {
    in_a_house(|house| async move {
        house.rises_to.set("blocked");
        let refused = ask(&house.client(), "restart?wait=1")
            .await
            .expect_err("blocked");
        let ClientError::Refused(fault) = refused else {
            panic!("{refused}")
        };
        assert_eq!(fault.kind, "not-reached");
        assert_eq!(fault.message, "cannot restart db: it is blocked");
    });
}

#[test]
fn a_hold_needs_a_length_and_a_reason() {
    in_a_house(|house| async move {
        let client = house.client();
        let hold = |span: &str, reason: &str| HoldRequest {
            span: span.into(),
            reason: reason.into(),
        };
        let path = "/v1/services/db/hold";
        let held: Requested = client
            .post(path, &hold("30m", "migration"), ANSWER_WITHIN)
            .await
            .expect("hold");
        assert!(held.done);
        let request = Request::Hold {
            span: Duration::from_secs(1800),
            reason: "migration".into(),
        };
        assert_eq!(*house.asked.borrow(), [Ask::Request(request)]);
        for wrong in [
            hold("", "x"),
            hold("30m", " "),
            hold("0s", "x"),
            hold("31days", "x"),
            hold("soon", "x"),
        ] {
            let refused = client
                .post::<_, Requested>(path, &wrong, ANSWER_WITHIN)
                .await
                .expect_err("refused");
            assert!(refused.to_string().starts_with("cannot hold "), "{refused}");
        }
        assert_eq!(house.asked.borrow().len(), 1);
    });
}

#[test]
fn a_stream_begins_where_asked_and_goes_on() {
    in_a_house(|house| async move {
        house.book.write("started", "db");
        house.book.write("ready", "db");
        let mut stream = house
            .client()
            .follow("/v1/events?since=1&service=db")
            .await
            .expect("a stream");
        let first = stream.next().await.expect("an event").expect("not the end");
        assert_eq!(first.id, 2);
        house.book.write("killed", "other");
        house.book.write("killed", "db");
        let second = stream.next().await.expect("an event").expect("not the end");
        assert_eq!((second.id, second.kind.as_str()), (4, "killed"));
    });
}

#[test]
fn a_follower_that_fell_behind_is_fed_from_the_journal() {
    in_a_house(|house| async move {
        let mut stream = house.client().follow("/v1/events").await.expect("a stream");
        house.book.write("started", "db");
        assert_eq!(
            stream
                .next()
                .await
                .expect("an event")
                .expect("not the end")
                .id,
            1
        );
        // More than the channel holds, at once.
        for _ in 0..100 {
            house.book.write("verdict", "db");
        }
        for id in 2..=101 {
            assert_eq!(
                stream
                    .next()
                    .await
                    .expect("an event")
                    .expect("not the end")
                    .id,
                id
            );
        }
    });
}

#[test]
fn item_91_an_old_client_reads_a_newer_daemon() {
    let newer = json!({"schema": 1, "daemon": {"pid": 7, "mood": "good"}, "weather": [],
        "services": [{"name": "db", "state": "levitating", "probes": [{"class": "bored"}]}]});
    let status: Status = serde_json::from_value(newer).expect("unknown fields are ignored");
    assert_eq!(status.services[0].state, "levitating");
    let older: Status =
        serde_json::from_value(json!({"schema": 1})).expect("missing ones are defaults");
    assert!(older.services.is_empty());
}

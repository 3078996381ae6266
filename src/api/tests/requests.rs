//! Every kind of request of a well-behaved client gets its answer.

use super::with_server;
use crate::api::backend::ServiceCommand;
use crate::api::client::{ANSWER_WITHIN, Client, ClientError};
use crate::api::wire::{
    CommandReply, Events, HealthReport, HoldRequest, Incident, Incidents, LogLines, Status,
};
use crate::decide::event::Request;
use serde_json::json;
use std::time::Duration;

async fn request(client: &Client, verb: &str) -> Result<CommandReply, ClientError> {
    client
        .post(
            &format!("/v1/services/db/{verb}"),
            &json!({}),
            ANSWER_WITHIN,
        )
        .await
}

#[test]
fn status_events_incidents_and_logs_are_answered() {
    with_server(|server| async move {
        server.journal.record("started", "db");
        server.journal.record("killed", "db");
        let client = server.client();
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
        let logs: LogLines = client.get("/v1/services/db/logs?n=3").await.expect("logs");
        assert_eq!(logs.lines, ["a line of db"; 3]);
        let ready: HealthReport = client.get("/readyz").await.expect("readyz");
        assert!(ready.ok);
    });
}

#[test]
fn commands_are_accepted_and_report_their_outcome() {
    with_server(|server| async move {
        let client = server.client();
        let stopped = request(&client, "stop?wait=1").await.expect("stop");
        assert!(stopped.done && stopped.service.state == "stopped");
        let started = request(&client, "start?wait=1").await.expect("start");
        assert!(started.done && started.service.life == 2);
        let restarted = request(&client, "restart?wait=1").await.expect("restart");
        assert!(restarted.done && restarted.service.life == 3);
        request(&client, "reload").await.expect("reload");
        request(&client, "release").await.expect("release");
        let requests =
            [Request::Stop, Request::Start, Request::Restart].map(ServiceCommand::Request);
        let expected = requests.into_iter().chain([
            ServiceCommand::Reload,
            ServiceCommand::Request(Request::Release),
        ]);
        assert_eq!(*server.commands.borrow(), expected.collect::<Vec<_>>());
    });
}

#[test]
fn a_failed_command_reports_the_reason() {
    with_server(|server| async move {
        server.state_after_start.set("blocked");
        let refused = request(&server.client(), "restart?wait=1")
            .await
            .expect_err("blocked");
        let ClientError::Refused(error) = refused else {
            panic!("{refused}")
        };
        assert_eq!(error.kind, "not-reached");
        assert_eq!(error.message, "cannot restart db: it is blocked");
    });
}

#[test]
fn a_hold_needs_a_duration_and_a_reason() {
    with_server(|server| async move {
        let client = server.client();
        let hold = |duration: &str, reason: &str| HoldRequest {
            duration: duration.into(),
            reason: reason.into(),
        };
        let path = "/v1/services/db/hold";
        let held: CommandReply = client
            .post(path, &hold("30m", "migration"), ANSWER_WITHIN)
            .await
            .expect("hold");
        assert!(held.done);
        let request = Request::Hold {
            duration: Duration::from_secs(1800),
            reason: "migration".into(),
        };
        assert_eq!(
            *server.commands.borrow(),
            [ServiceCommand::Request(request)]
        );
        for wrong in [
            hold("", "x"),
            hold("30m", " "),
            hold("30m", &"x".repeat(1001)),
            hold("0s", "x"),
            hold("31days", "x"),
            hold("soon", "x"),
        ] {
            let refused = client
                .post::<_, CommandReply>(path, &wrong, ANSWER_WITHIN)
                .await
                .expect_err("refused");
            assert!(refused.to_string().starts_with("cannot hold"), "{refused}");
        }
        assert_eq!(server.commands.borrow().len(), 1);
    });
}

#[test]
fn a_stream_begins_after_since_and_continues_with_new_events() {
    with_server(|server| async move {
        server.journal.record("started", "db");
        server.journal.record("ready", "db");
        let mut stream = server
            .client()
            .follow("/v1/events?since=1&service=db")
            .await
            .expect("a stream");
        let first = stream.next().await.expect("an event").expect("not the end");
        assert_eq!(first.id, 2);
        server.journal.record("killed", "other");
        server.journal.record("killed", "db");
        let second = stream.next().await.expect("an event").expect("not the end");
        assert_eq!((second.id, second.kind.as_str()), (4, "killed"));
    });
}

#[test]
fn a_slow_follower_gets_missed_events_from_the_journal() {
    with_server(|server| async move {
        let mut stream = server
            .client()
            .follow("/v1/events")
            .await
            .expect("a stream");
        server.journal.record("started", "db");
        assert_eq!(
            stream
                .next()
                .await
                .expect("an event")
                .expect("not the end")
                .id,
            1
        );
        // More at once than the channel holds.
        for _ in 0..100 {
            server.journal.record("verdict", "db");
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
fn an_old_client_reads_a_newer_daemon() {
    let newer = json!({"schema": 1, "daemon": {"pid": 7, "mood": "good"}, "weather": [],
        "services": [{"name": "db", "state": "levitating", "probes": [{"class": "bored"}]}]});
    let status: Status = serde_json::from_value(newer).expect("unknown members are ignored");
    assert_eq!(status.services[0].state, "levitating");
    let older: Status =
        serde_json::from_value(json!({"schema": 1})).expect("missing members have defaults");
    assert!(older.services.is_empty());
}

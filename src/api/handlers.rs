//! One function per route. Access has been decided in the table; none of them looks at the caller.

use super::desk::{Ask, Desk, Kind, Petition, Query, Refusal, Since, Taken};
use super::outcome::{Outcome, judge};
use super::query::{Params, bad};
use super::routes::{Handler, Verb};
use super::server::Patience;
use super::stream::{Reply, follow};
use super::{limits, wire};
use crate::decide::event::Request;
use crate::sys;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use serde::Serialize;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How often an outcome is looked for when the journal has nothing to say.
const OUTCOME_LOOK_EVERY: Duration = Duration::from_secs(1);

/// A request, read and found in the table.
pub(super) struct Call {
    pub(super) handler: Handler,
    /// What stood for `{name}` or `{id}`.
    pub(super) segment: String,
    pub(super) params: Params,
    pub(super) body: Bytes,
    /// `Accept: text/event-stream`
    pub(super) wants_stream: bool,
    /// The `Last-Event-ID` header.
    pub(super) last_event_id: Option<u64>,
    pub(super) patience: Patience,
}

type Answer = Result<Response<Reply>, Refusal>;

/// Answers `call`.
pub(super) async fn answer(desk: &Desk, call: &Call) -> Answer {
    match call.handler {
        Handler::Status => {
            (desk.look)().await;
            json(StatusCode::OK, &(desk.status)())
        }
        Handler::Events => events(desk, call).await,
        Handler::Incidents => incidents(desk, call).await,
        Handler::Incident => incident(desk, call).await,
        Handler::Why => why(desk, call).await,
        Handler::Logs => logs(desk, call).await,
        Handler::Request(verb) => request(desk, call, verb).await,
        Handler::Upgrade => upgrade(desk, call).await,
        Handler::Livez => json(
            StatusCode::OK,
            &wire::Answering {
                ok: true,
                waiting_for: vec![],
            },
        ),
        Handler::Readyz => readyz(desk),
    }
}

/// A JSON answer.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    let body = serde_json::to_vec(value).map_err(|error| {
        Refusal::new(
            Kind::Unavailable,
            format!("cannot write the answer as JSON: {error}"),
        )
    })?;
    Ok(response(
        status,
        "application/json",
        Reply::Whole(Some(Bytes::from(body))),
    ))
}

/// The answer that says why not.
pub(super) fn failure(refusal: &Refusal) -> Response<Reply> {
    let body = Bytes::from(failure_body(refusal));
    let status = StatusCode::from_u16(refusal.kind.status()).unwrap_or_default();
    response(status, "application/json", Reply::Whole(Some(body)))
}

/// The same as bytes: `{"error":{"kind":"…","message":"cannot …"}}`.
pub(super) fn failure_body(refusal: &Refusal) -> Vec<u8> {
    let failure = wire::Failure {
        error: wire::Fault {
            kind: refusal.kind.word().to_owned(),
            message: refusal.message.clone(),
        },
    };
    serde_json::to_vec(&failure).unwrap_or_default()
}

fn response(status: StatusCode, content_type: &'static str, body: Reply) -> Response<Reply> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let value = hyper::header::HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, value);
    response
}

async fn events(desk: &Desk, call: &Call) -> Answer {
    let mut since = call.params.since(sys::clock::sample().wall)?;
    if let Some(id) = call.last_event_id {
        since = Since::Id(id);
    }
    let query = Query {
        service: call.params.get("service").map(str::to_owned),
        since,
        decisions_only: false,
        limit: call
            .params
            .count("limit", limits::EVENTS_DEFAULT, limits::EVENTS_MAX)?,
    };
    if call.wants_stream {
        let seat = call.patience.extend(limits::FOLLOW_WITHIN)?;
        let body = follow(
            desk.journal.clone(),
            query,
            seat,
            call.patience.lobby.clone(),
        );
        return Ok(response(StatusCode::OK, "text/event-stream", body));
    }
    json(
        StatusCode::OK,
        &wire::Events {
            events: desk.journal.events(query).await?,
        },
    )
}

async fn incidents(desk: &Desk, call: &Call) -> Answer {
    let limit = call
        .params
        .count("limit", limits::EVENTS_DEFAULT, limits::EVENTS_MAX)?;
    let incidents = desk.journal.incidents(limit).await?;
    json(StatusCode::OK, &wire::Incidents { incidents })
}

async fn incident(desk: &Desk, call: &Call) -> Answer {
    let text = &call.segment;
    let id = text
        .parse()
        .map_err(|_nan| bad(format!("cannot look up incident {text}: not a number")))?;
    match desk.journal.incident(id).await? {
        Some(incident) => json(StatusCode::OK, &incident),
        None => Err(Refusal::new(
            Kind::NoIncident,
            format!(
                "cannot find incident {id}: there is none of this number; `stayd incidents` lists them"
            ),
        )),
    }
}

async fn why(desk: &Desk, call: &Call) -> Answer {
    let name = service(desk, &call.segment)?.name;
    let query = Query {
        service: Some(name),
        since: call.params.since(sys::clock::sample().wall)?,
        decisions_only: true,
        limit: call
            .params
            .count("limit", limits::EVENTS_DEFAULT, limits::EVENTS_MAX)?,
    };
    json(
        StatusCode::OK,
        &wire::Events {
            events: desk.journal.events(query).await?,
        },
    )
}

async fn logs(desk: &Desk, call: &Call) -> Answer {
    let name = service(desk, &call.segment)?.name;
    let count = call
        .params
        .count("n", limits::LOG_LINES_DEFAULT, limits::LOG_LINES_MAX)?;
    json(
        StatusCode::OK,
        &wire::Lines {
            lines: desk.logs.tail(&name, count).await?,
        },
    )
}

fn readyz(desk: &Desk) -> Answer {
    let services = (desk.status)().services;
    let waiting_for: Vec<String> = services
        .into_iter()
        .filter(|service| service.wanted == "up" && !is_ready(service))
        .map(|service| service.name)
        .collect();
    let ok = waiting_for.is_empty();
    let status = if ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(status, &wire::Answering { ok, waiting_for })
}

fn is_ready(service: &wire::Service) -> bool {
    let mut readiness = service
        .probes
        .iter()
        .filter(|probe| probe.check == "readiness");
    service.healthy && readiness.all(|probe| probe.ok)
}

fn service(desk: &Desk, name: &str) -> Result<wire::Service, Refusal> {
    let services = (desk.status)().services;
    if let Some(found) = services.iter().find(|service| service.name == name) {
        return Ok(found.clone());
    }
    let known: Vec<_> = services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    let known = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    Err(Refusal::new(
        Kind::NoService,
        format!("cannot find a service called {name}: there is {known}"),
    ))
}

async fn request(desk: &Desk, call: &Call, verb: Verb) -> Answer {
    let before = service(desk, &call.segment)?;
    let ask = ask(verb, &call.body)?;
    if call.patience.lobby.is_closing() {
        return Err(upgrading(ask.verb()));
    }
    let _waits = call.patience.lobby.wait();
    if !call.params.flag("wait")? {
        let Taken { warning } = hand_over(desk, &before.name, ask).await?;
        let service = service(desk, &before.name)?;
        let done = judge(verb, &before, &service) == Outcome::Reached;
        return wished(done, service, warning);
    }
    let _seat = call
        .patience
        .extend(limits::OUTCOME_WITHIN + limits::REQUEST_WITHIN)?;
    let news = desk.journal.subscribe();
    let word = ask.verb();
    let Taken { warning } = hand_over(desk, &before.name, ask).await?;
    let waited = timeout(limits::OUTCOME_WITHIN, outcome(desk, verb, &before, news)).await;
    let (outcome, service) = match waited {
        Ok(told) => told?,
        Err(_late) => (Outcome::Pending, service(desk, &before.name)?),
    };
    match outcome {
        Outcome::Missed => {
            let missed = format!("cannot {word} {}: {}", service.name, service.reason);
            let message = match warning {
                Some(warning) => format!("{missed}; {warning}"),
                None => missed,
            };
            Err(Refusal::new(Kind::NotReached, message))
        }
        Outcome::Pending | Outcome::Reached => {
            wished(outcome == Outcome::Reached, service, warning)
        }
    }
}

fn wished(done: bool, service: wire::Service, warning: Option<String>) -> Answer {
    let wished = wire::Requested {
        done,
        service,
        warning,
    };
    json(StatusCode::OK, &wished)
}

/// Nothing was done: whoever answers next can be asked for it.
fn upgrading(verb: &str) -> Refusal {
    let message =
        format!("cannot {verb}: a new version of stayd takes over; ask again in a moment");
    Refusal::new(Kind::Upgrading, message)
}

async fn upgrade(desk: &Desk, call: &Call) -> Answer {
    let within = limits::UPGRADE_WITHIN;
    let _seat = call.patience.extend(within + limits::REQUEST_WITHIN)?;
    let (reply, answered) = oneshot::channel();
    let asked = async {
        desk.upgrades.send(reply).await.ok()?;
        answered.await.ok()
    };
    match timeout(within, asked).await {
        Ok(Some(answer)) => json(StatusCode::OK, &answer?),
        Ok(None) => Err(Refusal::new(
            Kind::Ending,
            "cannot upgrade: stayd is ending",
        )),
        Err(_late) => Err(Refusal::new(
            Kind::Ending,
            "cannot upgrade: stayd is too busy to take it; try again",
        )),
    }
}

fn ask(verb: Verb, body: &[u8]) -> Result<Ask, Refusal> {
    Ok(match verb {
        Verb::Start => Ask::Request(Request::Start),
        Verb::Stop => Ask::Request(Request::Stop),
        Verb::Restart => Ask::Request(Request::Restart),
        Verb::Release => Ask::Request(Request::Release),
        Verb::Reload => Ask::Reload,
        Verb::Hold => Ask::Request(hold(body)?),
    })
}

fn hold(body: &[u8]) -> Result<Request, Refusal> {
    const MEANT: &str = "{\"for\":\"30m\",\"reason\":\"…\"} is meant";
    let asked: wire::HoldRequest = serde_json::from_slice(body)
        .map_err(|error| bad(format!("cannot read the body: {error}; {MEANT}")))?;
    let span = humantime::parse_duration(&asked.span).map_err(|error| {
        bad(format!(
            "cannot hold for {:?}: {error}; {MEANT}",
            asked.span
        ))
    })?;
    if span.is_zero() || span > limits::HOLD_MAX {
        let max = humantime::format_duration(limits::HOLD_MAX);
        return Err(bad(format!(
            "cannot hold for {}: from 1s to {max} is possible",
            asked.span
        )));
    }
    if asked.reason.trim().is_empty() {
        return Err(bad(format!(
            "cannot hold without a reason: whoever finds the hold will ask; {MEANT}"
        )));
    }
    Ok(Request::Hold {
        span,
        reason: asked.reason,
    })
}

/// Gives the wish to the loop and waits until the machine has taken it.
async fn hand_over(desk: &Desk, name: &str, ask: Ask) -> Result<Taken, Refusal> {
    let ending = |why| Refusal::new(Kind::Ending, format!("cannot {} {name}: {why}", ask.verb()));
    let (reply, taken) = oneshot::channel();
    let petition = Petition {
        service: name.to_owned(),
        ask: ask.clone(),
        reply,
    };
    let exchange = async {
        desk.requests.send(petition).await.ok()?;
        taken.await.ok()
    };
    match timeout(limits::WISH_WITHIN, exchange).await {
        Ok(Some(taken)) => taken,
        Ok(None) => Err(ending("stayd is ending")),
        Err(_late) => Err(ending("stayd is too busy to take it; try again")),
    }
}

/// Looks after each record of the journal, and once in a while, whether the wish has come true.
async fn outcome(
    desk: &Desk,
    verb: Verb,
    before: &wire::Service,
    mut news: tokio::sync::broadcast::Receiver<std::sync::Arc<wire::Event>>,
) -> Result<(Outcome, wire::Service), Refusal> {
    loop {
        let now = service(desk, &before.name)?;
        let outcome = judge(verb, before, &now);
        if outcome != Outcome::Pending {
            return Ok((outcome, now));
        }
        use tokio::sync::broadcast::error::RecvError;
        if let Ok(Err(RecvError::Closed)) = timeout(OUTCOME_LOOK_EVERY, news.recv()).await {
            let message = format!(
                "cannot tell the outcome for {}: stayd is ending",
                before.name
            );
            return Err(Refusal::new(Kind::Ending, message));
        }
    }
}

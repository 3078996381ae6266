//! Answers requests: one function per route. The route table has decided about access already.

use super::backend::{
    Accepted, ApiError, ApiErrorKind, Backend, EventQuery, PendingRequest, ServiceCommand, Since,
};
use super::connections::Connection;
use super::event_stream::follow;
use super::latest_requests::RequestNumber;
use super::outcome::{NewInstance, Outcome, outcome_of};
use super::query::{Params, bad_request};
use super::response::{self, ResponseBody, json};
use super::routes::{Handler, PeerRole, Verb};
use super::{limits, wire};
use crate::decide::event::Request;
use crate::sys;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot};
use tokio::time::timeout;

/// While a client waits for an outcome, the handler checks the service after each record, and at least this often.
const OUTCOME_CHECK_EVERY: Duration = Duration::from_secs(1);
/// In this time the output of an ended instance reaches the file, unless its disk is slow.
const OUTPUT_WITHIN: Duration = Duration::from_millis(100);

/// A request whose route was found and whose access was checked.
pub(super) struct ParsedRequest {
    pub(super) handler: Handler,
    /// The segment of the path in the place of `{name}` or `{id}`.
    pub(super) segment: String,
    pub(super) params: Params,
    pub(super) body: Bytes,
    pub(super) role: PeerRole,
    /// `Accept: text/event-stream`
    pub(super) wants_stream: bool,
    /// The `Last-Event-ID` header.
    pub(super) last_event_id: Option<u64>,
    pub(super) connection: Connection,
}

type HandlerResult = Result<Response<ResponseBody>, ApiError>;

/// Runs the request's handler.
pub(super) async fn handle(backend: &Backend, request: &ParsedRequest) -> HandlerResult {
    match request.handler {
        Handler::Status => {
            (backend.refresh)().await;
            json(StatusCode::OK, &(backend.status)())
        }
        Handler::Events => events(backend, request).await,
        Handler::Incidents => incidents(backend, request).await,
        Handler::Incident => incident(backend, request).await,
        Handler::Why => why(backend, request).await,
        Handler::Logs => logs(backend, request).await,
        Handler::Command(verb) => command(backend, request, verb).await,
        Handler::Upgrade => upgrade(backend, request).await,
        Handler::Livez => json(
            StatusCode::OK,
            &wire::HealthReport {
                ok: true,
                waiting_for: vec![],
            },
        ),
        Handler::Readyz => readyz(backend),
    }
}

async fn events(backend: &Backend, request: &ParsedRequest) -> HandlerResult {
    let mut since = request.params.since(sys::clock::sample().wall)?;
    if let Some(id) = request.last_event_id {
        since = Since::Id(id);
    }
    let query = EventQuery {
        service: request.params.get("service").map(str::to_owned),
        since,
        decisions_only: false,
        limit: event_limit(request)?,
    };
    if request.wants_stream {
        let permit = request
            .connection
            .extend(request.role, limits::FOLLOW_WITHIN)?;
        let connections = request.connection.connections().clone();
        let chunks = follow(backend.journal.clone(), query, permit, connections);
        return Ok(response::event_stream(chunks));
    }
    json(
        StatusCode::OK,
        &wire::Events {
            events: backend.journal.events(query).await?,
        },
    )
}

async fn incidents(backend: &Backend, request: &ParsedRequest) -> HandlerResult {
    let incidents = backend.journal.incidents(event_limit(request)?).await?;
    json(StatusCode::OK, &wire::Incidents { incidents })
}

async fn incident(backend: &Backend, request: &ParsedRequest) -> HandlerResult {
    let text = &request.segment;
    let id = text.parse().map_err(|_not_a_number| {
        bad_request(format!(
            "cannot look up incident {text}: it is not a number"
        ))
    })?;
    match backend.journal.incident(id).await? {
        Some(incident) => json(StatusCode::OK, &incident),
        None => Err(ApiError::new(
            ApiErrorKind::NoIncident,
            format!(
                "cannot find incident {id}: no incident has this number; `stayd incidents` lists them"
            ),
        )),
    }
}

async fn why(backend: &Backend, request: &ParsedRequest) -> HandlerResult {
    let name = find_service(backend, &request.segment)?.name;
    let query = EventQuery {
        service: Some(name),
        since: request.params.since(sys::clock::sample().wall)?,
        decisions_only: true,
        limit: event_limit(request)?,
    };
    json(
        StatusCode::OK,
        &wire::Events {
            events: backend.journal.events(query).await?,
        },
    )
}

async fn logs(backend: &Backend, request: &ParsedRequest) -> HandlerResult {
    let name = find_service(backend, &request.segment)?.name;
    let count = request
        .params
        .count("n", limits::LOG_LINES_DEFAULT, limits::LOG_LINES_MAX)?;
    json(
        StatusCode::OK,
        &wire::LogLines {
            lines: backend.logs.tail(&name, count).await?,
        },
    )
}

fn event_limit(request: &ParsedRequest) -> Result<usize, ApiError> {
    request
        .params
        .count("limit", limits::EVENTS_DEFAULT, limits::EVENTS_MAX)
}

fn readyz(backend: &Backend) -> HandlerResult {
    let services = (backend.status)().services;
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
    json(status, &wire::HealthReport { ok, waiting_for })
}

fn is_ready(service: &wire::Service) -> bool {
    let mut readiness = service
        .probes
        .iter()
        .filter(|probe| probe.check == "readiness");
    service.healthy && readiness.all(|probe| probe.ok)
}

fn find_service(backend: &Backend, name: &str) -> Result<wire::Service, ApiError> {
    let services = (backend.status)().services;
    if let Some(found) = services.iter().find(|service| service.name == name) {
        return Ok(found.clone());
    }
    let configured: Vec<_> = services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    let configured = if configured.is_empty() {
        "no service is configured".to_owned()
    } else {
        format!("the services are {}", configured.join(", "))
    };
    Err(ApiError::new(
        ApiErrorKind::NoService,
        format!("cannot find a service called {name}: {configured}"),
    ))
}

async fn command(backend: &Backend, request: &ParsedRequest, verb: Verb) -> HandlerResult {
    let before = find_service(backend, &request.segment)?;
    let command = parse_command(verb, &request.body)?;
    if request.connection.connections().is_closing() {
        return Err(upgrading(command.verb()));
    }
    let _in_progress = request.connection.command();
    if !request.params.flag("wait")? {
        let (_, Accepted { warning }) = submit(backend, &before.name, verb, command).await?;
        let service = find_service(backend, &before.name)?;
        let done = outcome_of(verb, &before, &service) == Outcome::Reached;
        return command_reply(done, service, warning);
    }
    let _permit = request.connection.extend(
        request.role,
        limits::OUTCOME_WITHIN + limits::REQUEST_WITHIN,
    )?;
    let new_events = backend.journal.subscribe();
    let word = command.verb();
    let (number, Accepted { warning }) = submit(backend, &before.name, verb, command).await?;
    let is_replaced = || {
        let latest = &backend.latest_requests;
        latest.replaced_by(&before.name, verb, number)
    };
    let waited = timeout(
        limits::OUTCOME_WITHIN,
        wait_for_outcome(backend, verb, &before, is_replaced, new_events),
    );
    let (outcome, service) = match waited.await {
        Ok(decided) => decided?,
        Err(_late) => (Outcome::Pending, find_service(backend, &before.name)?),
    };
    match outcome {
        Outcome::Failed => {
            let mut message = format!("cannot {word} {}: {}", service.name, service.reason);
            if service.has_run_since(&before)
                && let Some(line) = last_line(backend, &service.name).await
            {
                message = format!("{message}; the last line of its output: {line}");
            }
            if let Some(warning) = warning {
                message = format!("{message}; {warning}");
            }
            Err(ApiError::new(ApiErrorKind::NotReached, message))
        }
        Outcome::Replaced(by) => {
            let message = format!(
                "cannot {word} {}: {} was requested meanwhile",
                service.name,
                by.word()
            );
            Err(ApiError::new(ApiErrorKind::NotReached, message))
        }
        Outcome::Pending | Outcome::Reached => {
            command_reply(outcome == Outcome::Reached, service, warning)
        }
    }
}

fn command_reply(done: bool, service: wire::Service, warning: Option<String>) -> HandlerResult {
    let reply = wire::CommandReply {
        done,
        service,
        warning,
    };
    json(StatusCode::OK, &reply)
}

/// The command had no effect, so the client can repeat it to the new version.
fn upgrading(verb: &str) -> ApiError {
    let message =
        format!("cannot {verb}: a new version of stayd is taking over; try again in a moment");
    ApiError::new(ApiErrorKind::Upgrading, message)
}

async fn upgrade(backend: &Backend, request: &ParsedRequest) -> HandlerResult {
    let within = limits::UPGRADE_WITHIN;
    let _permit = request
        .connection
        .extend(request.role, within + limits::REQUEST_WITHIN)?;
    let (reply, answered) = oneshot::channel();
    let answer = async {
        backend.upgrades.send(reply).await.ok()?;
        answered.await.ok()
    };
    match timeout(within, answer).await {
        Ok(Some(answer)) => json(StatusCode::OK, &answer?),
        Ok(None) => Err(ApiError::new(
            ApiErrorKind::Ending,
            "cannot upgrade: stayd is shutting down",
        )),
        Err(_late) => Err(ApiError::new(
            ApiErrorKind::Ending,
            format!("cannot upgrade: stayd did not answer within {within:?}; try again"),
        )),
    }
}

fn parse_command(verb: Verb, body: &[u8]) -> Result<ServiceCommand, ApiError> {
    Ok(match verb {
        Verb::Start => ServiceCommand::Request(Request::Start),
        Verb::Stop => ServiceCommand::Request(Request::Stop),
        Verb::Restart => ServiceCommand::Request(Request::Restart),
        Verb::Release => ServiceCommand::Request(Request::Release),
        Verb::Reload => ServiceCommand::Reload,
        Verb::Hold => ServiceCommand::Request(parse_hold(body)?),
    })
}

fn parse_hold(body: &[u8]) -> Result<Request, ApiError> {
    const EXPECTED: &str = "the body must be {\"for\":\"30m\",\"reason\":\"…\"}";
    let hold: wire::HoldRequest = serde_json::from_slice(body)
        .map_err(|error| bad_request(format!("cannot hold: {error}; {EXPECTED}")))?;
    let duration = humantime::parse_duration(&hold.duration).map_err(|error| {
        bad_request(format!(
            "cannot hold for {:?}: {error}; {EXPECTED}",
            hold.duration
        ))
    })?;
    if duration.is_zero() || duration > limits::HOLD_MAX {
        let max = humantime::format_duration(limits::HOLD_MAX);
        return Err(bad_request(format!(
            "cannot hold for {}: the duration must be between 1s and {max}",
            hold.duration
        )));
    }
    if hold.reason.trim().is_empty() {
        return Err(bad_request(format!(
            "cannot hold without a reason: `status` shows it to other users; {EXPECTED}"
        )));
    }
    if hold.reason.chars().count() > limits::HOLD_REASON_CHARS_MAX {
        return Err(bad_request(format!(
            "cannot hold: the reason has more than {} characters; shorten it",
            limits::HOLD_REASON_CHARS_MAX
        )));
    }
    Ok(Request::Hold {
        duration,
        reason: hold.reason,
    })
}

/// Passes the command to the loop and waits until the state machine has accepted it.
async fn submit(
    backend: &Backend,
    name: &str,
    verb: Verb,
    command: ServiceCommand,
) -> Result<(RequestNumber, Accepted), ApiError> {
    let word = command.verb();
    let not_accepted =
        |why: String| ApiError::new(ApiErrorKind::Ending, format!("cannot {word} {name}: {why}"));
    let (reply, answered) = oneshot::channel();
    let pending = PendingRequest {
        service: name.to_owned(),
        command,
        reply,
    };
    let answer = async {
        let place = backend.requests.reserve().await.ok()?;
        // Numbered in the order of the queue: nothing can come in between.
        let number = backend.latest_requests.add(name, verb);
        place.send(pending);
        Some((number, answered.await.ok()?))
    };
    let within = limits::ACCEPT_WITHIN;
    match timeout(within, answer).await {
        Ok(Some((number, answer))) => Ok((number, answer?)),
        Ok(None) => Err(not_accepted("stayd is shutting down".to_owned())),
        Err(_late) => Err(not_accepted(format!(
            "stayd did not accept it within {within:?}; try again"
        ))),
    }
}

/// The last line of the service's captured output, when that has reached the file.
async fn last_line(backend: &Backend, service: &str) -> Option<String> {
    tokio::time::sleep(OUTPUT_WITHIN).await;
    let lines = backend.logs.tail(service, 1).await;
    lines.ok()?.pop()
}

/// Waits for the outcome of the command, or until another one has replaced it. It checks the service after each record of the
/// journal, and every [`OUTCOME_CHECK_EVERY`].
async fn wait_for_outcome(
    backend: &Backend,
    verb: Verb,
    before: &wire::Service,
    is_replaced: impl Fn() -> Option<Verb>,
    mut new_events: broadcast::Receiver<Arc<wire::Event>>,
) -> Result<(Outcome, wire::Service), ApiError> {
    let mut new_instance = NewInstance::default();
    loop {
        let now = sys::clock::sample().awake;
        let service = find_service(backend, &before.name)?;
        let outcome = outcome_of(verb, before, &service);
        let outcome = new_instance.confirm(outcome, before, &service, now);
        if outcome != Outcome::Pending {
            return Ok((outcome, service));
        }
        if let Some(by) = is_replaced() {
            return Ok((Outcome::Replaced(by), service));
        }
        let pause = new_instance.time_left(now);
        let pause = pause.map_or(OUTCOME_CHECK_EVERY, |left| left.min(OUTCOME_CHECK_EVERY));
        let next = timeout(pause, new_events.recv()).await;
        if let Ok(Err(RecvError::Closed)) = next {
            let message = format!(
                "cannot wait for the outcome for {}: stayd is shutting down",
                before.name
            );
            return Err(ApiError::new(ApiErrorKind::Ending, message));
        }
    }
}

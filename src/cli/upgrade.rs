//! `stayd upgrade`: requests the in-place upgrade of the daemon; and the self-check that the new version must pass first.

use super::args::{self, Arguments};
use super::console::Console;
use super::exit::{Exit, Failure, Outcome};
use super::load_config::{from_command, from_file};
use super::paths::instance_folders;
use crate::act::dirs::state_dir::StateDir;
use crate::act::journal::SCHEMA;
use crate::api::client::{Client, ClientError};
use crate::api::limits::UPGRADE_WITHIN;
use crate::api::wire::{Daemon, Status, Upgrade};
use crate::run::upgrade::{FORMAT, SelfCheckReport};
use crate::sys::clock;
use std::ffi::OsString;
use std::time::Duration;

/// How long to wait for the answer to the request: the daemon's own deadline and a margin.
const ANSWER_WITHIN: Duration = UPGRADE_WITHIN.saturating_add(Duration::from_secs(10));
/// How long to wait until the new version answers.
const TAKEOVER_WITHIN: Duration = Duration::from_secs(30);
/// How long to wait until a supervisor restarts a stayd that has ended.
const RESTART_WITHIN: Duration = Duration::from_secs(5);
/// How often the status is fetched meanwhile.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// Requests the upgrade and waits until the new version answers.
pub(super) async fn upgrade(console: Console, client: &Client, json: bool) -> Outcome {
    let before: Status = client.get("/v1/status").await?;
    let requested: Upgrade = client.post("/v1/upgrade", &(), ANSWER_WITHIN).await?;
    let after = wait_for_takeover(client, &before.daemon, requested.number).await?;
    let outcome = after.daemon.upgrade.clone().unwrap_or(requested);
    if let Some(why) = &outcome.refused {
        return Err(Failure::new(
            Exit::No,
            format!(
                "cannot upgrade: {why}; version {} keeps running",
                outcome.from
            ),
        ));
    }
    if json {
        console.json(&outcome)?;
        return Ok(Exit::Done);
    }
    console.line(&format!(
        "{}: version {} has replaced {} as pid {}; its services ({}) keep running",
        after.daemon.name,
        after.daemon.version,
        outcome.from,
        after.daemon.pid,
        after.services.len()
    ))?;
    Ok(Exit::Done)
}

/// Waits until upgrade `number` has succeeded or failed, and returns the status of the stayd that runs then.
async fn wait_for_takeover(
    client: &Client,
    before: &Daemon,
    number: u32,
) -> Result<Status, Failure> {
    let mut deadline = clock::sample().awake + TAKEOVER_WITHIN;
    loop {
        let failure = match client.get::<Status>("/v1/status").await {
            Ok(status) if has_finished(&status.daemon, number) => return Ok(status),
            Ok(status) if status.daemon.started_at != before.started_at => {
                return Err(was_restarted(&status.daemon));
            }
            Ok(_) => Failure::new(
                Exit::System,
                "cannot upgrade: the old version still answers; its log shows why",
            ),
            Err(ClientError::NotRunning(_)) => {
                // The socket listens during an upgrade, so the process has ended. A supervisor may start it again.
                deadline = deadline.min(clock::sample().awake + RESTART_WITHIN);
                Failure::new(
                    Exit::NotRunning,
                    "the new version has ended, and stayd was not started again; the services keep running, and the next stayd \
                     to start adopts them",
                )
            }
            Err(error) => error.into(),
        };
        if clock::sample().awake >= deadline {
            return Err(failure);
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

fn has_finished(daemon: &Daemon, number: u32) -> bool {
    let last = daemon.upgrade.as_ref();
    last.is_some_and(|last| last.number >= number)
}

fn was_restarted(daemon: &Daemon) -> Failure {
    let Daemon { version, pid, .. } = daemon;
    Failure::new(
        Exit::No,
        format!(
            "the new version has ended, and stayd was started again: version {version} runs as pid {pid} and has adopted \
             the services; its log shows why"
        ),
    )
}

/// The self-check of `upgrade`: checks that this version can take over from a running one with the handover manifest
/// `format`, the journal `schema` and the command line `words`. Changes nothing. Prints its report as JSON for the running
/// version.
pub(super) fn self_check(
    console: Console,
    format: u32,
    schema: u32,
    words: Vec<OsString>,
) -> Outcome {
    check_formats(format, schema)?;
    check_command_line(console, words)
}

fn check_formats(format: u32, schema: u32) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let why = if format != FORMAT {
        format!("it reads handover format {FORMAT}, and the running version writes format {format}")
    } else if schema > SCHEMA {
        format!(
            "it reads journals up to schema {SCHEMA}, and the running version writes schema {schema}"
        )
    } else {
        return Ok(());
    };
    Err(Failure::new(
        Exit::No,
        format!("this is version {version}: {why}; restart stayd instead; it adopts the services"),
    ))
}

/// Loads the configuration of a stayd with the command line `words`, as that stayd did.
fn check_command_line(console: Console, words: Vec<OsString>) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    let words = std::iter::once(OsString::from("stayd")).chain(words);
    let Ok(Arguments {
        common,
        service,
        verb: None,
        ..
    }) = args::parse(words)
    else {
        return Err(Failure::new(
            Exit::Usage,
            format!("version {version} does not accept the command line of the running version"),
        ));
    };
    let loaded = if service.launch.command.is_empty() {
        from_file(&common)?
    } else {
        from_command(&common, &service)?
    };
    let config = loaded.config;
    let folders = instance_folders(&common, &config.name, config.control_group.is_some())?;
    StateDir::check_existing(&folders.state)
        .map_err(|error| Failure::new(Exit::No, error.to_string()))?;
    let report = SelfCheckReport {
        version: version.into(),
        state_dir: folders.state.display().to_string(),
    };
    console.json_line(&report)?;
    Ok(Exit::Done)
}

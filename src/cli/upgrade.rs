//! `upgrade`: the new version takes the place of the one that runs; and the trial that it has to pass before.

use super::args::{self, Arguments};
use super::configuration::{from_command, from_file};
use super::exit::{Exit, Failure, Outcome};
use super::instance::folders;
use super::screen::Screen;
use crate::act::journal::SCHEMA;
use crate::api::client::{Client, ClientError};
use crate::api::limits::UPGRADE_WITHIN;
use crate::api::wire::{Daemon, Status, Upgrade};
use crate::run::upgrade::{FORMAT, SelfCheckReport};
use crate::sys::clock;
use std::ffi::OsString;
use std::time::Duration;

/// The answer to the wish comes within the daemon's own deadline, or a moment later.
const ANSWER_WITHIN: Duration = UPGRADE_WITHIN.saturating_add(Duration::from_secs(10));
/// A version that has taken over answers within this time.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(30);
/// A process that has gone is started again by then, or nobody does that.
const STARTED_AGAIN_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Has the new version take over, and waits until it answers.
pub(super) async fn upgrade(screen: Screen, client: &Client, json: bool) -> Outcome {
    let before: Status = client.get("/v1/status").await?;
    let asked: Upgrade = client.post("/v1/upgrade", &(), ANSWER_WITHIN).await?;
    let after = wait_until_taken_over(client, &before.daemon, asked.number).await?;
    let outcome = after.daemon.upgrade.clone().unwrap_or(asked);
    if let Some(why) = &outcome.refused {
        return Err(Failure::new(
            Exit::No,
            format!("cannot upgrade: {why}; version {} goes on", outcome.from),
        ));
    }
    if json {
        screen.json(&outcome, false)?;
        return Ok(Exit::Done);
    }
    screen.line(&format!(
        "{}: version {} has taken the place of {} as pid {}; its services ({}) go on",
        after.daemon.name,
        after.daemon.version,
        outcome.from,
        after.daemon.pid,
        after.services.len()
    ))?;
    Ok(Exit::Done)
}

/// The status of whoever has come out of upgrade `number`.
async fn wait_until_taken_over(
    client: &Client,
    before: &Daemon,
    number: u32,
) -> Result<Status, Failure> {
    let mut until = clock::sample().awake + TAKEN_OVER_WITHIN;
    loop {
        let failure = match client.get::<Status>("/v1/status").await {
            Ok(status) if has_come_out_of(&status.daemon, number) => return Ok(status),
            Ok(status) if status.daemon.started_at != before.started_at => {
                return Err(started_again(&status.daemon));
            }
            Ok(_) => Failure::new(
                Exit::System,
                "cannot upgrade: the old version still answers; its log tells more",
            ),
            Err(ClientError::NotRunning(_)) => {
                // The socket listens all the time: the process is gone. It may be started again.
                until = until.min(clock::sample().awake + STARTED_AGAIN_WITHIN);
                Failure::new(
                    Exit::NotRunning,
                    "the new version has ended, and nobody has started stayd again; the services go on, and the next stayd \
                     adopts them",
                )
            }
            Err(error) => error.into(),
        };
        if clock::sample().awake >= until {
            return Err(failure);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn has_come_out_of(daemon: &Daemon, number: u32) -> bool {
    let last = daemon.upgrade.as_ref();
    last.is_some_and(|last| last.number >= number)
}

fn started_again(daemon: &Daemon) -> Failure {
    let Daemon { version, pid, .. } = daemon;
    Failure::new(
        Exit::No,
        format!(
            "the new version has ended, and stayd was started again: version {version} runs as pid {pid} and has adopted \
             the services; its log tells more"
        ),
    )
}

/// Whether this version could take over from one that leaves things in `format`, and its journal in `schema`.
pub(super) fn understands(format: u32, schema: u32) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let why = if format != FORMAT {
        format!("it takes over in format {FORMAT}, and the one that runs leaves in format {format}")
    } else if schema > SCHEMA {
        format!("it reads journals up to schema {SCHEMA}, and the one that runs writes {schema}")
    } else {
        return Ok(());
    };
    Err(Failure::new(
        Exit::No,
        format!(
            "this is version {version}: {why}; restart stayd instead, which adopts the services"
        ),
    ))
}

/// Reads what a stayd has read that was called with `words`, changes nothing, and says who would take over.
pub(super) fn testify(screen: Screen, words: Vec<OsString>) -> Outcome {
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
            format!("version {version} does not understand the command line of the one that runs"),
        ));
    };
    let loaded = if service.command.is_empty() {
        from_file(&common)?
    } else {
        from_command(&service)?
    };
    let config = loaded.config;
    let folders = folders(&common, &config.name, config.control_group.is_some())?;
    let testimony = SelfCheckReport {
        version: version.into(),
        state_dir: folders.state.display().to_string(),
    };
    screen.json(&testimony, true)?;
    Ok(Exit::Done)
}

//! `stayd runtime …`: manages the materialized runtimes on disk.
//!
//! These verbs work in this process with the rights of the calling user, whether a daemon runs or not. Only a rollback uses
//! the daemon: it requests a restart.

mod context;
mod gc;
mod list;
mod progress_bar;
mod verify;

use super::args::{CommonOptions, RuntimeVerb};
use super::console::{Console, print_stderr};
use super::exit::{Exit, Failure, Outcome};
use crate::act::runtime::cache::Materialized;
use crate::act::runtime::error::SourceError;
use crate::act::runtime::files_and_bytes;
use crate::act::runtime::import_rollback::Rollback;
use crate::act::runtime::inventory;
use crate::api::client::OUTCOME_WITHIN;
use crate::api::query::encode;
use crate::api::routes::service_path;
use crate::api::wire::{CommandReply, SCHEMA};
use crate::sys::identity;
use context::RuntimeContext;
use serde_json::json;
use std::path::Path;

pub(super) use progress_bar::with_progress_bar;

/// Runs one of the verbs.
pub(super) fn runtime(console: Console, common: &CommonOptions, verb: &RuntimeVerb) -> Outcome {
    let json = common.json;
    super::block_on(async {
        let context = RuntimeContext::find(common).await?;
        match verb {
            RuntimeVerb::Ls => list::list(console, &context, json),
            RuntimeVerb::Verify { service } => {
                verify::verify(console, &context, service.as_deref(), json)
            }
            RuntimeVerb::Gc => gc::collect(console, &context, json),
            RuntimeVerb::Import { service } => import(console, &context, service, json),
            RuntimeVerb::Rollback { service } => roll_back(console, &context, service, json).await,
        }
    })
}

/// The error of a runtime operation with its exit status; `suffix` says what happens next.
fn failed(error: &SourceError, suffix: &str) -> Failure {
    let exit = match error {
        SourceError::PermissionDenied(_) | SourceError::DeniedToUser(_) => Exit::Permission,
        SourceError::Unavailable(_)
        | SourceError::NoUser(_)
        | SourceError::NotCopyable(_)
        | SourceError::NotStartable(_)
        | SourceError::Changing(_)
        | SourceError::NoSpace(_)
        | SourceError::Other(_) => Exit::System,
    };
    Failure::new(exit, format!("{error}{suffix}"))
}

fn import(console: Console, context: &RuntimeContext, service: &str, json: bool) -> Outcome {
    context.check_owner()?;
    let source = context.source_of(service)?;
    let made = with_progress_bar("copying", |progress| {
        let held = context.cache.lock()?;
        held.import(service, &source, progress)
    });
    let made = made.map_err(|error| failed(&error, &import_advice(&error, &source)))?;
    let path = context.cache.path(&made.fingerprint);
    if json {
        let copied = made.copied;
        console.json(&json!({
            "schema": SCHEMA,
            "service": service,
            "source": source,
            "fingerprint": made.fingerprint,
            "path": path,
            "copied": copied.map(|(files, bytes)| json!({ "files": files, "bytes": bytes })),
        }))?;
    } else {
        console.line(&imported_as_text(service, &made))?;
        console.line(&format!("  {}", path.display()))?;
        let next = match context.running {
            Some(_) => format!("`stayd restart {service}` starts the service from it"),
            None => "the service runs from it when stayd starts it".into(),
        };
        console.line(&format!("  {next}"))?;
    }
    Ok(Exit::Done)
}

/// What to say after the error of an import: that nothing is imported, and how to give this user access.
fn import_advice(error: &SourceError, source: &Path) -> String {
    let mut advice = "; nothing is imported".to_owned();
    if matches!(error, SourceError::PermissionDenied(_)) {
        advice.push_str(&format!(
            ". This is user {0}, which may not read it; allow it with an access list (setfacl -R -m u:{0}:rX {1}), and on \
             macOS with Full Disk Access for this terminal",
            identity::euid(),
            source.display()
        ));
    }
    advice
}

fn imported_as_text(service: &str, made: &Materialized) -> String {
    match made.copied {
        Some((files, bytes)) => format!("{service}: imported {}", files_and_bytes(files, bytes)),
        None => format!("{service}: a copy with the same content as the source exists already"),
    }
}

async fn roll_back(
    console: Console,
    context: &RuntimeContext,
    service: &str,
    json: bool,
) -> Outcome {
    context.check_owner()?;
    context.check_service(service)?;
    let current = inventory::running_fingerprint(&context.state, service)
        .map_err(|error| context.unreadable(&error))?;
    let rolled_back = with_progress_bar("reading the source", |progress| {
        context.cache.lock()?.roll_back(service, current, progress)
    });
    let rolled_back = rolled_back.map_err(|error| failed(&error, "; nothing is changed"))?;
    let Some(rollback) = rolled_back else {
        let message = format!(
            "cannot roll {service} back: there is no other runtime that was good and is still whole; `stayd runtime ls` lists the \
             runtimes"
        );
        return Err(Failure::new(Exit::No, message));
    };
    let restarted = restart(context, service).await?;
    if json {
        let Rollback { from, to } = &rollback;
        let answer = json!({
            "schema": SCHEMA, "service": service, "from": from, "to": to, "restarted": restarted,
        });
        console.json(&answer)?;
        return Ok(Exit::Done);
    }
    let short_name = |one| list::short_name(&context.cache.path(one));
    let when = if restarted {
        "the service runs from it now"
    } else {
        "the service runs from it at its next start"
    };
    console.line(&format!(
        "{service}: rolled back to the runtime {}: {when}; {} is not used again until the content of the source changes",
        short_name(&rollback.to),
        short_name(&rollback.from)
    ))?;
    Ok(Exit::Done)
}

/// Restarts a service that is wanted up, and waits for it. Returns whether it was restarted.
async fn restart(context: &RuntimeContext, service: &str) -> Result<bool, Failure> {
    let Some((client, status)) = &context.running else {
        return Ok(false);
    };
    let mut services = status.services.iter();
    let wanted_up = services.any(|one| one.name == service && one.wanted == "up");
    if !wanted_up {
        return Ok(false);
    }
    let target = service_path(&encode(service), "restart?wait=1");
    let requested: CommandReply = client.post(&target, &(), OUTCOME_WITHIN).await?;
    if let Some(warning) = &requested.warning {
        print_stderr(&format!("stayd: {warning}"));
    }
    if requested.done {
        return Ok(true);
    }
    let message = format!(
        "cannot wait any longer for the restart of {service}: it is {} ({}); the rollback is recorded and stays in effect",
        requested.service.state, requested.service.reason
    );
    Err(Failure::new(Exit::No, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_about_an_unreadable_source_says_how_to_allow_reading_it() {
        let source = Path::new("/opt/app");
        let advice = import_advice(
            &SourceError::PermissionDenied("cannot read it".into()),
            source,
        );
        let own = identity::euid();
        assert!(
            advice.contains(&format!("setfacl -R -m u:{own}:rX /opt/app")),
            "{advice}"
        );
        let gone = import_advice(&SourceError::Unavailable("cannot open it".into()), source);
        assert_eq!(gone, "; nothing is imported");
    }
}

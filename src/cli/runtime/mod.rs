//! `stayd runtime …`: the materialized runtimes, as they lie on the disk.
//!
//! Everything is done in this process, with the rights of the person who calls, whether stayd runs or not; only a
//! rollback asks it for a restart.

mod bar;
mod list;
mod place;
mod upkeep;

use super::args::{Common, RuntimeVerb};
use super::exit::{Exit, Failure, Outcome};
use super::screen::{Screen, tell};
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
use place::Place;
use serde_json::json;
use std::path::Path;

pub(super) use bar::shown;

/// Does what was asked for.
pub(super) fn runtime(screen: Screen, common: &Common, verb: &RuntimeVerb) -> Outcome {
    let json = common.json;
    super::block_on(async {
        let place = Place::find(common).await?;
        match verb {
            RuntimeVerb::Ls => list::list(screen, &place, json),
            RuntimeVerb::Verify { service } => {
                upkeep::verify(screen, &place, service.as_deref(), json)
            }
            RuntimeVerb::Gc => upkeep::collect(screen, &place, json),
            RuntimeVerb::Import { service } => import(screen, &place, service, json),
            RuntimeVerb::Rollback { service } => roll_back(screen, &place, service, json).await,
        }
    })
}

/// What the disk says: whose fault it is decides the status.
fn failed(trouble: &SourceError, cure: &str) -> Failure {
    let exit = match trouble {
        SourceError::PermissionDenied(_) => Exit::Permission,
        SourceError::Unavailable(_)
        | SourceError::NotCopyable(_)
        | SourceError::NotStartable(_)
        | SourceError::Changing(_)
        | SourceError::NoSpace(_)
        | SourceError::Other(_) => Exit::System,
    };
    Failure::new(exit, format!("{trouble}{cure}"))
}

fn import(screen: Screen, place: &Place, service: &str, json: bool) -> Outcome {
    place.check_owner()?;
    let source = place.source_of(service)?;
    let made = shown("copying", |progress| {
        let held = place.cache.lock()?;
        held.import(service, &source, progress)
    });
    let made = made.map_err(|trouble| failed(&trouble, &not_imported(&trouble, &source)))?;
    let path = place.cache.path(&made.fingerprint);
    if json {
        let copied = made.copied;
        screen.json(
            &json!({
                "schema": SCHEMA,
                "service": service,
                "source": source,
                "fingerprint": made.fingerprint,
                "path": path,
                "copied": copied.map(|(files, bytes)| json!({ "files": files, "bytes": bytes })),
            }),
            false,
        )?;
    } else {
        screen.line(&imported_in_words(service, &made))?;
        screen.line(&format!("  {}", path.display()))?;
        let next = match place.running {
            Some(_) => format!("`stayd restart {service}` runs it from there"),
            None => "it runs from there when stayd starts it".into(),
        };
        screen.line(&format!("  {next}"))?;
    }
    Ok(Exit::Done)
}

fn not_imported(trouble: &SourceError, source: &Path) -> String {
    let mut cure = "; nothing is imported".to_owned();
    if matches!(trouble, SourceError::PermissionDenied(_)) {
        cure.push_str(&format!(
            ". This is user {0}, who may not read it: an access list lets it (setfacl -R -m u:{0}:rX {1}), and on a Mac \
             Full Disk Access for this terminal",
            identity::euid(),
            source.display()
        ));
    }
    cure
}

fn imported_in_words(service: &str, made: &Materialized) -> String {
    match made.copied {
        Some((files, bytes)) => format!("{service}: imported {}", files_and_bytes(files, bytes)),
        None => format!("{service}: what its source holds is there already"),
    }
}

async fn roll_back(screen: Screen, place: &Place, service: &str, json: bool) -> Outcome {
    place.check_owner()?;
    place.check_service(service)?;
    let runs = inventory::running_fingerprint(&place.state, service)
        .map_err(|error| place.unreadable(&error))?;
    let rolled = shown("looking at the source", |progress| {
        place.cache.lock()?.roll_back(service, runs, progress)
    });
    let rolled = rolled.map_err(|trouble| failed(&trouble, "; nothing is changed"))?;
    let Some(way) = rolled else {
        let message = format!(
            "cannot roll {service} back: there is no other runtime that was good and is whole; `stayd runtime ls` shows those \
             there are"
        );
        return Err(Failure::new(Exit::No, message));
    };
    let runs_now = restart(place, service).await?;
    if json {
        let Rollback { from, to } = &way;
        let answer = json!({
            "schema": SCHEMA, "service": service, "from": from, "to": to, "restarted": runs_now,
        });
        screen.json(&answer, false)?;
        return Ok(Exit::Done);
    }
    let short = |one| list::short(&place.cache.path(one));
    let when = if runs_now {
        "it runs from it now"
    } else {
        "it runs from it when it is started"
    };
    screen.line(&format!(
        "{service}: rolled back to the runtime {}: {when}; {} is not used again until the source holds something else",
        short(&way.to),
        short(&way.from)
    ))?;
    Ok(Exit::Done)
}

/// Lets a service that is wanted up begin anew; true when it has.
async fn restart(place: &Place, service: &str) -> Result<bool, Failure> {
    let Some((client, status)) = &place.running else {
        return Ok(false);
    };
    let mut services = status.services.iter();
    let is_up = services.any(|one| one.name == service && one.wanted == "up");
    if !is_up {
        return Ok(false);
    }
    let target = service_path(&encode(service), "restart?wait=1");
    let wished: CommandReply = client.post(&target, &(), OUTCOME_WITHIN).await?;
    if let Some(warning) = &wished.warning {
        tell(&format!("stayd: {warning}"));
    }
    if wished.done {
        return Ok(true);
    }
    let message = format!(
        "cannot wait any longer for restart {service}: it is {} ({}); what it is rolled back to is remembered",
        wished.service.state, wished.service.reason
    );
    Err(Failure::new(Exit::No, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_read_a_source_is_told_how_to_be_let_in() {
        let source = Path::new("/opt/app");
        let cure = not_imported(
            &SourceError::PermissionDenied("cannot read it".into()),
            source,
        );
        let own = identity::euid();
        assert!(
            cure.contains(&format!("setfacl -R -m u:{own}:rX /opt/app")),
            "{cure}"
        );
        let gone = not_imported(&SourceError::Unavailable("cannot open it".into()), source);
        assert_eq!(gone, "; nothing is imported");
    }
}

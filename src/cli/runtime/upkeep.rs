//! `stayd runtime verify` and `stayd runtime gc`: is everything whole, and is everything needed?

use super::super::exit::{Exit, Failure, Outcome};
use super::super::screen::{Paint, Screen, tell};
use super::list::short;
use super::place::Place;
use super::{bar, failed};
use crate::act::runtime::error::SourceError;
use crate::act::runtime::gc::{self, GcOutcome, KeepReason};
use crate::act::runtime::list_paths;
use crate::act::runtime::listing::Difference;
use crate::act::runtime::listing::Fingerprint;
use crate::act::runtime::record::RetentionRule;
use crate::act::runtime::size;
use crate::api::wire::SCHEMA;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// One runtime, and what became of it.
type Verified = (Fingerprint, Result<Difference, SourceError>);

/// Reads every byte of all runtimes, or of those of one service; 1 when something is altered.
pub(super) fn verify(screen: Screen, place: &Place, service: Option<&str>, json: bool) -> Outcome {
    let mut all = place
        .cache
        .all()
        .map_err(|error| place.unreadable(&error))?;
    if let Some(service) = service {
        place.check_service(service)?;
        let record = place.cache.record(service);
        all.retain(|one| record.used.contains(one) || record.good.contains(one));
    }
    let verified = all.into_iter().map(|one| {
        let word = format!("reading {}", short(&place.cache.path(&one)));
        let outcome = bar::shown(&word, |progress| {
            place.cache.verify_every_byte(&one, progress)
        });
        (one, outcome)
    });
    // One that was removed meanwhile is not altered.
    let is_there = |(one, _): &Verified| place.cache.path(one).exists();
    let verified: Vec<Verified> = verified.filter(is_there).collect();
    if let Some(denied) = verified.iter().find_map(denied) {
        return Err(denied);
    }
    if json {
        let runtimes: Vec<_> = verified
            .iter()
            .map(|one| verified_as_json(place, one))
            .collect();
        screen.json(&json!({ "schema": SCHEMA, "runtimes": runtimes }), false)?;
    } else if verified.is_empty() {
        screen.line(&format!("no runtime is kept in {}", place.state.display()))?;
    } else {
        for (one, outcome) in &verified {
            let name = short(&place.cache.path(one));
            screen.line(&format!("{name}  {}", verdict(screen, outcome)))?;
        }
    }
    if verified.iter().all(|(_, outcome)| is_whole(outcome)) {
        return Ok(Exit::Done);
    }
    tell(
        "stayd: what is altered is not run from again; it is copied anew when its service is started and its source holds \
         the same",
    );
    Ok(Exit::No)
}

fn denied((_, outcome): &Verified) -> Option<Failure> {
    let trouble = outcome.as_ref().err()?;
    matches!(trouble, SourceError::PermissionDenied(_)).then(|| failed(trouble, ""))
}

fn is_whole(outcome: &Result<Difference, SourceError>) -> bool {
    let difference = outcome.as_ref();
    difference.is_ok_and(|difference| difference.altered.is_empty())
}

fn verdict(screen: Screen, outcome: &Result<Difference, SourceError>) -> String {
    match outcome {
        Err(trouble) => format!("{}: {trouble}", screen.paint(Paint::Bad, "unknown")),
        Ok(difference) => {
            let mut text = if difference.altered.is_empty() {
                screen.paint(Paint::Good, "whole")
            } else {
                let word = screen.paint(Paint::Bad, "altered");
                format!("{word}: {}", list_paths(&difference.altered))
            };
            if !difference.added.is_empty() {
                text.push_str(&format!("; added since: {}", list_paths(&difference.added)));
            }
            text
        }
    }
}

fn verified_as_json(place: &Place, (one, outcome): &Verified) -> Value {
    let path = place.cache.path(one);
    let difference = outcome.as_ref().ok();
    json!({
        "fingerprint": one,
        "path": path,
        "whole": is_whole(outcome),
        "altered": difference.map(|difference| &difference.altered),
        "added": difference.map(|difference| &difference.added),
        "error": outcome.as_ref().err().map(ToString::to_string),
    })
}

/// Removes what nobody needs; 1 when something could not be removed.
pub(super) fn collect(screen: Screen, place: &Place, json: bool) -> Outcome {
    place.check_owner()?;
    if let Some(why) = place.unconfigured() {
        tell(&format!("stayd: {why}"));
    }
    let done = if place.state.join("runtime").exists() {
        let held = place.cache.lock().map_err(|trouble| failed(&trouble, ""))?;
        gc::collect(&held, &place.state, &|service| place.keep(service))
            .map_err(|error| Failure::system("collect the runtimes; nothing is removed", &error))?
    } else {
        GcOutcome::default()
    };
    if json {
        screen.json(&collected_as_json(&done), false)?;
    } else {
        screen.print(&collected_in_words(&done))?;
    }
    for (path, error) in &done.failed {
        tell(&format!("stayd: cannot remove {}: {error}", path.display()));
    }
    Ok(if done.failed.is_empty() {
        Exit::Done
    } else {
        Exit::No
    })
}

fn collected_in_words(done: &GcOutcome) -> String {
    let mut lines = vec![freed_in_words(done)];
    let freed = done.freed.iter();
    lines.extend(freed.map(|(path, bytes)| format!("  {}  {}", short(path), size(*bytes))));
    let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
    let swept = done.swept.iter();
    lines.extend(swept.map(|(path, bytes)| format!("  {}  {}", name(path), size(*bytes))));
    let kept = done.kept.iter();
    lines.extend(kept.map(|(path, need)| format!("kept {}: {}", short(path), why(path, need))));
    lines.join("\n") + "\n"
}

fn freed_in_words(done: &GcOutcome) -> String {
    let runtimes = match done.freed.len() {
        0 => None,
        1 => Some("1 runtime".to_owned()),
        count => Some(format!("{count} runtimes")),
    };
    let copies = match done.swept.len() {
        0 => None,
        1 => Some("1 unfinished copy".to_owned()),
        count => Some(format!("{count} unfinished copies")),
    };
    let what: Vec<_> = runtimes.into_iter().chain(copies).collect();
    if what.is_empty() {
        return "nothing is freed".to_owned();
    }
    format!("freed {}: {}", size(done.bytes()), what.join(", "))
}

fn why(path: &Path, need: &KeepReason) -> String {
    match need {
        KeepReason::Claimed(service) => format!("the last life of {service} began with it"),
        KeepReason::KeptByService(service, RetentionRule::Newest) => {
            format!("it is one of the newest of {service}")
        }
        KeepReason::KeptByService(service, RetentionRule::LastGood) => {
            format!("it is the last good one of {service}")
        }
        KeepReason::KeptByService(service, RetentionRule::Unknown) => {
            format!("what {service} has been good under is lost, and it may be this")
        }
        KeepReason::KeptByService(service, RetentionRule::Imported) => {
            format!("it was imported for {service}")
        }
        KeepReason::InUse(pids) => {
            let pids: Vec<_> = pids.iter().map(i32::to_string).collect();
            format!("in use by pid {}", pids.join(", "))
        }
        KeepReason::FilesAdded(added) => format!(
            "nobody needs it, but it was written into ({}); move that out of {}",
            list_paths(added),
            path.display()
        ),
    }
}

fn collected_as_json(done: &GcOutcome) -> Value {
    let removed = |some: &[(PathBuf, u64)]| -> Vec<Value> {
        let some = some.iter();
        some.map(|(path, bytes)| json!({ "path": path, "bytes": bytes }))
            .collect()
    };
    let (freed, swept) = (removed(&done.freed), removed(&done.swept));
    let kept = done.kept.iter();
    let kept: Vec<_> = kept
        .map(|(path, need)| json!({ "path": path, "why": why(path, need) }))
        .collect();
    let failed = done.failed.iter();
    let failed: Vec<_> = failed
        .map(|(path, error)| json!({ "path": path, "error": error }))
        .collect();
    json!({
        "schema": SCHEMA, "freed_bytes": done.bytes(), "freed": freed, "swept": swept, "kept": kept, "failed": failed,
    })
}

//! `stayd runtime verify`: reads every byte of the runtimes and reports the ones that differ from what was copied.

use super::context::RuntimeContext;
use super::list::short_name;
use super::{failed, with_progress_bar};
use crate::act::runtime::error::SourceError;
use crate::act::runtime::list_paths;
use crate::act::runtime::listing::Difference;
use crate::act::runtime::listing::Fingerprint;
use crate::api::wire::SCHEMA;
use crate::cli::console::{Console, Style, Text, print_stderr};
use crate::cli::exit::{Exit, Failure, Outcome};
use serde_json::{Value, json};

/// A runtime, and how it differs from what was copied.
type Verified = (Fingerprint, Result<Difference, SourceError>);

/// Reads every byte of all runtimes, or of those of one service. The status is 1 if one of them was altered or cannot be
/// verified.
pub(super) fn verify(
    console: Console,
    context: &RuntimeContext,
    service: Option<&str>,
    json: bool,
) -> Outcome {
    let mut all = context
        .cache
        .all()
        .map_err(|error| context.unreadable(&error))?;
    if let Some(service) = service {
        context.check_service(service)?;
        let record = context.cache.record(service);
        all.retain(|one| record.used.contains(one) || record.good.contains(one));
    }
    let verified = all.into_iter().map(|one| {
        let word = format!("reading {}", short_name(&context.cache.path(&one)));
        let outcome = with_progress_bar(&word, |progress| {
            context.cache.verify_every_byte(&one, progress)
        });
        (one, outcome)
    });
    // A runtime that was removed in the meantime was not altered.
    let exists = |(one, _): &Verified| context.cache.path(one).exists();
    let verified: Vec<Verified> = verified.filter(exists).collect();
    if let Some(denied) = verified.iter().find_map(denied) {
        return Err(denied);
    }
    if json {
        let runtimes: Vec<_> = verified.iter().map(|one| as_json(context, one)).collect();
        console.json(&json!({ "schema": SCHEMA, "runtimes": runtimes }))?;
    } else if verified.is_empty() {
        console.line(&format!(
            "there is no runtime in {}",
            context.state.display()
        ))?;
    } else {
        for (one, outcome) in &verified {
            let mut text = console.text();
            text.plain(&short_name(&context.cache.path(one)))
                .plain("  ");
            add_outcome(&mut text, outcome);
            console.print(text.end_line())?;
        }
    }
    if verified.iter().all(|(_, outcome)| is_whole(outcome)) {
        return Ok(Exit::Done);
    }
    print_stderr(
        "stayd: no service is started from an altered runtime; stayd makes a new copy when the service starts and its source \
         has the same content",
    );
    Ok(Exit::No)
}

fn denied((_, outcome): &Verified) -> Option<Failure> {
    let error = outcome.as_ref().err()?;
    matches!(error, SourceError::PermissionDenied(_)).then(|| failed(error, ""))
}

fn is_whole(outcome: &Result<Difference, SourceError>) -> bool {
    let difference = outcome.as_ref();
    difference.is_ok_and(|difference| difference.altered.is_empty())
}

fn add_outcome(text: &mut Text, outcome: &Result<Difference, SourceError>) {
    let difference = match outcome {
        Ok(difference) => difference,
        Err(error) => {
            text.styled(Style::Bad, "unknown")
                .plain(&format!(": {error}"));
            return;
        }
    };
    if difference.altered.is_empty() {
        text.styled(Style::Good, "whole");
    } else {
        text.styled(Style::Bad, "altered")
            .plain(&format!(": {}", list_paths(&difference.altered)));
    }
    if !difference.added.is_empty() {
        text.plain(&format!("; added since: {}", list_paths(&difference.added)));
    }
}

fn as_json(context: &RuntimeContext, (one, outcome): &Verified) -> Value {
    let path = context.cache.path(one);
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

//! `stayd runtime gc`: removes the runtimes that are not needed, and says why the others stay.

use super::context::RuntimeContext;
use super::failed;
use super::list::short_name;
use crate::act::runtime::gc::{self, GcOutcome, KeepReason};
use crate::act::runtime::list_paths;
use crate::act::runtime::record::RetentionRule;
use crate::act::runtime::size;
use crate::api::wire::SCHEMA;
use crate::cli::console::{Console, print_stderr};
use crate::cli::exit::{Exit, Failure, Outcome};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Removes the runtimes that are not needed, and unfinished copies. The status is 1 if one cannot be removed.
pub(super) fn collect(console: Console, context: &RuntimeContext, json: bool) -> Outcome {
    context.check_owner()?;
    if let Some(warning) = context.config_warning() {
        print_stderr(&format!("stayd: {warning}"));
    }
    let outcome = if context.state.join("runtime").exists() {
        let held = context.cache.lock().map_err(|error| failed(&error, ""))?;
        gc::collect(&held, &context.state, &|service| context.keep(service))
            .map_err(|error| Failure::system("collect the runtimes; nothing is removed", &error))?
    } else {
        GcOutcome::default()
    };
    if json {
        console.json(&as_json(&outcome))?;
    } else {
        for line in as_lines(&outcome) {
            console.line(&line)?;
        }
    }
    for (path, error) in &outcome.failed {
        print_stderr(&format!("stayd: cannot remove {}: {error}", path.display()));
    }
    Ok(if outcome.failed.is_empty() {
        Exit::Done
    } else {
        Exit::No
    })
}

fn as_lines(outcome: &GcOutcome) -> Vec<String> {
    let mut lines = vec![summary(outcome)];
    let freed = outcome.freed.iter();
    lines.extend(freed.map(|(path, bytes)| format!("  {}  {}", short_name(path), size(*bytes))));
    let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
    let swept = outcome.swept.iter();
    lines.extend(swept.map(|(path, bytes)| format!("  {}  {}", name(path), size(*bytes))));
    let kept = outcome.kept.iter();
    lines.extend(kept.map(|(path, reason)| {
        let why = why_kept(path, reason);
        format!("kept {}: {why}", short_name(path))
    }));
    lines
}

fn summary(outcome: &GcOutcome) -> String {
    let runtimes = match outcome.freed.len() {
        0 => None,
        1 => Some("1 runtime".to_owned()),
        count => Some(format!("{count} runtimes")),
    };
    let copies = match outcome.swept.len() {
        0 => None,
        1 => Some("1 unfinished copy".to_owned()),
        count => Some(format!("{count} unfinished copies")),
    };
    let what: Vec<_> = runtimes.into_iter().chain(copies).collect();
    if what.is_empty() {
        return "nothing is freed".to_owned();
    }
    format!("freed {}: {}", size(outcome.bytes()), what.join(", "))
}

fn why_kept(path: &Path, reason: &KeepReason) -> String {
    match reason {
        KeepReason::Claimed(service) => {
            format!("the last instance of {service} was started from it")
        }
        KeepReason::KeptByService(service, RetentionRule::Newest) => {
            format!("it is one of the newest of {service}")
        }
        KeepReason::KeptByService(service, RetentionRule::LastGood) => {
            format!("it is the last good one of {service}")
        }
        KeepReason::KeptByService(service, RetentionRule::Unknown) => {
            format!("the record of the good runtimes of {service} is lost, and it may be one")
        }
        KeepReason::KeptByService(service, RetentionRule::Imported) => {
            format!("it was imported for {service}")
        }
        KeepReason::InUse(pids) => {
            let pids: Vec<_> = pids.iter().map(i32::to_string).collect();
            format!("in use by pid {}", pids.join(", "))
        }
        KeepReason::FilesAdded(added) => format!(
            "it is not needed, but files were added to it ({}); move them out of {}",
            list_paths(added),
            path.display()
        ),
    }
}

fn as_json(outcome: &GcOutcome) -> Value {
    let removed = |some: &[(PathBuf, u64)]| -> Vec<Value> {
        let some = some.iter();
        some.map(|(path, bytes)| json!({ "path": path, "bytes": bytes }))
            .collect()
    };
    let (freed, swept) = (removed(&outcome.freed), removed(&outcome.swept));
    let kept = outcome.kept.iter();
    let kept: Vec<_> = kept
        .map(|(path, reason)| json!({ "path": path, "why": why_kept(path, reason) }))
        .collect();
    let failed = outcome.failed.iter();
    let failed: Vec<_> = failed
        .map(|(path, error)| json!({ "path": path, "error": error }))
        .collect();
    json!({
        "schema": SCHEMA, "freed_bytes": outcome.bytes(), "freed": freed, "swept": swept, "kept": kept, "failed": failed,
    })
}

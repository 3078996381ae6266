//! `stayd verify PATH...`: checks plists, units and app bundles, and prints the findings.

use super::console::{Console, Style};
use super::exit::{Exit, Failure, Outcome};
use crate::lint::{self, Finding, Level, ReadError};
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::path::PathBuf;

/// Checks each path. The exit status is 1 if a finding is an error. A path that cannot be read does not keep the others from
/// being checked.
pub(super) fn verify(console: Console, paths: &[PathBuf], json: bool) -> Outcome {
    let mut findings = Vec::new();
    let mut clean = Vec::new();
    let mut unreadable = Vec::new();
    for path in paths {
        match lint::read(path) {
            Ok(source) => {
                let found = lint::check(&source);
                if found.is_empty() {
                    clean.push(path);
                }
                findings.extend(found);
            }
            Err(error) => unreadable.push(error),
        }
    }
    if json {
        let findings: Vec<_> = findings.iter().map(as_json).collect();
        console.json(&json!({ "schema": 1, "findings": findings }))?;
    } else {
        print(console, &findings)?;
        for path in clean {
            console.line(&format!("{}: nothing to report", path.display()))?;
        }
    }
    if let Some(first) = unreadable.first() {
        let exit = exit_of(first);
        let lines = unreadable.iter().map(ToString::to_string);
        return Err(Failure::of_lines(exit, lines));
    }
    let has_error = findings
        .iter()
        .any(|finding| finding.code.level == Level::Error);
    Ok(if has_error { Exit::No } else { Exit::Done })
}

fn print(console: Console, findings: &[Finding]) -> Result<(), Failure> {
    let mut text = console.text();
    for finding in findings {
        let style = match finding.code.level {
            Level::Error => Style::Bad,
            Level::Warning => Style::Warning,
            Level::Note => Style::Dim,
        };
        text.plain(&format!("{}:{}: ", finding.path.display(), finding.line))
            .styled(style, finding.code.level.name())
            .plain(&format!(
                " {}: {}; {}",
                finding.code.name, finding.message, finding.cure
            ))
            .end_line();
    }
    console.print(&text)
}

fn as_json(finding: &Finding) -> Value {
    json!({
        "path": finding.path.display().to_string(),
        "line": finding.line,
        "level": finding.code.level.name(),
        "code": finding.code.name,
        "message": finding.message,
        "cure": finding.cure,
    })
}

fn exit_of(error: &ReadError) -> Exit {
    match error.kind {
        ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::NotADirectory => Exit::Usage,
        kind => Exit::of_system_error(kind),
    }
}

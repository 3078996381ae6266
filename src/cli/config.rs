//! `stayd config check` and `stayd config schema`.

use super::args::CommonOptions;
use super::console::Console;
use super::exit::{Exit, Failure, Outcome};
use super::load_config::trusted_file;
use super::paths::{own_program, variable};
use crate::act::preflight::needs;
use crate::config::{self, Finding, Level, Loaded, Location};
use serde_json::{Value, json};

/// Checks the configuration, and whether the programs and folders that it names exist. A missing one is a warning: it may
/// be created before the service starts, and the other services run without it.
pub(super) fn check(console: Console, common: &CommonOptions) -> Outcome {
    let file = trusted_file(common)?;
    let (exit, findings) = match config::load(&file, &variable) {
        Ok(loaded) => (Exit::Done, warnings(loaded)?),
        Err(findings) => (Exit::Config, findings),
    };
    if common.json {
        let findings: Vec<_> = findings.iter().map(as_json).collect();
        console.json(&json!({ "findings": findings }))?;
        return Ok(exit);
    }
    for finding in &findings {
        let level = level(finding.level);
        console.line(&format!("{level}: {finding}"))?;
    }
    if exit == Exit::Done {
        let suffix = match findings.len() {
            0 => String::new(),
            1 => ", with 1 warning".to_owned(),
            count => format!(", with {count} warnings"),
        };
        console.line(&format!("{}: configuration OK{suffix}", file.display()))?;
    }
    Ok(exit)
}

/// The warnings of the configuration and its missing programs and folders, in the order of the file.
fn warnings(loaded: Loaded) -> Result<Vec<Finding>, Failure> {
    let missing = missing(&loaded)?;
    let mut findings = loaded.warnings;
    findings.extend(missing);
    findings.sort_by(|one, other| one.location.cmp(&other.location));
    Ok(findings)
}

/// A warning for each program and folder that the configuration needs and that does not exist.
pub(super) fn missing(loaded: &Loaded) -> Result<Vec<Finding>, Failure> {
    let program = own_program()?;
    let (places, needs): (Vec<_>, Vec<_>) = loaded.prerequisites.iter().cloned().unzip();
    let missing = super::block_on(async { Ok(needs::missing(program, &needs).await) })?;
    let finding =
        |(index, sentence): (usize, String)| Some(Finding::warning(places.get(index)?, sentence));
    Ok(missing.into_iter().filter_map(finding).collect())
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
    }
}

fn as_json(finding: &Finding) -> Value {
    let (path, line, column) = match &finding.location {
        Location::File(file) => (Some(file), None, None),
        Location::Line { file, line } => (Some(file), Some(line), None),
        Location::Point { file, line, column } => (Some(file), Some(line), Some(column)),
        Location::Option(_) | Location::Environment => (None, None, None),
    };
    let path = path.map(|path| path.display().to_string());
    let level = level(finding.level);
    json!({ "path": path, "line": line, "column": column, "level": level, "message": finding.message })
}

/// Prints the JSON Schema of stayd.toml.
pub(super) fn schema(console: Console) -> Outcome {
    console.json(&config::schema())?;
    Ok(Exit::Done)
}

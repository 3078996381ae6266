//! Configurations: read for the daemon, checked, rendered, described.

use super::args::{Common, RenderTarget, ServiceOptions};
use super::exit::{Exit, Failure, Outcome};
use super::instance::{config_file, here, variable};
use super::screen::{Screen, tell};
use crate::act::preflight::needs;
use crate::config::{self, CommandLine, Config, Finding, Level, Loaded, Location};
use crate::install::{RenderInputs, Scope, render_launchd, render_systemd};
use crate::sys;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::Path;

/// The configuration that the command line means.
pub(super) fn from_file(common: &Common) -> Result<Loaded, Failure> {
    config::load(&config_file(common)?, &variable).map_err(|findings| wrong(&findings))
}

/// The one service that the command line describes.
pub(super) fn from_command(options: &ServiceOptions) -> Result<Loaded, Failure> {
    let line = command_line(options)?;
    Config::from_command_line(&line, &here()?, &variable).map_err(|findings| wrong(&findings))
}

fn command_line(options: &ServiceOptions) -> Result<CommandLine, Failure> {
    let options = options.clone();
    Ok(CommandLine {
        command: words(options.command)?,
        name: options.name,
        probe: options.probe,
        ready: options.ready,
        query: options.query,
        interval: options.interval,
        timeout: options.timeout,
        failures: options.failures,
        port: options.port,
        sockets: options.socket,
        stop_grace: options.stop_grace,
        env: options.env,
        cwd: options.cwd,
        runtime: options.runtime,
    })
}

fn words(command: Vec<OsString>) -> Result<Vec<String>, Failure> {
    let text = |word: OsString| {
        word.into_string().map_err(|word| {
            Failure::new(
                Exit::Usage,
                format!("cannot take the argument {word:?}: it is not UTF-8"),
            )
        })
    };
    command.into_iter().map(text).collect()
}

/// All findings, one a line; what was typed wrong is wrong usage. The first stands behind the program's name like any other error.
pub(super) fn wrong(findings: &[Finding]) -> Failure {
    let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
    let typed = |finding: &Finding| matches!(finding.location, Location::Option(_));
    let exit = if findings.iter().all(typed) {
        Exit::Usage
    } else {
        Exit::Config
    };
    Failure::new(exit, lines.join("\n"))
}

/// `stayd config check`: the configuration, and whether there is what it counts on. What is missing is a warning: it
/// may come before the service does, and the others run without it.
pub(super) fn check(screen: Screen, common: &Common) -> Outcome {
    let file = config_file(common)?;
    let (exit, findings) = match config::load(&file, &variable) {
        Ok(loaded) => (Exit::Done, remarks(loaded)?),
        Err(findings) => (Exit::Config, findings),
    };
    if common.json {
        let findings: Vec<_> = findings.iter().map(as_json).collect();
        screen.json(&json!({ "findings": findings }), false)?;
        return Ok(exit);
    }
    for finding in &findings {
        let level = level(finding.level);
        screen.line(&format!("{level}: {finding}"))?;
    }
    if exit == Exit::Done {
        let but = match findings.len() {
            0 => String::new(),
            1 => ", with 1 warning".to_owned(),
            count => format!(", with {count} warnings"),
        };
        screen.line(&format!("{}: configuration OK{but}", file.display()))?;
    }
    Ok(exit)
}

/// The warnings, and what is missing; in the order of the file.
fn remarks(loaded: Loaded) -> Result<Vec<Finding>, Failure> {
    let missing = missing(&loaded)?;
    let mut findings = loaded.warnings;
    findings.extend(missing);
    findings.sort_by(|one, other| one.location.cmp(&other.location));
    Ok(findings)
}

/// What the configuration counts on and is not there.
pub(super) fn missing(loaded: &Loaded) -> Result<Vec<Finding>, Failure> {
    let program = sys::identity::own_program()
        .map_err(|error| Failure::system("find its own program", &error))?;
    let (places, needs): (Vec<_>, Vec<_>) = loaded.prerequisites.iter().cloned().unzip();
    let missing = super::block_on(async { Ok(needs::missing(program, &needs).await) })?;
    let finding =
        |(nth, sentence): (usize, String)| Some(Finding::warning(places.get(nth)?, sentence));
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

/// `stayd config schema`
pub(super) fn schema(screen: Screen) -> Outcome {
    screen.json(&config::schema(), false)?;
    Ok(Exit::Done)
}

/// `stayd render launchd|systemd`
pub(super) fn render(
    screen: Screen,
    common: &Common,
    target: RenderTarget,
    user: bool,
    label: Option<&str>,
) -> Outcome {
    let Loaded {
        config, warnings, ..
    } = from_file(common)?;
    for warning in warnings {
        tell(&format!("stayd: {warning}"));
    }
    let scope = if user { Scope::User } else { Scope::System };
    let program = sys::identity::own_program()
        .map_err(|error| Failure::system("find its own program", &error))?;
    let program = std::fs::canonicalize(&program).unwrap_or(program);
    let home = variable("HOME").unwrap_or_else(|| "/".to_owned());
    let cannot = |error: crate::install::RenderError| Failure::new(Exit::Config, error.to_string());
    let inputs =
        RenderInputs::from_config(&config, scope, &program, Path::new(&home)).map_err(cannot)?;
    let inputs = match label {
        Some(label) => inputs.with_label(label).map_err(cannot)?,
        None => inputs,
    };
    screen.print(&match target {
        RenderTarget::Launchd => render_launchd(&inputs),
        RenderTarget::Systemd => render_systemd(&inputs),
    })?;
    Ok(Exit::Done)
}

//! Loads the configuration that a command line names or describes.

use super::args::{CommonOptions, ServiceOptions};
use super::exit::{Exit, Failure};
use super::paths::{config_file, current_dir, variable};
use crate::config::{self, CommandLine, Config, Finding, Loaded, Location};
use std::ffi::OsString;

/// Loads the configuration file of this command line.
pub(super) fn from_file(common: &CommonOptions) -> Result<Loaded, Failure> {
    config::load(&config_file(common)?, &variable).map_err(|findings| failure(&findings))
}

/// Makes a configuration of the one service that the command line describes.
pub(super) fn from_command(
    common: &CommonOptions,
    options: &ServiceOptions,
) -> Result<Loaded, Failure> {
    let line = CommandLine {
        name: common.name.clone(),
        ..command_line(options)?
    };
    Config::from_command_line(&line, &current_dir()?, &variable)
        .map_err(|findings| failure(&findings))
}

fn command_line(options: &ServiceOptions) -> Result<CommandLine, Failure> {
    let options = options.clone();
    Ok(CommandLine {
        command: utf8_arguments(options.launch.command)?,
        probe: options.probe,
        ready: options.ready,
        query: options.query,
        interval: options.interval,
        timeout: options.timeout,
        failures: options.failures,
        port: options.port,
        sockets: options.socket,
        stop_grace: options.stop_grace,
        env: options.launch.env,
        cwd: options.launch.cwd,
        runtime: options.launch.runtime,
        ..CommandLine::default()
    })
}

fn utf8_arguments(command: Vec<OsString>) -> Result<Vec<String>, Failure> {
    let text = |argument: OsString| {
        argument.into_string().map_err(|argument| {
            Failure::new(
                Exit::Usage,
                format!("cannot use the argument {argument:?}: it is not UTF-8"),
            )
        })
    };
    command.into_iter().map(text).collect()
}

/// The error for a configuration with these findings, one per line. It is a usage error if all of them are about options
/// of the command line, else a configuration error.
pub(super) fn failure(findings: &[Finding]) -> Failure {
    let is_option = |finding: &Finding| matches!(finding.location, Location::Option(_));
    let exit = if findings.iter().all(is_option) {
        Exit::Usage
    } else {
        Exit::Config
    };
    Failure::of_lines(exit, findings.iter().map(ToString::to_string))
}

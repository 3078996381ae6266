//! Loads the configuration that a command line names or describes.

use super::args::{CommonOptions, ServiceOptions};
use super::exit::{Exit, Failure};
use super::paths::{config_file, current_dir, named_config, variable};
use crate::config::{self, CommandLine, Config, Finding, Loaded, Location};
use crate::sys::identity::{self, ROOT};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Loads the configuration file of this command line.
pub(super) fn from_file(common: &CommonOptions) -> Result<Loaded, Failure> {
    let file = trusted_file(common)?;
    config::load(&file, &variable).map_err(|findings| failure(&findings))
}

/// The configuration file of this command line, if stayd may run what it says.
pub(super) fn trusted_file(common: &CommonOptions) -> Result<PathBuf, Failure> {
    let file = config_file(common)?;
    if named_config(common).is_none() {
        refuse_of_another_user(&file)?;
    }
    Ok(file)
}

/// Refuses a configuration of another user that was only found, in the working folder for example: it decides what stayd runs as
/// this user. [`config::load`] checks more for root.
fn refuse_of_another_user(file: &Path) -> Result<(), Failure> {
    let own = identity::euid();
    // A file that cannot be examined cannot be read either, which is the better error.
    let owner = fs::metadata(file).map_or(own, |found| found.uid());
    if [own, ROOT].contains(&owner) {
        return Ok(());
    }
    let shown = file.display();
    Err(Failure::new(
        Exit::Config,
        format!(
            "cannot use the configuration {shown}: it belongs to user {owner}, and decides what stayd runs as this user; if you \
             trust it, name it: -c {shown}"
        ),
    ))
}

/// Makes a configuration of the one service that the command line describes.
pub(super) fn from_command(
    common: &CommonOptions,
    options: &ServiceOptions,
) -> Result<Loaded, Failure> {
    let line = command_line(common, options)?;
    Config::from_command_line(&line, &current_dir()?, &variable)
        .map_err(|findings| failure(&findings))
}

/// The options of this command line, for the configuration.
pub(super) fn command_line(
    common: &CommonOptions,
    options: &ServiceOptions,
) -> Result<CommandLine, Failure> {
    let options = options.clone();
    Ok(CommandLine {
        name: common.name.clone(),
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

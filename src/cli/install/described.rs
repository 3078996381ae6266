//! What `install` is to run: a configuration file, or the service that the command line describes.

use super::host::ThisHost;
use crate::cli::args::{CommonOptions, ServiceOptions};
use crate::cli::config::missing;
use crate::cli::console::print_stderr;
use crate::cli::exit::{Exit, Failure};
use crate::cli::load_config::{command_line, failure, from_file};
use crate::cli::paths::{current_dir, variable};
use crate::config::paths::Paths;
use crate::config::{self, CommandLine, Config, Finding, Loaded};
use crate::install::{Host as _, remove_config, render_config, write_config};
use std::path::Path;

/// What `install` is to run.
pub(super) struct Described {
    /// The configuration; it has a file, perhaps one that is still to be written.
    pub(super) config: Config,
    /// The text of its file, if the command line describes the service.
    text: Option<String>,
}

impl Described {
    /// The configuration of the file or of the command line. Its warnings go to stderr.
    pub(super) fn new(common: &CommonOptions, service: &ServiceOptions) -> Result<Self, Failure> {
        if service.launch.command.is_empty() {
            let loaded = from_file(common)?;
            warn(&loaded.warnings);
            // Those of a file may be created before they are used, as `config check` says.
            warn(&missing(&loaded)?);
            let config = loaded.config;
            return Ok(Self { config, text: None });
        }
        let mut line = command_line(common, service)?;
        refuse_variables(&line)?;
        let has_path = line.env.iter().any(|pair| pair.starts_with("PATH="));
        if let Some(path) = variable("PATH").filter(|_| !has_path) {
            // A job has a short PATH, and the command works with the one of this terminal.
            line.env.push(format!("PATH={path}"));
        }
        let here = current_dir()?;
        let loaded = Config::from_command_line(&line, &here, &variable)
            .map_err(|findings| failure(&findings))?;
        warn(&loaded.warnings);
        let missing = missing(&loaded)?;
        if !missing.is_empty() {
            return Err(failure(&missing));
        }
        let config = loaded.config;
        let [service] = config.services.as_slice() else {
            let message = "cannot install: a command line describes one service";
            return Err(Failure::new(Exit::Bug, message));
        };
        let text = render_config(&line, &config.name, &service.name, &here);
        let file = Paths::here(&variable).written_config(&config.name);
        let file = file.map_err(|finding| Failure::new(Exit::System, finding.message))?;
        let config = Config {
            file: Some(file),
            ..config
        };
        let text = Some(text);
        Ok(Self { config, text })
    }

    /// The file that [`Self::write`] writes, and its text.
    pub(super) fn file(&self) -> Option<(&Path, &str)> {
        self.config.file.as_deref().zip(self.text.as_deref())
    }

    /// Writes the configuration of a command line, and checks that it means the same.
    pub(super) fn write(&self, host: &mut ThisHost) -> Result<(), Failure> {
        let Some((file, text)) = self.file() else {
            return Ok(());
        };
        if !write_config(file, text)? {
            return Ok(());
        }
        let loaded = config::load(file, &variable).map_err(|findings| failure(&findings));
        let is_same = |loaded: &Loaded| loaded.config.services == self.config.services;
        if loaded.as_ref().is_ok_and(is_same) {
            host.say(&format!("wrote {}", file.display()));
            return Ok(());
        }
        remove_config(file)?;
        loaded?;
        Err(Failure::new(
            Exit::Usage,
            "cannot write the command line as a configuration: a relative path in --probe, --ready or --socket would mean another \
             file; give absolute paths",
        ))
    }
}

/// A job does not get the environment of this terminal.
fn refuse_variables(line: &CommandLine) -> Result<(), Failure> {
    for (option, text) in [
        ("--probe", &line.probe),
        ("--ready", &line.ready),
        ("--query", &line.query),
    ] {
        let uses_variable = |text: &String| text.replace("${file:", "").contains("${");
        if text.as_ref().is_some_and(uses_variable) {
            let message = format!(
                "{option}: cannot use a variable: the job does not get this terminal's environment; write ${{file:PATH}}"
            );
            return Err(Failure::new(Exit::Usage, message));
        }
    }
    Ok(())
}

fn warn(warnings: &[Finding]) {
    for warning in warnings {
        print_stderr(&format!("stayd: {warning}"));
    }
}

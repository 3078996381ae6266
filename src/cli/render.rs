//! `stayd render launchd|systemd`: prints the plist or unit that runs stayd with a configuration.

use super::args::{CommonOptions, RenderTarget};
use super::console::{Console, print_stderr};
use super::exit::{Exit, Failure, Outcome};
use super::load_config::from_file;
use super::paths::{own_program, variable};
use crate::config::Loaded;
use crate::install::{RenderError, RenderInputs, Scope, render_launchd, render_systemd};
use std::path::Path;

/// What to render.
#[derive(Clone, Debug)]
pub(super) struct RenderOptions {
    /// The supervisor that starts stayd.
    pub(super) target: RenderTarget,
    /// For the calling user instead of the machine.
    pub(super) user: bool,
    /// The label of the launchd job; by default `stayd.INSTANCE`.
    pub(super) label: Option<String>,
}

/// Renders to stdout. Warnings about the configuration go to stderr.
pub(super) fn render(console: Console, common: &CommonOptions, options: &RenderOptions) -> Outcome {
    let Loaded {
        config, warnings, ..
    } = from_file(common)?;
    for warning in warnings {
        print_stderr(&format!("stayd: {warning}"));
    }
    let scope = if options.user {
        Scope::User
    } else {
        Scope::System
    };
    let program = own_program()?;
    let program = std::fs::canonicalize(&program).unwrap_or(program);
    let home = variable("HOME").unwrap_or_else(|| "/".to_owned());
    let refused = |error: RenderError| Failure::new(Exit::Config, error.to_string());
    let inputs =
        RenderInputs::from_config(&config, scope, &program, Path::new(&home)).map_err(refused)?;
    let inputs = match &options.label {
        Some(label) => inputs.with_label(label).map_err(refused)?,
        None => inputs,
    };
    let file = match options.target {
        RenderTarget::Launchd => render_launchd(&inputs),
        RenderTarget::Systemd => render_systemd(&inputs),
    };
    console.write_unescaped(file.as_bytes())?;
    Ok(Exit::Done)
}

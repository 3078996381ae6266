//! The main function of a helper process: registers the requests that it can carry out and serves them.

use super::helper::Handlers;
use super::lifecycle::environment::ReadEnvFile;
use super::preflight::ExplainStartFailure;
use super::probe::{ResolveName, SqliteRequest};
use super::process_info::{CommandLine, EnvironmentVariable, UserName};
use super::runtime::request::RuntimeRequest;
use super::runtime::staleness::{ProgramStamp, ReplacedProgram};
use crate::config::Prerequisite;
use std::process::ExitCode;

/// Runs the helper process until stayd closes its socket (descriptor 0).
#[must_use]
pub fn helper_main() -> ExitCode {
    let handlers = Handlers::default()
        .with::<SqliteRequest>()
        .with::<ResolveName>()
        .with::<CommandLine>()
        .with::<EnvironmentVariable>()
        .with::<UserName>()
        .with::<Prerequisite>()
        .with::<ReadEnvFile>()
        .with::<ExplainStartFailure>()
        .with::<ProgramStamp>()
        .with::<ReplacedProgram>()
        .with::<RuntimeRequest>();
    match handlers.serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the helper ends: cannot talk to stayd: {error}");
            ExitCode::FAILURE
        }
    }
}

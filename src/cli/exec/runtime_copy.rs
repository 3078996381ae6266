//! `stayd exec --runtime DIR`: makes the copy that the command runs from, as for a supervised service.

use crate::act::runtime::cache::Cache;
use crate::act::runtime::request::{RuntimeOperation, RuntimeReply, RuntimeRequest};
use crate::cli::args::CommonOptions;
use crate::cli::console::print_stderr;
use crate::cli::exit::{Exit, Failure};
use crate::cli::paths::instance_folders;
use crate::cli::runtime::with_progress_bar;
use crate::config::Service;
use std::path::PathBuf;

/// Returns the root of the copy of the service's source; none if the service has no source. Makes the copy if the source
/// has changed. If the source is not available, takes the last good copy and says so on stderr.
pub(super) fn root(
    common: &CommonOptions,
    instance: &str,
    service: &Service,
) -> Result<Option<PathBuf>, Failure> {
    let Some(runtime) = &service.runtime else {
        return Ok(None);
    };
    let state = instance_folders(common, instance, false)?.state;
    let request = RuntimeRequest {
        state: state.clone(),
        service: service.name.clone(),
        operation: RuntimeOperation::Materialize {
            source: runtime.source.clone(),
            keep: runtime.keep,
            user: None,
            program: None,
        },
    };
    let cannot = |cause: String| {
        let message = format!("cannot start {}: {cause}", service.name);
        Failure::new(Exit::System, message)
    };
    let reply =
        with_progress_bar("copying", |progress| request.answer(progress)).map_err(cannot)?;
    let RuntimeReply::Offer(offered) = reply else {
        return Err(cannot("its runtimes cannot be read".into()));
    };
    for warning in &offered.warnings {
        print_stderr(&format!("stayd: {warning}"));
    }
    let chosen = match (offered.source, offered.fallback) {
        (Ok(made), _) => made,
        (Err(error), Some(last)) => {
            print_stderr(&format!(
                "stayd: {error}; using the last good runtime instead"
            ));
            last
        }
        (Err(error), None) => return Err(cannot(error.to_string())),
    };
    Ok(Some(Cache::of(&state).path(&chosen)))
}

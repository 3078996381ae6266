//! `stayd exec --runtime DIR`: the command runs from a copy, as a supervised service would.

use super::super::args::Common;
use super::super::exit::{Exit, Failure};
use super::super::instance::folders;
use super::super::runtime::shown;
use super::super::screen::tell;
use crate::act::runtime::cache::Cache;
use crate::act::runtime::request::{RuntimeOperation, RuntimeReply, RuntimeRequest};
use crate::config::Service;
use std::path::PathBuf;

/// The root of the copy of the service's source, made now if it is new; none where the service has no source. Without its
/// source the last good copy is taken, and that is said.
pub(in super::super) fn root(
    common: &Common,
    instance: &str,
    service: &Service,
) -> Result<Option<PathBuf>, Failure> {
    let Some(runtime) = &service.runtime else {
        return Ok(None);
    };
    let state = folders(common, instance, false)?.state;
    let ask = RuntimeRequest {
        state: state.clone(),
        service: service.name.clone(),
        operation: RuntimeOperation::Materialize {
            source: runtime.source.clone(),
            keep: runtime.keep,
            for_other_user: false,
            program: None,
        },
    };
    let cannot = |cause: String| {
        let message = format!("cannot start {}: {cause}", service.name);
        Failure::new(Exit::System, message)
    };
    let said = shown("copying", |progress| ask.answer(progress)).map_err(cannot)?;
    let RuntimeReply::Offer(offered) = said else {
        return Err(cannot("its runtimes cannot be looked at".into()));
    };
    for warning in &offered.warnings {
        tell(&format!("stayd: {warning}"));
    }
    let chosen = match (offered.source, offered.fallback) {
        (Ok(made), _) => made,
        (Err(trouble), Some(last)) => {
            tell(&format!("stayd: {trouble}; the last good runtime is taken"));
            last
        }
        (Err(trouble), None) => return Err(cannot(trouble.to_string())),
    };
    Ok(Some(Cache::of(&state).path(&chosen)))
}

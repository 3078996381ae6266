//! Looks up the user of a service.

use crate::act::context::ServiceContext;
use crate::act::spawn::launch::temporary;
use crate::act::spawn::run_as;
use crate::decide::event::SpawnFailure;
use crate::sys::spawn::User;
use std::time::Duration;

/// The most time to look up a user, because a directory service may hang.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The user that the service runs as, and that owns its FIFO and socket files; none: stayd's own. It is looked up off the loop,
/// because a directory service may hang.
pub(crate) async fn look_up_user(service: &ServiceContext) -> Result<Option<User>, SpawnFailure> {
    let Some(name) = service.config.user.clone() else {
        return Ok(None);
    };
    let wanted = name.clone();
    let lookup = tokio::task::spawn_blocking(move || run_as::look_up(&wanted));
    match tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await {
        Ok(Ok(found)) => found.map(run_as::to_change_to),
        Ok(Err(_)) | Err(_) => Err(temporary(format!(
            "cannot look up the user {name}: no answer; trying again"
        ))),
    }
}

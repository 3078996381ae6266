//! Handles commands that arrive over the control socket.

use super::daemon::Daemon;
use crate::act::journal::Journal;
use crate::api::backend::{Accepted, ApiError, ApiErrorKind, PendingRequest, ServiceCommand};
use crate::decide::event::{Event, Request, ServiceEvent, ServiceId};
use tokio::sync::oneshot;

impl Daemon {
    /// Carries out the command and answers it: a request to the state machine as soon as it is on disk, others at once.
    pub(super) fn on_request(&mut self, pending: PendingRequest) {
        let PendingRequest {
            service,
            command,
            reply,
        } = pending;
        let is_stored = matches!(command, ServiceCommand::Request(_));
        match self.carry_out(&service, command) {
            Ok(()) if is_stored => {
                tokio::task::spawn_local(confirm_stored(self.parts.journal.clone(), reply));
            }
            // The client may have hung up.
            answer => drop(reply.send(answer.map(|()| Accepted::default()))),
        }
    }

    fn carry_out(&mut self, service: &str, command: ServiceCommand) -> Result<(), ApiError> {
        let services = &self.parts.config.services;
        let index = services.iter().position(|known| known.name == service);
        let id = index.map(ServiceId).ok_or_else(|| {
            let message = format!("cannot {} {service}: it is not configured", command.verb());
            ApiError::new(ApiErrorKind::NoService, message)
        })?;
        // A process that stayd has only attached to can be neither restarted nor reloaded.
        let foreign = self.machine.borrow().control_refusal(id);
        let foreign = foreign.map(|why| format!("cannot {} {service}: {why}", command.verb()));
        let error = match command {
            ServiceCommand::Request(request) => {
                let error = foreign.filter(|_| request == Request::Restart);
                // The state machine records the request even if it has no effect.
                self.step(Event::Service(id, ServiceEvent::Requested(request)));
                error
            }
            ServiceCommand::Reload => foreign.or_else(|| self.parts.executor.reload(id).err()),
        };
        error.map_or(Ok(()), |why| {
            Err(ApiError::new(ApiErrorKind::Conflict, why))
        })
    }
}

/// Answers a command when it is on disk, or when the disk has refused it.
async fn confirm_stored(journal: Journal, reply: oneshot::Sender<Result<Accepted, ApiError>>) {
    let not_stored = |why| {
        format!(
            "cannot store the request: {why}; it is carried out, and stayd stores it when the disk accepts it, but if stayd \
             ends before that, the request is lost"
        )
    };
    let warning = journal.flush().await.err().map(not_stored);
    // The client may have hung up.
    drop(reply.send(Ok(Accepted { warning })));
}

//! What an order would do to a process, and what allows one.

use stayd::decide::action::ServiceAction;
use stayd::decide::event::{Event, Request, ServiceEvent};

/// Whether a process would notice: what is forbidden while a stranger is watched, with anything that would be started
/// beside it.
pub(crate) fn touches(order: &ServiceAction) -> bool {
    match order {
        ServiceAction::Terminate { .. }
        | ServiceAction::SignalFirst(_)
        | ServiceAction::KillTree(_)
        | ServiceAction::SuperviseSuccessor { .. }
        | ServiceAction::Prepare(_)
        | ServiceAction::Spawn(_)
        | ServiceAction::ScanOutcome => true,
        ServiceAction::Attach { .. }
        | ServiceAction::CancelPreparation(_)
        | ServiceAction::Probe { .. }
        | ServiceAction::TakeEvidence { .. }
        | ServiceAction::Retire(_)
        | ServiceAction::Conclude(..)
        | ServiceAction::CloseSockets
        | ServiceAction::AwaitChange(_)
        | ServiceAction::Record(_)
        | ServiceAction::Materialize(_)
        | ServiceAction::UseRuntime(_)
        | ServiceAction::MarkRuntimeGood(_)
        | ServiceAction::MarkRuntimeBad(..)
        | ServiceAction::Persist(_) => false,
    }
}

pub(crate) fn is_restart(event: &Event) -> bool {
    matches!(
        event,
        Event::Service(_, ServiceEvent::Requested(Request::Restart))
    )
}

pub(crate) fn spawned(event: &Event) -> bool {
    matches!(event, Event::Service(_, ServiceEvent::Spawned(..)))
}

pub(crate) fn surveyed(event: &Event) -> bool {
    matches!(event, Event::Service(_, ServiceEvent::RecoveryScanned(_)))
}

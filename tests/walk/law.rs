//! What an order would do to a process, and what allows one.

use stayd::decide::action::Order;
use stayd::decide::event::{Event, Fact, Wish};

/// Whether a process would notice: what is forbidden while a stranger is watched, with anything that would be started
/// beside it.
pub(crate) fn touches(order: &Order) -> bool {
    match order {
        Order::Terminate { .. }
        | Order::SignalFirst(_)
        | Order::KillTree(_)
        | Order::Inherit { .. }
        | Order::Prepare(_)
        | Order::Spawn(_)
        | Order::Survey => true,
        Order::Attach { .. }
        | Order::CancelPreparation(_)
        | Order::Probe { .. }
        | Order::TakeEvidence { .. }
        | Order::Retire(_)
        | Order::Conclude(..)
        | Order::CloseSockets
        | Order::AwaitChange(_)
        | Order::Record(_)
        | Order::Materialize(_)
        | Order::UseRuntime(_)
        | Order::PraiseRuntime(_)
        | Order::RefuseRuntime(..)
        | Order::Keep(_) => false,
    }
}

pub(crate) fn is_restart(event: &Event) -> bool {
    matches!(event, Event::Service(_, Fact::Asked(Wish::Restart)))
}

pub(crate) fn spawned(event: &Event) -> bool {
    matches!(event, Event::Service(_, Fact::Spawned(..)))
}

pub(crate) fn surveyed(event: &Event) -> bool {
    matches!(event, Event::Service(_, Fact::Surveyed(_)))
}

//! The last request of each kind for each service, so that a request that a later one replaced does not wait for an outcome that
//! cannot come.

use super::routes::Verb;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The latest requests for every service. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct LatestRequests(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    by_service: BTreeMap<String, LatestOfService>,
}

/// The number and the verb of the last request for each wish.
#[derive(Debug, Default)]
struct LatestOfService {
    up: Option<(u64, Verb)>,
    down: Option<(u64, Verb)>,
}

/// The place of a request in the order in which the loop takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestNumber(u64);

/// Whether the request asks for a running service; none if it asks for neither.
const fn wants_up(verb: Verb) -> Option<bool> {
    match verb {
        Verb::Start | Verb::Restart => Some(true),
        Verb::Stop => Some(false),
        Verb::Reload | Verb::Hold | Verb::Release => None,
    }
}

impl LatestRequests {
    /// Numbers a request. Call it in the order in which the loop receives the requests.
    pub(super) fn add(&self, service: &str, verb: Verb) -> RequestNumber {
        let mut inner = self.0.borrow_mut();
        inner.last += 1;
        let number = inner.last;
        if let Some(up) = wants_up(verb) {
            let latest = inner.by_service.entry(service.to_owned()).or_default();
            let of_its_wish = if up { &mut latest.up } else { &mut latest.down };
            *of_its_wish = Some((number, verb));
        }
        RequestNumber(number)
    }

    /// The later request that wants the opposite of the request `verb` with this number.
    pub(super) fn replaced_by(
        &self,
        service: &str,
        verb: Verb,
        number: RequestNumber,
    ) -> Option<Verb> {
        let inner = self.0.borrow();
        let latest = inner.by_service.get(service)?;
        let opposite = if wants_up(verb)? {
            latest.down
        } else {
            latest.up
        };
        opposite
            .filter(|(other, _)| *other > number.0)
            .map(|(_, verb)| verb)
    }
}

#[cfg(test)]
mod tests {
    use super::{LatestRequests, Verb};

    const ALL: [Verb; 6] = [
        Verb::Start,
        Verb::Stop,
        Verb::Restart,
        Verb::Reload,
        Verb::Hold,
        Verb::Release,
    ];

    #[test]
    fn only_a_later_request_for_the_opposite_replaces() {
        for first in ALL {
            for second in ALL {
                let latest = LatestRequests::default();
                let before = latest.add("a", first);
                let after = latest.add("a", second);
                latest.add("b", Verb::Stop);
                let replaces = match (first, second) {
                    (Verb::Stop, Verb::Start | Verb::Restart)
                    | (Verb::Start | Verb::Restart, Verb::Stop) => Some(second),
                    _ => None,
                };
                let pair = format!("{first:?}, then {second:?}");
                assert_eq!(latest.replaced_by("a", first, before), replaces, "{pair}");
                assert_eq!(latest.replaced_by("a", second, after), None, "{pair}");
            }
        }
    }

    #[test]
    fn a_replaced_request_stays_replaced() {
        let latest = LatestRequests::default();
        let stop = latest.add("a", Verb::Stop);
        latest.add("a", Verb::Start);
        latest.add("a", Verb::Stop);
        assert_eq!(latest.replaced_by("a", Verb::Stop, stop), Some(Verb::Start));
    }
}

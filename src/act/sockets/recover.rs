//! Gets the sockets of an instance that an earlier stayd started: from the descriptor store, else from its processes.

use super::{Held, Origin, Sockets};
use crate::act::off_loop::off_loop;
use crate::act::tree::Tree;
use crate::config::Listen;
use crate::sys::listen;
use std::io;
use std::time::Duration;

/// Descriptors are fetched from the processes, and a sick process may not let go of them.
const FETCH_DEADLINE: Duration = Duration::from_secs(5);

/// A declared socket that stayd could not get.
#[derive(Debug)]
pub(crate) struct MissingSocket {
    /// Its address.
    pub(crate) address: Listen,
    /// Why stayd does not have it.
    pub(crate) cause: String,
}

impl Sockets {
    /// Takes the sockets that stayd received for the service, and fetches the others from the living processes of `tree`.
    /// Returns those that it could not get. They are not lost yet: the instance has them.
    pub(crate) async fn recover(&self, tree: Option<Tree>) -> Vec<MissingSocket> {
        for address in &self.addresses {
            self.take_received(address);
        }
        let wanted = self.missing();
        let Some(tree) = tree.filter(|_| !wanted.is_empty()) else {
            return Vec::new();
        };
        let fetched = off_loop("sockets", FETCH_DEADLINE, move || fetch(&tree, &wanted)).await;
        let (found, refusal) =
            fetched.unwrap_or_else(|error| (Vec::new(), Some(error.to_string())));
        for held in found {
            self.hold(held);
        }
        let cause = refusal.unwrap_or_else(|| "none of its processes listens there".into());
        let missing = self.missing().into_iter().map(|address| MissingSocket {
            address,
            cause: cause.clone(),
        });
        missing.collect()
    }

    fn missing(&self) -> Vec<Listen> {
        let declared = self.addresses.iter();
        declared
            .filter(|address| !self.has(address))
            .cloned()
            .collect()
    }
}

/// Returns the sockets that the tree's processes have open, and the last error.
fn fetch(tree: &Tree, wanted: &[Listen]) -> (Vec<Held>, Option<String>) {
    let mut wanted = wanted.to_vec();
    let (mut found, mut refusal) = (Vec::new(), None);
    for member in tree.members() {
        if wanted.is_empty() {
            break;
        }
        match listen::copy_from_process(member.process, &wanted) {
            Ok(sockets) => found.extend(sockets.into_iter().map(|(address, socket)| {
                wanted.retain(|other| *other != address);
                Held {
                    address,
                    socket,
                    origin: Origin::Bound,
                }
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => refusal = Some(error.to_string()),
        }
    }
    (found, refusal)
}

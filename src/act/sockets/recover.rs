//! Gets the sockets of an instance that an earlier stayd started: from the descriptor store, else from its processes.

use super::{HeldSocket, SocketOrigin, Sockets};
use crate::act::off_loop::off_loop;
use crate::act::tree::Tree;
use crate::config::Listen;
use crate::sys::listen;
use std::io;
use std::time::Duration;

/// The most time to fetch descriptors from the processes, which can hang.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// A declared socket that stayd could not get.
#[derive(Debug)]
pub(crate) struct MissingSocket {
    /// Its address.
    pub(crate) address: Listen,
    /// Why stayd does not have it.
    pub(crate) cause: String,
}

impl Sockets {
    /// Takes the sockets that stayd received for the service, and fetches the others from the running processes of `tree`.
    /// Returns the sockets that it could not get. These are not lost yet, because the instance has them.
    pub(crate) async fn recover(&self, tree: Option<Tree>) -> Vec<MissingSocket> {
        for address in &self.addresses {
            self.take_received(address);
        }
        let wanted = self.missing();
        let Some(tree) = tree.filter(|_| !wanted.is_empty()) else {
            return Vec::new();
        };
        let fetched = off_loop("sockets", FETCH_TIMEOUT, move || fetch(&tree, &wanted)).await;
        let (found, last_error) =
            fetched.unwrap_or_else(|error| (Vec::new(), Some(error.to_string())));
        for held in found {
            self.hold(held);
        }
        let cause = last_error.unwrap_or_else(|| "none of its processes listens there".into());
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
fn fetch(tree: &Tree, wanted: &[Listen]) -> (Vec<HeldSocket>, Option<String>) {
    let mut wanted = wanted.to_vec();
    let (mut found, mut last_error) = (Vec::new(), None);
    for member in tree.members() {
        if wanted.is_empty() {
            break;
        }
        match listen::copy_from_process(member.process, &wanted) {
            Ok(sockets) => found.extend(sockets.into_iter().map(|(address, socket)| {
                wanted.retain(|other| *other != address);
                HeldSocket {
                    address,
                    socket,
                    origin: SocketOrigin::Bound,
                }
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => last_error = Some(error.to_string()),
        }
    }
    (found, last_error)
}

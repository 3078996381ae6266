//! Finds the processes that have listeners open: members of the tree, foreign ones, or hidden ones.

use crate::act::tree::Tree;
use crate::sys::identity;
use crate::sys::process;
use crate::sys::socket::{self, Listener};
use std::io;

/// The process that has a listener open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// A member of the tree.
    Tree,
    /// A process outside the tree, with the kernel's short name for it.
    Process {
        /// Its pid.
        pid: i32,
        /// Its name.
        name: String,
    },
    /// A process that hides its descriptors from stayd. Its user is that of stayd, of the service, or of a member that hides
    /// them too, so it may be a member.
    MayBeTree,
    /// A process that hides its descriptors from stayd, and whose user the service does not have.
    AnotherUser,
}

/// The holders of `listeners`, in any order. Reads descriptors of all processes unless members have all of them, so call it
/// on a thread of its own.
///
/// # Errors
/// Descriptors cannot be read for lack of a resource.
pub(super) fn holders(tree: &Tree, listeners: &[Listener]) -> io::Result<Vec<(Listener, Holder)>> {
    let of_tree = tree.held_listeners(listeners)?;
    let mut rest = listeners.to_vec();
    rest.retain(|one| !of_tree.held.contains(one));
    let mut found: Vec<_> = of_tree
        .held
        .iter()
        .map(|one| (*one, Holder::Tree))
        .collect();
    for pid in process::all()? {
        if rest.is_empty() {
            break;
        }
        let held = match socket::held_listeners(pid, &rest) {
            Ok(held) => held,
            Err(error) if is_hidden_or_gone(&error) => continue,
            Err(error) => return Err(error),
        };
        rest.retain(|one| !held.contains(one));
        found.extend(held.into_iter().map(|one| (one, foreign(pid))));
    }
    let is_known = |uid: u32| {
        uid == identity::euid() || uid == tree.uid || of_tree.hidden_users.contains(&uid)
    };
    found.extend(rest.into_iter().map(|one| match is_known(one.uid) {
        true => (one, Holder::MayBeTree),
        false => (one, Holder::AnotherUser),
    }));
    Ok(found)
}

fn is_hidden_or_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound
    )
}

fn foreign(pid: i32) -> Holder {
    let name = process::stat(pid).map(|stat| stat.comm).unwrap_or_default();
    Holder::Process { pid, name }
}

//! The sockets of a life that an earlier stayd began.

use super::{Held, Origin, take_received};
use crate::act::shared::Shared;
use crate::act::survey::off_the_loop;
use crate::act::tree::Tree;
use crate::act::ward::{Living, Ward};
use crate::config::Listen;
use crate::decide::action::{Kind, Record};
use crate::sys::listen;
use std::io;

/// Takes them from the OS supervisor's store, else from the living processes themselves; says which are not to be had.
pub(in super::super) async fn regain(shared: &Shared, ward: &Ward, living: &Living) {
    for address in &ward.config.sockets {
        take_received(shared, ward, address);
    }
    let wanted = missing(ward);
    let tree = living.tree.borrow().clone();
    let Some(tree) = tree.filter(|_| !wanted.is_empty()) else {
        return;
    };
    let fetched = off_the_loop(move || fetch(&tree, &wanted)).await;
    let (found, refusal) = fetched.unwrap_or_else(|cause| (Vec::new(), Some(cause)));
    for held in found {
        ward.sockets.hold(shared, held);
    }
    for address in missing(ward) {
        say_missing(shared, ward, living, &address, refusal.as_deref());
    }
}

fn missing(ward: &Ward) -> Vec<Listen> {
    let declared = ward.config.sockets.iter();
    declared
        .filter(|address| !ward.sockets.has(address))
        .cloned()
        .collect()
}

/// What was found, and why it was not more.
fn fetch(tree: &Tree, wanted: &[Listen]) -> (Vec<Held>, Option<String>) {
    let mut wanted = wanted.to_vec();
    let (mut found, mut refusal) = (Vec::new(), None);
    for member in tree.members() {
        if wanted.is_empty() {
            break;
        }
        match listen::fetch(member.process, &wanted) {
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

/// Nothing is lost yet: the life has it.
fn say_missing(
    shared: &Shared,
    ward: &Ward,
    living: &Living,
    address: &Listen,
    refusal: Option<&str>,
) {
    let cause = refusal.unwrap_or("none of its processes listens there");
    let sentence = format!(
        "cannot hold its socket {address} over the end of this life: {cause}; it is bound anew for the next one, and \
         connections are refused in between"
    );
    tracing::warn!(service = ward.config.name, "{sentence}");
    let record = Record {
        kind: Kind::Adopted,
        life: Some(living.life),
        sentence,
        facts: Vec::new(),
    };
    shared.store.record(Some(&ward.config.name), &record);
}

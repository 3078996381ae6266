//! The sockets of a life that an earlier stayd began.

use super::{Held, Origin, take_received};
use crate::act::context::SharedContext;
use crate::act::context::{Instance, ServiceContext};
use crate::act::recovery::scan::off_the_loop;
use crate::act::tree::Tree;
use crate::config::Listen;
use crate::decide::action::{Record, RecordKind};
use crate::sys::listen;
use std::io;

/// Takes them from the OS supervisor's store, else from the living processes themselves; says which are not to be had.
pub(crate) async fn regain(shared: &SharedContext, context: &ServiceContext, instance: &Instance) {
    for address in &context.config.sockets {
        take_received(shared, context, address);
    }
    let wanted = missing(context);
    let tree = instance.tree.borrow().clone();
    let Some(tree) = tree.filter(|_| !wanted.is_empty()) else {
        return;
    };
    let fetched = off_the_loop(move || fetch(&tree, &wanted)).await;
    let (found, refusal) = fetched.unwrap_or_else(|cause| (Vec::new(), Some(cause)));
    for held in found {
        context.sockets.hold(shared, held);
    }
    for address in missing(context) {
        say_missing(shared, context, instance, &address, refusal.as_deref());
    }
}

fn missing(context: &ServiceContext) -> Vec<Listen> {
    let declared = context.config.sockets.iter();
    declared
        .filter(|address| !context.sockets.has(address))
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
    shared: &SharedContext,
    context: &ServiceContext,
    instance: &Instance,
    address: &Listen,
    refusal: Option<&str>,
) {
    let cause = refusal.unwrap_or("none of its processes listens there");
    let sentence = format!(
        "cannot hold its socket {address} over the end of this life: {cause}; it is bound anew for the next one, and \
         connections are refused in between"
    );
    tracing::warn!(service = context.config.name, "{sentence}");
    let record = Record {
        kind: RecordKind::Adopted,
        life: Some(instance.life),
        sentence,
        facts: Vec::new(),
    };
    shared.store.record(Some(&context.config.name), &record);
}

//! Whether the process that listens on the probe's port belongs to the service.

use crate::act::context::{Instance, ServiceContext, SharedContext};
use crate::act::lifecycle::claim::record_members;
use crate::config::{Endpoint, Target};
use crate::decide::event::Check;
use crate::sys::process;
use crate::sys::socket::{self, Listener};

/// Why answers from the probe's port do not count: a process outside the tree listens there. None where the listener belongs
/// to the tree, or where its process is not visible.
pub(super) fn outside_the_tree(
    shared: &SharedContext,
    service: &ServiceContext,
    instance: &Instance,
    check: Check,
) -> Option<String> {
    let probe = service.probe(check)?;
    let port = local_port(&probe.target)?;
    if service.config.any_port_owner {
        return None;
    }
    let listener = socket::listeners(port).ok()?.into_iter().next()?;
    if let Some(judgment) = instance.checks.judgment(listener.inode) {
        return judgment;
    }
    if service.sockets.holds(&listener) {
        return None;
    }
    let judgment = match instance.tree.holds_listener(port)? {
        Ok(Some(_)) => {
            // A new listener means that the tree has changed. Record members that have left it now, while there is
            // evidence for them.
            record_members(shared, service, instance);
            None
        }
        // A table that cannot be read proves nothing against the listener.
        Err(_) => return None,
        Ok(None) => describe_outsider(port, &listener),
    };
    let inode = listener.inode;
    instance.checks.set_judgment(inode, judgment.clone());
    judgment
}

/// Describes the process that has the listener open. None where no visible process has it: a process that hides its
/// descriptors from stayd may be the service.
fn describe_outsider(port: u16, listener: &Listener) -> Option<String> {
    let pid = socket::find_holder(listener).ok().flatten()?;
    let name = process::stat(pid).map(|stat| stat.comm).unwrap_or_default();
    Some(format!(
        "port {port} is answered by pid {pid} ({name}), which is not of this service's tree; stayd ignores its answers \
         (port_owner = \"any\" accepts them)"
    ))
}

/// The target's TCP port on this machine, if it has one.
fn local_port(target: &Target) -> Option<u16> {
    match target.endpoint()? {
        Endpoint::Tcp(host, port) if is_loopback(host) => Some(*port),
        Endpoint::Tcp(..) | Endpoint::Unix(_) => None,
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

//! Sockets for a command that stayd becomes: bound here, behind those that the OS supervisor has given (sd_listen_fds(3)).

use super::{Order, holder, refused};
use crate::act::spawn::launch::Environment;
use crate::cli::exit::{Exit, Failure};
use crate::config::Listen;
use crate::sys::{identity, listen, process, socket};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{OwnedFd, RawFd};

/// A descriptor without a name, as systemd calls it.
const NAMELESS: &str = "unknown";

/// Binds the order's sockets, puts them where they are expected, and says so in `env`. What comes next is exec.
pub(super) fn bind(order: &Order, env: &mut Environment) -> Result<(), Failure> {
    if order.sockets.is_empty() {
        return Ok(());
    }
    let sockets = order.sockets.iter().map(|address| bound(order, address));
    let sockets = sockets.collect::<Result<Vec<OwnedFd>, Failure>>()?;
    let mut names = given(env);
    let first = listen::FIRST_INHERITED + RawFd::try_from(names.len()).unwrap_or(RawFd::MAX);
    names.extend(sockets.iter().map(|_| order.name.clone()));
    tell(env, &names);
    listen::place_for_exec(sockets, first)
        .map_err(|error| refused(&order.command[0], "pass its sockets on", &error))
}

/// The names of what was given to this very process, which the command is about to be.
fn given(env: &Environment) -> Vec<String> {
    let variable = |name: &str| env.get(OsStr::new(name))?.to_str();
    let is_for_us =
        variable("LISTEN_PID").and_then(|pid| pid.parse().ok()) == Some(identity::pid());
    let count = variable("LISTEN_FDS").filter(|_| is_for_us);
    let count = count.and_then(|count| count.parse::<u16>().ok());
    let names = variable("LISTEN_FDNAMES").unwrap_or_default().split(':');
    let names = names.filter(|name| !name.is_empty()).map(str::to_owned);
    let endless = names.chain(std::iter::repeat_with(|| NAMELESS.to_owned()));
    endless.take(count.unwrap_or(0).into()).collect()
}

fn tell(env: &mut Environment, names: &[String]) {
    env.insert("LISTEN_FDS".into(), names.len().to_string().into());
    env.insert("LISTEN_PID".into(), identity::pid().to_string().into());
    env.insert("LISTEN_FDNAMES".into(), names.join(":").into());
}

fn bound(order: &Order, address: &Listen) -> Result<OwnedFd, Failure> {
    let name = &order.command[0];
    listen::bind(address, None).map_err(|error| {
        if error.kind() != io::ErrorKind::AddrInUse {
            return refused(name, &format!("listen on {address}"), &error);
        }
        let taken_by = taken_by(address).unwrap_or_else(|| "somebody".into());
        let cure = "stop it, or give this one another address";
        let message = format!("cannot start {name}: {address} is taken by {taken_by}; {cure}");
        Failure::new(Exit::No, message)
    })
}

fn taken_by(address: &Listen) -> Option<String> {
    match address {
        Listen::Tcp(address) => {
            let listeners = socket::listeners(address.port()).ok()?;
            Some(holder(listeners.first()?))
        }
        Listen::Unix(path) => {
            let pid = listen::listener_pid(path)?;
            Some(format!("{} (pid {pid})", process::stat(pid).ok()?.comm))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_comes_first_and_only_when_it_was_for_us() {
        let pid = identity::pid().to_string();
        let env = |count: &str, pid: &str, names: &str| {
            let pairs = [
                ("LISTEN_FDS", count),
                ("LISTEN_PID", pid),
                ("LISTEN_FDNAMES", names),
            ];
            Environment::from(pairs.map(|(name, value)| (name.into(), value.into())))
        };
        assert_eq!(given(&env("2", &pid, "a:b")), ["a", "b"]);
        assert_eq!(given(&env("2", &pid, "")), ["unknown", "unknown"]);
        assert!(given(&env("2", "1", "a:b")).is_empty());
        assert!(given(&Environment::new()).is_empty());
    }
}

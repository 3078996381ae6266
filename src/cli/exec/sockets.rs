//! Binds sockets for the command of `stayd exec`, and passes them on after those that the OS supervisor gave
//! (sd_listen_fds(3)).

use super::{ExecPlan, UNKNOWN_PROCESS, holder, refused};
use crate::act::spawn::launch::Environment;
use crate::cli::exit::{Exit, Failure};
use crate::config::Listen;
use crate::sys::{identity, listen, listen_fds, process, socket};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{OwnedFd, RawFd};

/// systemd's name for a descriptor without a name.
const UNNAMED: &str = "unknown";

/// Binds the sockets of `plan`, moves them to the descriptor numbers of sd_listen_fds(3) and describes them in `env`. The
/// caller must exec next: other descriptors may have been overwritten.
pub(super) fn bind(plan: &ExecPlan, env: &mut Environment) -> Result<(), Failure> {
    if plan.sockets.is_empty() {
        return Ok(());
    }
    let sockets = plan.sockets.iter().map(|address| bind_one(plan, address));
    let sockets = sockets.collect::<Result<Vec<OwnedFd>, Failure>>()?;
    let mut names = given(env);
    let first = listen_fds::FIRST_INHERITED + RawFd::try_from(names.len()).unwrap_or(RawFd::MAX);
    names.extend(sockets.iter().map(|_| plan.name.clone()));
    describe(env, &names);
    listen_fds::place_for_exec(sockets, first)
        .map_err(|error| refused(&plan.command[0], "pass on its sockets", &error))
}

/// The names of the descriptors that the OS supervisor gave to this process, and so to the command.
fn given(env: &Environment) -> Vec<String> {
    let variable = |name: &str| env.get(OsStr::new(name))?.to_str();
    let is_for_this_process =
        variable("LISTEN_PID").and_then(|pid| pid.parse().ok()) == Some(identity::pid());
    let count = variable("LISTEN_FDS").filter(|_| is_for_this_process);
    let count = count.and_then(|count| count.parse::<u16>().ok());
    let names = variable("LISTEN_FDNAMES").unwrap_or_default().split(':');
    let names = names.filter(|name| !name.is_empty()).map(str::to_owned);
    let padded = names.chain(std::iter::repeat_with(|| UNNAMED.to_owned()));
    padded.take(count.unwrap_or(0).into()).collect()
}

fn describe(env: &mut Environment, names: &[String]) {
    env.insert("LISTEN_FDS".into(), names.len().to_string().into());
    env.insert("LISTEN_PID".into(), identity::pid().to_string().into());
    env.insert("LISTEN_FDNAMES".into(), names.join(":").into());
}

fn bind_one(plan: &ExecPlan, address: &Listen) -> Result<OwnedFd, Failure> {
    let name = &plan.command[0];
    listen::bind(address, None).map_err(|error| {
        if error.kind() != io::ErrorKind::AddrInUse {
            return refused(name, &format!("listen on {address}"), &error);
        }
        let taken_by = taken_by(address).unwrap_or_else(|| UNKNOWN_PROCESS.into());
        let advice = "stop it, or use another address";
        let message = format!("cannot start {name}: {address} is taken by {taken_by}; {advice}");
        Failure::new(Exit::No, message)
    })
}

fn taken_by(address: &Listen) -> Option<String> {
    match address {
        Listen::Tcp(address) => {
            let listeners = socket::listeners(address.port()).ok()?;
            let mut listeners = listeners.iter();
            let taking = listeners.find(|each| each.conflicts_with(address.ip()));
            Some(holder(taking?))
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
    fn descriptors_count_only_if_they_were_given_to_this_process() {
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

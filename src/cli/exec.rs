//! `stayd exec`: look first, then become the command. Same pid, same descriptors, and whatever the OS supervisor gave.
//!
//! What execve(2) would say in one errno ("No such file or directory" for a missing interpreter) is said here in a
//! sentence, before anything has happened.

pub(super) mod copied;
mod handed;

use super::exit::{Exit, Failure};
use crate::act::preflight::{self, PreflightErrorKind, ProgramLookup};
use crate::act::spawn::launch::Environment;
use crate::config::Listen;
use crate::sys::{process, socket};
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// What is to be executed.
#[derive(Debug)]
pub(super) struct Order {
    /// argv, at least one word.
    pub(super) command: Vec<String>,
    /// Where, absolute.
    pub(super) cwd: PathBuf,
    /// Set on top of the environment that stayd was given.
    pub(super) env: Vec<(String, String)>,
    /// The port it is going to listen on, if it has one.
    pub(super) port: Option<u16>,
    /// Bound here and passed on, as LISTEN_FDS tells.
    pub(super) sockets: Vec<Listen>,
    /// What they are called there.
    pub(super) name: String,
}

/// Becomes the command; comes back only when that cannot be.
///
/// `given` is this process's own environment. The command gets it whole but for what is stayd's alone: it *is* the
/// service the OS supervisor started, so NOTIFY_SOCKET, WATCHDOG_USEC or LISTEN_FDS are meant for it.
pub(super) fn exec(
    order: &Order,
    given: impl IntoIterator<Item = (OsString, OsString)>,
) -> Failure {
    let mut env = environment(order, given);
    let program = match preflight(order, &env) {
        Ok(program) => program,
        Err(failure) => return failure,
    };
    if let Err(failure) = handed::bind(order, &mut env) {
        return failure;
    }
    // exec() of the standard library also gives SIGPIPE and the signal mask back as a program expects them.
    let error = Command::new(&program)
        .arg0(&order.command[0])
        .args(&order.command[1..])
        .env_clear()
        .envs(env)
        .current_dir(&order.cwd)
        .exec();
    refused(&order.command[0], "execute it", &error)
}

fn environment(
    order: &Order,
    given: impl IntoIterator<Item = (OsString, OsString)>,
) -> Environment {
    let mut env: Environment = given
        .into_iter()
        .filter(|(name, _)| !name.as_bytes().starts_with(b"STAYD_"))
        .collect();
    for (name, value) in &order.env {
        env.insert(name.into(), value.into());
    }
    env
}

/// Everything that can be seen without starting it. Returns the file that is to be executed.
fn preflight(order: &Order, env: &Environment) -> Result<PathBuf, Failure> {
    let Some(name) = order.command.first().filter(|name| !name.is_empty()) else {
        return Err(Failure::new(
            Exit::Usage,
            "cannot execute nothing: name a command after `--`",
        ));
    };
    let path = env.get(OsStr::new("PATH"));
    let look = ProgramLookup {
        program: name.clone(),
        cwd: order.cwd.clone(),
        path: path.map(|path| path.to_string_lossy().into_owned()),
        user: None,
    };
    let program = preflight::check(&look).map_err(|obstacle| {
        let exit = match obstacle.kind {
            PreflightErrorKind::Missing => Exit::Config,
            PreflightErrorKind::Permission => Exit::Permission,
        };
        Failure::new(exit, format!("cannot start {name}: {}", obstacle.cause))
    })?;
    if let Some(port) = order.port {
        port_is_free(name, port)?;
    }
    Ok(program)
}

/// Nobody listens on the port; who does is named.
fn port_is_free(name: &str, port: u16) -> Result<(), Failure> {
    let taken = |by: String| {
        let cure = "stop it, or give this one another port";
        let message = format!("cannot start {name}: port {port} is taken by {by}; {cure}");
        Err(Failure::new(Exit::No, message))
    };
    match socket::listeners(port) {
        Ok(listeners) => match listeners.first() {
            Some(listener) => taken(holder(listener)),
            None => Ok(()),
        },
        // a kernel that does not list listeners: try the port itself, and let go at once
        Err(_) if binds(port) => Ok(()),
        Err(_) => taken("somebody".into()),
    }
}

fn holder(listener: &socket::Listener) -> String {
    let found = socket::find_holder(listener).ok().flatten();
    let named = found.and_then(|pid| Some((process::stat(pid).ok()?.comm, pid)));
    named.map_or_else(
        || format!("a process of user {} that is not shown to us", listener.uid),
        |(comm, pid)| format!("{comm} (pid {pid})"),
    )
}

fn binds(port: u16) -> bool {
    let in_use = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
    let free = |bound: io::Result<TcpListener>| !bound.as_ref().is_err_and(in_use);
    free(TcpListener::bind((Ipv4Addr::LOCALHOST, port)))
        && free(TcpListener::bind((Ipv6Addr::LOCALHOST, port)))
}

/// What the system refused, with the status that belongs to it.
fn refused(name: &str, what: &str, error: &io::Error) -> Failure {
    let (exit, hint) = if error.kind() == io::ErrorKind::NotFound {
        (Exit::Config, "")
    } else if error.raw_os_error() == Some(libc::EPERM) {
        (
            Exit::Permission,
            "; on a Mac this is a guarded folder: move it, or grant Full Disk Access",
        )
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        (Exit::Permission, "")
    } else {
        (Exit::System, "")
    };
    Failure::new(
        exit,
        format!("cannot start {name}: cannot {what}: {error}{hint}"),
    )
}

#[cfg(test)]
mod tests {
    use super::{Order, environment, preflight};
    use crate::cli::exit::Exit;
    use std::fs::{self, Permissions};
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    /// A folder with one file `run` in it, of this content and mode.
    fn folder_with(content: &str, mode: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("run");
        fs::write(&file, content).expect("written");
        fs::set_permissions(&file, Permissions::from_mode(mode)).expect("its mode");
        folder
    }

    fn order(command: &str, cwd: &Path, port: Option<u16>) -> Order {
        Order {
            command: vec![command.into()],
            cwd: cwd.into(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            port,
            sockets: Vec::new(),
            name: command.into(),
        }
    }

    /// The status and the sentence of a preflight that must fail.
    fn failure(order: &Order) -> (Exit, String) {
        let failure = preflight(order, &environment(order, [])).expect_err("must not pass");
        (failure.exit, failure.message)
    }

    #[test]
    fn what_can_start_passes() {
        let folder = folder_with("#!/bin/sh -e\n", 0o755);
        let found = |command| {
            let order = order(command, folder.path(), None);
            preflight(&order, &environment(&order, [])).expect("passes")
        };
        assert_eq!(found("./run"), folder.path().join("./run"));
        assert!(found("sh").ends_with("sh"));
    }

    #[test]
    fn item_69_a_missing_interpreter_is_named_with_the_path_it_was_searched_in() {
        let tries = [
            ("#!/nowhere/python\n", "no program /nowhere/python"),
            (
                "#!/usr/bin/env no-such-node\n",
                "no no-such-node in PATH, which is /usr/bin:/bin",
            ),
            (
                "#!/usr/bin/env -S A=b no-such-node -x\n",
                "no no-such-node in PATH",
            ),
            ("#!/bin/sh\r\n", "carriage return"),
        ];
        for (content, expected) in tries {
            let folder = folder_with(content, 0o755);
            let (exit, message) = failure(&order("./run", folder.path(), None));
            assert_eq!(exit, Exit::Config);
            assert!(message.starts_with("cannot start ./run: "), "{message}");
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_missing_exec_bit_comes_with_its_cure() {
        let folder = folder_with("#!/bin/sh\n", 0o644);
        let (exit, message) = failure(&order("./run", folder.path(), None));
        assert_eq!(exit, Exit::Permission);
        assert!(message.contains("chmod +x"), "{message}");
    }

    #[test]
    fn a_missing_program_and_a_missing_folder_are_told_apart() {
        let folder = folder_with("", 0o755);
        let (exit, message) = failure(&order("./walk", folder.path(), None));
        assert_eq!(exit, Exit::Config);
        assert!(message.contains("there is no program"), "{message}");
        let (exit, message) = failure(&order("sh", &folder.path().join("gone"), None));
        assert_eq!(exit, Exit::Config);
        assert!(message.contains("cannot enter"), "{message}");
        let (exit, message) = failure(&order("sh", &folder.path().join("run"), None));
        assert_eq!(exit, Exit::Config);
        assert!(message.contains("is not a folder"), "{message}");
        assert_eq!(failure(&order("", folder.path(), None)).0, Exit::Usage);
    }

    #[test]
    fn a_taken_port_names_its_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (exit, message) = failure(&order("sh", Path::new("/"), Some(port)));
        assert_eq!(exit, Exit::No);
        assert!(
            message.contains(&format!("port {port} is taken by ")),
            "{message}"
        );
        drop(listener);
        let order = order("sh", Path::new("/"), Some(port));
        assert!(preflight(&order, &environment(&order, [])).is_ok());
    }

    #[test]
    fn what_the_os_supervisor_gave_stays_and_what_is_ours_goes() {
        let given = [
            ("NOTIFY_SOCKET", "/run/systemd/notify"),
            ("LISTEN_PID", "4711"),
            ("WATCHDOG_USEC", "1"),
            ("STAYD_SUPERVISOR", "launchd:x"),
            ("PATH", "/old"),
        ];
        let order = order("sh", Path::new("/"), None);
        let env = environment(
            &order,
            given.map(|(name, value)| (name.into(), value.into())),
        );
        let names: Vec<_> = env
            .keys()
            .map(|name| name.to_str().expect("UTF-8"))
            .collect();
        assert_eq!(
            names,
            ["LISTEN_PID", "NOTIFY_SOCKET", "PATH", "WATCHDOG_USEC"]
        );
        assert_eq!(env[std::ffi::OsStr::new("PATH")], "/usr/bin:/bin");
    }
}

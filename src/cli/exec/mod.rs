//! `stayd exec`: checks that the command can start, then replaces this process with it (execve(2)).
//!
//! The command keeps the pid, the open descriptors and everything that the OS supervisor gave to stayd. execve reports a
//! failure as one errno ("No such file or directory" for a missing interpreter); the preflight reports the cause in a
//! sentence instead, before anything has changed.

mod runtime_copy;
mod sockets;

use super::args::{CommonOptions, ServiceOptions};
use super::exit::{Exit, Failure, Outcome};
use super::load_config::from_command;
use crate::act::preflight::{self, PreflightErrorKind, ProgramLookup};
use crate::act::runtime::request::with_source_path;
use crate::act::spawn::launch::Environment;
use crate::config::runtime::expand_runtime;
use crate::config::{Listen, Loaded, PortAddresses};
use crate::decide::policy::OnStranger;
use crate::sys::{process, socket};
use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// What to execute, and how.
#[derive(Debug)]
struct ExecPlan {
    /// argv, at least one word.
    command: Vec<String>,
    /// The working directory, absolute.
    cwd: PathBuf,
    /// Variables set on top of the environment of this process.
    env: Vec<(String, String)>,
    /// The port that the command is going to listen on, if it has one, and where.
    port: Option<(u16, PortAddresses)>,
    /// Addresses to bind and pass on as LISTEN_FDS.
    sockets: Vec<Listen>,
    /// The name of the sockets in LISTEN_FDNAMES.
    name: String,
}

/// Becomes the command of the command line. Returns only if that is not possible.
pub(super) fn run(common: &CommonOptions, options: &ServiceOptions) -> Outcome {
    let Loaded { config, .. } = from_command(common, options)?;
    let Some(service) = config.services.into_iter().next() else {
        return Err(no_command());
    };
    let root = runtime_copy::root(common, &config.name, &service)?;
    let root = root.as_deref();
    let own = root.map(|root| ("STAYD_PACKAGE_ROOT".into(), root.to_string_lossy().into()));
    let declared = service.env.iter();
    let declared = declared.map(|(name, value)| (name.clone(), expand_runtime(value, root)));
    let source = service.runtime.as_ref().map(|one| one.source.clone());
    let addresses = PortAddresses::of(&service);
    let plan = ExecPlan {
        command: service.command_in(root),
        cwd: service.cwd_in(root),
        env: declared.chain(own).collect(),
        port: service.port.map(|port| (port, addresses)),
        sockets: service.sockets,
        name: service.name,
    };
    let mut failure = exec(&plan, env::vars_os());
    if let (Some(copy), Some(source)) = (root, source) {
        failure.message = with_source_path(&failure.message, copy, &source);
    }
    Err(failure)
}

fn no_command() -> Failure {
    Failure::new(
        Exit::Usage,
        "cannot execute anything: there is no command; write one after `--`",
    )
}

/// Becomes the command; returns only if that fails.
///
/// `given` is this process's own environment. The command gets all of it except the variables of stayd itself: it *is* the
/// service that the OS supervisor started, so NOTIFY_SOCKET, WATCHDOG_USEC and LISTEN_FDS are meant for it.
fn exec(plan: &ExecPlan, given: impl IntoIterator<Item = (OsString, OsString)>) -> Failure {
    let mut env = environment(plan, given);
    let program = match preflight(plan, &env) {
        Ok(program) => program,
        Err(failure) => return failure,
    };
    if let Err(failure) = sockets::bind(plan, &mut env) {
        return failure;
    }
    // exec() of the standard library also restores SIGPIPE and the signal mask that a program expects.
    let error = Command::new(&program)
        .arg0(&plan.command[0])
        .args(&plan.command[1..])
        .env_clear()
        .envs(env)
        .current_dir(&plan.cwd)
        .exec();
    refused(&plan.command[0], "execute it", &error)
}

fn environment(
    plan: &ExecPlan,
    given: impl IntoIterator<Item = (OsString, OsString)>,
) -> Environment {
    let mut env: Environment = given
        .into_iter()
        .filter(|(name, _)| !name.as_bytes().starts_with(b"STAYD_"))
        .collect();
    for (name, value) in &plan.env {
        env.insert(name.into(), value.into());
    }
    env
}

/// Checks everything that can be checked without starting the command. Returns the file to execute.
fn preflight(plan: &ExecPlan, env: &Environment) -> Result<PathBuf, Failure> {
    let Some(name) = plan.command.first().filter(|name| !name.is_empty()) else {
        return Err(no_command());
    };
    let path = env.get(OsStr::new("PATH"));
    let look = ProgramLookup {
        program: name.clone(),
        cwd: plan.cwd.clone(),
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
    if let Some((port, addresses)) = &plan.port {
        check_port_is_free(name, *port, addresses)?;
    }
    Ok(program)
}

/// Fails if a process listens on the port in the way of the command; the error names the process.
fn check_port_is_free(name: &str, port: u16, addresses: &PortAddresses) -> Result<(), Failure> {
    let taken = |by: String| {
        let advice = "stop it, or use another port";
        let message = format!("cannot start {name}: port {port} is taken by {by}; {advice}");
        Err(Failure::new(Exit::No, message))
    };
    match socket::listeners(port) {
        Ok(listeners) => match addresses.in_the_way(&listeners, OnStranger::Report).first() {
            Some(listener) => taken(holder(listener)),
            None => Ok(()),
        },
        // This kernel does not list listeners: bind the port for a moment instead.
        Err(_) if binds(port) => Ok(()),
        Err(_) => taken(UNKNOWN_PROCESS.into()),
    }
}

/// Names the holder of an address when the kernel does not report it.
const UNKNOWN_PROCESS: &str = "an unknown process";

fn holder(listener: &socket::Listener) -> String {
    let found = socket::find_holder(listener).ok().flatten();
    let named = found.and_then(|pid| Some((process::stat(pid).ok()?.comm, pid)));
    named.map_or_else(
        || {
            format!(
                "a process of user {} that this user may not see",
                listener.uid
            )
        },
        |(comm, pid)| format!("{comm} (pid {pid})"),
    )
}

fn binds(port: u16) -> bool {
    let in_use = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
    let free = |bound: io::Result<TcpListener>| !bound.as_ref().is_err_and(in_use);
    free(TcpListener::bind((Ipv4Addr::LOCALHOST, port)))
        && free(TcpListener::bind((Ipv6Addr::LOCALHOST, port)))
}

/// The error that the system refused to `what`, with the matching exit status.
fn refused(name: &str, what: &str, error: &io::Error) -> Failure {
    let (exit, hint) = if error.kind() == io::ErrorKind::NotFound {
        (Exit::Config, "")
    } else if error.raw_os_error() == Some(libc::EPERM) {
        (
            Exit::Permission,
            "; macOS protects this folder: move the program, or grant Full Disk Access",
        )
    } else {
        (Exit::of_system_error(error.kind()), "")
    };
    Failure::new(
        exit,
        format!("cannot start {name}: cannot {what}: {error}{hint}"),
    )
}

#[cfg(test)]
mod tests {
    use super::{ExecPlan, PortAddresses, environment, preflight};
    use crate::cli::exit::Exit;
    use std::fs::{self, Permissions};
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    /// A folder with one file `run` of this content and mode.
    fn folder_with(content: &str, mode: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("run");
        fs::write(&file, content).expect("written");
        fs::set_permissions(&file, Permissions::from_mode(mode)).expect("its mode");
        folder
    }

    fn plan(command: &str, cwd: &Path, port: Option<u16>) -> ExecPlan {
        ExecPlan {
            command: vec![command.into()],
            cwd: cwd.into(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            port: port.map(|port| (port, PortAddresses::Unknown)),
            sockets: Vec::new(),
            name: command.into(),
        }
    }

    /// The status and the message of a preflight that must fail.
    fn failure(plan: &ExecPlan) -> (Exit, String) {
        let failure = preflight(plan, &environment(plan, [])).expect_err("must not pass");
        (failure.exit, failure.message)
    }

    #[test]
    fn a_command_that_can_start_passes() {
        let folder = folder_with("#!/bin/sh -e\n", 0o755);
        let found = |command| {
            let plan = plan(command, folder.path(), None);
            preflight(&plan, &environment(&plan, [])).expect("passes")
        };
        assert_eq!(found("./run"), folder.path().join("./run"));
        assert!(found("sh").ends_with("sh"));
    }

    #[test]
    fn a_missing_interpreter_is_named_with_the_searched_path() {
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
            let (exit, message) = failure(&plan("./run", folder.path(), None));
            assert_eq!(exit, Exit::Config);
            assert!(message.starts_with("cannot start ./run: "), "{message}");
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_missing_exec_bit_is_reported_with_the_chmod_to_run() {
        let folder = folder_with("#!/bin/sh\n", 0o644);
        let (exit, message) = failure(&plan("./run", folder.path(), None));
        assert_eq!(exit, Exit::Permission);
        assert!(message.contains("chmod +x"), "{message}");
    }

    #[test]
    fn a_missing_program_and_a_missing_folder_have_different_messages() {
        let folder = folder_with("", 0o755);
        let (exit, message) = failure(&plan("./walk", folder.path(), None));
        assert_eq!(exit, Exit::Config);
        assert!(message.contains("there is no program"), "{message}");
        let (exit, message) = failure(&plan("sh", &folder.path().join("gone"), None));
        assert_eq!(exit, Exit::Config);
        assert!(message.contains("cannot enter"), "{message}");
        let (exit, message) = failure(&plan("sh", &folder.path().join("run"), None));
        assert_eq!(exit, Exit::Config);
        assert!(message.contains("is not a folder"), "{message}");
        assert_eq!(failure(&plan("", folder.path(), None)).0, Exit::Usage);
    }

    #[test]
    fn the_error_about_a_taken_port_names_its_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (exit, message) = failure(&plan("sh", Path::new("/"), Some(port)));
        assert_eq!(exit, Exit::No);
        assert!(
            message.contains(&format!("port {port} is taken by ")),
            "{message}"
        );
        drop(listener);
        let plan = plan("sh", Path::new("/"), Some(port));
        assert!(preflight(&plan, &environment(&plan, [])).is_ok());
    }

    #[test]
    fn variables_of_the_os_supervisor_are_kept_and_those_of_stayd_removed() {
        let given = [
            ("NOTIFY_SOCKET", "/run/systemd/notify"),
            ("LISTEN_PID", "4711"),
            ("WATCHDOG_USEC", "1"),
            ("STAYD_SUPERVISOR", "launchd:x"),
            ("PATH", "/old"),
        ];
        let plan = plan("sh", Path::new("/"), None);
        let env = environment(
            &plan,
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

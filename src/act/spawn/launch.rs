//! Prepares the start of a program: converts the configured command, environment, user and descriptors to what the kernel
//! needs.

pub use super::environment::{Environment, clean_environment};
use super::run_as;
use crate::act::tree::CommandToken;
use crate::decide::event::SpawnFailure;
use crate::sys::limits::OpenFilesLimit;
use crate::sys::spawn::{Plan, SpawnError, Stage, User};
use nix::errno::Errno;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The search path if the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Every program may rely on descriptors 0, 1 and 2.
const STANDARD_FDS: RawFd = 3;

/// The environment, folder and user with which a program runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecContext {
    /// Its environment, without `pid_variables`.
    pub env: Environment,
    /// Further variables: the value of each is the program's own pid.
    pub pid_variables: Vec<&'static str>,
    /// Its working directory, absolute.
    pub cwd: PathBuf,
    /// The user it runs as, a name or a uid; none: stayd's own.
    pub user: Option<String>,
    /// Its file mode creation mask; none: that of stayd.
    pub umask: Option<u32>,
    /// Its limit of open files; none: that of stayd, which stayd has raised for itself.
    pub open_files: Option<OpenFilesLimit>,
}

/// A program to start.
#[derive(Debug)]
pub struct Launch {
    /// argv, at least one word. The first is searched in the PATH of `exec_context.env` unless it has a slash.
    pub argv: Vec<String>,
    /// What it runs with.
    pub exec_context: ExecContext,
    /// (number in the child, descriptor); those of 0, 1 and 2 that are missing become /dev/null.
    pub fds: Vec<(RawFd, OwnedFd)>,
    /// The open directory of the cgroup in which it starts (Linux).
    pub cgroup: Option<OwnedFd>,
    /// A token by which all processes that it starts can be found.
    pub command_token: Option<CommandToken>,
}

impl Launch {
    /// Prepares everything that must be ready before the fork.
    ///
    /// Looks up the user, which can hang in a directory service, so do not call this on the loop's thread.
    ///
    /// # Errors
    /// A sentence that names what cannot be prepared.
    pub fn plan(self) -> Result<Plan, SpawnFailure> {
        let Some(name) = self.argv.first() else {
            return Err(permanent(
                "cannot start an empty command: no word in it".into(),
            ));
        };
        let mut env = self.exec_context.env;
        let pid_variables = self.exec_context.pid_variables;
        for name in &pid_variables {
            env.remove(OsStr::new(name));
        }
        if let Some(command_token) = self.command_token {
            env.insert(command_token.name.into(), command_token.token.into());
        }
        let program = candidates(
            OsStr::new(name),
            env.get(OsStr::new("PATH")),
            &self.exec_context.cwd,
        );
        let user = match &self.exec_context.user {
            None => None,
            Some(user) => become_user(user, &mut env)?,
        };
        Ok(Plan {
            program: c_strings(program.into_iter().map(PathBuf::into_os_string))?,
            argv: c_strings(self.argv.into_iter().map(OsString::from))?,
            env: c_strings(env.into_iter().map(assignment))?,
            pid_variables: c_strings(pid_variables.into_iter().map(OsString::from))?,
            cwd: c_string(self.exec_context.cwd.into_os_string())?,
            fds: with_standard_fds(self.fds)?,
            user,
            umask: self.exec_context.umask,
            open_files: self.exec_context.open_files,
            cgroup: self.cgroup,
        })
    }
}

/// The files that the program's name may mean, in the order of execvp(3).
pub(crate) fn candidates(name: &OsStr, path: Option<&OsString>, cwd: &Path) -> Vec<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return vec![cwd.join(name)];
    }
    let path = path.map_or(OsStr::new(DEFAULT_PATH), OsString::as_os_str);
    std::env::split_paths(path)
        .map(|folder| cwd.join(folder).join(name))
        .collect()
}

/// Looks up a user, and sets the variables that name it, unless the configuration sets them.
fn become_user(name: &str, env: &mut Environment) -> Result<Option<User>, SpawnFailure> {
    let found = run_as::look_up(name)?;
    run_as::set_names(&found, env);
    Ok(run_as::to_change_to(found))
}

fn with_standard_fds(
    mut fds: Vec<(RawFd, OwnedFd)>,
) -> Result<Vec<(RawFd, OwnedFd)>, SpawnFailure> {
    for number in 0..STANDARD_FDS {
        if fds.iter().all(|(taken, _)| *taken != number) {
            let null = open_null(number)
                .map_err(|error| temporary(format!("cannot open /dev/null: {error}")))?;
            fds.push((number, null.into()));
        }
    }
    fds.sort_by_key(|(number, _)| *number);
    Ok(fds)
}

fn open_null(number: RawFd) -> io::Result<File> {
    OpenOptions::new()
        .read(number == 0)
        .write(number != 0)
        .open("/dev/null")
}

fn assignment((name, value): (OsString, OsString)) -> OsString {
    let mut text = name;
    text.push("=");
    text.push(value);
    text
}

fn c_strings(words: impl Iterator<Item = OsString>) -> Result<Vec<CString>, SpawnFailure> {
    words.map(c_string).collect()
}

fn c_string(word: OsString) -> Result<CString, SpawnFailure> {
    CString::new(word.into_vec())
        .map_err(|_| permanent("cannot start it: a word or variable has a NUL byte in it".into()))
}

/// Explains a failed spawn of `argv0` in a sentence.
pub(crate) fn explain(
    error: SpawnError,
    argv0: &str,
    cwd: &Path,
    user: Option<&str>,
) -> SpawnFailure {
    let what = match (error.stage, user) {
        (Stage::User, Some(user)) => format!("become {user}"),
        (Stage::Directory, _) => format!("enter {}", cwd.display()),
        (stage, _) => stage.purpose().into(),
    };
    let errno = Errno::from_raw(error.errno);
    if (error.stage, errno) == (Stage::Exec, Errno::EINTR) {
        return temporary(format!(
            "cannot start {argv0}: it was killed before its program ran; trying again"
        ));
    }
    let hint = match (error.stage, errno) {
        (Stage::Exec, Errno::ENOENT) if argv0.contains('/') && cwd.join(argv0).exists() => {
            "; the file is there, so its interpreter (the first line, or the loader) is not"
        }
        (Stage::Exec, Errno::ENOENT) if !argv0.contains('/') => "; it is not in PATH",
        (Stage::Exec, Errno::ENOEXEC) => "; a script needs a first line such as #!/bin/sh",
        (Stage::Limits, Errno::EPERM) => {
            "; without CAP_SYS_RESOURCE the hard limit of stayd is the highest; lower `limit_nofile`, or raise the limit of stayd"
        }
        (Stage::User, Errno::EPERM) => "; only root may change the user",
        _ => "",
    };
    SpawnFailure {
        message: format!(
            "cannot start {argv0}: cannot {what}: {}{hint}",
            errno.desc()
        ),
        lasting: is_lasting(errno),
    }
}

/// Whether another attempt cannot help.
fn is_lasting(errno: Errno) -> bool {
    const PASSING: [Errno; 7] = [
        Errno::EAGAIN,
        Errno::ENOMEM,
        Errno::EMFILE,
        Errno::ENFILE,
        Errno::ETXTBSY,
        Errno::EIO,
        Errno::EBUSY,
    ];
    !PASSING.contains(&errno)
}

pub(crate) const fn permanent(message: String) -> SpawnFailure {
    SpawnFailure {
        message,
        lasting: true,
    }
}

pub(crate) const fn temporary(message: String) -> SpawnFailure {
    SpawnFailure {
        message,
        lasting: false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Environment, ExecContext, Launch, SpawnError, Stage, candidates, explain};
    use std::ffi::{OsStr, OsString};
    use std::path::{Path, PathBuf};

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    #[test]
    fn a_child_that_was_killed_before_exec_is_not_reported_as_a_wrong_program() {
        let error = SpawnError {
            stage: Stage::Exec,
            errno: libc::EINTR,
        };
        let failure = explain(error, "check", Path::new("/"), None);
        assert!(!failure.lasting, "{failure:?}");
        assert!(
            failure.message.contains("killed before its program ran"),
            "{failure:?}"
        );
    }

    #[test]
    fn a_program_is_searched_in_the_childs_path() {
        let cwd = Path::new("/srv");
        let path = OsString::from("/opt/bin:bin");
        assert_eq!(
            candidates(OsStr::new("tool"), Some(&path), cwd),
            [
                PathBuf::from("/opt/bin/tool"),
                PathBuf::from("/srv/bin/tool")
            ]
        );
        assert_eq!(
            candidates(OsStr::new("./tool"), Some(&path), cwd),
            [PathBuf::from("/srv/./tool")]
        );
        assert_eq!(candidates(OsStr::new("tool"), None, cwd).len(), 3);
    }

    #[test]
    fn a_plan_has_the_standard_descriptors_and_names_what_is_wrong() {
        let launch = |argv: &[&str], user: Option<&str>| Launch {
            argv: argv.iter().map(ToString::to_string).collect(),
            exec_context: ExecContext {
                env: environment(&[("A", "b")]),
                cwd: "/".into(),
                user: user.map(Into::into),
                ..ExecContext::default()
            },
            fds: Vec::new(),
            cgroup: None,
            command_token: None,
        };
        let plan = launch(&["true"], None).plan().expect("a plan");
        let numbers: Vec<_> = plan.fds.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!(plan.env[0].to_bytes(), b"A=b");
        for (argv, user, word) in [
            (&[][..], None, "empty"),
            (&["a\0b"][..], None, "NUL"),
            (&["true"][..], Some("no-such-user-here"), "no such user"),
        ] {
            let failure = launch(argv, user).plan().expect_err("no plan");
            assert!(
                failure.lasting && failure.message.contains(word),
                "{failure:?}"
            );
        }
    }
}

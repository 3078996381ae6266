//! Finds out before a start why a program cannot be started, and returns a sentence with the one command that fixes it.
//!
//! execve(2) returns one errno for many causes: "No such file or directory" for a missing interpreter, "Permission denied"
//! for a noexec mount. Here each cause is checked by itself. All checks block for as long as the disk does, so the loop
//! must not call them.

mod access;
mod binary_format;
pub mod needs;
mod request;
#[cfg(test)]
mod tests;

pub(crate) use request::ExplainStartFailure;

use crate::act::spawn::launch::{Launch, candidates};
use crate::config::runtime::expand_runtime;
use crate::config::split_words;
use access::{Access, RunAsUser};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The kernel reads this much of a script's first line (execve(2)).
const FIRST_LINE_BYTES: usize = 256;
/// How much is read of a program: its headers, and the name of its loader.
const HEAD_BYTES: u64 = 64 * 1024;

/// A program as a command names it, and what is needed to find and check its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramLookup {
    /// The first word of the command.
    pub program: String,
    /// The working directory, absolute.
    pub cwd: PathBuf,
    /// The PATH in which the program is searched.
    pub path: Option<String>,
    /// The user that will run it; `None`: the user of this process.
    pub user: Option<String>,
}

impl ProgramLookup {
    /// The same, with the root of a runtime in place of its placeholder.
    #[must_use]
    pub fn expand_runtime(&self, root: &Path) -> Self {
        Self {
            program: expand_runtime(&self.program, Some(root)),
            cwd: expand_runtime(&self.cwd.to_string_lossy(), Some(root)).into(),
            ..self.clone()
        }
    }
}

impl From<&Launch> for ProgramLookup {
    fn from(launch: &Launch) -> Self {
        let path = launch.exec_context.env.get(OsStr::new("PATH"));
        Self {
            program: launch.argv.first().cloned().unwrap_or_default(),
            cwd: launch.exec_context.cwd.clone(),
            path: path.map(|path| path.to_string_lossy().into_owned()),
            user: launch.exec_context.user.clone(),
        }
    }
}

/// Why a program cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreflightError {
    /// Which kind of cause it is.
    pub kind: PreflightErrorKind,
    /// A sentence: "cause; what the user can do".
    pub cause: String,
}

/// Which kind of cause prevents a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PreflightErrorKind {
    /// A file does not exist, or is no program for this machine.
    Missing,
    /// A file exists but must not be used.
    Permission,
}

/// Returns the file that would be executed.
///
/// # Errors
/// The first cause that was found.
pub fn check(lookup: &ProgramLookup) -> Result<PathBuf, PreflightError> {
    let user = RunAsUser::named(lookup.user.as_deref())?;
    check_cwd(&lookup.cwd, &user)?;
    let program = find(&lookup.program, lookup, &user)?;
    let head = read_head(&program);
    match first_line(&head) {
        Some(line) => check_interpreter(&line, &program, lookup, &user)?,
        None => binary_format::check(&program, &head)?,
    }
    access::check_not_quarantined(&program)?;
    Ok(program)
}

/// The working directory exists and the user can enter it.
fn check_cwd(cwd: &Path, user: &RunAsUser) -> Result<(), PreflightError> {
    let shown = cwd.display();
    user.check(cwd, Access::Search)?;
    match fs::metadata(cwd) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(missing(format!("{shown} is not a folder; correct `cwd`"))),
        Err(error) => Err(missing(format!(
            "cannot enter {shown}: {error}; create it, or correct `cwd`"
        ))),
    }
}

/// The file of `program`, searched as execvp(3) does.
fn find(
    program: &str,
    lookup: &ProgramLookup,
    user: &RunAsUser,
) -> Result<PathBuf, PreflightError> {
    let path = lookup.path.as_ref().map(OsString::from);
    let places = candidates(OsStr::new(program), path.as_ref(), &lookup.cwd);
    let mut first_error = None;
    for place in &places {
        match user.check(place, Access::Execute) {
            Ok(()) if place.is_file() => return Ok(place.clone()),
            Ok(()) if place.is_dir() => {
                let cause = format!("{} is a folder; name the program in it", place.display());
                first_error.get_or_insert(missing(cause));
            }
            Ok(()) => {}
            Err(error) if place.exists() || program.contains('/') => {
                first_error.get_or_insert(error);
            }
            Err(_) => {}
        }
    }
    Err(first_error.unwrap_or_else(|| match places.first() {
        Some(place) if program.contains('/') => missing(format!(
            "there is no program {}; {}",
            place.display(),
            several_words(program).unwrap_or_else(|| "correct the name".to_owned()),
        )),
        _ => missing(format!(
            "no {program} in PATH, which is {}; {}",
            lookup.path.as_deref().unwrap_or("empty"),
            several_words(program).unwrap_or_else(|| "write its whole path".to_owned()),
        )),
    }))
}

/// The advice for a program that does not exist, if its name looks like a whole command line.
fn several_words(program: &str) -> Option<String> {
    let words = split_words(program).ok().filter(|words| words.len() > 1)?;
    Some(format!(
        "a command is a list of words: write {words:?}, or the words without quotes on a command line"
    ))
}

/// The interpreter of a script exists; with `#!/usr/bin/env NAME`, NAME is in PATH too.
fn check_interpreter(
    line: &str,
    program: &Path,
    lookup: &ProgramLookup,
    user: &RunAsUser,
) -> Result<(), PreflightError> {
    if line.ends_with('\r') {
        return Err(missing(format!(
            "the first line of {0} ends with a carriage return, which becomes part of its interpreter's name; \
             `sed -i 's/\\r$//' {0}`",
            program.display()
        )));
    }
    let mut words = line.split_whitespace();
    let Some(first) = words.next() else {
        return Ok(());
    };
    let needed = |interpreter: &str| {
        find(interpreter, lookup, user)
            .map(drop)
            .map_err(|error| PreflightError {
                cause: format!("{}; {} needs it", error.cause, program.display()),
                ..error
            })
    };
    needed(first)?;
    match words.find(|word| !word.starts_with('-') && !word.contains('=')) {
        Some(name) if first.ends_with("/env") => needed(name),
        Some(_) | None => Ok(()),
    }
}

/// The first bytes of a program; empty where it cannot be read.
fn read_head(program: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    let read = File::open(program).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    read.map(|_| head).unwrap_or_default()
}

/// What follows `#!` in a script; `None` for other files.
fn first_line(head: &[u8]) -> Option<String> {
    let known = &head[..head.len().min(FIRST_LINE_BYTES)];
    let line = known
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    Some(String::from_utf8_lossy(line).into_owned())
}

fn missing(cause: String) -> PreflightError {
    PreflightError {
        kind: PreflightErrorKind::Missing,
        cause,
    }
}

fn forbidden(cause: String) -> PreflightError {
    PreflightError {
        kind: PreflightErrorKind::Permission,
        cause,
    }
}

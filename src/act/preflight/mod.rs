//! Why a program cannot start, in words, with the one command that cures it.
//!
//! execve(2) has one errno for many causes: "No such file or directory" for a missing interpreter, "Permission denied"
//! for a noexec mount. Here each is looked at by itself. Everything may hang with the disk it touches: not for the loop.

mod image;
pub mod needs;
mod reach;
#[cfg(test)]
mod tests;

use crate::act::spawn::launch::{Launch, candidates};
use crate::config::runtime::expand_runtime;
use reach::{Person, Want};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The kernel reads this much of a script's first line (execve(2)).
const FIRST_LINE_BYTES: usize = 256;
/// The start of a program: its headers, and the name of its loader.
const HEAD_BYTES: u64 = 64 * 1024;

/// What is to be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// The first word of its command.
    pub program: String,
    /// Where, absolute.
    pub cwd: PathBuf,
    /// PATH there.
    pub path: Option<String>,
    /// Who is to run it; none: whoever asks.
    pub user: Option<String>,
}

impl Look {
    /// The same with the root of a runtime in the place of its name.
    #[must_use]
    pub fn expand_runtime(&self, root: &Path) -> Self {
        Self {
            program: expand_runtime(&self.program, Some(root)),
            cwd: expand_runtime(&self.cwd.to_string_lossy(), Some(root)).into(),
            ..self.clone()
        }
    }
}

impl From<&Launch> for Look {
    fn from(launch: &Launch) -> Self {
        let path = launch.surroundings.env.get(OsStr::new("PATH"));
        Self {
            program: launch.argv.first().cloned().unwrap_or_default(),
            cwd: launch.surroundings.cwd.clone(),
            path: path.map(|path| path.to_string_lossy().into_owned()),
            user: launch.surroundings.user.clone(),
        }
    }
}

/// What stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// What kind of thing it is.
    pub kind: Kind,
    /// "…; cure".
    pub cause: String,
}

/// What kind of thing stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Something is not there, or is no program for this machine.
    Missing,
    /// Something is there and may not be used.
    Permission,
}

/// The file that is to be executed, or what stands in the way.
///
/// # Errors
/// The first obstacle that was found.
pub fn look(look: &Look) -> Result<PathBuf, Obstacle> {
    let person = Person::named(look.user.as_deref())?;
    folder(&look.cwd, &person)?;
    let program = find(&look.program, look, &person)?;
    let head = head_of(&program);
    match first_line(&head) {
        Some(line) => interpreter(&line, &program, look, &person)?,
        None => image::fits(&program, &head)?,
    }
    reach::is_trusted(&program)?;
    Ok(program)
}

/// The working directory is there and may be entered.
fn folder(cwd: &Path, person: &Person) -> Result<(), Obstacle> {
    let shown = cwd.display();
    person.can(cwd, Want::Search)?;
    match fs::metadata(cwd) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(missing(format!("{shown} is not a folder; correct `cwd`"))),
        Err(error) => Err(missing(format!(
            "cannot enter {shown}: {error}; create it, or correct `cwd`"
        ))),
    }
}

/// The file that `program` means, searched as execvp(3) would.
fn find(program: &str, look: &Look, person: &Person) -> Result<PathBuf, Obstacle> {
    let path = look.path.as_ref().map(OsString::from);
    let places = candidates(OsStr::new(program), path.as_ref(), &look.cwd);
    let mut obstacle = None;
    for place in &places {
        match person.can(place, Want::Execute) {
            Ok(()) if place.is_file() => return Ok(place.clone()),
            Ok(()) if place.is_dir() => {
                let cause = format!("{} is a folder; name the program in it", place.display());
                obstacle.get_or_insert(missing(cause));
            }
            Ok(()) => {}
            Err(found) if place.exists() || program.contains('/') => {
                obstacle.get_or_insert(found);
            }
            Err(_) => {}
        }
    }
    Err(obstacle.unwrap_or_else(|| match places.first() {
        Some(place) if program.contains('/') => missing(format!(
            "there is no program {}; correct the name",
            place.display()
        )),
        _ => missing(format!(
            "no {program} in PATH, which is {}; write its whole path",
            look.path.as_deref().unwrap_or("empty")
        )),
    }))
}

/// A script's interpreter is there; with `#!/usr/bin/env NAME`, NAME is in PATH.
fn interpreter(line: &str, program: &Path, look: &Look, person: &Person) -> Result<(), Obstacle> {
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
        find(interpreter, look, person)
            .map(drop)
            .map_err(|obstacle| Obstacle {
                cause: format!("{}; {} needs it", obstacle.cause, program.display()),
                ..obstacle
            })
    };
    needed(first)?;
    match words.find(|word| !word.starts_with('-') && !word.contains('=')) {
        Some(real) if first.ends_with("/env") => needed(real),
        Some(_) | None => Ok(()),
    }
}

/// The start of a program; nothing of one that may not be read.
fn head_of(program: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    let read = File::open(program).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    read.map(|_| head).unwrap_or_default()
}

/// What follows `#!`; none for anything but a script.
fn first_line(head: &[u8]) -> Option<String> {
    let known = &head[..head.len().min(FIRST_LINE_BYTES)];
    let line = known
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    Some(String::from_utf8_lossy(line).into_owned())
}

fn missing(cause: String) -> Obstacle {
    Obstacle {
        kind: Kind::Missing,
        cause,
    }
}

fn forbidden(cause: String) -> Obstacle {
    Obstacle {
        kind: Kind::Permission,
        cause,
    }
}

//! Checks that what the services need exists: folders, env files, users, programs. Runs in a helper process, because each
//! check may hang.

use super::several_words;
use crate::act::helper::{Helper, HelperError};
use crate::act::spawn::launch::candidates;
use crate::act::spawn::run_as;
use crate::act::spawn::spawner::Spawner;
use crate::config::{self, Prerequisite};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most time for one check, because a disk or a directory service may hang.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// The execute bits of owner, group and others.
const EXECUTABLE: u32 = 0o111;

/// Returns the index of every need that is missing, with a sentence that says what is wrong and what the user can do.
///
/// `program` is stayd's own executable, from which the helper is started. After a check without an answer, the needs after
/// it are not checked.
pub async fn missing(program: PathBuf, needs: &[Prerequisite]) -> Vec<(usize, String)> {
    let spawner = Spawner::new();
    let mut helper = Helper::new(spawner.clone(), program);
    let checks = async {
        let mut missing = Vec::new();
        for (nth, need) in needs.iter().enumerate() {
            match helper.ask(need.clone(), CHECK_TIMEOUT).await {
                Ok(None) => {}
                Ok(Some(sentence)) | Err(HelperError::Failed(sentence)) => {
                    missing.push((nth, sentence));
                }
                Err(HelperError::NotAsked(cause)) => {
                    missing.push((nth, format!("cannot check whether it exists: {cause}")));
                    break;
                }
                Err(HelperError::Silent) => {
                    missing.push((nth, silent(need)));
                    break;
                }
            }
        }
        missing
    };
    spawner.reap_during(checks).await
}

fn silent(need: &Prerequisite) -> String {
    let what = match need {
        Prerequisite::Folder(path)
        | Prerequisite::SocketFolder(path)
        | Prerequisite::EnvFile { path, .. } => path.display().to_string(),
        Prerequisite::User(name) => format!("the user {name}"),
        Prerequisite::Program { name, .. } => format!("`{name}`"),
    };
    format!(
        "cannot check {what}: no answer within {CHECK_TIMEOUT:?}, its disk or directory service hangs; the rest of the \
         configuration is not checked against the system"
    )
}

/// Says what is wrong with `need`; `None`: nothing. Blocks for as long as its disk or directory service does.
pub(crate) fn check(need: &Prerequisite) -> Option<String> {
    match need {
        Prerequisite::Folder(path) => check_folder(path, "run", "cwd"),
        Prerequisite::SocketFolder(path) => check_folder(path, "bind a socket", "sockets"),
        Prerequisite::EnvFile { path, user } => check_env_file(path, user.as_deref()),
        Prerequisite::User(name) => check_user(name),
        Prerequisite::Program { name, cwd, path } => check_program(name, cwd, path.as_deref()),
    }
}

/// The file can be read on behalf of `user`, whose own problems are another finding.
fn check_env_file(path: &Path, user: Option<&str>) -> Option<String> {
    let found = match user.map(run_as::look_up) {
        Some(Err(_)) => return None,
        Some(Ok(found)) => run_as::to_change_to(found),
        None => None,
    };
    let read = config::read_env_file(path, found.as_ref());
    read.err().map(|finding| finding.to_string())
}

/// The folder exists. `action` is what the service does in it, and `key` is the configuration key that names it.
fn check_folder(path: &Path, action: &str, key: &str) -> Option<String> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some(format!(
            "cannot {action} in {shown}: it is no folder; correct `{key}`"
        )),
        Err(error) if is_absent(&error) => Some(format!(
            "cannot {action} in {shown}: it does not exist; create it, or correct `{key}`"
        )),
        Err(error) => Some(format!("cannot check {shown}: {error}")),
    }
}

fn check_user(name: &str) -> Option<String> {
    run_as::look_up(name).err().map(|failure| failure.message)
}

/// The program is found where execvp(3) searches it.
fn check_program(name: &str, cwd: &Path, path: Option<&str>) -> Option<String> {
    let path = path.map(OsString::from);
    let mut first_cause = None;
    for file in candidates(OsStr::new(name), path.as_ref(), cwd) {
        match fs::metadata(&file) {
            Ok(found) if found.is_file() && found.permissions().mode() & EXECUTABLE != 0 => {
                return None;
            }
            Ok(found) if found.is_dir() => {
                first_cause.get_or_insert(format!("{} is a folder", file.display()));
            }
            Ok(_) => {
                let cause = format!("{} is not executable; chmod +x it", file.display());
                first_cause.get_or_insert(cause);
            }
            Err(error) if is_absent(&error) => {}
            Err(error) => {
                first_cause.get_or_insert(format!("{}: {error}", file.display()));
            }
        }
    }
    let cause = first_cause.unwrap_or_else(|| {
        let (place, advice) = if name.contains('/') {
            ("it does not exist", "correct the path")
        } else {
            (
                "it is not in PATH",
                "correct the name, or write its whole path",
            )
        };
        let advice = several_words(name).unwrap_or_else(|| advice.to_owned());
        format!("{place}; {advice}")
    });
    Some(format!("cannot run `{name}`: {cause}"))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

//! Is there what the services need: folders, files of variables, users, programs? Asked in a helper, for each may hang.

use crate::act::helper::{Ask, Helper, Reply, Trouble};
use crate::act::spawn::launch::candidates;
use crate::act::spawn::spawner::Spawner;
use crate::config::{self, Prerequisite};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A disk or a directory service that has not answered by then is not waited for.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// Permission to execute, for anybody.
const EXECUTABLE: u32 = 0o111;

/// Which of `needs` are missing, by their number, and in a sentence what is wrong with each and the cure.
///
/// `program` is this program of ours, for the helper. After one that does not answer the rest is not looked at.
pub async fn missing(program: PathBuf, needs: &[Prerequisite]) -> Vec<(usize, String)> {
    let spawner = Spawner::new();
    let mut helper = Helper::new(spawner.clone(), program);
    let look = async {
        let mut missing = Vec::new();
        for (nth, need) in needs.iter().enumerate() {
            match helper
                .ask(Ask::Prerequisite(need.clone()), LOOK_WITHIN)
                .await
            {
                Ok(Reply::Text(None)) => {}
                Ok(Reply::Text(Some(sentence)) | Reply::Failed(sentence)) => {
                    missing.push((nth, sentence));
                }
                Ok(
                    Reply::Sqlite(_)
                    | Reply::Addresses(_)
                    | Reply::Variables(_)
                    | Reply::Runtime(_),
                ) => {
                    missing.push((
                        nth,
                        "cannot look at it: the helper answered something else".into(),
                    ));
                }
                Err(Trouble::Unasked(cause)) => {
                    missing.push((nth, format!("cannot look whether it is there: {cause}")));
                    break;
                }
                Err(Trouble::Silent) => {
                    missing.push((nth, silent(need)));
                    break;
                }
            }
        }
        missing
    };
    spawner.attend(look).await
}

fn silent(need: &Prerequisite) -> String {
    let what = match need {
        Prerequisite::Folder(path)
        | Prerequisite::SocketFolder(path)
        | Prerequisite::EnvFile(path) => path.display().to_string(),
        Prerequisite::User(name) => format!("the user {name}"),
        Prerequisite::Program { name, .. } => format!("`{name}`"),
    };
    format!(
        "cannot look at {what}: no answer within {LOOK_WITHIN:?}, its disk or directory service hangs; what comes after it \
         is not looked at"
    )
}

/// What is wrong with `need`; none: nothing. Blocks for as long as its disk or directory service does.
pub(crate) fn look(need: &Prerequisite) -> Option<String> {
    match need {
        Prerequisite::Folder(path) => folder(path, "run", "cwd"),
        Prerequisite::SocketFolder(path) => folder(path, "bind a socket", "sockets"),
        Prerequisite::EnvFile(path) => config::read_env_file(path)
            .err()
            .map(|finding| finding.to_string()),
        Prerequisite::User(name) => user(name),
        Prerequisite::Program { name, cwd, path } => program(name, cwd, path.as_deref()),
    }
}

/// `key` says that something is to be done in the folder.
fn folder(path: &Path, what: &str, key: &str) -> Option<String> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(seen) if seen.is_dir() => None,
        Ok(_) => Some(format!(
            "cannot {what} in {shown}: it is no folder; correct `{key}`"
        )),
        Err(error) if is_absent(&error) => Some(format!(
            "cannot {what} in {shown}: it does not exist; create it, or correct `{key}`"
        )),
        Err(error) => Some(format!("cannot look at {shown}: {error}")),
    }
}

fn user(name: &str) -> Option<String> {
    match nix::unistd::User::from_name(name) {
        Ok(Some(_)) => None,
        Ok(None) => Some(format!(
            "cannot run as {name}: there is no such user; create it, or correct `user`"
        )),
        Err(error) => Some(format!("cannot look up the user {name}: {error}")),
    }
}

/// Looks where execvp(3) would.
fn program(name: &str, cwd: &Path, path: Option<&str>) -> Option<String> {
    let path = path.map(OsString::from);
    let mut in_the_way = None;
    for file in candidates(OsStr::new(name), path.as_ref(), cwd) {
        match fs::metadata(&file) {
            Ok(seen) if seen.is_file() && seen.permissions().mode() & EXECUTABLE != 0 => {
                return None;
            }
            Ok(seen) if seen.is_dir() => {
                in_the_way.get_or_insert(format!("{} is a folder", file.display()));
            }
            Ok(_) => {
                let cause = format!("{} is not executable; chmod +x it", file.display());
                in_the_way.get_or_insert(cause);
            }
            Err(error) if is_absent(&error) => {}
            Err(error) => {
                in_the_way.get_or_insert(format!("{}: {error}", file.display()));
            }
        }
    }
    let cause = in_the_way.unwrap_or_else(|| {
        let place = if name.contains('/') {
            "it does not exist"
        } else {
            "it is not in PATH"
        };
        format!("{place}; install it, or correct the name")
    });
    Some(format!("cannot run `{name}`: {cause}"))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

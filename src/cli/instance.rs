//! Where things are for this process: the configuration, an instance's folders, its socket.

use super::args::Common;
use super::exit::{Exit, Failure};
use super::find::Candidate;
use crate::config::paths::Paths;
use crate::config::{self, Finding};
use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// More instances than these below one folder are not looked at.
const INSTANCES_MAX: usize = 1000;

/// The folders of one instance, as its daemon uses them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folders {
    /// STATE
    pub(super) state: PathBuf,
    /// For what STATE cannot take.
    pub(super) runtime: PathBuf,
    /// In one of the two.
    pub(super) socket: PathBuf,
}

/// A variable of this process's environment.
pub(super) fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// The folders that a daemon for the instance `name` uses; `group`: a control group is configured.
pub(super) fn folders(common: &Common, name: &str, group: bool) -> Result<Folders, Failure> {
    let paths = Paths::here(&variable);
    let given = common.state_dir.as_deref().map(absolute).transpose()?;
    let state = paths.state_dir(name, given.as_deref()).map_err(refused)?;
    Ok(Folders {
        runtime: paths.runtime_dir(name),
        socket: paths.control_socket(name, &state, group).map_err(refused)?,
        state,
    })
}

fn refused(finding: Finding) -> Failure {
    Failure::new(Exit::System, finding.message)
}

/// The configuration: `-c`, $STAYD_CONFIG, ./stayd.toml, the user's, /etc/stayd/stayd.toml, the first that exists.
pub(super) fn config_file(common: &Common) -> Result<PathBuf, Failure> {
    let found = Paths::here(&variable).find_config(common.config.as_deref(), &|file| file.exists());
    absolute(&found.map_err(|finding| Failure::new(Exit::Config, finding.message))?)
}

/// The configuration that was named, with `-c` or by $STAYD_CONFIG, when there is no such file. A stayd that was started
/// with it may run nonetheless.
pub(super) fn absent_config(common: &Common) -> Option<PathBuf> {
    let places = Paths::here(&variable).configs(common.config.as_deref());
    let [named] = places.as_slice() else {
        return None; // none was named
    };
    let absent = fs::metadata(named).is_err_and(|error| error.kind() == ErrorKind::NotFound);
    absent.then(|| named.clone())
}

/// The instances that a client may mean: the one of a folder, the one of a configuration, else all that are there.
pub(super) fn candidates(common: &Common) -> Result<Vec<Candidate>, Failure> {
    let paths = Paths::here(&variable);
    let given = common.state_dir.as_deref().map(absolute).transpose()?;
    let names = match (&given, config_file(common)) {
        // the file that was named, as the daemon was told it; one that just lies about may be another's
        (Some(_), Ok(file)) if common.config.is_some() => vec![config::peek_name(&file)],
        (Some(state), _) => vec![last_part(state)],
        (None, Ok(file)) => vec![config::peek_name(&file)],
        (None, Err(_)) => instances(paths),
    };
    let candidate = |name: String| {
        let states = paths.client_state_dirs(&name, given.as_deref());
        let sockets = states.iter().flat_map(|state| {
            let theirs = if state.starts_with("/var/lib") {
                paths.as_root()
            } else {
                paths
            };
            theirs.control_sockets(&name, state)
        });
        Candidate {
            sockets: sockets.collect(),
            states: states.clone(),
            name,
        }
    };
    Ok(names.into_iter().map(candidate).collect())
}

/// The names of all instances of this user and of root, running or not.
fn instances(paths: Paths<'_>) -> Vec<String> {
    let roots = [paths.state_root(), paths.as_root().state_root()];
    let entries = roots
        .into_iter()
        .flatten()
        .filter_map(|root| fs::read_dir(root).ok());
    let entries = entries
        .flat_map(|entries| entries.take(INSTANCES_MAX))
        .flatten();
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names.dedup();
    names
}

fn last_part(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The same path from the root on.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::system(&format!("find {}", path.display()), &error))
}

/// The folder we were called in.
pub(super) fn here() -> Result<PathBuf, Failure> {
    env::current_dir().map_err(|error| Failure::system("tell the current folder", &error))
}

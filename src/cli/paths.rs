//! Where files are for this process: the configuration file, and the folders and sockets of stayd instances.

use super::args::CommonOptions;
use super::console::print_stderr;
use super::exit::{Exit, Failure};
use crate::act::dirs::runtime_dir;
use crate::config::paths::Paths;
use crate::config::{self, Finding};
use crate::sys;
use crate::sys::identity::ROOT;
use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// How many entries of one folder of instances are read at most.
const INSTANCES_MAX: usize = 1000;

/// The folders of one stayd instance, as its daemon uses them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InstanceFolders {
    /// STATE
    pub(super) state: PathBuf,
    /// The runtime folder, for sockets that cannot be in STATE.
    pub(super) runtime: PathBuf,
    /// The control socket, in one of the two folders.
    pub(super) socket: PathBuf,
}

/// A stayd instance that a client may mean, running or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InstanceCandidate {
    /// Its name.
    pub(super) name: String,
    /// Where its control socket may be, in the order to try.
    pub(super) sockets: Vec<PathBuf>,
    /// Where its state folder may be, in the same order.
    pub(super) states: Vec<PathBuf>,
}

/// A variable of this process's environment; none if it is unset or not UTF-8.
pub(super) fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// The file of the running program.
pub(super) fn own_program() -> Result<PathBuf, Failure> {
    sys::identity::own_program().map_err(|error| Failure::system("find its own program", &error))
}

/// The folders of a daemon for the instance `name`. `group` says whether a control group is configured.
pub(super) fn instance_folders(
    common: &CommonOptions,
    name: &str,
    group: bool,
) -> Result<InstanceFolders, Failure> {
    let paths = Paths::here(&variable);
    let given = common.state_dir.as_deref().map(absolute).transpose()?;
    let state = paths.state_dir(name, given.as_deref()).map_err(refused)?;
    Ok(InstanceFolders {
        runtime: usable_runtime_dir(paths.runtime_dir(name), &state),
        socket: paths.control_socket(name, &state, group).map_err(refused)?,
        state,
    })
}

/// The runtime folder, or one in the state folder instead. Without XDG_RUNTIME_DIR it is in a folder such as /tmp, where another
/// user can take its name and so keep stayd from starting.
fn usable_runtime_dir(usual: PathBuf, state: &Path) -> PathBuf {
    match runtime_dir::check(&usual) {
        Err(error)
            if error.kind() == ErrorKind::PermissionDenied && sys::identity::euid() != ROOT =>
        {
            let instead = state.join("run");
            print_stderr(&format!(
                "stayd: {error}; meanwhile stayd uses {}",
                instead.display()
            ));
            instead
        }
        Ok(()) | Err(_) => usual,
    }
}

fn refused(finding: Finding) -> Failure {
    Failure::new(Exit::System, finding.message)
}

/// The configuration file: the first that exists of `-c`, $STAYD_CONFIG, ./stayd.toml, the user's file and
/// /etc/stayd/stayd.toml.
pub(super) fn config_file(common: &CommonOptions) -> Result<PathBuf, Failure> {
    let found = Paths::here(&variable).find_config(common.config.as_deref(), &|file| file.exists());
    absolute(&found.map_err(|finding| Failure::new(Exit::Config, finding.message))?)
}

/// The configuration file that `-c` or $STAYD_CONFIG names, which need not exist.
pub(super) fn named_config(common: &CommonOptions) -> Option<PathBuf> {
    Paths::here(&variable).named_config(common.config.as_deref())
}

/// The file named by `-c` or $STAYD_CONFIG, if it does not exist. A stayd that was started with it may still run.
pub(super) fn absent_config(common: &CommonOptions) -> Option<PathBuf> {
    let is_absent =
        |file: &PathBuf| fs::metadata(file).is_err_and(|error| error.kind() == ErrorKind::NotFound);
    named_config(common).filter(is_absent)
}

/// The instances that a client may mean: the one of the given state folder, else the one of the configuration, else all
/// instances of this user and of root.
pub(super) fn instance_candidates(
    common: &CommonOptions,
) -> Result<Vec<InstanceCandidate>, Failure> {
    let paths = Paths::here(&variable);
    let given = common.state_dir.as_deref().map(absolute).transpose()?;
    let names = match (&given, config_file(common)) {
        _ if common.name.is_some() => vec![instance_name(common)?],
        // The daemon was given the same file and folder. A file that was only found may belong to another instance.
        (Some(_), Ok(file)) if common.config.is_some() => vec![config::peek_name(&file)],
        (Some(state), _) => vec![last_component(state)],
        (None, Ok(file)) => vec![config::peek_name(&file)],
        (None, Err(_)) => instance_names(paths),
    };
    let candidate = |name: String| {
        let states = paths.client_state_dirs(&name, given.as_deref());
        let sockets = states.iter().flat_map(|state| {
            let owner = if state.starts_with("/var/lib") {
                paths.as_root()
            } else {
                paths
            };
            owner.control_sockets(&name, state)
        });
        InstanceCandidate {
            sockets: sockets.collect(),
            states: states.clone(),
            name,
        }
    };
    Ok(names.into_iter().map(candidate).collect())
}

/// The name that the command line gives.
fn instance_name(common: &CommonOptions) -> Result<String, Failure> {
    let name = common.name.clone().unwrap_or_default();
    if config::is_name(&name) {
        return Ok(name);
    }
    Err(Failure::new(
        Exit::Usage,
        format!(
            "cannot use --name {name}: it is not the name of an instance; `stayd status` lists those that run"
        ),
    ))
}

/// Whether the command line, or a configuration that is found, means one instance.
pub(super) fn means_one_instance(common: &CommonOptions) -> bool {
    common.name.is_some() || common.state_dir.is_some() || config_file(common).is_ok()
}

/// Where the control sockets of this user's instances may be, running or not, and where those of root's instances may be.
/// Each instance has several places, in the order to try.
pub(super) fn sockets_by_owner() -> [Vec<Vec<PathBuf>>; 2] {
    let paths = Paths::here(&variable);
    let sockets = |owner: Paths<'_>| {
        let Ok(root) = owner.state_root() else {
            return Vec::new();
        };
        let names = names_in(&root).into_iter();
        names
            .map(|name| owner.control_sockets(&name, &root.join(&name)))
            .collect()
    };
    [sockets(paths), sockets(paths.as_root())]
}

/// The names of all instances of this user and of root, running or not.
fn instance_names(paths: Paths<'_>) -> Vec<String> {
    let roots = [paths.state_root(), paths.as_root().state_root()];
    let names = roots.iter().flatten().flat_map(|root| names_in(root));
    let mut names: Vec<_> = names.collect();
    names.sort();
    names.dedup();
    names
}

/// The names in a folder of instances, sorted; none if the folder cannot be read.
fn names_in(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).into_iter().flatten().take(INSTANCES_MAX);
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut names: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
    names.sort();
    names
}

fn last_component(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// `path` as an absolute path.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::system(&format!("find {}", path.display()), &error))
}

/// The home folder of this user.
pub(super) fn home() -> Result<PathBuf, Failure> {
    let home = variable("HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    match home {
        Some(home) => Ok(home),
        // A cron job or container of root may have none.
        None if sys::identity::euid() == ROOT => Ok("/root".into()),
        None => Err(Failure::new(
            Exit::System,
            "cannot find the home folder: HOME is not set to an absolute path; set it",
        )),
    }
}

/// The current folder.
pub(super) fn current_dir() -> Result<PathBuf, Failure> {
    env::current_dir().map_err(|error| Failure::system("find the current folder", &error))
}

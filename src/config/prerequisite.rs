//! Prerequisites of a configuration: files, folders, users and programs that must exist before a service can start.
//!
//! This module only lists them. The helper process checks them, because a file system may hang.

use super::runtime;
use super::section::Section;
use super::{Config, InheritEnv, Listen, Location, Probe, Service, Target, listen};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

const COMMAND: &str = "service.*.command";

/// Something that must exist before a service can start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prerequisite {
    /// A working directory.
    Folder(PathBuf),
    /// A folder in which a socket is bound.
    SocketFolder(PathBuf),
    /// A file with environment variables.
    EnvFile {
        /// Its path.
        path: PathBuf,
        /// The service's `user`.
        user: Option<String>,
    },
    /// The user that the service runs as.
    User(String),
    /// A program.
    Program {
        /// The name as written; a name without a slash is searched in `path`.
        name: String,
        /// The service's working directory.
        cwd: PathBuf,
        /// The PATH that applies, if one is set.
        path: Option<String>,
    },
}

/// The prerequisites of all services, each with the place in the configuration that causes it.
pub(super) fn all(
    config: &Config,
    sections: &[Section],
    env: &dyn Fn(&str) -> Option<String>,
) -> Vec<(Location, Prerequisite)> {
    let path = env("PATH");
    let each = config.services.iter().zip(sections);
    each.flat_map(|(service, section)| of(service, section, path.as_deref()))
        .collect()
}

/// The prerequisites of one service; `path` is the PATH of stayd.
fn of(service: &Service, section: &Section, path: Option<&str>) -> Vec<(Location, Prerequisite)> {
    let mut prerequisites = Vec::new();
    let mut add =
        |key: &str, prerequisite| prerequisites.push((section.location(key).clone(), prerequisite));
    // The content of a runtime copy is checked when the copy is made.
    let copied = service.runtime.is_some();
    if !service.cwd.starts_with(runtime::RUNTIME_PLACEHOLDER) {
        add("service.*.cwd", Prerequisite::Folder(service.cwd.clone()));
    }
    if let Some(file) = &service.env_file {
        let (path, user) = (file.clone(), service.user.clone());
        add("service.*.env_file", Prerequisite::EnvFile { path, user });
    }
    for socket in &service.sockets {
        if let Listen::Unix(path) = socket
            && let Some(folder) = path.parent()
        {
            add(listen::KEY, Prerequisite::SocketFolder(folder.to_owned()));
        }
    }
    if let Some(user) = &service.user {
        add("service.*.user", Prerequisite::User(user.clone()));
    }
    let own_path = service.env.get("PATH").map(String::as_str);
    let path = path.filter(|_| match &service.inherit_env {
        InheritEnv::All => true,
        InheritEnv::Nothing => false,
        InheritEnv::Named(names) => names.iter().any(|name| name == "PATH"),
    });
    for (key, argv) in programs(service) {
        let Some(name) = argv.first() else { continue };
        // The env_file may set PATH, and it is only read at each start of the service.
        let known = name.contains('/') || own_path.is_some() || service.env_file.is_none();
        let known =
            known && !(copied && (key == COMMAND || name.contains(runtime::RUNTIME_PLACEHOLDER)));
        if known {
            let prerequisite = Prerequisite::Program {
                name: name.clone(),
                cwd: service.cwd.clone(),
                path: own_path.or(path).map(str::to_owned),
            };
            add(key, prerequisite);
        }
    }
    prerequisites
}

/// The programs that stayd starts for the service, each with its key. `command` is left out if there is a `before` command,
/// which may create it.
pub(super) fn programs(service: &Service) -> impl Iterator<Item = (&'static str, &Vec<String>)> {
    let command = Some(&service.command).filter(|_| service.before.is_none());
    [
        (COMMAND, command),
        ("service.*.before", service.before.as_ref()),
        ("service.*.watchdog.probe", executed(service.probe.as_ref())),
        ("service.*.watchdog.evidence", service.evidence.as_ref()),
        ("service.*.ready.probe", executed(service.ready.as_ref())),
    ]
    .into_iter()
    .filter_map(|(key, argv)| Some((key, argv?)))
}

fn executed(probe: Option<&Probe>) -> Option<&Vec<String>> {
    if let Target::Exec(argv) = &probe?.target {
        Some(argv)
    } else {
        None
    }
}

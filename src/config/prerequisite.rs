//! What a configuration counts on outside of itself: named here, looked at elsewhere, because a file system may hang.

use super::runtime;
use super::section::Section;
use super::{Config, Listen, Location, Probe, Service, Target, listen};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

const COMMAND: &str = "service.*.command";

/// One thing that must be there before a service can start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prerequisite {
    /// A folder to run in.
    Folder(PathBuf),
    /// A folder to bind a socket in.
    SocketFolder(PathBuf),
    /// A file of variables.
    EnvFile(PathBuf),
    /// A user to run as.
    User(String),
    /// A program to run.
    Program {
        /// As written; without a slash it is searched in `path`.
        name: String,
        /// The service's working directory.
        cwd: PathBuf,
        /// The service's PATH, where it has one.
        path: Option<String>,
    },
}

/// The needs of all services, each with the place that says so.
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

/// Those of one service; `path` is the PATH that stayd has itself.
fn of(service: &Service, section: &Section, path: Option<&str>) -> Vec<(Location, Prerequisite)> {
    let mut prerequisites = Vec::new();
    let mut add =
        |key: &str, prerequisite| prerequisites.push((section.location(key).clone(), prerequisite));
    // What is in a copy is there when it is made, and looked at then.
    let copied = service.runtime.is_some();
    if !service.cwd.starts_with(runtime::RUNTIME_PLACEHOLDER) {
        add("service.*.cwd", Prerequisite::Folder(service.cwd.clone()));
    }
    if let Some(file) = &service.env_file {
        add("service.*.env_file", Prerequisite::EnvFile(file.clone()));
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
    for (key, argv) in programs(service) {
        let Some(name) = argv.first() else { continue };
        // What the file of variables says about PATH is read at each start, not here.
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

/// Each program that stayd starts for the service, with its key; the service's own may be what `before` makes.
fn programs(service: &Service) -> impl Iterator<Item = (&'static str, &Vec<String>)> {
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

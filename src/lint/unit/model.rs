//! A unit as systemd sees it: the unit file and its drop-ins, one after the other.

use super::parse::Assignment;
use super::words::{ExecCommand, commands};
use crate::lint::command::{Command, analyze};
use crate::lint::text::template_placeholder;
use std::path::Path;

/// An assignment, and the file that has it: 0 for the unit, then the drop-ins.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    /// The number of the file.
    pub(super) file: usize,
    /// The assignment.
    pub(super) assignment: Assignment,
}

/// The whole unit.
#[derive(Debug)]
pub(super) struct Unit {
    /// All assignments in the order in which systemd reads them.
    pub(super) all: Vec<Placed>,
    /// The ending of its name, such as `service`.
    pub(super) ending: String,
    /// Whether it is for a user's systemd, by its folder or the name of a folder.
    pub(super) is_for_user: bool,
    /// Whether its name has an `@`.
    pub(super) is_template: bool,
    /// Whether another program makes the real unit from it.
    pub(super) is_generated: bool,
    /// Whether the file is a drop-in, and the rest of the unit is elsewhere.
    pub(super) is_drop_in: bool,
    /// Whether a unit beside it activates it.
    pub(super) has_activator: bool,
}

impl Unit {
    /// The value that counts for this key: the last one. An empty one resets it.
    pub(super) fn last(&self, section: &str, key: &str) -> Option<&Placed> {
        let found =
            self.all.iter().rev().find(|placed| {
                placed.assignment.section == section && placed.assignment.key == key
            });
        found.filter(|placed| !placed.assignment.value.is_empty())
    }

    /// The values of a key that is a list. An empty one removes those before it.
    pub(super) fn list(&self, section: &str, key: &str) -> Vec<&Placed> {
        let mut list = Vec::new();
        for placed in &self.all {
            let one = &placed.assignment;
            if one.section == section && one.key == key {
                if one.value.is_empty() {
                    list.clear();
                } else {
                    list.push(placed);
                }
            }
        }
        list
    }

    /// The value in `[Service]`, as text.
    pub(super) fn service(&self, key: &str) -> Option<&str> {
        self.last("Service", key)
            .map(|placed| placed.assignment.value.as_str())
    }

    /// Whether a boolean of `[Service]` is set.
    pub(super) fn is_set(&self, key: &str) -> bool {
        let value = self.service(key).unwrap_or_default().to_lowercase();
        ["1", "yes", "y", "true", "t", "on"].contains(&value.as_str())
    }

    /// Whether one of the units of this key of [Unit] has this ending.
    pub(super) fn names_unit(&self, key: &str, ending: &str) -> bool {
        let list = self
            .list("Unit", key)
            .into_iter()
            .chain(self.list("Install", key));
        list.into_iter().any(|placed| {
            placed
                .assignment
                .value
                .split_whitespace()
                .any(|unit| unit.ends_with(ending))
        })
    }

    /// The type of the service, with systemd's default.
    pub(super) fn service_type(&self) -> &str {
        let default = match (
            self.service("BusName"),
            self.list("Service", "ExecStart").is_empty(),
        ) {
            (Some(_), _) => "dbus",
            (None, true) => "oneshot",
            (None, false) => "simple",
        };
        self.service("Type").unwrap_or(default)
    }

    /// The commands of a key, each with its assignment. A line that cannot be split has none.
    pub(super) fn commands(&self, key: &str) -> Vec<(&Placed, ExecCommand)> {
        let lines = self.list("Service", key);
        let split = |placed| {
            let found: Vec<ExecCommand> = commands(value_of(placed)).unwrap_or_default();
            found.into_iter().map(move |command| (placed, command))
        };
        lines.into_iter().flat_map(split).collect()
    }

    /// The main command, seen through; none if a template decides what it is.
    pub(super) fn main_command(&self) -> Option<(&Placed, Command)> {
        let (placed, command) = self.commands("ExecStart").into_iter().next()?;
        let texts: Vec<String> = command
            .texts()
            .iter()
            .map(|text| text.replace("$$", "$"))
            .collect();
        let program = texts
            .first()
            .filter(|program| template_placeholder(program).is_none())?;
        (!program.is_empty()).then(|| (placed, analyze(&texts)))
    }
}

fn value_of(placed: &Placed) -> &str {
    &placed.assignment.value
}

/// Whether a path says that the unit is for a user's systemd.
pub(super) fn is_for_user(path: &Path) -> bool {
    let text = path.to_string_lossy();
    [
        "/systemd/user/",
        ".config/systemd/",
        "systemd-user",
        "systemd/user/",
    ]
    .iter()
    .any(|part| text.contains(part))
}

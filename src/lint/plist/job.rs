//! A job as the checks see it: its dictionary, where it is installed, and its command.

use super::node::Node;
use crate::lint::command::{Command, analyze};
use crate::lint::source::File;
use crate::lint::text::template_placeholder;
use std::path::Path;

/// What kind of job the file is. Its folder decides; without one of launchd's folders, its name and its keys may show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// An agent: it runs as the user who is logged in.
    Agent,
    /// A daemon: it runs as root or as `UserName`.
    Daemon,
    /// In an app bundle.
    Bundle,
    /// Nothing shows it.
    Unknown,
}

/// A job.
pub(super) struct Job<'a> {
    /// Its dictionary.
    pub(super) root: &'a Node,
    /// What kind it is.
    pub(super) place: Place,
    /// The folder of launchd that contains the file, if it is in one.
    pub(super) folder: Option<&'static str>,
    /// The strings of `ProgramArguments`, with their lines.
    pub(super) arguments: Vec<(usize, &'a str)>,
    /// The command as it runs: `Program`, else the first argument; then the other arguments.
    pub(super) words: Vec<String>,
    /// The line of the program.
    pub(super) program_line: usize,
    /// What the command really runs.
    pub(super) command: Command,
}

impl<'a> Job<'a> {
    /// The job in `root`, which was read from `file`.
    pub(super) fn new(root: &'a Node, file: &File, in_bundle: bool) -> Self {
        let elements = root.get("ProgramArguments").map_or(&[][..], Node::elements);
        let arguments: Vec<_> = elements
            .iter()
            .filter_map(|node| Some((node.line, node.as_str()?)))
            .collect();
        let named = ["Program", "BundleProgram"]
            .into_iter()
            .find_map(|key| root.entry(key));
        let named = named.and_then(|entry| Some((entry.node.line, entry.node.as_str()?)));
        let first = named.or(arguments.first().copied());
        let words: Vec<String> = first
            .iter()
            .chain(arguments.iter().skip(1))
            .map(|(_, word)| (*word).to_owned())
            .collect();
        Self {
            root,
            place: place(root, &file.path, in_bundle),
            folder: folder_of_launchd(&file.path),
            program_line: first.map_or(root.line, |(line, _)| line),
            command: analyze(&words),
            arguments,
            words,
        }
    }

    /// The program, as it is written.
    pub(super) fn program(&self) -> Option<&str> {
        self.words.first().map(String::as_str)
    }

    /// The program, unless a template decides what it is.
    pub(super) fn literal_program(&self) -> Option<&str> {
        self.program()
            .filter(|program| template_placeholder(program).is_none())
    }

    /// Whether `KeepAlive` is plain true, or `OnDemand` false, which means the same.
    pub(super) fn is_kept_alive(&self) -> bool {
        self.root.boolean("KeepAlive") == Some(true)
            || self.root.get("KeepAlive").is_none() && self.root.boolean("OnDemand") == Some(false)
    }

    /// Whether a key says how the job is started again, or that it is not.
    pub(super) fn says_when_it_runs(&self) -> bool {
        const KEYS: [&str; 10] = [
            "KeepAlive",
            "OnDemand",
            "StartInterval",
            "StartCalendarInterval",
            "WatchPaths",
            "QueueDirectories",
            "StartOnMount",
            "Sockets",
            "MachServices",
            "LaunchEvents",
        ];
        KEYS.iter().any(|key| self.root.get(key).is_some())
    }

    /// A variable of the job's environment.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.root.get("EnvironmentVariables")?.string(name)
    }
}

fn place(root: &Node, path: &Path, in_bundle: bool) -> Place {
    if in_bundle {
        return Place::Bundle;
    }
    let text = path.to_string_lossy();
    let session = root.get("LimitLoadToSessionType");
    if text.contains(".app/") && text.contains("/Contents/") {
        Place::Bundle
    } else if text.contains("LaunchDaemon") {
        Place::Daemon
    } else if text.contains("LaunchAgent") || session.is_some() {
        Place::Agent
    } else {
        Place::Unknown
    }
}

/// The name of the folder of launchd that contains the file directly.
fn folder_of_launchd(path: &Path) -> Option<&'static str> {
    let parent = path.parent()?;
    let library = parent.parent()?.file_name()?;
    let name = parent.file_name()?;
    ["LaunchAgents", "LaunchDaemons"]
        .into_iter()
        .find(|folder| name == *folder && library == "Library")
}

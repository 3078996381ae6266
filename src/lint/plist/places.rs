//! Checks paths and users: where the plist lies, who owns it, where the job writes, and what nothing expands.

use super::job::{Job, Place};
use super::node::Node;
use crate::lint::codes;
use crate::lint::finding::Findings;
use crate::lint::source::File;
use crate::lint::text::{quoted, shell_beginning, template_placeholder};

/// The keys with one path.
const PATHS: [&str; 5] = [
    "StandardErrorPath",
    "StandardInPath",
    "StandardOutPath",
    "WorkingDirectory",
    "RootDirectory",
];
/// The keys with several paths.
const LISTS: [&str; 2] = ["QueueDirectories", "WatchPaths"];
/// Folders that only root can write.
const ROOT_ONLY: [&str; 8] = [
    "/var/log/",
    "/private/var/log/",
    "/var/run/",
    "/private/var/run/",
    "/etc/",
    "/usr/",
    "/System/",
    "/var/db/",
];

/// Checks the places of a job.
pub(super) fn check(job: &Job<'_>, file: &File, findings: &mut Findings) {
    file_itself(job, file, findings);
    expansions(job, findings);
    users(job, findings);
    outputs(job, findings);
    protected(job, findings);
}

fn file_itself(job: &Job<'_>, file: &File, findings: &mut Findings) {
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let label = job
        .root
        .string("Label")
        .filter(|label| template_placeholder(label).is_none());
    if let (Some(label), Some(entry)) = (label, job.root.entry("Label"))
        && name
            .strip_suffix(".plist")
            .is_some_and(|stem| stem != label)
    {
        let message = format!("the file is not named after its label {}", quoted(label));
        findings.add(
            entry.line,
            &codes::PLIST_LABEL_NAME,
            message,
            format!("name it {label}.plist"),
        );
    }
    let Some(folder) = job.folder.filter(|_| job.place != Place::Bundle) else {
        return;
    };
    if !name.ends_with(".plist") {
        let message = "launchd reads no file whose name does not end in .plist";
        findings.add(1, &codes::PLIST_FILE_NAME, message, "rename it");
    }
    if let Some(mode) = file.mode.filter(|mode| mode & 0o022 != 0) {
        let message = format!(
            "others than its owner can write the file (mode {mode:o}), so launchd refuses it"
        );
        findings.add(1, &codes::PLIST_MODE, message, "chmod 644");
    }
    if let Some(owner) = file.owner {
        let of_user = file.folder_owner == Some(owner) && folder == "LaunchAgents";
        if owner != 0 && !of_user {
            let message = format!("the file belongs to uid {owner}, so launchd refuses it");
            findings.add(1, &codes::PLIST_OWNER, message, "chown root:wheel");
        }
    }
    if let Some(entry) = job.root.entry("BundleProgram")
        && job.root.get("Program").is_none()
    {
        let message = "BundleProgram is relative to an app bundle, and the file is in none";
        findings.add(
            entry.line,
            &codes::PLIST_BUNDLE_PROGRAM,
            message,
            "write ProgramArguments with an absolute path",
        );
    }
}

/// Every value that is a path, with its key and line.
fn paths(root: &Node) -> Vec<(&'static str, usize, &str)> {
    let single = PATHS.iter().filter_map(|key| Some((*key, root.get(key)?)));
    let several = LISTS.iter().flat_map(|key| {
        let elements = root.get(key).map_or(&[][..], Node::elements);
        elements.iter().map(|node| (*key, node))
    });
    single
        .chain(several)
        .filter_map(|(key, node)| Some((key, node.line, node.as_str()?)))
        .filter(|(_, _, text)| template_placeholder(text).is_none())
        .collect()
}

fn expansions(job: &Job<'_>, findings: &mut Findings) {
    let cure = "write the absolute path";
    for (key, line, text) in paths(job.root) {
        let inside = text
            .find("$HOME")
            .or_else(|| text.find("${"))
            .map(|at| &text[at..]);
        if let Some(beginning) = shell_beginning(text).or_else(|| inside.and_then(shell_beginning))
        {
            let message = format!("launchd does not expand {} in {key}", quoted(beginning));
            findings.add(line, &codes::PLIST_NOT_EXPANDED, message, cure);
        } else if !text.starts_with('/') && !text.is_empty() {
            let message = format!("{key} {} is a relative path", quoted(text));
            findings.add(line, &codes::PLIST_RELATIVE_PATH, message, cure);
        }
    }
    let path_state = job
        .root
        .get("KeepAlive")
        .and_then(|node| node.get("PathState"));
    for entry in path_state.map_or(&[][..], Node::entries) {
        if let Some(beginning) = shell_beginning(&entry.key) {
            let message = format!("launchd does not expand {} in PathState", quoted(beginning));
            findings.add(entry.line, &codes::PLIST_NOT_EXPANDED, message, cure);
        }
    }
    for entry in job
        .root
        .get("EnvironmentVariables")
        .map_or(&[][..], Node::entries)
    {
        let Some(text) = entry.node.as_str() else {
            continue;
        };
        let parts = text.split(':').filter(|part| !part.is_empty());
        let found = parts.clone().find_map(shell_beginning);
        // A program may expand a value of its own, but the PATH is read by all.
        let Some(beginning) = found
            .filter(|_| entry.key == "PATH" || text.starts_with('$') || text.starts_with("~/"))
        else {
            continue;
        };
        let message = format!(
            "launchd does not expand {} in the variable {}",
            quoted(beginning),
            entry.key
        );
        findings.add(entry.node.line, &codes::PLIST_NOT_EXPANDED, message, cure);
    }
}

fn users(job: &Job<'_>, findings: &mut Findings) {
    if job.place != Place::Agent {
        return;
    }
    for key in ["UserName", "GroupName"] {
        if let Some(entry) = job.root.entry(key) {
            let message = format!(
                "launchd ignores {key} in an agent, which runs as the user who is logged in"
            );
            findings.add(
                entry.line,
                &codes::PLIST_USER_IN_AGENT,
                message,
                "remove it, or install the job as a daemon",
            );
        }
    }
}

fn outputs(job: &Job<'_>, findings: &mut Findings) {
    let of_user = job
        .words
        .iter()
        .chain(
            job.root
                .string("WorkingDirectory")
                .map(str::to_owned)
                .as_ref(),
        )
        .any(|word| {
            word.strip_prefix("/Users/")
                .is_some_and(|rest| !rest.starts_with("Shared/"))
        });
    for (key, line, text) in paths(job.root) {
        if !["StandardErrorPath", "StandardOutPath"].contains(&key) {
            continue;
        }
        let root_only = ROOT_ONLY.iter().any(|folder| text.starts_with(folder))
            && !text.starts_with("/usr/local/");
        let shared = text.starts_with("/Library/");
        let no_user = job.root.get("UserName").is_none();
        let runs_as_user = job.place == Place::Agent;
        let cure = "write to a file in ~/Library/Logs, with the absolute path";
        if runs_as_user && root_only {
            let message = format!(
                "the user of an agent cannot write {}, so launchd does not start the program",
                quoted(text)
            );
            findings.add(line, &codes::PLIST_LOG_UNWRITABLE, message, cure);
        } else if runs_as_user && shared
            || job.place == Place::Unknown && root_only && no_user && of_user
        {
            let message = format!(
                "if the user of the job cannot write {}, launchd does not start the program",
                quoted(text)
            );
            findings.add(line, &codes::PLIST_LOG_MAYBE_UNWRITABLE, message, cure);
        }
    }
}

/// Whether a path is on another volume, or in a folder of a home that macOS protects (TCC).
fn is_protected(path: &str) -> bool {
    let in_home = path
        .strip_prefix("/Users/")
        .and_then(|rest| rest.split_once('/'));
    let folder = in_home.map(|(_, rest)| rest.split('/').next().unwrap_or_default());
    path.starts_with("/Volumes/") || matches!(folder, Some("Desktop" | "Documents" | "Downloads"))
}

fn protected(job: &Job<'_>, findings: &mut Findings) {
    let program = job
        .literal_program()
        .map(|program| ("the program", job.program_line, program));
    let paths = paths(job.root)
        .into_iter()
        .filter(|(key, ..)| !LISTS.contains(key));
    for (what, line, path) in paths
        .chain(program)
        .filter(|(_, _, path)| is_protected(path))
    {
        let message = format!(
            "{what} {} is where macOS lets no job in unless a person allows it",
            quoted(path)
        );
        findings.add(
            line,
            &codes::PLIST_PROTECTED_FOLDER,
            message,
            "move it, or grant Full Disk Access to the program",
        );
    }
}

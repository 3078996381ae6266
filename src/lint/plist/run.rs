//! Checks what a job runs: the program, its arguments, and whether it stays.

use super::job::Job;
use super::node::Node;
use crate::lint::codes;
use crate::lint::command::{pattern, shell_operator, shell_script};
use crate::lint::finding::Findings;
use crate::lint::known::{is_of_macos, is_script_runner};
use crate::lint::programs::Behavior;
use crate::lint::text::{base_name, quoted, shell_beginning, template_placeholder};

/// The folders in which launchd looks for a bare name.
const STANDARD_FOLDERS: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];
/// Folders whose programs have no blank in their names.
const PROGRAM_FOLDERS: [&str; 9] = [
    "/usr/bin/",
    "/bin/",
    "/usr/sbin/",
    "/sbin/",
    "/usr/local/bin/",
    "/usr/local/sbin/",
    "/opt/homebrew/bin/",
    "/opt/local/bin/",
    "/usr/libexec/",
];

/// Checks the program and its arguments.
pub(super) fn check(job: &Job<'_>, findings: &mut Findings) {
    let Some(program) = job.program() else {
        let message = "nothing says which program to run";
        let cure = "add ProgramArguments with the absolute path of the program first";
        findings.add(job.root.line, &codes::PLIST_NO_PROGRAM, message, cure);
        return;
    };
    if program.trim().is_empty() {
        findings.add(
            job.program_line,
            &codes::PLIST_NO_PROGRAM,
            "the program is empty",
            "write its absolute path",
        );
        return;
    }
    if job.literal_program().is_some() {
        program_path(job, program, findings);
    }
    argument_lost(job, findings);
    arguments(job, findings);
    interpreter(job, findings);
    behavior(job, findings);
    consumers(job, findings);
}

fn program_path(job: &Job<'_>, program: &str, findings: &mut Findings) {
    let line = job.program_line;
    let shown = quoted(program);
    if is_one_string(program) {
        let message = format!("launchd looks for a program with the name {shown}");
        let cure = "make each word an element of ProgramArguments of its own";
        findings.add(line, &codes::PLIST_ONE_STRING, message, cure);
    } else if let Some(beginning) = shell_beginning(program) {
        let message = format!(
            "launchd does not expand {} in the program {shown}",
            quoted(beginning)
        );
        findings.add(
            line,
            &codes::PLIST_NOT_EXPANDED,
            message,
            "write the absolute path",
        );
    } else if job.root.get("BundleProgram").is_some() && job.root.get("Program").is_none() {
        // It is relative to the bundle.
    } else if program.contains('/') && !program.starts_with('/') {
        let message = format!("the program {shown} is a relative path");
        findings.add(
            line,
            &codes::PLIST_RELATIVE_PROGRAM,
            message,
            "write the absolute path",
        );
    } else if !program.contains('/') && job.root.get("Program").is_some() {
        let message = format!("Program is {shown}, and launchd does not look for it");
        findings.add(
            line,
            &codes::PLIST_RELATIVE_PROGRAM,
            message,
            "write the absolute path",
        );
    } else if !program.contains('/') && !is_of_macos(program) {
        let message = format!(
            "launchd looks for {shown} in /usr/bin, /bin, /usr/sbin and /sbin only, whatever PATH the job has"
        );
        findings.add(
            line,
            &codes::PLIST_PROGRAM_NOT_FOUND,
            message,
            "write the absolute path",
        );
    } else if !program.contains('/') {
        let message = format!("launchd looks for {shown} in the folders of macOS");
        findings.add(
            line,
            &codes::PLIST_BARE_PROGRAM,
            message,
            "write the absolute path",
        );
    }
}

/// Whether a string is a whole command line. A blank alone says nothing: "/Library/Application Support/x" is a path.
fn is_one_string(program: &str) -> bool {
    let mut words = program.split_whitespace();
    let Some(first) = words.next() else {
        return false;
    };
    let rest: Vec<&str> = words.collect();
    if rest.is_empty() {
        return false;
    }
    let in_folder = PROGRAM_FOLDERS.iter().any(|folder| {
        first
            .strip_prefix(folder)
            .is_some_and(|name| !name.contains('/') && !name.is_empty())
    });
    let bare = !first.contains('/');
    let is_argument =
        |word: &&str| word.starts_with(['-', '/', '~', '$', '>', '|', '&']) && word.len() > 1;
    in_folder || bare || is_script_runner(first) || rest.iter().any(is_argument)
}

/// With `Program`, the first element of `ProgramArguments` is only a name.
fn argument_lost(job: &Job<'_>, findings: &mut Findings) {
    let (Some(program), Some((line, name))) = (job.root.string("Program"), job.arguments.first())
    else {
        return;
    };
    let opaque = |text: &str| template_placeholder(text).is_some();
    let (own, given) = (
        base_name(program).to_lowercase(),
        base_name(name).to_lowercase(),
    );
    let given = given.trim_start_matches('-');
    if opaque(program) || opaque(name) || own == given {
        return;
    }
    let related = !given.is_empty() && (own.starts_with(given) || given.starts_with(own.as_str()));
    if related && !name.starts_with('-') {
        let message = format!("{} runs under the name {}", quoted(program), quoted(name));
        findings.add(
            *line,
            &codes::PLIST_NAME_DIFFERS,
            message,
            "write the program first in ProgramArguments",
        );
    } else {
        let message = format!(
            "{} becomes the name of {}, which does not get it as an argument",
            quoted(name),
            quoted(program)
        );
        let cure = "remove Program and put it first in ProgramArguments, or repeat it there";
        findings.add(*line, &codes::PLIST_ARGUMENT_LOST, message, cure);
    }
}

fn arguments(job: &Job<'_>, findings: &mut Findings) {
    let line_of = |word: &str| {
        let found = job.arguments.iter().rev().find(|(_, text)| *text == word);
        found.map_or(job.program_line, |(line, _)| *line)
    };
    if let Some(operator) = shell_operator(&job.words) {
        let message = format!(
            "no shell runs this command, so the program gets {} as an argument",
            quoted(operator)
        );
        let cure = "write /bin/sh, -c and the command line as three elements; for output use StandardOutPath";
        findings.add(line_of(operator), &codes::PLIST_SHELL_SYNTAX, message, cure);
    }
    if job.root.boolean("EnableGlobbing") != Some(true)
        && let Some(pattern) = pattern(&job.words)
    {
        let message = format!("nothing expands the pattern {}", quoted(pattern));
        let cure = "write /bin/sh, -c and the command line as three elements";
        findings.add(line_of(pattern), &codes::PLIST_GLOB, message, cure);
    }
    let script = shell_script(&job.words);
    for (line, word) in job.arguments.iter().skip(1) {
        if Some(*word) == script || template_placeholder(word).is_some() {
            continue;
        }
        if let Some(beginning) = shell_beginning(word) {
            let message = format!(
                "launchd does not expand {} in the argument {}",
                quoted(beginning),
                quoted(word)
            );
            findings.add(
                *line,
                &codes::PLIST_ARGUMENT_NOT_EXPANDED,
                message,
                "write the absolute path",
            );
        }
        if script.is_none() && has_value_behind_blank(word) {
            let message = format!("the program gets {} as one argument", quoted(word));
            findings.add(
                *line,
                &codes::PLIST_ARGUMENT_BLANK,
                message,
                "make option and value two elements",
            );
        }
    }
}

/// `-f /etc/x` or `--config /etc/x` in one element.
fn has_value_behind_blank(word: &str) -> bool {
    let Some((option, value)) = word.split_once(' ') else {
        return false;
    };
    let letters = option.trim_start_matches('-');
    let is_option = option.starts_with('-')
        && !letters.is_empty()
        && letters
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-');
    let value = value.trim_start();
    is_option
        && (value.starts_with(['/', '~', '-']) || option.starts_with("--") && !value.contains(' '))
}

/// `/usr/bin/env node` where no folder of node is on the PATH.
fn interpreter(job: &Job<'_>, findings: &mut Findings) {
    if job.program().map(base_name) != Some("env") {
        return;
    }
    let name = job.command.words.first().map_or("", String::as_str);
    let path = job.words.iter().find_map(|word| word.strip_prefix("PATH="));
    let path = path.or_else(|| job.variable("PATH"));
    let standard = path.is_none_or(|path| {
        path.split(':')
            .all(|folder| STANDARD_FOLDERS.contains(&folder.trim_end_matches('/')))
    });
    let asked = job
        .words
        .iter()
        .skip(1)
        .find(|word| !word.starts_with('-') && !word.contains('='));
    let asked = asked.map_or(name, String::as_str);
    if standard
        && !asked.contains(['/', ' '])
        && !asked.is_empty()
        && !is_of_macos(asked)
        && template_placeholder(asked).is_none()
    {
        let message = format!(
            "env does not find {}: PATH has the folders of macOS only",
            quoted(asked)
        );
        let cure =
            "write the absolute path of the interpreter, or set PATH in EnvironmentVariables";
        findings.add(job.program_line, &codes::PLIST_INTERPRETER, message, cure);
    }
}

fn behavior(job: &Job<'_>, findings: &mut Findings) {
    let line = job.program_line;
    let name = job.command.name().to_owned();
    let kept = job.is_kept_alive();
    match &job.command.behavior {
        Behavior::Leaves(cure) => {
            let follows = if kept {
                "launchd starts it again and again"
            } else {
                "nothing supervises it"
            };
            let message = format!(
                "{name} goes into the background, so launchd believes that it has ended, and {follows}"
            );
            findings.add(line, &codes::PLIST_FORKS, message, cure);
        }
        Behavior::PerhapsLeaves(flag) => {
            let message = format!(
                "{} looks as if it sent {name} into the background, which launchd takes for its end",
                quoted(flag)
            );
            let cure = "run the command in a terminal: if the prompt returns at once, leave the option out";
            findings.add(line, &codes::PLIST_MAY_FORK, message, cure);
        }
        Behavior::StartsAnother(cure) => {
            // A program that is opened once at login is what `open` is for.
            let is_opener = [
                "open",
                "docker",
                "podman",
                "docker-compose",
                "launchctl",
                "colima",
                "vagrant",
            ]
            .contains(&name.as_str());
            if kept || !is_opener && !is_periodic(job) {
                let message = format!(
                    "{name} starts something else and returns, so launchd supervises nothing"
                );
                findings.add(line, &codes::PLIST_CONTROL_VERB, message, *cure);
            }
        }
        Behavior::EndsAtOnce if kept => {
            let message = format!("{name} ends at once, and KeepAlive starts it again for ever");
            let cure =
                "remove KeepAlive; RunAtLoad, StartInterval or StartCalendarInterval start it";
            findings.add(line, &codes::PLIST_ENDS_AT_ONCE, message, cure);
        }
        _ => {}
    }
}

fn is_periodic(job: &Job<'_>) -> bool {
    ["StartInterval", "StartCalendarInterval", "WatchPaths"]
        .iter()
        .any(|key| job.root.get(key).is_some())
}

/// A shell or an interpreter neither checks in for a Mach service nor consumes launch events.
fn consumers(job: &Job<'_>, findings: &mut Findings) {
    let Some(program) = job.literal_program() else {
        return;
    };
    let mentions_xpc = job
        .words
        .iter()
        .any(|word| word.to_lowercase().contains("xpc"));
    if !is_script_runner(program) || mentions_xpc {
        return;
    }
    let name = quoted(base_name(program));
    let present = |key: &str| {
        job.root
            .entry(key)
            .filter(|entry| !Node::entries(&entry.node).is_empty())
    };
    if let Some(entry) = present("LaunchEvents") {
        let message =
            format!("{name} does not consume the events, so launchd starts it again and again");
        let cure = "start a program that calls xpc_set_event_stream_handler(3), or use WatchPaths or StartOnMount";
        findings.add(entry.line, &codes::PLIST_EVENTS_UNCONSUMED, message, cure);
    }
    if let Some(entry) = present("MachServices") {
        let message = format!("{name} never checks in for a Mach service");
        findings.add(
            entry.line,
            &codes::PLIST_MACH_SERVICE,
            message,
            "remove MachServices",
        );
    }
}

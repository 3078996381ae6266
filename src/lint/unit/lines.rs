//! Checks single lines: sections, keys and values, whatever the service does.

use super::FileFindings;
use super::keys::{self, Kind};
use super::model::{Placed, Unit};
use super::parse::Syntax;
use super::values::refusal;
use super::words::split;
use crate::lint::codes;
use crate::lint::text::{
    nearest, open_placeholder, quoted, sample_word, shell_beginning, template_placeholder,
};

/// Checks the sections of one file.
pub(super) fn sections(syntax: &Syntax, ending: &str, file: usize, findings: &mut FileFindings) {
    for (section, line) in &syntax.sections {
        if section.starts_with("X-")
            || keys::SECTIONS.contains(&section.as_str()) && fits(section, ending)
        {
            continue;
        }
        let message = format!(
            "systemd does not know the section [{section}] here, and ignores everything in it"
        );
        match nearest(keys::SECTIONS, section).filter(|near| *near != section) {
            Some(near) => findings.add_line(
                file,
                *line,
                &codes::UNIT_SECTION,
                message,
                format!("write [{near}]"),
            ),
            None => findings.add_line(
                file,
                *line,
                &codes::UNIT_UNKNOWN_SECTION,
                message,
                "remove it, or begin its name with X-",
            ),
        }
    }
}

/// Whether units with this ending have the section.
fn fits(section: &str, ending: &str) -> bool {
    let own = section.to_lowercase();
    ["Unit", "Install"].contains(&section)
        || ending == own
        || ending.is_empty()
        || section == "Container"
}

/// Checks the keys and values of every line.
pub(super) fn check(unit: &Unit, findings: &mut FileFindings) {
    for placed in &unit.all {
        let one = &placed.assignment;
        if findings.is_full(placed.file) {
            continue;
        }
        if keys::is_unknown(&one.section, &one.key) {
            unknown_key(placed, findings);
            continue;
        }
        key(placed, findings);
        if !one.value.is_empty() {
            value(unit, placed, findings);
        }
    }
}

fn unknown_key(placed: &Placed, findings: &mut FileFindings) {
    let one = &placed.assignment;
    let shown = quoted(&one.key);
    if template_placeholder(&one.key).is_some() {
        return;
    }
    let starts_limit = one.key.starts_with("StartLimit") && one.section == "Service";
    if starts_limit {
        start_limit_section(placed, findings);
    } else if let Some(section) = keys::section_of(&one.key) {
        let message = format!(
            "systemd does not know {shown} in [{}], and ignores the line",
            one.section
        );
        findings.add(
            placed,
            &codes::UNIT_KEY_SECTION,
            message,
            format!("move it to [{section}]"),
        );
    } else {
        let message = format!("systemd does not know {shown}, and ignores the line");
        let cure = match nearest(keys::keys_of(&one.section), &one.key) {
            Some(near) => format!("write {near}="),
            None => "remove it, or begin its name with X-".to_owned(),
        };
        findings.add(placed, &codes::UNIT_KEY, message, cure);
    }
}

fn start_limit_section(placed: &Placed, findings: &mut FileFindings) {
    let message = format!(
        "{} belongs into [Unit] since systemd 230",
        placed.assignment.key
    );
    let name = if placed.assignment.key == "StartLimitInterval" {
        "StartLimitIntervalSec"
    } else {
        &placed.assignment.key
    };
    findings.add(
        placed,
        &codes::UNIT_START_LIMIT_SECTION,
        message,
        format!("write {name}= in [Unit]"),
    );
}

fn key(placed: &Placed, findings: &mut FileFindings) {
    let one = &placed.assignment;
    if one.key.starts_with("StartLimit") && one.section == "Service" {
        start_limit_section(placed, findings);
    }
    if let Some((_, cure)) = keys::LEGACY.iter().find(|(key, _)| *key == one.key) {
        findings.add(
            placed,
            &codes::UNIT_LEGACY_KEY,
            format!("{}= is deprecated", one.key),
            *cure,
        );
    }
}

fn value(unit: &Unit, placed: &Placed, findings: &mut FileFindings) {
    let one = &placed.assignment;
    let kind = keys::kind_of(&one.section, &one.key);
    let is_prose = ["Description", "Documentation"].contains(&one.key.as_str());
    if let Some(name) = template_placeholder(&one.value) {
        if !is_prose {
            let message = format!(
                "{} is a placeholder, so the value is not checked",
                quoted(name)
            );
            findings.add(
                placed,
                &codes::FILE_TEMPLATE,
                message,
                "verify the file that is made from it",
            );
        }
        return;
    }
    if is_prose {
        return;
    }
    if kind != Kind::Command
        && let Some(name) = open_placeholder(&one.value)
    {
        placeholder(unit, placed, name, findings);
        return;
    }
    if let Some(word) = sample_word(&one.value).filter(|_| !unit.is_generated) {
        let message = format!("{} looks like a value from an example", quoted(word));
        findings.add(
            placed,
            &codes::UNIT_SAMPLE_VALUE,
            message,
            "write the real value",
        );
    }
    match kind {
        Kind::Command => command_line(unit, placed, findings),
        Kind::Environment => environment(placed, findings),
        Kind::Text | Kind::Units => text(unit, placed, findings),
        _ => checked(placed, kind, findings),
    }
    legacy_value(placed, findings);
}

fn placeholder(unit: &Unit, placed: &Placed, name: &str, findings: &mut FileFindings) {
    if unit.is_generated {
        return;
    }
    let message = format!("{} was never filled in", quoted(name));
    findings.add(
        placed,
        &codes::UNIT_PLACEHOLDER,
        message,
        "write the real value",
    );
}

/// A value with a vocabulary.
fn checked(placed: &Placed, kind: Kind, findings: &mut FileFindings) {
    let one = &placed.assignment;
    // A specifier stands for what only systemd knows.
    if one.value.contains('%') && kind != Kind::Size {
        return;
    }
    let Some(cure) = refusal(kind, &one.value) else {
        return;
    };
    if let Some((before, comment)) = one.value.split_once(['#', ';']) {
        let clean = refusal(kind, before.trim()).is_none();
        if clean && before.ends_with(char::is_whitespace) {
            let message = format!(
                "the comment `#{}` becomes a part of {}=, so systemd ignores the line",
                comment.trim_end(),
                one.key
            );
            findings.add_comment(placed, message);
            return;
        }
    }
    let message = format!(
        "{} is no value of {}=, so systemd ignores the line",
        quoted(&one.value),
        one.key
    );
    findings.add(placed, &codes::UNIT_BAD_VALUE, message, cure);
}

fn command_line(unit: &Unit, placed: &Placed, findings: &mut FileFindings) {
    let one = &placed.assignment;
    let Ok(words) = split(&one.value) else {
        let message = format!(
            "a quotation mark in {}= is not closed, so systemd ignores the line",
            one.key
        );
        findings.add(
            placed,
            &codes::UNIT_QUOTE,
            message,
            "close it, or write \\\" for the character itself",
        );
        return;
    };
    let has_script = words
        .iter()
        .any(|word| word.text == "-c" || word.text == "-lc");
    for word in &words {
        if let Some(name) = open_placeholder(&word.text).filter(|_| !has_script) {
            placeholder(unit, placed, name, findings);
        }
        if word.text.starts_with("/path/to/") {
            let message = format!("{} looks like a path from an example", quoted(&word.text));
            findings.add(
                placed,
                &codes::FILE_SAMPLE_PATH,
                message,
                "write the real path",
            );
        }
    }
    // `<your user>` is split into words.
    if let Some(name) = open_placeholder(&one.value)
        .filter(|name| !has_script && name.contains(' ') && !name.contains('/'))
    {
        placeholder(unit, placed, name, findings);
    }
}

fn environment(placed: &Placed, findings: &mut FileFindings) {
    let one = &placed.assignment;
    let Ok(words) = split(&one.value) else {
        let message = "a quotation mark in Environment= is not closed, so systemd ignores the line";
        findings.add(
            placed,
            &codes::UNIT_QUOTE,
            message,
            "close it, or write \\\" for the character itself",
        );
        return;
    };
    for (index, word) in words.iter().enumerate() {
        if word.text.starts_with('#') && index > 0 && !word.is_quoted {
            let message = "the comment behind Environment= becomes a part of it";
            findings.add_comment(placed, message);
            return;
        }
        let name = word.text.split_once('=').map(|(name, _)| name);
        let is_name = |name: &str| {
            let mut characters = name.chars();
            characters
                .next()
                .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if !name.is_some_and(is_name) && !word.text.contains('%') {
            let message = format!(
                "{} is no assignment, so systemd ignores it",
                quoted(&word.text)
            );
            findings.add(
                placed,
                &codes::UNIT_ENVIRONMENT,
                message,
                "write NAME=VALUE, in quotation marks if it has blanks",
            );
        } else if word.text.contains("${") || word.text.contains("=$") || word.text.contains(":$") {
            let message = format!("nothing expands the variable in {}", quoted(&word.text));
            findings.add(
                placed,
                &codes::UNIT_ENVIRONMENT_VARIABLE,
                message,
                "write the value; %h stands for a home folder",
            );
        }
    }
}

fn text(unit: &Unit, placed: &Placed, findings: &mut FileFindings) {
    let one = &placed.assignment;
    let comment = one.value.find(" #").or_else(|| one.value.find("\t#"));
    if comment.is_some_and(|at| at > 0) && !one.value.contains(['"', '\'']) {
        let message = format!(
            "the comment behind {}= becomes a part of the value",
            one.key
        );
        findings.add_comment(placed, message);
        return;
    }
    const PATHS: [&str; 5] = [
        "WorkingDirectory",
        "EnvironmentFile",
        "PIDFile",
        "StandardOutput",
        "StandardError",
    ];
    const ACCOUNTS: [&str; 2] = ["User", "Group"];
    let is_path = PATHS.contains(&one.key.as_str());
    if !is_path && !ACCOUNTS.contains(&one.key.as_str()) {
        return;
    }
    let path = ["append:", "file:", "truncate:"]
        .iter()
        .find_map(|word| one.value.strip_prefix(word));
    let is_output = one.key.starts_with("Standard");
    let path = match path {
        Some(path) => path,
        None if is_output => return output(placed, findings),
        None => one.value.trim_start_matches(['-', '!']),
    };
    if let Some(beginning) =
        shell_beginning(path).filter(|_| !(one.key == "WorkingDirectory" && path == "~"))
    {
        let message = format!(
            "systemd does not expand {} in {}=",
            quoted(beginning),
            one.key
        );
        let cure = if unit.is_for_user {
            "write %h for the home folder"
        } else {
            "write the real value"
        };
        findings.add(placed, &codes::UNIT_PATH_NOT_EXPANDED, message, cure);
    } else if is_path
        && one.key != "PIDFile"
        && !path.starts_with(['/', '%', '~'])
        && !path.is_empty()
    {
        let message = format!(
            "{} is no absolute path, so systemd ignores {}=",
            quoted(path),
            one.key
        );
        findings.add(
            placed,
            &codes::UNIT_BAD_VALUE,
            message,
            "write the absolute path",
        );
    }
}

/// `StandardOutput=` and `StandardError=` without a path.
fn output(placed: &Placed, findings: &mut FileFindings) {
    const WORDS: [&str; 10] = [
        "inherit",
        "null",
        "tty",
        "journal",
        "kmsg",
        "journal+console",
        "kmsg+console",
        "socket",
        "syslog",
        "syslog+console",
    ];
    let one = &placed.assignment;
    if WORDS.contains(&one.value.as_str()) || one.value.starts_with("fd:") || one.value == "fd" {
        return;
    }
    let message = format!(
        "{} is no value of {}=, so systemd ignores the line",
        quoted(&one.value),
        one.key
    );
    findings.add(
        placed,
        &codes::UNIT_BAD_VALUE,
        message,
        "write journal, or append:/PATH for a file",
    );
}

fn legacy_value(placed: &Placed, findings: &mut FileFindings) {
    let one = &placed.assignment;
    let is_output = one.key.starts_with("Standard") && one.value.starts_with("syslog");
    let names_target = one
        .value
        .split_whitespace()
        .any(|word| word == "syslog.target");
    let (what, cure) = if is_output {
        ("syslog output is the journal's today", "write journal")
    } else if names_target {
        (
            "syslog.target does not exist any more",
            "remove it; syslog is activated by its socket",
        )
    } else if one.key == "PIDFile" && one.value.starts_with("/var/run/") {
        ("/var/run is an old name of /run", "write /run")
    } else {
        return;
    };
    findings.add(placed, &codes::UNIT_LEGACY_VALUE, what, cure);
}

//! Checks the command lines of a service: their programs, their arguments, and what a shell would have done with them.

use super::model::{Placed, Unit};
use super::words::ExecCommand;
use crate::lint::codes;
use crate::lint::command::{pattern, shell_operator, shell_script};
use crate::lint::text::{quoted, shell_beginning, template_placeholder};

use super::FileFindings;

/// Checks every command of the service.
pub(super) fn check(unit: &Unit, findings: &mut FileFindings) {
    for key in [
        "ExecCondition",
        "ExecStartPre",
        "ExecStart",
        "ExecStartPost",
        "ExecReload",
        "ExecStop",
        "ExecStopPost",
    ] {
        for (placed, command) in unit.commands(key) {
            program(placed, &command, findings);
            arguments(placed, &command, findings);
        }
    }
}

fn program(placed: &Placed, command: &ExecCommand, findings: &mut FileFindings) {
    let program = command.words[0].text.as_str();
    if template_placeholder(program).is_some() || program.starts_with('%') {
        return;
    }
    let key = &placed.assignment.key;
    let shown = quoted(program);
    if let Some(beginning) = shell_beginning(program) {
        let message = format!(
            "{key} does not expand {} in the program {shown}",
            quoted(beginning)
        );
        let cure =
            "write the absolute path; %h stands for the home folder of the user that runs systemd";
        findings.add(placed, &codes::UNIT_PROGRAM_NOT_EXPANDED, message, cure);
    } else if program.contains('/') && !program.starts_with('/') {
        let message =
            format!("the program {shown} is a relative path, so systemd refuses the line");
        findings.add(
            placed,
            &codes::UNIT_RELATIVE_PROGRAM,
            message,
            "write the absolute path",
        );
    } else if !program.contains('/') && !program.is_empty() {
        let message = format!(
            "systemd looks for {shown} in a fixed list of folders, not on the PATH of the service"
        );
        findings.add(
            placed,
            &codes::UNIT_BARE_PROGRAM,
            message,
            "write the absolute path",
        );
    }
}

fn arguments(placed: &Placed, command: &ExecCommand, findings: &mut FileFindings) {
    let key = &placed.assignment.key;
    let unquoted: Vec<String> = command
        .words
        .iter()
        .map(|word| {
            if word.is_quoted && !word.text.starts_with('-') {
                format!("'{}", word.text)
            } else {
                word.text.clone()
            }
        })
        .collect();
    let texts = command.texts();
    let script = shell_script(&texts);
    // A quoted operator is meant as an argument.
    let operator = if script.is_some() {
        None
    } else {
        shell_operator(&unquoted)
    };
    if let Some(operator) = operator {
        let message = format!(
            "no shell runs {key}, so the program gets {} as an argument",
            quoted(operator)
        );
        let cure =
            "write /bin/sh -c '…' around the command; for output use StandardOutput=append:/FILE";
        findings.add(placed, &codes::UNIT_SHELL_SYNTAX, message, cure);
    }
    if let Some(pattern) = pattern(&unquoted).filter(|_| script.is_none()) {
        let message = format!("{key} does not expand the pattern {}", quoted(pattern));
        findings.add(
            placed,
            &codes::UNIT_GLOB,
            message,
            "write /bin/sh -c '…' around the command",
        );
    }
    let comment = command
        .words
        .iter()
        .skip(1)
        .position(|word| !word.is_quoted && word.text == "#");
    if comment.is_some() {
        let message = format!("the comment behind {key} becomes arguments of the program");
        findings.add_comment(placed, message);
    }
    for word in command
        .words
        .iter()
        .skip(1)
        .filter(|word| Some(word.text.as_str()) != script)
    {
        if word.text == "~" || word.text.starts_with("~/") {
            let message = format!("{key} does not expand `~` in {}", quoted(&word.text));
            findings.add(
                placed,
                &codes::UNIT_TILDE,
                message,
                "write the absolute path, or %h for the home folder",
            );
        }
    }
}

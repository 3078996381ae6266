//! Checks how a service is started, watched, restarted and stopped (systemd.service(5), systemd.kill(5)).

use super::FileFindings;
use super::model::{Placed, Unit};
use super::values::seconds;
use crate::lint::codes;
use crate::lint::command::Command;
use crate::lint::programs::Behavior;

/// Checks the service.
pub(super) fn check(unit: &Unit, findings: &mut FileFindings) {
    commands_exist(unit, findings);
    if let Some((placed, command)) = unit.main_command() {
        behavior(unit, placed, &command, findings);
        restart(unit, placed, &command, findings);
        pipeline(unit, placed, &command, findings);
    }
    types(unit, findings);
    pid_file(unit, findings);
    killing(unit, findings);
    watchdog(unit, findings);
    start_limit(unit, findings);
}

fn commands_exist(unit: &Unit, findings: &mut FileFindings) {
    let starts = unit.list("Service", "ExecStart");
    let all_of = |key: &str| unit.all.iter().any(|placed| placed.assignment.key == key);
    if starts.is_empty() {
        let stops_only = !unit.list("Service", "ExecStop").is_empty()
            || unit.last("Unit", "SuccessAction").is_some();
        let may_be_misspelt = unit.all.iter().any(|placed| {
            placed.assignment.section == "Service"
                && placed.assignment.key != "ExecStart"
                && placed.assignment.key.eq_ignore_ascii_case("ExecStart")
        });
        if !stops_only && !unit.is_drop_in && !may_be_misspelt {
            let message = if all_of("ExecStart") {
                "nothing is left to run: an empty ExecStart= removes those before it"
            } else {
                "the service has no ExecStart=, so systemd refuses the unit"
            };
            findings.add_at_section(
                "Service",
                &codes::UNIT_NO_EXEC,
                message,
                "add ExecStart= with the command",
            );
        }
        return;
    }
    let commands = unit.commands("ExecStart").len();
    if commands > 1 && unit.service_type() != "oneshot" && !unit.is_drop_in {
        let message = format!(
            "the service has {commands} commands in ExecStart=, which only Type=oneshot may have"
        );
        let cure = "keep one, write Type=oneshot, or begin a drop-in with an empty ExecStart=";
        findings.add(
            starts[1.min(starts.len() - 1)],
            &codes::UNIT_SEVERAL_EXEC,
            message,
            cure,
        );
    }
}

/// Whether systemd watches the first process: if it ends, the service has ended.
fn watches_first_process(unit: &Unit) -> bool {
    let watched = ["simple", "exec", "notify", "notify-reload", "idle", "dbus"];
    watched.contains(&unit.service_type()) && unit.service("ExitType") != Some("cgroup")
}

fn behavior(unit: &Unit, placed: &Placed, command: &Command, findings: &mut FileFindings) {
    let name = command.name();
    let kind = unit.service_type();
    match &command.behavior {
        Behavior::Leaves(cure) if watches_first_process(unit) => {
            let message = format!(
                "{name} goes into the background, which Type={kind} takes for the end of the service"
            );
            findings.add(
                placed,
                &codes::UNIT_FORKS,
                message,
                format!("{cure}, or write Type=forking"),
            );
        }
        Behavior::PerhapsLeaves(flag) if watches_first_process(unit) => {
            let message = format!(
                "`{flag}` looks as if it sent {name} into the background, which Type={kind} takes for the end of the service"
            );
            let cure = "run the command in a terminal: if the prompt returns at once, leave the option out or write Type=forking";
            findings.add(placed, &codes::UNIT_MAY_FORK, message, cure);
        }
        Behavior::StartsAnother(cure) if watches_first_process(unit) => {
            let message = format!(
                "{name} starts something else and returns, which Type={kind} takes for the end of the service"
            );
            findings.add(
                placed,
                &codes::UNIT_CONTROL_VERB,
                message,
                format!("{cure}, or write Type=forking or oneshot"),
            );
        }
        Behavior::EndsAtOnce if kind == "simple" && !unit.is_template => {
            ends_at_once(unit, placed, command, findings);
        }
        Behavior::KeptBy(flag) if kind == "forking" => {
            let message = format!(
                "`{flag}` keeps {name} in the foreground, so Type=forking waits for it until the start times out"
            );
            findings.add(
                placed,
                &codes::UNIT_FORKING_FOREGROUND,
                message,
                "write Type=exec, or leave the option out",
            );
        }
        Behavior::Server | Behavior::KeptBy(_)
            if kind == "oneshot" && unit.commands("ExecStart").len() == 1 =>
        {
            let message =
                format!("{name} runs for ever, so Type=oneshot never gets to the end of the start");
            findings.add(
                placed,
                &codes::UNIT_ONESHOT_SERVER,
                message,
                "write Type=exec",
            );
        }
        _ => {}
    }
}

fn ends_at_once(unit: &Unit, placed: &Placed, command: &Command, findings: &mut FileFindings) {
    let name = command.name();
    if unit.service("Restart") == Some("always")
        && unit
            .service("RestartSec")
            .and_then(seconds)
            .is_none_or(|pause| pause < 2.0)
    {
        let message = format!(
            "{name} ends at once, and Restart=always starts it again until the start limit stops the unit"
        );
        findings.add(
            placed,
            &codes::UNIT_RESTART_ENDS_AT_ONCE,
            message,
            "write Type=oneshot without Restart=; a timer repeats it",
        );
    } else if matches!(unit.service("Restart"), None | Some("no")) {
        let message = format!(
            "{name} ends at once, and units that wait for a simple service do not wait for its end"
        );
        findings.add(
            placed,
            &codes::UNIT_ENDS_AT_ONCE,
            message,
            "write Type=oneshot",
        );
    }
}

/// Whether another unit starts the service whenever it is needed.
fn is_activated(unit: &Unit) -> bool {
    let by_bus = unit.service("BusName").is_some() || unit.service_type() == "dbus";
    let by_unit = ["Requires", "Also", "BindsTo", "After"]
        .iter()
        .any(|key| unit.names_unit(key, ".socket"))
        && (unit.names_unit("Requires", ".socket")
            || unit.names_unit("Also", ".socket")
            || unit.names_unit("BindsTo", ".socket"))
        || unit.names_unit("Also", ".timer")
        || unit.names_unit("Also", ".path");
    by_bus || by_unit || unit.has_activator || unit.service("Sockets").is_some()
}

fn restart(unit: &Unit, placed: &Placed, command: &Command, findings: &mut FileFindings) {
    let kind = unit.service_type();
    if kind == "oneshot" {
        if let Some(restart) = unit.last("Service", "Restart")
            && ["always", "on-success"].contains(&restart.assignment.value.as_str())
        {
            let message = format!("Type=oneshot refuses Restart={}", restart.assignment.value);
            findings.add(
                restart,
                &codes::UNIT_ONESHOT_RESTART,
                message,
                "write Restart=on-failure, or Type=exec for a program that stays",
            );
        }
        return;
    }
    if unit.is_set("RemainAfterExit") && kind != "forking" {
        let line = unit.last("Service", "RemainAfterExit").unwrap_or(placed);
        let message = format!(
            "the unit stays active after the program has ended, because Type={kind} has RemainAfterExit="
        );
        findings.add(
            line,
            &codes::UNIT_REMAIN_SIMPLE,
            message,
            "write Type=oneshot, or remove RemainAfterExit=",
        );
        return;
    }
    // A screen is locked once, and a person ends a session: neither is started again.
    let ends_by_design = matches!(command.behavior, Behavior::EndsAtOnce)
        || command.name().contains("lock")
        || unit
            .service("StandardInput")
            .is_some_and(|input| input.starts_with("tty"));
    let says = unit.all.iter().any(|one| {
        one.assignment.section == "Service" && one.assignment.key.eq_ignore_ascii_case("Restart")
    });
    if !says && !is_activated(unit) && !ends_by_design && !unit.is_drop_in {
        let message = format!(
            "{} stays down after its first failure: there is no Restart=",
            command.name()
        );
        findings.add_at_section(
            "Service",
            &codes::UNIT_NO_RESTART,
            message,
            "add Restart=on-failure, or Restart=no if that is wanted",
        );
    }
}

/// READY=1 from a process that is not the main one is dropped.
fn pipeline(unit: &Unit, placed: &Placed, command: &Command, findings: &mut FileFindings) {
    let Some(script) = &command.script else {
        return;
    };
    let executes = script
        .commands
        .iter()
        .any(|words| words.first().is_some_and(|word| word == "exec"));
    let any_process = matches!(unit.service("NotifyAccess"), Some("all"));
    if script.has_pipe && !executes && !any_process && unit.service_type().starts_with("notify") {
        let message = "the shell is the main process, so systemd drops the READY=1 of a program in its pipeline";
        findings.add(
            placed,
            &codes::UNIT_NOTIFY_PIPELINE,
            message,
            "begin the last command with `exec` and drop the pipeline, or write NotifyAccess=all",
        );
    }
}

fn types(unit: &Unit, findings: &mut FileFindings) {
    if let Some(placed) = unit
        .last("Service", "Type")
        .filter(|placed| placed.assignment.value == "notify-reload")
    {
        let message = "a systemd before 253 does not know Type=notify-reload and takes simple";
        findings.add(
            placed,
            &codes::UNIT_NEEDS_NEWER,
            message,
            "write Type=notify, unless every machine has 253 or newer",
        );
    }
}

fn pid_file(unit: &Unit, findings: &mut FileFindings) {
    let kind = unit.service_type();
    match (unit.last("Service", "PIDFile"), kind) {
        (Some(placed), _) if kind != "forking" => {
            let message = format!("PIDFile= is for Type=forking, and this is Type={kind}");
            findings.add(
                placed,
                &codes::UNIT_PIDFILE,
                message,
                "remove PIDFile=, or write Type=forking if the program forks",
            );
        }
        (None, "forking") => {
            let message = "without PIDFile=, systemd guesses which process is the main one";
            let line = unit.last("Service", "Type");
            if let Some(line) = line.filter(|_| !unit.is_drop_in) {
                findings.add(
                    line,
                    &codes::UNIT_FORKING_PIDFILE,
                    message,
                    "add PIDFile=, or keep the program in the foreground",
                );
            }
        }
        _ => {}
    }
}

fn killing(unit: &Unit, findings: &mut FileFindings) {
    let Some(placed) = unit.last("Service", "KillMode") else {
        return;
    };
    let stops = !unit.list("Service", "ExecStop").is_empty();
    match placed.assignment.value.as_str() {
        "none" if stops => {
            let message = "what ExecStop= does not end stays, because KillMode=none kills nothing";
            findings.add(
                placed,
                &codes::UNIT_KILL_NONE_STOP,
                message,
                "write KillMode=mixed",
            );
        }
        "none" => {
            let message =
                "nothing ends the processes at a stop, because KillMode=none kills nothing";
            findings.add(
                placed,
                &codes::UNIT_KILL_NONE,
                message,
                "write KillMode=control-group or mixed",
            );
        }
        // A manager of containers or services keeps its children on purpose: it has its own cgroups, or says when it is ready.
        "process"
            if !["oneshot", "idle"].contains(&unit.service_type())
                && !unit.service_type().starts_with("notify")
                && unit.service("Delegate").is_none() =>
        {
            let message = "the children of the main process stay when the service stops";
            findings.add(
                placed,
                &codes::UNIT_KILL_PROCESS,
                message,
                "write KillMode=mixed, unless they are to survive",
            );
        }
        _ => {}
    }
}

fn watchdog(unit: &Unit, findings: &mut FileFindings) {
    let Some(placed) = unit.last("Service", "WatchdogSec") else {
        return;
    };
    if seconds(&placed.assignment.value) == Some(0.0) {
        return;
    }
    let access = unit.service("NotifyAccess");
    if access == Some("none") {
        let message = "no WATCHDOG=1 arrives with NotifyAccess=none, so systemd kills the service again and again";
        findings.add(
            placed,
            &codes::UNIT_WATCHDOG_NONE,
            message,
            "write NotifyAccess=main, or remove WatchdogSec=",
        );
    } else if access.is_none()
        && unit.service_type() != "dbus"
        && !unit.service_type().starts_with("notify")
        && !unit.is_drop_in
    {
        let message = format!(
            "systemd kills the service again and again if it sends no WATCHDOG=1, and Type={} does not show that it does",
            unit.service_type()
        );
        findings.add(
            placed,
            &codes::UNIT_WATCHDOG_TYPE,
            message,
            "write Type=notify if the program speaks sd_notify(3), or remove WatchdogSec=",
        );
    }
}

fn start_limit(unit: &Unit, findings: &mut FileFindings) {
    let value = |key: &str| {
        let found = unit.last("Unit", key).or_else(|| unit.last("Service", key));
        found.map(|placed| (placed, placed.assignment.value.as_str()))
    };
    let interval = value("StartLimitIntervalSec").or_else(|| value("StartLimitInterval"));
    let burst = value("StartLimitBurst");
    let Some((placed, _)) = burst.or(interval) else {
        return;
    };
    let interval = interval.map_or(Some(10.0), |(_, text)| seconds(text));
    let burst = burst.map_or(Some(5.0), |(_, text)| text.parse::<f64>().ok());
    let pause = unit.service("RestartSec").map_or(Some(0.1), seconds);
    let (Some(interval), Some(burst), Some(pause)) = (interval, burst, pause) else {
        return;
    };
    if interval > 0.0 && burst > 1.0 && pause * burst > interval {
        let message = format!(
            "{burst} starts with a pause of {pause} s never fit into {interval} s, so the limit is never reached"
        );
        findings.add(
            placed,
            &codes::UNIT_START_LIMIT_UNREACHABLE,
            message,
            "raise StartLimitIntervalSec= above the product of the two",
        );
    }
}

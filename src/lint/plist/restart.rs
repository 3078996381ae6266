//! Checks when a job is started and restarted: `KeepAlive`, `OnDemand`, intervals and limits.

use super::job::{Job, Place};
use super::node::{Node, Value};
use crate::lint::codes;
use crate::lint::finding::Findings;
use crate::lint::programs::Behavior;

/// Checks the keys that start, restart and stop a job.
pub(super) fn check(job: &Job<'_>, findings: &mut Findings) {
    keep_alive(job, findings);
    legacy(job, findings);
    numbers(job, findings);
    process(job, findings);
    if is_server(job) {
        server(job, findings);
    }
    let starts = job.says_when_it_runs() || job.root.boolean("RunAtLoad") == Some(true);
    if !starts && job.program().is_some() {
        let message =
            "nothing starts the job: it has neither RunAtLoad nor a key that starts it on demand";
        findings.add(
            job.root.line,
            &codes::PLIST_NEVER_STARTS,
            message,
            "add RunAtLoad, unless another program starts it",
        );
    }
}

fn is_server(job: &Job<'_>) -> bool {
    matches!(
        job.command.behavior,
        Behavior::Server | Behavior::KeptBy(_) | Behavior::Leaves(_)
    )
}

fn keep_alive(job: &Job<'_>, findings: &mut Findings) {
    let Some(keep_alive) = job.root.get("KeepAlive") else {
        return;
    };
    if !matches!(keep_alive.value, Value::Dictionary(_)) {
        return;
    }
    let is_unimplemented = |key: &str| key == "NetworkState";
    let conditions = keep_alive
        .entries()
        .iter()
        .filter(|entry| !is_unimplemented(&entry.key));
    let others = conditions
        .clone()
        .filter(|entry| !["SuccessfulExit", "Crashed"].contains(&entry.key.as_str()))
        .count();
    if conditions.count() == 0 {
        let message =
            "the dictionary has no condition that launchd implements, so it keeps nothing alive";
        findings.add(
            keep_alive.line,
            &codes::PLIST_KEEPALIVE_NOTHING,
            message,
            "write KeepAlive true",
        );
    } else if let Some(entry) = keep_alive.entry("NetworkState") {
        let message = "launchd no longer implements NetworkState";
        findings.add(entry.line, &codes::PLIST_OBSOLETE_KEY, message, "remove it");
    }
    let line = |key: &str| {
        keep_alive
            .entry(key)
            .map_or(keep_alive.line, |entry| entry.line)
    };
    match (
        keep_alive.boolean("SuccessfulExit"),
        keep_alive.boolean("Crashed"),
    ) {
        (Some(true), crashed) => {
            let remainder = if crashed == Some(true) {
                "after exit 0 and after some crashes, never after another exit status"
            } else {
                "only after exit 0, never after a crash"
            };
            let message = format!("launchd restarts the job {remainder}");
            let code = if is_server(job) {
                &codes::PLIST_RESTART_INVERTED
            } else {
                &codes::PLIST_SUCCESSFUL_EXIT
            };
            findings.add(
                line("SuccessfulExit"),
                code,
                message,
                "write KeepAlive true, or SuccessfulExit false",
            );
        }
        (Some(false), Some(true)) => {
            let message = "the conditions are ORed: Crashed adds nothing to SuccessfulExit false";
            findings.add(
                line("Crashed"),
                &codes::PLIST_KEEPALIVE_REDUNDANT,
                message,
                "remove Crashed",
            );
        }
        (None, Some(true)) if others == 0 => {
            let message = "launchd does not restart the job after an exit with an error, a SIGKILL, or when memory runs out";
            findings.add(
                line("Crashed"),
                &codes::PLIST_CRASHED_ALONE,
                message,
                "write KeepAlive true, or SuccessfulExit false",
            );
        }
        _ => {}
    }
}

fn legacy(job: &Job<'_>, findings: &mut Findings) {
    if let Some(entry) = job.root.entry("OnDemand") {
        let (message, cure) = match job.root.boolean("OnDemand") {
            Some(false) => (
                "OnDemand false is the old form of KeepAlive true",
                "write KeepAlive true instead",
            ),
            _ => ("OnDemand true means nothing", "remove it"),
        };
        findings.add(entry.line, &codes::PLIST_ON_DEMAND, message, cure);
    }
    if let Some(entry) = job.root.entry("LaunchOnlyOnce")
        && job.root.boolean("LaunchOnlyOnce") == Some(true)
        && job.is_kept_alive()
    {
        let message = "LaunchOnlyOnce never starts the job again, which KeepAlive asks for";
        findings.add(
            entry.line,
            &codes::PLIST_LAUNCH_ONCE,
            message,
            "remove one of the two",
        );
    }
}

fn numbers(job: &Job<'_>, findings: &mut Findings) {
    let line = |key: &str| job.root.get(key).map_or(job.root.line, |node| node.line);
    match job.root.integer("ThrottleInterval") {
        Some(0) => {
            let message =
                "launchd ignores ThrottleInterval 0: at least 10 seconds lie between two starts";
            findings.add(
                line("ThrottleInterval"),
                &codes::PLIST_THROTTLE_ZERO,
                message,
                "write 1, or remove it",
            );
        }
        Some(seconds @ 1..10) => {
            let message =
                format!("the job may start every {seconds} s, more often than by default (10 s)");
            findings.add(
                line("ThrottleInterval"),
                &codes::PLIST_THROTTLE_SHORT,
                message,
                "remove it, unless that is wanted",
            );
        }
        _ => {}
    }
    if job.root.integer("ExitTimeOut") == Some(0) {
        let message = "ExitTimeOut 0 waits for ever, and stalls the shutdown of the machine";
        findings.add(
            line("ExitTimeOut"),
            &codes::PLIST_EXIT_TIMEOUT_ZERO,
            message,
            "write the longest time that a stop takes",
        );
    }
    if job.place == Place::Agent && job.root.integer("Nice").is_some_and(|nice| nice < 0) {
        let message = "an agent runs as its user, who may not have a negative Nice";
        findings.add(
            line("Nice"),
            &codes::PLIST_NICE_IN_AGENT,
            message,
            "remove it, or install the job as a daemon",
        );
    }
}

fn process(job: &Job<'_>, findings: &mut Findings) {
    let is_set = |key: &str| job.root.boolean(key) == Some(true);
    let line = |key: &str| {
        job.root
            .entry(key)
            .map_or(job.root.line, |entry| entry.line)
    };
    if is_set("WaitForDebugger") {
        let message = "the program starts suspended, and waits for a debugger";
        findings.add(
            line("WaitForDebugger"),
            &codes::PLIST_DEBUGGER,
            message,
            "remove it",
        );
    }
    let is_xpc = ["MachServices", "LaunchEvents"]
        .iter()
        .any(|key| job.root.get(key).is_some());
    if is_set("EnableTransactions") && !is_xpc {
        let message = "a job without XPC transactions gets SIGKILL at once instead of SIGTERM";
        findings.add(
            line("EnableTransactions"),
            &codes::PLIST_TRANSACTIONS,
            message,
            "remove it",
        );
    }
}

/// What a program that runs for ever needs.
fn server(job: &Job<'_>, findings: &mut Findings) {
    let name = job.command.name();
    if !job.says_when_it_runs() && job.root.boolean("LaunchOnlyOnce") != Some(true) {
        let message = format!("{name} stays down after its first exit: the job has no KeepAlive");
        let cure = "add KeepAlive true, or false if that is wanted";
        findings.add(job.root.line, &codes::PLIST_NO_KEEPALIVE, message, cure);
    }
    if !job.is_kept_alive() {
        return;
    }
    if job.root.get("ExitTimeOut").is_none() {
        let message =
            format!("{name} has no ExitTimeOut; macOS was seen to send SIGKILL 5 s after SIGTERM");
        findings.add(
            job.root.line,
            &codes::PLIST_EXIT_TIMEOUT,
            message,
            "add ExitTimeOut with the longest time that a stop takes",
        );
    }
    let limits = job.root.get("SoftResourceLimits");
    if limits
        .and_then(|limits: &Node| limits.get("NumberOfFiles"))
        .is_none()
    {
        let message = format!("{name} starts with a limit of 256 open files");
        let cure = "add NumberOfFiles to SoftResourceLimits and HardResourceLimits, unless the program raises it";
        findings.add(job.root.line, &codes::PLIST_OPEN_FILES, message, cure);
    }
}

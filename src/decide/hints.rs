//! Hints in the sentences about a failure: how to keep a program in the foreground, whether memory ran out, when stayd
//! tries again.

use super::clock::{Duration, in_words};
use super::event::{Exit, Process, ServingEvidence};

/// The flag that keeps `program` (a file name) in the foreground; `None` for programs whose flag is not known.
fn foreground_flag(program: &str) -> Option<&'static str> {
    Some(match program {
        "nginx" => "-g 'daemon off;'",
        "redis-server" | "valkey-server" => "--daemonize no",
        "memcached" => "no -d",
        "httpd" | "apache2" => "-DFOREGROUND",
        "haproxy" => "-db",
        "lighttpd" | "sshd" => "-D",
        "mysqld_safe" | "mariadbd-safe" => "mysqld itself instead of the wrapper",
        "pg_ctl" | "pg_ctlcluster" => "`postgres -D DIR` itself instead of pg_ctl",
        "dnsmasq" => "--keep-in-foreground",
        "rsync" => "--no-detach",
        "mongod" => "no --fork",
        "smbd" | "nmbd" => "--foreground",
        "cron" | "crond" => "-f",
        "named" => "-f",
        "php-fpm" => "--nodaemonize",
        "uwsgi" => "no --daemonize",
        "gunicorn" => "no --daemon",
        _ => return None,
    })
}

/// The sentence about a launcher that exited: which process stayd supervises instead, and how to avoid it.
#[must_use]
pub(super) fn daemonized(
    program: &str,
    uptime: Duration,
    successor: Process,
    evidence: ServingEvidence,
) -> String {
    let what = successor_in_words(successor, evidence);
    let hint = foreground_flag(program).map_or_else(
        || "look for its option to stay in the foreground".to_owned(),
        |flag| format!("use {flag}"),
    );
    format!(
        "{program} daemonizes itself: it exited with status 0 after {:.1} s; {what} is supervised instead. \
         To keep it in the foreground: {hint}",
        uptime.as_secs_f64()
    )
}

/// The sentence about a server whose main process exited after the startup budget and left another one in its place.
#[must_use]
pub(super) fn replaced(
    program: &str,
    uptime: Duration,
    successor: Process,
    evidence: ServingEvidence,
) -> String {
    format!(
        "{program} replaced its main process: the former one exited with status 0 after {:.1} s; {} is supervised from now on",
        uptime.as_secs_f64(),
        successor_in_words(successor, evidence)
    )
}

/// The successor, and why it is one.
fn successor_in_words(successor: Process, evidence: ServingEvidence) -> String {
    let pid = successor.pid;
    match evidence {
        ServingEvidence::Named => format!("pid {pid}, which it has named (MAINPID=),"),
        ServingEvidence::Listens => format!("its child, pid {pid}, which listens at its address,"),
        ServingEvidence::HasHeldSocket => format!("its child, pid {pid}, which has its socket,"),
        ServingEvidence::Nothing | ServingEvidence::Unknown => format!("its child, pid {pid},"),
    }
}

/// An addition to the sentence about an exit that the kernel may have caused for lack of memory: a SIGKILL that is not
/// ours, while the kernel killed `oom_kills` processes on the whole host since the instance began. All of these may have
/// been other processes. Empty where that cannot be the cause.
#[must_use]
pub(super) fn out_of_memory(exit: Exit, oom_kills: u64) -> String {
    const SIGKILL: i32 = 9;
    if exit != Exit::Signal(SIGKILL) || oom_kills == 0 {
        return String::new();
    }
    format!(
        "; it may have been out of memory: the kernel has killed {oom_kills} {} for lack of it since this instance began, \
         anywhere on this machine. `journalctl -k` or `dmesg` shows which; if it was this one, give it more memory, or let \
         it use less",
        if oom_kills == 1 {
            "process"
        } else {
            "processes"
        }
    )
}

/// The cause of a failure, and when stayd tries again. A cause may end in "trying again" already.
#[must_use]
pub(super) fn again_in(cause: &str, wait: Duration) -> String {
    const AGAIN: &str = "trying again";
    let wait = in_words(wait);
    match cause.strip_suffix(AGAIN) {
        Some(before) => format!("{before}{AGAIN} in {wait}"),
        None => format!("{cause}; {AGAIN} in {wait}"),
    }
}

#[cfg(test)]
mod tests {
    use super::again_in;
    use std::time::Duration;

    #[test]
    fn trying_again_is_said_once() {
        let wait = Duration::from_secs(2);
        for (cause, sentence) in [
            ("cannot start it", "cannot start it; trying again in 2 s"),
            (
                "full; make room, trying again",
                "full; make room, trying again in 2 s",
            ),
            (
                "is its disk there? trying again",
                "is its disk there? trying again in 2 s",
            ),
        ] {
            assert_eq!(again_in(cause, wait), sentence);
        }
    }
}

//! Programs that leave the foreground, and the flag that keeps them there.

use super::clock::{Duration, in_words};
use super::event::{Exit, Process};

/// The flag that keeps `program` (a file name) in the foreground, for programs one is sure of.
#[must_use]
pub fn foreground_flag(program: &str) -> Option<&'static str> {
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

/// What happened, and the cure.
#[must_use]
pub fn daemonized(program: &str, uptime: Duration, successor: Process, listens: bool) -> String {
    let what = if listens {
        "its child, which holds the port,"
    } else {
        "its child"
    };
    let cure = foreground_flag(program).map_or_else(
        || "look for its option to stay in the foreground".to_owned(),
        |flag| format!("use {flag}"),
    );
    format!(
        "{program} daemonizes itself: it exited with status 0 after {:.1} s; {what} pid {} is supervised instead. \
         To keep it in the foreground: {cure}",
        uptime.as_secs_f64(),
        successor.pid
    )
}

/// Added to the end of a life that may be the kernel's doing: SIGKILL, not ours, and `oom_kills` processes killed for
/// want of memory since the life began, on the whole host: they may all have been somebody else's. Nothing where it
/// cannot be.
#[must_use]
pub fn out_of_memory(exit: Exit, oom_kills: u64) -> String {
    const SIGKILL: i32 = 9;
    if exit != Exit::Signal(SIGKILL) || oom_kills == 0 {
        return String::new();
    }
    format!(
        "; it may have been out of memory: the kernel has killed {oom_kills} {} for want of it since this life began, \
         anywhere on this machine. `journalctl -k` or `dmesg` say which; if it was this one, give it more memory, or let \
         it use less",
        if oom_kills == 1 {
            "process"
        } else {
            "processes"
        }
    )
}

/// The cause of a failure, and when what failed is tried again. That it is, a cause may say itself.
#[must_use]
pub fn again_in(cause: &str, wait: Duration) -> String {
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
    fn nothing_is_said_twice() {
        let wait = Duration::from_secs(2);
        for (cause, said) in [
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
            assert_eq!(again_in(cause, wait), said);
        }
    }
}

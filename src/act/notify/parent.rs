//! Detects the parent supervisor: the program that started stayd.
//!
//! An inherited variable alone proves nothing: terminals, CI runners and web shells pass on variables of systemd and launchd.
//! The result decides the log's format and whether READY is sent, never whether stayd stays in the foreground.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// The environment variables that are read; all others stay unread.
const VARIABLES: [&str; 11] = [
    "JOURNAL_STREAM",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "STAYD_STOP_BUDGET",
    "STAYD_SUPERVISOR",
    "SYSTEMD_EXEC_PID",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "XPC_SERVICE_NAME",
];

/// The program that started stayd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentSupervisor {
    /// systemd: stayd is the main process of a unit.
    Systemd,
    /// launchd: stayd is a job.
    Launchd,
    /// A container runtime: stayd is the container's first process.
    Container,
    /// A user in a terminal.
    Terminal,
    /// A script, a cron job or another supervisor.
    Other,
}

impl ParentSupervisor {
    /// Its name in `status`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Launchd => "launchd",
            Self::Container => "container",
            Self::Terminal => "terminal",
            Self::Other => "other",
        }
    }

    /// Whether it would start stayd again after an exit, so that stayd waits instead of exiting.
    #[must_use]
    pub const fn starts_again(self) -> bool {
        matches!(self, Self::Systemd | Self::Launchd | Self::Container)
    }
}

/// What is known about the start of this process, read once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartContext {
    /// stayd's pid.
    pub pid: i32,
    /// The pid of stayd's parent.
    pub parent: i32,
    /// The environment variables that are read.
    pub variables: BTreeMap<String, String>,
    /// Device and inode of stdout, if it is open.
    pub stdout: Option<(u64, u64)>,
    /// Device and inode of stderr, if it is open.
    pub stderr: Option<(u64, u64)>,
    /// Whether stderr is a terminal.
    pub terminal: bool,
}

impl StartContext {
    /// Collects these values. `environment` is the process's own, as it was at the start.
    pub fn gather(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            pid: crate::sys::identity::pid(),
            parent: crate::sys::identity::parent_pid(),
            variables: environment
                .into_iter()
                .filter_map(text)
                .filter(|(name, _)| VARIABLES.contains(&name.as_str()))
                .collect(),
            stdout: file_of(io::stdout()),
            stderr: file_of(io::stderr()),
            terminal: io::stderr().is_terminal(),
        }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    fn names_our_pid(&self, name: &str) -> bool {
        self.variable(name).and_then(|pid| pid.parse().ok()) == Some(self.pid)
    }

    /// The parent supervisor.
    ///
    /// systemd sets `SYSTEMD_EXEC_PID` to the process that it executed. launchd is process 1, and either stayd's own plist has
    /// set a variable, or the job label differs from those of terminals and applications (`0`, `application.…`).
    #[must_use]
    pub fn supervisor(&self) -> ParentSupervisor {
        if self.names_our_pid("SYSTEMD_EXEC_PID") {
            ParentSupervisor::Systemd
        } else if self.parent == 1 && (self.has_variable_of_our_plist() || self.has_a_job_label()) {
            ParentSupervisor::Launchd
        } else if self.pid == 1 {
            ParentSupervisor::Container
        } else if self.terminal {
            ParentSupervisor::Terminal
        } else {
            ParentSupervisor::Other
        }
    }

    /// Whether stayd's unit delegates its cgroup to stayd.
    #[must_use]
    pub fn unit_delegates(&self) -> bool {
        self.supervisor() == ParentSupervisor::Systemd
            && self.variable("STAYD_SUPERVISOR") == Some("systemd:delegated")
    }

    /// How many descriptors systemd has passed to stayd, from 3 on, and their names (sd_listen_fds(3)).
    pub(crate) fn listen_fds(&self) -> (i32, Vec<String>) {
        let count = self
            .variable("LISTEN_FDS")
            .filter(|_| self.names_our_pid("LISTEN_PID"));
        let names = self.variable("LISTEN_FDNAMES").unwrap_or_default();
        let count = count.and_then(|count| count.parse().ok()).unwrap_or(0);
        (count, names.split(':').map(str::to_owned).collect())
    }

    fn has_variable_of_our_plist(&self) -> bool {
        self.variable("STAYD_SUPERVISOR")
            .is_some_and(|value| value.starts_with("launchd:"))
    }

    fn has_a_job_label(&self) -> bool {
        self.variable("XPC_SERVICE_NAME")
            .is_some_and(|label| !matches!(label, "" | "0") && !label.starts_with("application."))
    }

    /// Whether journald reads stayd's stderr, where the log goes (systemd.exec(5), `$JOURNAL_STREAM`).
    #[must_use]
    pub fn journal_reads_stderr(&self) -> bool {
        self.journal_stream()
            .is_some_and(|stream| self.stderr == Some(stream))
    }

    fn journal_stream(&self) -> Option<(u64, u64)> {
        let (device, inode) = self.variable("JOURNAL_STREAM")?.split_once(':')?;
        Some((device.parse().ok()?, inode.parse().ok()?))
    }

    /// How long an orderly stop may take before launchd sends SIGKILL: the `ExitTimeOut` in stayd's plist. launchd grants no
    /// extension.
    #[must_use]
    pub fn stop_budget(&self) -> Option<Duration> {
        if self.supervisor() != ParentSupervisor::Launchd || !self.has_variable_of_our_plist() {
            return None;
        }
        let seconds = self.variable("STAYD_STOP_BUDGET")?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    }

    /// The time without WATCHDOG=1 after which systemd ends stayd, if it watches stayd.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        let is_for_this_process =
            self.variable("WATCHDOG_PID").is_none() || self.names_our_pid("WATCHDOG_PID");
        let micros: u64 = self.variable("WATCHDOG_USEC")?.parse().ok()?;
        (is_for_this_process && micros > 0).then(|| Duration::from_micros(micros))
    }

    /// The socket on which the parent supervisor receives stayd's notifications: systemd's, or the container runtime's.
    pub(crate) fn notify_path(&self) -> Option<&Path> {
        let listens = matches!(
            self.supervisor(),
            ParentSupervisor::Systemd | ParentSupervisor::Container
        );
        self.variable("NOTIFY_SOCKET")
            .filter(|_| listens)
            .map(Path::new)
    }
}

fn file_of(stream: impl AsFd) -> Option<(u64, u64)> {
    let copy = stream.as_fd().try_clone_to_owned().ok()?;
    let file = File::from(copy).metadata().ok()?;
    Some((file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::{ParentSupervisor, StartContext};
    use std::time::Duration;

    /// A process 4711, child of `parent`, with `variables`.
    fn started(parent: i32, variables: &[(&str, &str)]) -> StartContext {
        StartContext {
            pid: 4711,
            parent,
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            stdout: Some((9, 90)),
            stderr: Some((9, 91)),
            terminal: false,
        }
    }

    #[test]
    fn an_inherited_variable_proves_nothing() {
        let inherited = [
            ("SYSTEMD_EXEC_PID", "4710"),
            ("INVOCATION_ID", "b0"),
            ("JOURNAL_STREAM", "9:92"),
            ("NOTIFY_SOCKET", "/run/systemd/notify"),
            ("WATCHDOG_USEC", "30000000"),
            ("WATCHDOG_PID", "4710"),
            ("XPC_SERVICE_NAME", "stayd.studio"),
            ("STAYD_SUPERVISOR", "launchd:stayd.studio"),
        ];
        let start_context = started(4710, &inherited);
        assert_eq!(start_context.supervisor(), ParentSupervisor::Other);
        assert!(!start_context.journal_reads_stderr());
        assert_eq!(start_context.stop_budget(), None);
        assert_eq!(start_context.notify_path(), None);
    }

    #[test]
    fn each_parent_supervisor_is_recognized() {
        type Variables = &'static [(&'static str, &'static str)];
        let tries: [(i32, Variables, ParentSupervisor); 8] = [
            (
                1,
                &[("SYSTEMD_EXEC_PID", "4711")],
                ParentSupervisor::Systemd,
            ),
            (
                900,
                &[("SYSTEMD_EXEC_PID", "4711")],
                ParentSupervisor::Systemd,
            ),
            (
                1,
                &[("XPC_SERVICE_NAME", "org.example.db")],
                ParentSupervisor::Launchd,
            ),
            (
                1,
                &[("STAYD_SUPERVISOR", "launchd:x"), ("XPC_SERVICE_NAME", "0")],
                ParentSupervisor::Launchd,
            ),
            (1, &[("XPC_SERVICE_NAME", "0")], ParentSupervisor::Other),
            (
                1,
                &[("XPC_SERVICE_NAME", "application.com.apple.Terminal.1.2")],
                ParentSupervisor::Other,
            ),
            (1, &[("XPC_SERVICE_NAME", "")], ParentSupervisor::Other),
            (900, &[], ParentSupervisor::Other),
        ];
        for (parent, variables, expected) in tries {
            let found = started(parent, variables).supervisor();
            assert_eq!(found, expected, "{parent} {variables:?}");
        }
        let first = StartContext {
            pid: 1,
            terminal: true,
            ..started(0, &[])
        };
        assert_eq!(first.supervisor(), ParentSupervisor::Container);
        let typed = StartContext {
            terminal: true,
            ..started(900, &[])
        };
        assert_eq!(typed.supervisor(), ParentSupervisor::Terminal);
    }

    #[test]
    fn only_the_journal_stream_of_this_process_counts() {
        let stderr = started(1, &[("JOURNAL_STREAM", "9:91")]);
        assert!(stderr.journal_reads_stderr());
        let stdout = started(1, &[("JOURNAL_STREAM", "9:90")]);
        assert!(!stdout.journal_reads_stderr());
        for junk in ["", "9", "9:", ":91", "9:91:1", "x:y"] {
            assert!(
                !started(1, &[("JOURNAL_STREAM", junk)]).journal_reads_stderr(),
                "{junk}"
            );
        }
    }

    #[test]
    fn the_stop_budget_comes_from_stayds_plist_only() {
        let ours = [
            ("STAYD_SUPERVISOR", "launchd:x"),
            ("STAYD_STOP_BUDGET", "15"),
        ];
        assert_eq!(
            started(1, &ours).stop_budget(),
            Some(Duration::from_secs(15))
        );
        let foreign = [("XPC_SERVICE_NAME", "x"), ("STAYD_STOP_BUDGET", "15")];
        assert_eq!(started(1, &foreign).stop_budget(), None);
    }

    #[test]
    fn the_gathered_values_are_those_of_this_process() {
        let start_context = StartContext::gather(std::env::vars_os());
        assert_eq!(u32::try_from(start_context.pid), Ok(std::process::id()));
        assert!(start_context.stdout.is_some() && start_context.stderr.is_some());
        assert!(!start_context.variables.contains_key("PATH"));
    }
}

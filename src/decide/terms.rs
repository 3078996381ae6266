//! Types that events, actions and states share: the number of an instance, exits, checks.

/// The number of an instance of a service: 1 for the first spawn, one more for each later one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(not(decide_alone), derive(serde::Serialize, serde::Deserialize))]
pub struct Life(pub u32);

impl Life {
    /// The number of the instance after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The index of a service in the machine; stable while stayd runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub usize);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(not(decide_alone), derive(serde::Serialize, serde::Deserialize))]
pub enum Exit {
    /// exit(2) with this status.
    Code(i32),
    /// Killed by this signal number.
    Signal(i32),
    /// The kernel did not report it; never taken for a clean exit.
    Unknown,
}

/// Why no process was started.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpawnFailure {
    /// The step that failed and its cause, "cannot …: cause".
    pub message: String,
    /// The cause does not go away by itself: a missing program, a permission.
    pub lasting: bool,
}

/// Which of a service's probes an attempt belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// The watchdog's: may kill.
    Liveness,
    /// Decides readiness; never kills.
    Readiness,
}

impl Exit {
    /// "exited with status 1", "was ended by SIGKILL", "ended, its exit status is unknown".
    #[must_use]
    pub fn in_words(self) -> String {
        match self {
            Self::Code(code) => format!("exited with status {code}"),
            Self::Signal(number) => match signal_name(number) {
                Some(name) => format!("was ended by SIG{name}"),
                None => format!("was ended by signal {number}"),
            },
            Self::Unknown => "ended, its exit status is unknown".into(),
        }
    }

    /// Whether a healthy process does not end like this by itself. An unknown exit does not count as a crash.
    #[must_use]
    pub const fn is_crash(self) -> bool {
        !matches!(self, Self::Code(0) | Self::Unknown)
    }
}

impl SpawnFailure {
    /// A request came before the start was done.
    #[must_use]
    pub fn cancelled() -> Self {
        Self {
            message: "cancelled".into(),
            lasting: false,
        }
    }
}

/// Names of the signals that have one number on Linux and macOS (signal(7), signal(3)).
#[must_use]
pub const fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        5 => "TRAP",
        6 => "ABRT",
        8 => "FPE",
        9 => "KILL",
        11 => "SEGV",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        _ => return None,
    })
}

//! The identity of a process: its pid and its start time.

/// A process, distinguished from a later one with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    /// The pid; always > 1 for anything that may be signalled.
    pub pid: i32,
    /// Kernel start time: Linux ticks since boot (proc(5), stat field 22), macOS microseconds since 1970. Within one
    /// tick (10 ms) the kernel does not give the same pid twice, because it first gives all others.
    pub start_time: u64,
}

impl Process {
    /// Stands for no process, or one that is not known: no process has this pid.
    pub const NONE: Self = Self {
        pid: 0,
        start_time: 0,
    };
}

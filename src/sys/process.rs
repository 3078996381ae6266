//! Looking at processes and signalling them.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// A process that cannot be confused with a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    /// The number; always > 1 for anything that may be signalled.
    pub pid: i32,
    /// Kernel start time: Linux ticks since boot (proc(5), stat field 22), macOS microseconds since 1970.
    pub birth: u64,
}

/// What the kernel says a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// R
    Running,
    /// S, I
    Sleeping,
    /// D, or U on macOS: SIGKILL has to wait.
    Uninterruptible,
    /// T
    Stopped,
    /// t
    Traced,
    /// Z, X
    Zombie,
}

/// One line of /proc/PID/stat, as far as it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Who.
    pub process: Process,
    /// Parent's pid.
    pub ppid: i32,
    /// Process group.
    pub pgid: i32,
    /// Session: a member of session S descends from the process that called setsid as S (setsid(2)).
    pub sid: i32,
    /// What it is doing.
    pub state: State,
    /// User and system time, own and all threads', dead children not counted.
    pub cpu: Duration,
    /// Number of threads.
    pub threads: u32,
    /// The short name, as the kernel has it.
    pub comm: String,
}

/// An open file of another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFile {
    /// Its number there.
    pub fd: i32,
    /// What readlink says: a path, `socket:[inode]`, `pipe:[inode]`.
    pub target: String,
}

/// A thread and what it waits in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Thread id.
    pub tid: i32,
    /// Its name.
    pub comm: String,
    /// What it is doing.
    pub state: State,
    /// Kernel function it sleeps in (proc(5), wchan), if told.
    pub wchan: Option<String>,
    /// System call it is in, if told (proc(5), syscall; needs ptrace rights).
    pub syscall: Option<i64>,
}

/// Reads one process; `NotFound` when there is none. Never waits for the process's memory.
pub fn stat(_pid: i32) -> io::Result<Stat> {
    unimplemented!()
}
/// The direct children of `pid` that are not ours to guess: Linux task/*/children of all its threads.
pub fn children(_pid: i32) -> io::Result<Vec<i32>> {
    unimplemented!()
}
/// This process's own children (those reparented to it as subreaper included), zombies too.
pub fn own_children() -> io::Result<Vec<i32>> {
    unimplemented!()
}
/// The pid that traces `pid`, if any (Linux TracerPid; macOS P_TRACED without a pid gives Some(0)).
pub fn tracer(_pid: i32) -> io::Result<Option<i32>> {
    unimplemented!()
}
/// Whether the cgroup of `pid` is frozen (v2 cgroup.events, v1 freezer.state). Always false on macOS.
pub fn is_frozen(_pid: i32) -> io::Result<bool> {
    unimplemented!()
}
/// Bytes read and written through system calls so far (proc(5), io: rchar + wchar); None where not told.
pub fn io_bytes(_pid: i32) -> Option<u64> {
    unimplemented!()
}
/// Open files; empty with PermissionDenied as an error. At most `max` entries.
pub fn open_files(_pid: i32, _max: usize) -> io::Result<Vec<OpenFile>> {
    unimplemented!()
}
/// Threads and where they wait, at most `max`.
pub fn threads(_pid: i32, _max: usize) -> io::Result<Vec<Thread>> {
    unimplemented!()
}
/// Whether one of the fds of `pid` is the file `dev`:`ino` (the claim). Never stats through a foreign fd that may hang.
pub fn holds_file(_pid: i32, _dev: u64, _ino: u64) -> io::Result<bool> {
    unimplemented!()
}
/// The value of one environment variable of `pid`. May wait for the process's memory lock: helper only.
pub fn environment_value(_pid: i32, _name: &str) -> io::Result<Option<String>> {
    unimplemented!()
}
/// Its command line, NUL-separated words joined with blanks, at most 4 KiB. May wait: helper only.
pub fn command_line(_pid: i32) -> io::Result<String> {
    unimplemented!()
}
/// The file it runs, if told.
pub fn executable(_pid: i32) -> io::Result<PathBuf> {
    unimplemented!()
}
/// Real user id of `pid`.
pub fn uid(_pid: i32) -> io::Result<u32> {
    unimplemented!()
}
/// (nr_throttled of the CPU controller of `pid`'s cgroup, v2 cpu.stat or v1), if told.
pub fn throttled_count(_pid: i32) -> Option<u64> {
    unimplemented!()
}

/// CPU time of the whole host since boot, number of processors, runnable threads now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Busy CPU time of all processors since boot.
    pub cpu: Duration,
    /// Processors.
    pub cpus: u32,
    /// Runnable threads now.
    pub runnable: u32,
}
/// Reads [`Host`].
pub fn host() -> io::Result<Host> {
    unimplemented!()
}

/// A handle that signals exactly the process it was opened for.
#[derive(Debug)]
pub struct Handle {
    /// Who.
    pub process: Process,
    /// pidfd on Linux; macOS has none and re-checks the birth at the last moment.
    pub fd: Option<OwnedFd>,
}
impl Handle {
    /// Opens a handle and makes sure that `process` is still who it was. `NotFound` when it is not.
    pub fn open(_process: Process) -> io::Result<Self> {
        unimplemented!()
    }
    /// Sends `signal`. Refuses pid ≤ 1 and ourselves with `InvalidInput`. `NotFound` when it has gone.
    pub fn signal(&self, _signal: i32) -> io::Result<()> {
        unimplemented!()
    }
}

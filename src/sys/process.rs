//! Looking at processes and signalling them.

use super::imp;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

pub use crate::decide::process::Process;

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
    /// A child made to exec and not come to it (clone(2) without exit signal; exec and an orphan's new parent give it
    /// one). Always false where forks have no such mark.
    pub before_exec: bool,
    /// The short name, as the kernel has it.
    pub comm: String,
}

impl Stat {
    /// Whether it still runs. A main thread that has ended while others run shows as a zombie with threads.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.state != State::Zombie || self.threads > 1
    }
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
///
/// # Errors
/// `NotFound`, or the system's refusal.
pub fn stat(pid: i32) -> io::Result<Stat> {
    imp::process::stat(pid)
}

/// The direct children of `pid`, zombies too: Linux task/*/children of all its threads.
///
/// Children that are born or reaped while this reads may be missed (proc(5)); of our own none is, see
/// [`reaper::children`](super::reaper::children).
///
/// # Errors
/// `NotFound` when `pid` has gone.
pub fn children(pid: i32) -> io::Result<Vec<i32>> {
    imp::process::children(pid)
}

/// This process's own children (those reparented to it as subreaper included), zombies too: see
/// [`reaper::children`](super::reaper::children).
///
/// # Errors
/// As [`children`].
pub fn own_children() -> io::Result<Vec<i32>> {
    let children = super::reaper::children()?;
    Ok(children.into_iter().map(|child| child.pid).collect())
}

/// The birth that a process would have which is born now; no later one has an earlier birth, as long as nobody sets the
/// clock of a Mac back.
#[must_use]
pub fn birth_of_one_born_now() -> u64 {
    imp::process::birth_of_one_born_now()
}

/// How long `process` has run; sleep of the machine counts.
#[must_use]
pub fn age(process: Process) -> Duration {
    imp::process::age(process)
}

/// Every process there is.
///
/// # Errors
/// `/proc` (the sysctl) cannot be read.
pub fn all() -> io::Result<Vec<i32>> {
    imp::process::all()
}

/// The pid that traces `pid`, if any (Linux TracerPid; macOS P_TRACED without a pid gives Some(0)).
///
/// # Errors
/// `NotFound`, or the system's refusal.
pub fn tracer(pid: i32) -> io::Result<Option<i32>> {
    imp::process::tracer(pid)
}

/// Whether the cgroup of one of `pids` is frozen (v2 cgroup.events, v1 freezer.state); each cgroup is asked once. Those
/// that have gone are not. Always false on macOS.
///
/// # Errors
/// The mounted hierarchies are not told.
pub fn is_any_frozen(pids: &[i32]) -> io::Result<bool> {
    imp::is_any_frozen(pids)
}

/// Bytes read and written through system calls so far (proc(5), io: rchar + wchar; macOS: disk only); None where not
/// told.
pub fn io_bytes(pid: i32) -> Option<u64> {
    imp::process::io_bytes(pid)
}

/// Resident memory in bytes (proc(5), status: VmRSS); None where not told.
pub fn memory_bytes(pid: i32) -> Option<u64> {
    imp::process::memory_bytes(pid)
}

/// Open files; at most `max` entries.
///
/// # Errors
/// `NotFound`, or `PermissionDenied` for another user's process or one that is not dumpable.
pub fn open_files(pid: i32, max: usize) -> io::Result<Vec<OpenFile>> {
    imp::tables::open_files(pid, max)
}

/// Threads and where they wait, at most `max`.
///
/// # Errors
/// `NotFound`, or the system's refusal.
pub fn threads(pid: i32, max: usize) -> io::Result<Vec<Thread>> {
    imp::tables::threads(pid, max)
}

/// The soft limit on open files of `pid` (Linux /proc/PID/limits); None where it is not told, or unlimited.
pub fn open_files_limit(pid: i32) -> Option<u64> {
    imp::inspect::open_files_limit(pid)
}

/// The name of a system call of this machine, for those in which threads usually wait.
pub fn system_call_name(number: i64) -> Option<&'static str> {
    imp::inspect::system_call_name(number)
}

/// What the thread `tid` of `pid` is doing in the kernel, innermost function first, at most `max` of them (Linux
/// /proc/PID/task/TID/stack, for root alone); empty where it is not told.
pub fn kernel_stack(pid: i32, tid: i32, max: usize) -> Vec<String> {
    imp::inspect::kernel_stack(pid, tid, max)
}

/// Pressure on the host by resource, in the kernel's own words (Linux /proc/pressure); empty where it is not told.
pub fn pressure() -> Vec<(&'static str, String)> {
    imp::inspect::pressure()
}

/// When a process was born, by the wall clock as it is set now.
#[must_use]
pub fn born_at(process: Process) -> SystemTime {
    imp::process::born_at(process.start_time)
}

/// The cgroup of `pid`, as a path below where the hierarchy is mounted (cgroups(7): version 2, else systemd's own). None
/// on macOS.
#[must_use]
pub fn cgroup(pid: i32) -> Option<String> {
    imp::inspect::cgroup(pid)
}

/// Whether one of the fds of `pid` is the file `dev`:`ino` (the claim). Never stats through a foreign fd that may hang.
///
/// # Errors
/// As [`open_files`].
pub fn holds_file(pid: i32, dev: u64, ino: u64) -> io::Result<bool> {
    imp::tables::holds_file(pid, dev, ino)
}

/// The value of one environment variable of `pid`, as it was at exec. May wait for the process's memory lock: helper
/// or a thread that may be lost only.
///
/// # Errors
/// As [`open_files`].
pub fn environment_value(pid: i32, name: &str) -> io::Result<Option<String>> {
    imp::process::environment_value(pid, name)
}

/// Its command line, NUL-separated words joined with blanks, at most 4 KiB. May wait: helper only.
///
/// # Errors
/// `NotFound`, or the system's refusal.
pub fn command_line(pid: i32) -> io::Result<String> {
    imp::process::command_line(pid)
}

/// The file it runs, if told.
///
/// # Errors
/// As [`open_files`].
pub fn executable(pid: i32) -> io::Result<PathBuf> {
    imp::process::executable(pid)
}

/// Whether the file that `pid` runs is the one of this device and inode. Asks its disk: not for the loop's thread.
///
/// # Errors
/// As [`open_files`].
pub fn executes(pid: i32, dev: u64, ino: u64) -> io::Result<bool> {
    imp::process::executes(pid, dev, ino)
}

/// The files that `pid` runs from, the folder that it stands in, and (Linux) what it has mapped. Reads the process's own
/// memory map, which a sick one may keep for itself: not for the loop's thread.
///
/// # Errors
/// `NotFound`, or `PermissionDenied` for another user's process.
pub fn files_used(pid: i32) -> io::Result<Vec<UsedFile>> {
    imp::process::files_used(pid)
}

/// A file that a process uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedFile {
    /// Its name as that process has it, which may see other mounts than we do.
    pub path: PathBuf,
    /// Device and inode, where they are told: the same whatever it is called.
    pub id: Option<(u64, u64)>,
}

/// Real user id of `pid`.
///
/// # Errors
/// `NotFound`, or the system's refusal.
pub fn uid(pid: i32) -> io::Result<u32> {
    imp::process::uid(pid)
}

/// How often the CPU controller has throttled the cgroup of `pid` and those above it (`nr_throttled` of v2 or v1
/// cpu.stat, summed); only its growth means something. None where not told.
pub fn throttled_count(pid: i32) -> Option<u64> {
    imp::throttled_count(pid)
}

/// How many processes the kernel has killed for want of memory since boot, on the whole host (`oom_kill` of
/// /proc/vmstat, Linux 4.13); only its growth means something. None where not told.
pub fn oom_kill_count() -> Option<u64> {
    imp::oom_kill_count()
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
///
/// # Errors
/// `/proc/stat` (the host statistics) cannot be read.
pub fn host() -> io::Result<Host> {
    imp::host()
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
    /// Opens a handle and makes sure that `process` is still who it was.
    ///
    /// # Errors
    /// `NotFound` when it is not; `InvalidInput` for pid ≤ 1 and ourselves.
    pub fn open(process: Process) -> io::Result<Self> {
        refuse_the_untouchable(process.pid)?;
        let fd = imp::open_handle(process)?;
        Ok(Self { process, fd })
    }

    /// Sends `signal` (0 asks only). A zombie takes every signal and does nothing with it.
    ///
    /// # Errors
    /// `InvalidInput` for pid ≤ 1 and ourselves; `NotFound` when it has gone; `PermissionDenied`.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        refuse_the_untouchable(self.process.pid)?;
        let fd = self.fd.as_ref().map(|fd| fd.as_fd());
        imp::signal(self.process, fd, signal)
    }
}

/// 0 and negative numbers name whole groups, 1 everything's parent.
fn refuse_the_untouchable(pid: i32) -> io::Result<()> {
    if pid <= 1 || pid == super::identity::pid() {
        let why = format!("cannot signal process {pid}: it is init, a group, or ourselves");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(())
}

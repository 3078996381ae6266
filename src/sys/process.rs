//! Reading the state of processes and sending them signals.
#![expect(unsafe_code, reason = "kill(2)")]

use super::{pending_spawn, platform};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

pub use crate::decide::process::Process;

/// The state of a process or thread as the kernel reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// R
    Running,
    /// S, I
    Sleeping,
    /// D, or U on macOS: the kernel delivers SIGKILL only after this state.
    Uninterruptible,
    /// T
    Stopped,
    /// t
    Traced,
    /// Z, X
    Zombie,
}

/// The fields of /proc/PID/stat that stayd uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The pid and start time.
    pub process: Process,
    /// Parent's pid.
    pub ppid: i32,
    /// Process group.
    pub pgid: i32,
    /// Session. A member of session S descends from the process with pid S that called setsid(2).
    pub sid: i32,
    /// Its state.
    pub state: State,
    /// User and system time of all its threads; ended children are not included.
    pub cpu: Duration,
    /// User and system time of its children that have ended and that it has waited for, with theirs (proc(5), stat: cutime
    /// and cstime).
    pub children_cpu: Duration,
    /// Number of threads.
    pub threads: u32,
    /// A spawned child that has not called execve yet: it has no exit signal (clone(2)). execve, or the new parent of an
    /// orphan, sets the signal. Always false on macOS, where the kernel has no such mark.
    pub before_exec: bool,
    /// The short name that the kernel keeps.
    pub comm: String,
}

impl Stat {
    /// Whether the process still runs. When its main thread has ended and other threads run, the state is zombie and
    /// `threads` is greater than 1.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.state != State::Zombie || self.threads > 1
    }
}

/// An open file of another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFile {
    /// The descriptor number in that process.
    pub fd: i32,
    /// The result of readlink: a path, `socket:[inode]`, `pipe:[inode]`.
    pub target: String,
}

/// A thread and the kernel function that it waits in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Thread id.
    pub tid: i32,
    /// Its name.
    pub comm: String,
    /// Its state.
    pub state: State,
    /// The kernel function it sleeps in (proc(5), wchan), where the kernel reports it.
    pub wchan: Option<String>,
    /// The number of the system call it is in, where the kernel reports it (proc(5), syscall; needs ptrace rights).
    pub syscall: Option<i64>,
}

/// Reads the state of one process. Never waits for the memory lock of that process.
///
/// # Errors
/// `NotFound` when there is no such process; otherwise the system's error.
pub fn stat(pid: i32) -> io::Result<Stat> {
    platform::process::stat(pid)
}

/// The pids of the direct children of `pid`, including zombies (Linux: task/*/children of all its threads).
///
/// Children that start or are reaped during the call may be missing (proc(5)). For the children of this process use
/// [`reaper::children`](super::reaper::children), which misses none.
///
/// # Errors
/// `NotFound` when `pid` has ended.
pub fn children(pid: i32) -> io::Result<Vec<i32>> {
    platform::process::children(pid)
}

/// The start time that a process started now would have. No process that starts later has an earlier start time, unless
/// the clock of a Mac is set back.
#[must_use]
pub fn start_time_now() -> u64 {
    platform::process::start_time_now()
}

/// Whether `process` is in the process table, as a zombie too, and its pid was not reused.
#[must_use]
pub fn exists(process: Process) -> bool {
    stat(process.pid).is_ok_and(|stat| stat.process == process)
}

/// How long ago `process` was started; time in which the machine slept is included.
#[must_use]
pub fn age(process: Process) -> Duration {
    platform::process::age(process)
}

/// The pids of all processes.
///
/// # Errors
/// `/proc` (the sysctl) cannot be read.
pub fn all() -> io::Result<Vec<i32>> {
    platform::process::all()
}

/// The pid of the process that traces `pid`, if any (Linux TracerPid; macOS reports P_TRACED without a pid: `Some(0)`).
///
/// # Errors
/// `NotFound` when there is no such process; otherwise the system's error.
pub fn tracer(pid: i32) -> io::Result<Option<i32>> {
    platform::process::tracer(pid)
}

/// Whether the cgroup of one of `pids` is frozen (v2 cgroup.events, v1 freezer.state). Each cgroup is read once; ended
/// processes are skipped. Always false on macOS.
///
/// # Errors
/// The list of mounted hierarchies, or the state of an existing cgroup, cannot be read.
pub fn is_any_frozen(pids: &[i32]) -> io::Result<bool> {
    platform::is_any_frozen(pids)
}

/// Bytes that a process, and its children that have ended, have read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoUse {
    /// Through system calls (proc(5), io: rchar + wchar); 0 on macOS.
    pub calls: u64,
    /// From and to disks, also by page faults in mapped files (proc(5), io: read_bytes + write_bytes).
    pub disk: u64,
}

/// The I/O of a process since it started.
///
/// # Errors
/// `NotFound` when there is no such process; `PermissionDenied` for a process of another user or one that is not dumpable.
pub fn io_use(pid: i32) -> io::Result<IoUse> {
    platform::process::io_use(pid)
}

/// Resident memory in bytes (proc(5), status: VmRSS); none where the system does not report it.
pub fn memory_bytes(pid: i32) -> Option<u64> {
    platform::process::memory_bytes(pid)
}

/// The open files of `pid`, at most `max`.
///
/// # Errors
/// `NotFound`, or `PermissionDenied` for a process of another user or one that is not dumpable.
pub fn open_files(pid: i32, max: usize) -> io::Result<Vec<OpenFile>> {
    platform::descriptors::open_files(pid, max)
}

/// How many files `pid` has open, at most `max`. May take long before Linux 6.2: not for the loop's thread.
///
/// # Errors
/// As [`open_files`].
pub fn open_file_count(pid: i32, max: usize) -> io::Result<usize> {
    platform::descriptors::open_file_count(pid, max)
}

/// The threads of `pid` and what they wait for, at most `max`.
///
/// # Errors
/// `NotFound` when there is no such process; otherwise the system's error.
pub fn threads(pid: i32, max: usize) -> io::Result<Vec<Thread>> {
    platform::inspect::threads(pid, max)
}

/// The soft limit on open files of `pid` (Linux /proc/PID/limits); none where it is unlimited or not reported.
pub fn open_files_limit(pid: i32) -> Option<u64> {
    platform::inspect::open_files_limit(pid)
}

/// The name of a system call on this architecture, for those in which threads usually wait.
pub fn system_call_name(number: i64) -> Option<&'static str> {
    platform::inspect::system_call_name(number)
}

/// The kernel stack of thread `tid` of `pid`, innermost function first, at most `max` functions (Linux
/// /proc/PID/task/TID/stack, only for root); empty where the kernel does not report it.
pub fn kernel_stack(pid: i32, tid: i32, max: usize) -> Vec<String> {
    platform::inspect::kernel_stack(pid, tid, max)
}

/// The host's pressure values by resource, as the kernel prints them (Linux /proc/pressure); empty where there are none.
pub fn pressure() -> Vec<(&'static str, String)> {
    platform::inspect::pressure()
}

/// The start of a process as wall-clock time, calculated with the present setting of the wall clock.
#[must_use]
pub fn started_at(process: Process) -> SystemTime {
    platform::process::started_at(process.start_time)
}

/// The cgroup of `pid`, as a path relative to the mount point of the hierarchy (cgroups(7): version 2, otherwise systemd's
/// hierarchy). None on macOS.
#[must_use]
pub fn cgroup(pid: i32) -> Option<String> {
    platform::inspect::cgroup(pid)
}

/// Whether the file `dev`:`ino` is among the first 1024 open files of `pid`. Not for the loop's thread. It makes no stat(2) that a
/// dead file system could block.
///
/// # Errors
/// As [`open_files`].
pub fn holds_file(pid: i32, dev: u64, ino: u64) -> io::Result<bool> {
    platform::descriptors::holds_file(pid, dev, ino)
}

/// A file that stayd passes open to a child: as descriptor `number`, and perhaps as stdout and stderr too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InheritedFile {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// The number of the descriptor in the child.
    pub number: RawFd,
}

/// Whether `pid` has inherited `file`: it has the file open as descriptor `file.number`, 1 or 2, and that descriptor is one
/// that [`pipe::mark_for_child`](super::pipe::mark_for_child) has marked. A process that has opened the file itself, by its
/// path or by /proc/PID/fd, has no marked descriptor. The cost does not depend on how many descriptors the process has, and
/// no stat(2) is made that a dead file system could block.
///
/// # Errors
/// As [`open_files`].
pub fn inherits(pid: i32, file: &InheritedFile) -> io::Result<bool> {
    for number in [file.number, 1, 2] {
        if platform::descriptors::is_marked(pid, number, file.dev, file.ino)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The value of an environment variable of `pid` at the time of its execve. May wait for the memory lock of that process:
/// call it only in the helper process or on a thread that may be abandoned.
///
/// # Errors
/// As [`open_files`].
pub fn environment_value(pid: i32, name: &str) -> io::Result<Option<String>> {
    platform::process::environment_value(pid, name)
}

/// The command line of `pid`, words joined with blanks, at most 4 KiB. May wait for the memory lock of that process: call it
/// only in the helper process.
///
/// # Errors
/// `NotFound` when there is no such process; otherwise the system's error.
pub fn command_line(pid: i32) -> io::Result<String> {
    platform::process::command_line(pid)
}

/// The path of the program that `pid` runs.
///
/// # Errors
/// As [`open_files`].
pub fn executable(pid: i32) -> io::Result<PathBuf> {
    platform::process::executable(pid)
}

/// Whether `pid` runs the file with this device and inode. Accesses the disk of that file: not for the loop's thread.
///
/// # Errors
/// As [`open_files`].
pub fn executes(pid: i32, dev: u64, ino: u64) -> io::Result<bool> {
    platform::process::executes(pid, dev, ino)
}

/// The files that `pid` runs from: its program, and on Linux its mapped files. Reads the memory map of that process, which
/// may block while the process is stuck: not for the loop's thread.
///
/// # Errors
/// `NotFound`, or `PermissionDenied` for another user's process.
pub fn files_run(pid: i32) -> io::Result<Vec<UsedFile>> {
    platform::process::files_run(pid)
}

/// The folders that `pid` is in: its working directory, and on Linux its root. May block as long as their disk does: not for
/// the loop's thread.
///
/// # Errors
/// As [`files_run`].
pub fn folders_entered(pid: i32) -> io::Result<Vec<UsedFile>> {
    platform::process::folders_entered(pid)
}

/// A file that a process uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedFile {
    /// Its path as seen by that process, whose mounts may differ from stayd's.
    pub path: PathBuf,
    /// Device and inode, where the system reports them: they identify the file whatever its path is.
    pub id: Option<(u64, u64)>,
}

/// The real uid of `pid`.
///
/// # Errors
/// `NotFound` when there is no such process; otherwise the system's error.
pub fn uid(pid: i32) -> io::Result<u32> {
    platform::process::uid(pid)
}

/// How often the CPU controller has throttled the cgroup of `pid` and its ancestors (the sum of `nr_throttled` of v2 or v1
/// cpu.stat). Only the growth of the value is meaningful. None where the system does not report it.
pub fn throttled_count(pid: i32) -> Option<u64> {
    platform::throttled_count(pid)
}

/// How many processes the kernel has killed since boot because the host or a cgroup ran out of memory (`oom_kill` of
/// /proc/vmstat, Linux 4.13). Only the growth of the value is meaningful. None where the system does not report it.
pub fn oom_kill_count() -> Option<u64> {
    platform::oom_kill_count()
}

/// The CPU load of the whole host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Busy CPU time of all processors since boot.
    pub cpu: Duration,
    /// Number of processors.
    pub cpus: u32,
    /// Number of runnable threads now.
    pub runnable: u32,
    /// The time since boot in which a runnable thread waited for a processor (/proc/pressure/cpu, `some total`); zero where
    /// the system does not report it.
    pub stalled: Duration,
}

/// Reads [`Host`].
///
/// # Errors
/// `/proc/stat` (the host statistics) cannot be read.
pub fn host() -> io::Result<Host> {
    platform::host()
}

/// A handle that sends signals only to the process for which it was opened.
#[derive(Debug)]
pub struct Handle {
    /// The process.
    pub process: Process,
    /// The pidfd on Linux. Without one (macOS, a system that refuses pidfds), the start time is compared again immediately
    /// before each signal.
    pub fd: Option<OwnedFd>,
}

impl Handle {
    /// Opens a handle and verifies that the pid still belongs to `process`.
    ///
    /// # Errors
    /// `NotFound` when it does not; `InvalidInput` for a pid ≤ 1 and for stayd itself.
    pub fn open(process: Process) -> io::Result<Self> {
        check_may_signal(process.pid)?;
        let fd = platform::open_handle(process)?;
        Ok(Self { process, fd })
    }

    /// Sends `signal`; 0 only checks that the process exists. For a zombie the call succeeds without effect.
    ///
    /// # Errors
    /// `InvalidInput` for a pid ≤ 1 and for stayd itself; `NotFound` when the process has ended; `PermissionDenied`.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        check_may_signal(self.process.pid)?;
        let fd = self.fd.as_ref().map(|fd| fd.as_fd());
        platform::signal(self.process, fd, signal)
    }
}

/// Sends a signal with kill(2), after a comparison of the start time. The lock keeps the reaper from making the pid of a child
/// of ours free in between; for other processes the kernel would have to use all other pids in that time.
pub(super) fn signal_by_pid(process: Process, signal: i32) -> io::Result<()> {
    let _table = pending_spawn::table();
    if !exists(process) {
        return Err(io::ErrorKind::NotFound.into());
    }
    // SAFETY: the call takes only numbers.
    if unsafe { libc::kill(process.pid, signal) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ESRCH) => Err(io::ErrorKind::NotFound.into()),
        _ => Err(error),
    }
}

/// Refuses pids that kill(2) interprets as process groups (0 and negative numbers), pid 1, and the pid of stayd.
fn check_may_signal(pid: i32) -> io::Result<()> {
    if pid <= 1 || pid == super::identity::pid() {
        let why =
            format!("cannot signal process {pid}: it is init, a process group, or stayd itself");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(())
}

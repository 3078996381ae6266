//! The parent's side of a spawn: clone(2), cgroup placement, and the wait for execve(2).
//!
//! The child is created with an exit signal of 0. Ordinary waits do not see such a child: one that fails before execve is
//! reaped here, and the reaper does not see it. execve(2) sets the signal to SIGCHLD, and from then on only the reaper
//! reaps the child.
#![expect(
    unsafe_code,
    reason = "clone(2), pthread_sigmask(3), waitid(2), kill(2)"
)]

use super::super::exec_args::errno_result;
use super::super::pending_spawn::{self, PendingSpawn};
use super::super::process::Process;
use super::super::spawn::{Child, Plan, SpawnError, Stage};
use super::child::{self, ChildSetup};
use super::clone::clone;
use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// The stack of the child, which needs a few hundred bytes, or some kilobytes without compiler optimization.
const STACK_BYTES: usize = 64 * 1024;

const FLAGS: c_int =
    libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::CLONE_CHILD_SETTID;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

pub(in super::super) fn spawn(plan: &Plan) -> Result<Child, SpawnError> {
    let pending_spawn = PendingSpawn::reserve().ok_or(SpawnError {
        stage: Stage::Clone,
        errno: libc::EAGAIN,
    })?;
    let mut setup = ChildSetup::new(plan);
    let (pid, pidfd) = start_child(&mut setup, plan, &pending_spawn)?;
    let failure = setup.failure.take();
    if ended_before_exec(pid, pidfd.as_ref()) {
        return Err(failure.unwrap_or(SpawnError {
            stage: Stage::Exec,
            errno: libc::EINTR,
        }));
    }
    let start_time = start_time_of(pid, &pending_spawn).map_err(|error| {
        kill(pid, &pending_spawn);
        spawn_error(Stage::Clone, &error)
    })?;
    pending_spawn.register();
    Ok(Child {
        process: Process { pid, start_time },
        pidfd,
        pending_spawn,
    })
}

/// Clones the child. Returns when the child has called execve successfully or has ended.
fn start_child(
    setup: &mut ChildSetup<'_>,
    plan: &Plan,
    pending_spawn: &PendingSpawn,
) -> Result<(i32, Option<OwnedFd>), SpawnError> {
    let mut stack = vec![0_u128; STACK_BYTES / size_of::<u128>()]; // aligned to 16
    let mut pidfd: RawFd = -1;
    let mut request = CloneRequest {
        stack: stack.as_mut_ptr(),
        pidfd: &raw mut pidfd,
        child_tid: pending_spawn.pid().as_ptr(),
    };
    let _blocked = SignalsBlocked::all();
    let pid = match &plan.cgroup {
        None => request.clone_without_cgroup(setup),
        Some(cgroup) => match request.clone_into_cgroup(setup, cgroup) {
            // Containers often forbid clone3(2), older kernels do not support a cgroup in it, and the cgroup may refuse.
            Err(error) if !is_process_limit(&error) => {
                setup.join_cgroup = true;
                request.clone_without_cgroup(setup)
            }
            outcome => outcome,
        },
    };
    let pid = pid.map_err(|error| spawn_error(Stage::Clone, &error))?;
    // A kernel without pidfds ignores the flag.
    let is_stored = pidfd >= 0;
    // SAFETY: the kernel has stored a new close-on-exec descriptor there, which no other code owns.
    let pidfd = is_stored.then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
    Ok((pid, pidfd))
}

/// The addresses of the stack and of the results for the clone system call.
struct CloneRequest {
    stack: *mut u128,
    pidfd: *mut RawFd,
    child_tid: *mut i32,
}

impl CloneRequest {
    fn clone_without_cgroup(&mut self, setup: &mut ChildSetup<'_>) -> io::Result<i32> {
        let flags = usize::try_from(FLAGS).map_err(io::Error::other)?;
        let top = self.stack.wrapping_byte_add(STACK_BYTES) as usize;
        let (pidfd, child_tid) = (self.pidfd as usize, self.child_tid as usize);
        #[cfg(target_arch = "x86_64")]
        let arguments = [flags, top, pidfd, child_tid, 0];
        #[cfg(target_arch = "aarch64")]
        let arguments = [flags, top, pidfd, 0, child_tid];
        // SAFETY: the flags contain VM and VFORK; the stack and the results belong to the caller, which has blocked signals.
        unsafe {
            clone(
                libc::SYS_clone,
                arguments,
                child::run,
                (&raw mut *setup).cast(),
            )
        }
    }

    fn clone_into_cgroup(
        &mut self,
        setup: &mut ChildSetup<'_>,
        cgroup: &OwnedFd,
    ) -> io::Result<i32> {
        let number = |value: RawFd| u64::try_from(value).map_err(io::Error::other);
        let arguments = libc::clone_args {
            flags: number(FLAGS)? | CLONE_INTO_CGROUP,
            pidfd: self.pidfd as u64,
            child_tid: self.child_tid as u64,
            parent_tid: 0,
            exit_signal: 0,
            stack: self.stack as u64,
            stack_size: STACK_BYTES as u64,
            tls: 0,
            set_tid: 0,
            set_tid_size: 0,
            cgroup: number(cgroup.as_raw_fd())?,
        };
        let call = [
            &raw const arguments as usize,
            size_of_val(&arguments),
            0,
            0,
            0,
        ];
        // SAFETY: as for `clone_without_cgroup`, and `arguments` outlives the call.
        unsafe { clone(libc::SYS_clone3, call, child::run, (&raw mut *setup).cast()) }
    }
}

/// Whether the error says that no process can be created. Any other error of clone3(2) concerns the call itself or the
/// cgroup, and a clone without the cgroup may succeed.
fn is_process_limit(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM))
}

fn spawn_error(stage: Stage, error: &io::Error) -> SpawnError {
    SpawnError {
        stage,
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    }
}

/// Whether the child ended before execve; if so, this reaps it. The wait only applies to a child without exit signal:
/// after execve has set the signal it fails at once with ECHILD.
fn ended_before_exec(pid: i32, pidfd: Option<&OwnedFd>) -> bool {
    let by_pidfd = pidfd.map_or(Err(libc::EINVAL), wait_by_pidfd);
    let waited = match by_pidfd {
        // The kernel does not know P_PIDFD (before Linux 5.4), or a seccomp profile refuses waitid(2).
        Err(libc::EINVAL | libc::ENOSYS | libc::EPERM | libc::EACCES) => wait_by_pid(pid),
        other => other,
    };
    waited.is_ok()
}

fn wait_by_pidfd(pidfd: &OwnedFd) -> Result<(), c_int> {
    let id = pidfd.as_raw_fd().unsigned_abs();
    uninterrupted(|| {
        // SAFETY: no siginfo is requested, and the descriptor is open.
        unsafe {
            libc::waitid(
                libc::P_PIDFD,
                id,
                std::ptr::null_mut(),
                libc::WEXITED | libc::__WCLONE,
            )
        }
    })
}

fn wait_by_pid(pid: i32) -> Result<(), c_int> {
    // SAFETY: no status is requested.
    uninterrupted(|| unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WCLONE) })
}

/// Repeats a system call while signals interrupt it.
fn uninterrupted(call: impl Fn() -> c_int) -> Result<(), c_int> {
    loop {
        match errno_result(call()) {
            Ok(_) => return Ok(()),
            Err(libc::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The start time of the child. If the reaper has already reaped the child, it stored the start time before the pid became
/// free.
fn start_time_of(pid: i32, pending_spawn: &PendingSpawn) -> io::Result<u64> {
    let stat = super::process::stat(pid);
    match pending_spawn.start_time_if_reaped() {
        Some(start_time) => Ok(start_time),
        None => stat.map(|stat| stat.process.start_time),
    }
}

/// Kills a child whose start time cannot be read: stayd could not distinguish it from a later process with the same pid. The
/// lock keeps the reaper from making the pid free.
fn kill(pid: i32, pending_spawn: &PendingSpawn) {
    let _table = pending_spawn::table();
    if pending_spawn.start_time_if_reaped().is_none() {
        // SAFETY: the call takes only numbers.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

/// Blocks every signal of the calling thread until it is dropped: a signal handler must not run in the child, which shares
/// the memory of this process.
struct SignalsBlocked {
    before: libc::sigset_t,
}

impl SignalsBlocked {
    fn all() -> Self {
        // SAFETY: an all-zero signal set is valid, and both sets are local variables.
        unsafe {
            let mut every: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut every);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const every, &raw mut before);
            Self { before }
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: `all` has filled the set.
        unsafe {
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.before,
                std::ptr::null_mut(),
            )
        };
    }
}

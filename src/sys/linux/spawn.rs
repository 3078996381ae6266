//! The parent's side of a spawn.
//!
//! The child is made with an exit signal of 0. Ordinary waits do not see such a child, so one that fails before
//! exec is reaped here and the reaper never hears of it; execve(2) sets the signal to SIGCHLD, and from then on it
//! is the reaper's alone.
#![expect(unsafe_code, reason = "clone(2), pthread_sigmask(3), waitid(2)")]

use super::super::flight::Flight;
use super::super::process::Process;
use super::super::spawn::{Child, Plan, SpawnError, Stage};
use super::clone::clone;
use super::start_time::{self, Orders};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// The child needs a few hundred bytes, some kilobytes when compiled without optimization.
const STACK_BYTES: usize = 64 * 1024;

const FLAGS: libc::c_int =
    libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::CLONE_CHILD_SETTID;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

pub(in super::super) fn spawn(plan: &Plan) -> Result<Child, SpawnError> {
    let flight = Flight::take().ok_or(SpawnError {
        stage: Stage::Clone,
        errno: libc::EAGAIN,
    })?;
    let mut orders = Orders::new(plan);
    let (pid, pidfd) = give_birth(&mut orders, plan, &flight)?;
    let failure = orders.failure.take();
    if ended_before_exec(&pidfd) {
        return Err(failure.unwrap_or(SpawnError {
            stage: Stage::Exec,
            errno: libc::EINTR,
        }));
    }
    let start_time = birth_of(pid, &flight).map_err(|error| {
        abandon(&pidfd);
        refusal(Stage::Clone, &error)
    })?;
    flight.arrived();
    Ok(Child {
        process: Process { pid, start_time },
        pidfd: Some(pidfd),
        flight,
    })
}

/// Returns when the child has called execve with success or has ended.
fn give_birth(
    orders: &mut Orders<'_>,
    plan: &Plan,
    flight: &Flight,
) -> Result<(i32, OwnedFd), SpawnError> {
    let mut stack = vec![0_u128; STACK_BYTES / size_of::<u128>()]; // aligned to 16
    let mut pidfd: RawFd = -1;
    let mut request = Request {
        stack: stack.as_mut_ptr(),
        pidfd: &raw mut pidfd,
        child_tid: flight.pid().as_ptr(),
    };
    let _quiet = SignalsBlocked::all();
    let pid = match &plan.cgroup {
        None => request.clone_plainly(orders),
        Some(cgroup) => match request.clone_into(orders, cgroup) {
            // containers often forbid clone3(2), older kernels know no cgroup in it, and the cgroup may refuse
            Err(error) if !is_about_processes(&error) => {
                orders.join_cgroup = true;
                request.clone_plainly(orders)
            }
            outcome => outcome,
        },
    };
    let pid = pid.map_err(|error| refusal(Stage::Clone, &error))?;
    // SAFETY: the kernel has put a new descriptor there, close-on-exec, which nobody else owns.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// Where the kernel finds the stack and leaves its answers.
struct Request {
    stack: *mut u128,
    pidfd: *mut RawFd,
    child_tid: *mut i32,
}

impl Request {
    fn clone_plainly(&mut self, orders: &mut Orders<'_>) -> io::Result<i32> {
        let flags = usize::try_from(FLAGS).map_err(io::Error::other)?;
        let top = self.stack.wrapping_byte_add(STACK_BYTES) as usize;
        let (pidfd, child_tid) = (self.pidfd as usize, self.child_tid as usize);
        #[cfg(target_arch = "x86_64")]
        let arguments = [flags, top, pidfd, child_tid, 0];
        #[cfg(target_arch = "aarch64")]
        let arguments = [flags, top, pidfd, 0, child_tid];
        // SAFETY: flags hold VM and VFORK; stack and answers live in our caller; signals are blocked by it.
        unsafe {
            clone(
                libc::SYS_clone,
                arguments,
                start_time::run,
                (&raw mut *orders).cast(),
            )
        }
    }

    fn clone_into(&mut self, orders: &mut Orders<'_>, cgroup: &OwnedFd) -> io::Result<i32> {
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
        // SAFETY: as above, and `arguments` outlives the call.
        unsafe {
            clone(
                libc::SYS_clone3,
                call,
                start_time::run,
                (&raw mut *orders).cast(),
            )
        }
    }
}

/// Everything else that clone3(2) says is about itself, or about the cgroup.
fn is_about_processes(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM))
}

fn refusal(stage: Stage, error: &io::Error) -> SpawnError {
    SpawnError {
        stage,
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    }
}

/// Waits only for a child without exit signal: ECHILD at once when exec has given it one; otherwise it never came to
/// exec, is ending, and is reaped here.
fn ended_before_exec(pidfd: &OwnedFd) -> bool {
    let id = pidfd.as_raw_fd().unsigned_abs();
    loop {
        // SAFETY: no result is asked for; the descriptor is open.
        let result = unsafe {
            libc::waitid(
                libc::P_PIDFD,
                id,
                std::ptr::null_mut(),
                libc::WEXITED | libc::__WCLONE,
            )
        };
        if result == 0 {
            return true;
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return false;
        }
    }
}

/// The reaper may be quicker than we are; then it has left us the birth before the number became free.
fn birth_of(pid: i32, flight: &Flight) -> io::Result<u64> {
    let seen = super::process::stat(pid);
    match flight.birth_if_reaped() {
        Some(start_time) => Ok(start_time),
        None => seen.map(|stat| stat.process.start_time),
    }
}

/// A child whose birth cannot be told could never be told from a later process: it must not stay.
fn abandon(pidfd: &OwnedFd) {
    // SAFETY: no siginfo is passed; the descriptor is open.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::SIGKILL,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
}

/// Every signal of the calling thread is blocked until this is dropped: a handler of ours must not run in the child,
/// which shares our memory.
struct SignalsBlocked {
    before: libc::sigset_t,
}

impl SignalsBlocked {
    fn all() -> Self {
        // SAFETY: a signal set of zeros is valid, and both sets live here.
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
        // SAFETY: the set was filled by the call above.
        unsafe {
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.before,
                std::ptr::null_mut(),
            )
        };
    }
}

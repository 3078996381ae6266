//! The child's side of a spawn, from clone(2) to execve(2).
//!
//! It runs in the parent's memory while the parent's thread waits and its other threads do not. So: no allocation, no
//! lock, no panic, no glibc wrapper that speaks to all threads (setuid); only system calls on what was prepared.
#![expect(unsafe_code, reason = "raw system calls on prepared memory")]

use super::super::image::{Image, errno, told};
use super::super::spawn::{Plan, SpawnError, Stage};
use std::ffi::{CStr, c_int, c_long, c_void};
use std::os::fd::AsRawFd as _;
use std::ptr;

/// Signals are 1 to 64 on every architecture we build for.
const SIGNAL_LAST: c_int = 64;
/// The exit status of a child that never came to exec; only `spawn` itself ever sees it.
const NOT_STARTED: c_int = 127;

/// What the child is to do, and what became of it.
pub(super) struct Orders<'a> {
    plan: &'a Plan,
    image: Image<'a>,
    /// Copies of our descriptors above all numbers the child wants.
    lifted: Vec<c_int>,
    /// Join this cgroup from within, where clone3(2) could not do it.
    pub(super) join_cgroup: bool,
    /// What went wrong, told to the parent through the shared memory.
    pub(super) failure: Option<SpawnError>,
}

impl<'a> Orders<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            image: Image::new(plan),
            lifted: vec![-1; plan.fds.len()],
            join_cgroup: false,
            failure: None,
        }
    }

    fn carry_out(&mut self) -> Result<(), SpawnError> {
        default_dispositions();
        if self.join_cgroup {
            self.enter_cgroup();
        }
        // SAFETY: takes nothing.
        told(unsafe { libc::setsid() }).map_err(|errno| failed(Stage::Session, errno))?;
        self.arrange_descriptors()
            .map_err(|errno| failed(Stage::Descriptors, errno))?;
        self.become_user()
            .map_err(|errno| failed(Stage::User, errno))?;
        // SAFETY: a C string of the plan's.
        told(unsafe { libc::chdir(self.plan.cwd.as_ptr()) })
            .map_err(|errno| failed(Stage::Directory, errno))?;
        self.image.write_pid();
        empty_mask();
        Err(failed(Stage::Exec, self.image.exec()))
    }

    /// Writes "0" (whoever writes) into the cgroup's list of processes. One that refuses is gone without.
    fn enter_cgroup(&self) {
        let Some(cgroup) = &self.plan.cgroup else {
            return;
        };
        const LIST: &CStr = c"cgroup.procs";
        // SAFETY: C strings and a descriptor that the parent keeps open; one byte is read from a constant. A list
        // that did not open is no descriptor, and the write to it does nothing.
        unsafe {
            let flags = libc::O_WRONLY | libc::O_CLOEXEC;
            let list = libc::openat(cgroup.as_raw_fd(), LIST.as_ptr(), flags);
            libc::write(list, c"0".as_ptr().cast(), 1);
        }
    }

    /// Lifts all out of the way first, for one child's number may be another's source; then puts each in its place
    /// (dup3(2) leaves the copy open over exec) and closes everything else.
    fn arrange_descriptors(&mut self) -> Result<(), c_int> {
        let above = self.plan.fds.iter().map(|(to, _)| *to).max().unwrap_or(0) + 1;
        for (lifted, (_, from)) in self.lifted.iter_mut().zip(&self.plan.fds) {
            // SAFETY: numbers only; the table of descriptors is the child's own copy.
            *lifted = told(unsafe { libc::fcntl(from.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above) })?;
        }
        let mut next = 0;
        for (lifted, (to, _)) in self.lifted.iter().zip(&self.plan.fds) {
            // SAFETY: as above.
            told(unsafe { libc::dup3(*lifted, *to, 0) })?;
            close_between(next, *to)?;
            next = *to + 1;
        }
        close_between(next, c_int::MAX)
    }

    /// Raw calls: glibc's wrappers would make every thread of the parent change its user.
    fn become_user(&self) -> Result<(), c_int> {
        let Some(user) = &self.plan.user else {
            return Ok(());
        };
        let (uid, gid) = (user.uid, user.gid);
        // SAFETY: the list of groups is the plan's and as long as said; the rest are numbers.
        unsafe {
            told_long(libc::syscall(
                libc::SYS_setgroups,
                user.groups.len(),
                user.groups.as_ptr(),
            ))?;
            told_long(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
            told_long(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
        }
        Ok(())
    }
}

/// The child's first and only function.
///
/// # Safety
/// `orders` points to an [`Orders`] that nobody else touches until the child has called execve or ended.
pub(super) unsafe extern "C" fn run(orders: *mut c_void) -> ! {
    // SAFETY: the caller's promise; the parent's thread is suspended.
    let orders = unsafe { &mut *orders.cast::<Orders<'_>>() };
    if let Err(failure) = orders.carry_out() {
        orders.failure = Some(failure);
    }
    loop {
        // SAFETY: ends this process, not the parent: the child is a process, not a thread. Runs no exit handlers.
        unsafe { libc::syscall(libc::SYS_exit_group, c_long::from(NOT_STARTED)) };
    }
}

/// exec resets handlers but keeps what is ignored (SIGPIPE, in a Rust program), so all are reset. The kernel's own
/// struct, all zero, is SIG_DFL; signals that cannot be changed refuse, which is as well.
fn default_dispositions() {
    const KERNEL_SET_BYTES: usize = 8;
    let default = [0_u64; 4]; // handler, flags, restorer, mask
    for signal in 1..=SIGNAL_LAST {
        // SAFETY: reads one kernel sigaction of 32 bytes from `default`.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null::<u64>(),
                KERNEL_SET_BYTES,
            )
        };
    }
}

/// Signals that came since the fork are delivered here; by default they end the child, as they would after exec.
fn empty_mask() {
    let none = 0_u64;
    // SAFETY: reads one kernel signal set of 8 bytes.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            ptr::null::<u64>(),
            size_of_val(&none),
        )
    };
}

/// Closes `first` to `end - 1`.
fn close_between(first: c_int, end: c_int) -> Result<(), c_int> {
    if first >= end {
        return Ok(());
    }
    // SAFETY: numbers only; the table of descriptors is the child's own copy.
    told_long(unsafe { libc::syscall(libc::SYS_close_range, first, end - 1, 0) })
}

fn failed(stage: Stage, errno: c_int) -> SpawnError {
    SpawnError { stage, errno }
}

fn told_long(result: c_long) -> Result<(), c_int> {
    if result < 0 { Err(errno()) } else { Ok(()) }
}

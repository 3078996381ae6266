//! The child's side of a spawn: everything between clone(2) and execve(2).
//!
//! The child runs in the parent's memory. The parent's thread waits, but its other threads run. So the child must not
//! allocate, lock, panic, or call a glibc wrapper that involves all threads (setuid). It only makes system calls on data
//! that was prepared before.
#![expect(unsafe_code, reason = "raw system calls on prepared memory")]

use super::super::exec_args::{ExecArgs, errno_result, last_errno, limit_open_files};
use super::super::spawn::{Plan, SpawnError, Stage};
use std::ffi::{CStr, c_int, c_long, c_void};
use std::os::fd::AsRawFd as _;
use std::ptr;

/// The highest signal number on every architecture that stayd supports.
const SIGNAL_LAST: c_int = 64;
/// The exit status of a child that fails before execve; only `spawn` sees it.
const NOT_STARTED: c_int = 127;

/// The steps that the child carries out, and their result.
pub(super) struct ChildSetup<'a> {
    plan: &'a Plan,
    exec_args: ExecArgs<'a>,
    /// Copies of the descriptors, with numbers above all target numbers.
    copies: Vec<c_int>,
    /// Whether the child must join the cgroup itself, because clone3(2) could not do it.
    pub(super) join_cgroup: bool,
    /// The step that failed; the parent reads it from the shared memory.
    pub(super) failure: Option<SpawnError>,
}

impl<'a> ChildSetup<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            exec_args: ExecArgs::new(plan),
            copies: vec![-1; plan.fds.len()],
            join_cgroup: false,
            failure: None,
        }
    }

    fn run_until_exec(&mut self) -> Result<(), SpawnError> {
        default_dispositions();
        if self.join_cgroup {
            self.enter_cgroup();
        }
        // SAFETY: the call has no arguments.
        errno_result(unsafe { libc::setsid() }).map_err(|errno| failed(Stage::Session, errno))?;
        if let Some(umask) = self.plan.umask {
            // SAFETY: the call takes only a number; the child does not share the mask with its parent (clone(2), CLONE_FS).
            unsafe { libc::umask(umask) };
        }
        self.arrange_descriptors()
            .map_err(|errno| failed(Stage::Descriptors, errno))?;
        if let Some(limit) = self.plan.open_files {
            limit_open_files(limit).map_err(|errno| failed(Stage::Limits, errno))?;
        }
        self.become_user()
            .map_err(|errno| failed(Stage::User, errno))?;
        // SAFETY: the C string belongs to the plan.
        errno_result(unsafe { libc::chdir(self.plan.cwd.as_ptr()) })
            .map_err(|errno| failed(Stage::Directory, errno))?;
        self.exec_args.write_pid();
        unblock_signals();
        Err(failed(Stage::Exec, self.exec_args.exec()))
    }

    /// Writes "0", which means the writing process, to the cgroup's list of processes. If the cgroup refuses, the child runs
    /// without it.
    fn enter_cgroup(&self) {
        let Some(cgroup) = &self.plan.cgroup else {
            return;
        };
        const LIST: &CStr = c"cgroup.procs";
        // SAFETY: the names are C strings, the parent keeps the descriptor open, and one byte is read from a constant. If
        // the open fails, the write gets -1 as descriptor and has no effect.
        unsafe {
            let flags = libc::O_WRONLY | libc::O_CLOEXEC;
            let list = libc::openat(cgroup.as_raw_fd(), LIST.as_ptr(), flags);
            libc::write(list, c"0".as_ptr().cast(), 1);
        }
    }

    /// Copies all descriptors above the target numbers first, because the target of one may be the source of another. Then
    /// duplicates each copy to its target (the result of dup3(2) stays open on exec) and closes all other descriptors.
    fn arrange_descriptors(&mut self) -> Result<(), c_int> {
        let above = self.plan.fds.iter().map(|(to, _)| *to).max().unwrap_or(0) + 1;
        for (copy, (_, from)) in self.copies.iter_mut().zip(&self.plan.fds) {
            // SAFETY: the call takes only numbers; the child has its own descriptor table.
            *copy = errno_result(unsafe {
                libc::fcntl(from.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above)
            })?;
        }
        let mut next = 0;
        for (copy, (to, _)) in self.copies.iter().zip(&self.plan.fds) {
            // SAFETY: as above.
            errno_result(unsafe { libc::dup3(*copy, *to, 0) })?;
            close_between(next, *to)?;
            next = *to + 1;
        }
        close_between(next, c_int::MAX)
    }

    /// Changes groups and user by raw system calls: glibc's wrappers would change the user of every thread of the parent.
    fn become_user(&self) -> Result<(), c_int> {
        let Some(user) = &self.plan.user else {
            return Ok(());
        };
        let (uid, gid) = (user.uid, user.gid);
        // SAFETY: the list of groups belongs to the plan and has the given length; all other arguments are numbers.
        unsafe {
            errno_result_long(libc::syscall(
                libc::SYS_setgroups,
                user.groups.len(),
                user.groups.as_ptr(),
            ))?;
            errno_result_long(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
            errno_result_long(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
        }
        Ok(())
    }
}

/// The entry function of the child.
///
/// # Safety
/// `setup` must point to a [`ChildSetup`] that no other code accesses until the child has called execve or has ended.
pub(super) unsafe extern "C" fn run(setup: *mut c_void) -> ! {
    // SAFETY: the caller guarantees it, and the parent's thread is suspended.
    let setup = unsafe { &mut *setup.cast::<ChildSetup<'_>>() };
    if let Err(failure) = setup.run_until_exec() {
        setup.failure = Some(failure);
    }
    loop {
        // SAFETY: the call ends this process, not the parent, because the child is a process and not a thread. It runs no
        // exit handlers.
        unsafe { libc::syscall(libc::SYS_exit_group, c_long::from(NOT_STARTED)) };
    }
}

/// Resets all signals: execve resets handlers but keeps ignored signals (SIGPIPE in a Rust program). The kernel's sigaction
/// struct with all zeros means SIG_DFL. The calls for signals that cannot be changed fail without effect.
fn default_dispositions() {
    const KERNEL_SET_BYTES: usize = 8;
    let default = [0_u64; 4]; // handler, flags, restorer, mask
    for signal in 1..=SIGNAL_LAST {
        // SAFETY: the kernel reads one sigaction of 32 bytes from `default`.
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

/// Unblocks all signals. Signals that arrived since the fork are delivered now; with default dispositions they end the
/// child, as they would after execve.
fn unblock_signals() {
    let none = 0_u64;
    // SAFETY: the kernel reads one signal set of 8 bytes.
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

/// Closes the descriptors `first` to `end - 1`.
fn close_between(first: c_int, end: c_int) -> Result<(), c_int> {
    if first >= end {
        return Ok(());
    }
    // SAFETY: the call takes only numbers; the child has its own descriptor table.
    let closed =
        errno_result_long(unsafe { libc::syscall(libc::SYS_close_range, first, end - 1, 0) });
    // Linux before 5.9 does not have the call, and a seccomp profile may refuse it.
    closed.or_else(|_refused| close_listed(first, end))
}

/// Closes those of the descriptors `first` to `end - 1` that /proc/self/fd lists. The kernel lists them by number, so closing
/// one does not make it skip another.
fn close_listed(first: c_int, end: c_int) -> Result<(), c_int> {
    const LIST: &CStr = c"/proc/self/fd";
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the path is a C string.
    let list = errno_result(unsafe { libc::open(LIST.as_ptr(), flags) })?;
    let mut entries = Entries([0; ENTRIES_BYTES]);
    let result = loop {
        // SAFETY: the kernel writes at most the given number of bytes into the buffer.
        let length = unsafe {
            libc::syscall(
                libc::SYS_getdents64,
                list,
                entries.0.as_mut_ptr(),
                ENTRIES_BYTES,
            )
        };
        match usize::try_from(length) {
            Ok(0) => break Ok(()),
            Ok(length) => {
                for fd in numbers(&entries.0[..length.min(ENTRIES_BYTES)]) {
                    if (first..end).contains(&fd) && fd != list {
                        // SAFETY: the call takes only a number; the child has its own descriptor table.
                        unsafe { libc::close(fd) };
                    }
                }
            }
            Err(_) => break Err(last_errno()),
        }
    };
    // SAFETY: as above.
    unsafe { libc::close(list) };
    result
}

/// Room for directory entries, on the child's small stack.
const ENTRIES_BYTES: usize = 1024;

/// Aligned as the kernel writes directory entries.
#[repr(align(8))]
struct Entries([u8; ENTRIES_BYTES]);

/// The names among directory entries that are numbers (getdents(2): 8 bytes each of inode and offset, 2 bytes of the entry's
/// length, 1 byte of its type, then the name and a NUL).
fn numbers(entries: &[u8]) -> impl Iterator<Item = c_int> + '_ {
    const LENGTH_AT: usize = 16;
    const NAME_AT: usize = 19;
    let mut rest = entries;
    std::iter::from_fn(move || {
        let length = rest.get(LENGTH_AT..LENGTH_AT + 2)?;
        let length = usize::from(u16::from_ne_bytes([length[0], length[1]]));
        let entry = rest.get(..length).filter(|entry| entry.len() > NAME_AT)?;
        rest = &rest[length..];
        Some(&entry[NAME_AT..])
    })
    .filter_map(|name| {
        let digits = name.iter().take_while(|byte| **byte != 0);
        digits.copied().try_fold(0, |number: c_int, digit| {
            let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
            number.checked_mul(10)?.checked_add(c_int::from(digit))
        })
    })
}

fn failed(stage: Stage, errno: c_int) -> SpawnError {
    SpawnError { stage, errno }
}

fn errno_result_long(result: c_long) -> Result<(), c_int> {
    if result < 0 {
        Err(last_errno())
    } else {
        Ok(())
    }
}

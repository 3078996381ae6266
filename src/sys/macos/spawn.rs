//! Starting a child by fork(2) and execve(2); a pipe reports a step that fails in between. Never run on a Mac yet.
#![expect(unsafe_code, reason = "fork(2), and system calls in the child")]

use super::super::exec_args::{ExecArgs, errno_result, limit_open_files};
use super::super::pending_spawn::{self, PendingSpawn};
use super::super::process::Process;
use super::super::spawn::{Child, Plan, SpawnError, Stage};
use std::ffi::c_int;
use std::io::{self, PipeReader, Read as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::ptr;
use std::sync::atomic::Ordering;

const SIGNAL_LAST: c_int = 31;
/// The most groups that setgroups(2) accepts (NGROUPS_MAX).
const GROUPS_MAX: usize = 16;
/// Descriptor numbers below this are marked close-on-exec.
const DESCRIPTORS_MAX: c_int = 65_536;
const NOT_STARTED: c_int = 127;

const STAGES: [Stage; 6] = [
    Stage::Session,
    Stage::Descriptors,
    Stage::Limits,
    Stage::User,
    Stage::Directory,
    Stage::Exec,
];

pub(in super::super) fn spawn(plan: &Plan) -> Result<Child, SpawnError> {
    let at_clone = |errno| SpawnError {
        stage: Stage::Clone,
        errno,
    };
    let errno_of = |error: &io::Error| error.raw_os_error().unwrap_or(libc::EIO);
    let pending_spawn = PendingSpawn::reserve().ok_or(at_clone(libc::EAGAIN))?;
    let (reports, report) = io::pipe().map_err(|error| at_clone(errno_of(&error)))?;
    let mut setup = ChildSetup {
        plan,
        exec_args: ExecArgs::new(plan),
        copies: vec![-1; plan.fds.len()],
        report: report.as_raw_fd(),
    };
    let pid = start_child(&mut setup, &pending_spawn).map_err(at_clone)?;
    drop(report);
    if let Some(failure) = failure(reports) {
        // SAFETY: the call takes only numbers. It fails without effect if the reaper has already reaped the child.
        unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
        return Err(failure);
    }
    let stat = super::process::stat(pid).map(|stat| stat.process.start_time);
    let start_time = match pending_spawn.start_time_if_reaped() {
        Some(start_time) => start_time,
        None => stat.map_err(|error| at_clone(errno_of(&error)))?,
    };
    pending_spawn.register();
    Ok(Child {
        process: Process { pid, start_time },
        pidfd: None,
        pending_spawn,
    })
}

/// Forks with every signal blocked. Holds the lock of the table, so that the reaper waits until the pid is stored.
fn start_child(setup: &mut ChildSetup<'_>, pending_spawn: &PendingSpawn) -> Result<i32, c_int> {
    let table = pending_spawn::table();
    // SAFETY: the sets are local variables. The child only makes calls that are safe after a fork in a program with threads
    // (sigaction(2)).
    let pid = unsafe {
        let mut every: libc::sigset_t = 0;
        let mut before: libc::sigset_t = 0;
        libc::sigfillset(&raw mut every);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const every, &raw mut before);
        let pid = libc::fork();
        if pid == 0 {
            setup.run();
        }
        let outcome = errno_result(pid);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        outcome?
    };
    pending_spawn.pid().store(pid, Ordering::Release);
    drop(table);
    Ok(pid)
}

/// Waits until execve has closed the pipe, or until the child has reported the failed stage and errno.
fn failure(mut reports: PipeReader) -> Option<SpawnError> {
    let mut report = [0_u8; 5];
    reports.read_exact(&mut report).ok()?;
    let [stage, errno @ ..] = report;
    Some(SpawnError {
        stage: *STAGES.get(usize::from(stage))?,
        errno: c_int::from_ne_bytes(errno),
    })
}

/// The steps that the child carries out.
struct ChildSetup<'a> {
    plan: &'a Plan,
    exec_args: ExecArgs<'a>,
    copies: Vec<c_int>,
    report: RawFd,
}

impl ChildSetup<'_> {
    fn run(&mut self) -> ! {
        let (stage, errno) = match self.run_until_exec() {
            Err(failure) => failure,
            Ok(never) => match never {},
        };
        let mut report = [0; 5];
        report[0] = stage;
        report[1..].copy_from_slice(&errno.to_ne_bytes());
        // SAFETY: the write reads from `report`; _exit ends this process without running exit handlers of the parent.
        unsafe {
            libc::write(self.report, report.as_ptr().cast(), report.len());
            libc::_exit(NOT_STARTED)
        }
    }

    /// The number in the error is the index in [`STAGES`].
    fn run_until_exec(&mut self) -> Result<std::convert::Infallible, (u8, c_int)> {
        let at = |stage| move |errno| (stage, errno);
        default_dispositions();
        // SAFETY: the call has no arguments.
        errno_result(unsafe { libc::setsid() }).map_err(at(0))?;
        if let Some(umask) = self.plan.umask {
            let umask = libc::mode_t::try_from(umask).unwrap_or_default();
            // SAFETY: the call takes only a number.
            unsafe { libc::umask(umask) };
        }
        self.arrange_descriptors().map_err(at(1))?;
        if let Some(limit) = self.plan.open_files {
            limit_open_files(limit).map_err(at(2))?;
        }
        self.become_user().map_err(at(3))?;
        // SAFETY: the C string belongs to the plan.
        errno_result(unsafe { libc::chdir(self.plan.cwd.as_ptr()) }).map_err(at(4))?;
        self.exec_args.write_pid();
        // SAFETY: the call reads an empty set, the local variable.
        unsafe {
            let none: libc::sigset_t = 0;
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        }
        Err((5, self.exec_args.exec()))
    }

    /// As on Linux: copies all descriptors, including the report pipe, above the target numbers, then duplicates each copy to
    /// its target. All other descriptors are closed on exec.
    fn arrange_descriptors(&mut self) -> Result<(), c_int> {
        let above = self.plan.fds.iter().map(|(to, _)| *to).max().unwrap_or(0) + 1;
        // SAFETY: the call takes only numbers; the child has its own descriptor table.
        let copy_above =
            |fd| errno_result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, above) });
        self.report = copy_above(self.report)?;
        for (copy, (_, from)) in self.copies.iter_mut().zip(&self.plan.fds) {
            *copy = copy_above(from.as_raw_fd())?;
        }
        // SAFETY: as above; the calls for numbers that are not open fail without effect.
        unsafe {
            for fd in 0..libc::getdtablesize().min(DESCRIPTORS_MAX) {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
        for (copy, (to, _)) in self.copies.iter().zip(&self.plan.fds) {
            // SAFETY: as above. The result of dup2(2) stays open on exec.
            errno_result(unsafe { libc::dup2(*copy, *to) })?;
        }
        Ok(())
    }

    fn become_user(&self) -> Result<(), c_int> {
        let Some(user) = &self.plan.user else {
            return Ok(());
        };
        let groups = &user.groups[..user.groups.len().min(GROUPS_MAX)];
        let count = c_int::try_from(groups.len()).map_err(|_| libc::EINVAL)?;
        // SAFETY: the list belongs to the plan and has the given length; all other arguments are numbers.
        unsafe {
            errno_result(libc::setgroups(count, groups.as_ptr()))?;
            errno_result(libc::setgid(user.gid))?;
            errno_result(libc::setuid(user.uid))?;
        }
        Ok(())
    }
}

/// Resets all signals: execve keeps ignored signals.
fn default_dispositions() {
    for signal in 1..=SIGNAL_LAST {
        // SAFETY: the call installs no handler. It fails without effect for signals that cannot be changed.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

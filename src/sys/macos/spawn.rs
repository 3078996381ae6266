//! fork(2) and execve(2), with a pipe that tells what went wrong in between. Never run on a Mac yet.
#![expect(unsafe_code, reason = "fork(2) and what may be called after it")]

use super::super::flight::{self, Flight};
use super::super::image::{Image, told};
use super::super::process::Process;
use super::super::spawn::{Child, Plan, SpawnError, Stage};
use std::ffi::c_int;
use std::io::{self, PipeReader, Read as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::ptr;
use std::sync::atomic::Ordering;

const SIGNAL_LAST: c_int = 31;
/// setgroups(2) takes no more (NGROUPS_MAX).
const GROUPS_MAX: usize = 16;
/// The descriptors looked at for what must not be inherited.
const DESCRIPTORS_MAX: c_int = 65_536;
const NOT_STARTED: c_int = 127;

const STAGES: [Stage; 5] = [
    Stage::Session,
    Stage::Descriptors,
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
    let flight = Flight::take().ok_or(at_clone(libc::EAGAIN))?;
    let (reports, report) = io::pipe().map_err(|error| at_clone(errno_of(&error)))?;
    let mut orders = Orders {
        plan,
        image: Image::new(plan),
        lifted: vec![-1; plan.fds.len()],
        report: report.as_raw_fd(),
    };
    let pid = give_birth(&mut orders, &flight).map_err(at_clone)?;
    drop(report);
    if let Some(failure) = failure(reports) {
        // SAFETY: takes numbers; the reaper may have been quicker, which is as well.
        unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
        return Err(failure);
    }
    let seen = super::process::stat(pid).map(|stat| stat.process.start_time);
    let start_time = match flight.birth_if_reaped() {
        Some(start_time) => start_time,
        None => seen.map_err(|error| at_clone(errno_of(&error)))?,
    };
    flight.arrived();
    Ok(Child {
        process: Process { pid, start_time },
        pidfd: None,
        flight,
    })
}

/// Forks with every signal blocked, and with the reaper kept out until the pid is where it looks.
fn give_birth(orders: &mut Orders<'_>, flight: &Flight) -> Result<i32, c_int> {
    let table = flight::table();
    // SAFETY: the sets are ours. The child calls only what is safe after fork in a program with threads (sigaction(2)).
    let pid = unsafe {
        let mut every: libc::sigset_t = 0;
        let mut before: libc::sigset_t = 0;
        libc::sigfillset(&raw mut every);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const every, &raw mut before);
        let pid = libc::fork();
        if pid == 0 {
            orders.run();
        }
        let outcome = told(pid);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        outcome?
    };
    flight.pid().store(pid, Ordering::Release);
    drop(table);
    Ok(pid)
}

/// Waits until exec has closed the pipe, or the child has said why not: its stage and errno.
fn failure(mut reports: PipeReader) -> Option<SpawnError> {
    let mut report = [0_u8; 5];
    reports.read_exact(&mut report).ok()?;
    let [stage, errno @ ..] = report;
    Some(SpawnError {
        stage: *STAGES.get(usize::from(stage))?,
        errno: c_int::from_ne_bytes(errno),
    })
}

struct Orders<'a> {
    plan: &'a Plan,
    image: Image<'a>,
    lifted: Vec<c_int>,
    report: RawFd,
}

impl Orders<'_> {
    fn run(&mut self) -> ! {
        let (stage, errno) = match self.carry_out() {
            Err(failure) => failure,
            Ok(never) => match never {},
        };
        let mut report = [0; 5];
        report[0] = stage;
        report[1..].copy_from_slice(&errno.to_ne_bytes());
        // SAFETY: writes from `report`; ends this process without its parent's exit handlers.
        unsafe {
            libc::write(self.report, report.as_ptr().cast(), report.len());
            libc::_exit(NOT_STARTED)
        }
    }

    /// The number in the error is the place in [`STAGES`].
    fn carry_out(&mut self) -> Result<std::convert::Infallible, (u8, c_int)> {
        let at = |stage| move |errno| (stage, errno);
        default_dispositions();
        // SAFETY: takes nothing.
        told(unsafe { libc::setsid() }).map_err(at(0))?;
        self.arrange_descriptors().map_err(at(1))?;
        self.become_user().map_err(at(2))?;
        // SAFETY: a C string of the plan's.
        told(unsafe { libc::chdir(self.plan.cwd.as_ptr()) }).map_err(at(3))?;
        self.image.write_pid();
        // SAFETY: an empty set of ours.
        unsafe {
            let none: libc::sigset_t = 0;
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        }
        Err((4, self.image.exec()))
    }

    /// As on Linux: lift all, the report too, then put each in its place; the rest is closed by exec.
    fn arrange_descriptors(&mut self) -> Result<(), c_int> {
        let above = self.plan.fds.iter().map(|(to, _)| *to).max().unwrap_or(0) + 1;
        // SAFETY: numbers only; the table of descriptors is the child's own.
        let lift = |fd| told(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, above) });
        self.report = lift(self.report)?;
        for (lifted, (_, from)) in self.lifted.iter_mut().zip(&self.plan.fds) {
            *lifted = lift(from.as_raw_fd())?;
        }
        // SAFETY: as above; those that are not open refuse, which is as well.
        unsafe {
            for fd in 0..libc::getdtablesize().min(DESCRIPTORS_MAX) {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
        for (lifted, (to, _)) in self.lifted.iter().zip(&self.plan.fds) {
            // SAFETY: as above. The copy that dup2(2) makes stays open over exec.
            told(unsafe { libc::dup2(*lifted, *to) })?;
        }
        Ok(())
    }

    fn become_user(&self) -> Result<(), c_int> {
        let Some(user) = &self.plan.user else {
            return Ok(());
        };
        let groups = &user.groups[..user.groups.len().min(GROUPS_MAX)];
        let count = c_int::try_from(groups.len()).map_err(|_| libc::EINVAL)?;
        // SAFETY: the list is the plan's and as long as said; the rest are numbers.
        unsafe {
            told(libc::setgroups(count, groups.as_ptr()))?;
            told(libc::setgid(user.gid))?;
            told(libc::setuid(user.uid))?;
        }
        Ok(())
    }
}

fn default_dispositions() {
    for signal in 1..=SIGNAL_LAST {
        // SAFETY: installs no handler of ours; those that cannot be changed refuse.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

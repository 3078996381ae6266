//! A pidfd is readable when its process has ended (pidfd_open(2)).
#![expect(unsafe_code, reason = "PIDFD_GET_INFO")]

use super::super::check;
use super::super::exit::Telling;
use super::super::process::{Handle, Process, State};
use super::super::reaper::Status;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// linux/pidfd.h: _IOWR(0xFF, 11, 64 bytes), the first version of the structure.
const PIDFD_GET_INFO: libc::c_ulong = 0xC040_FF0B;
/// The exit code is wanted, and is there when the answer has this bit, too (Linux 6.15).
const PIDFD_INFO_EXIT: u64 = 1 << 3;
/// proc(5): the field of /proc/PID/stat with the status as wait(2) tells it.
const EXIT_CODE_FIELD: usize = 52;

/// struct pidfd_info of linux/pidfd.h, its first version.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    identity: [u32; 11],
    exit_code: i32,
}

pub(in super::super) fn watch(handle: &Handle) -> io::Result<OwnedFd> {
    let fd = handle.fd.as_ref().ok_or(io::ErrorKind::Unsupported)?;
    fd.try_clone()
}

pub(in super::super) fn told(process: Process, pidfd: &OwnedFd) -> Telling {
    if let Some(status) = of_zombie(process) {
        return Telling::ServiceMessage(status);
    }
    let is_there = super::process::stat(process.pid).is_ok_and(|stat| stat.process == process);
    match of_reaped(pidfd) {
        Ok(Some(status)) => Telling::ServiceMessage(status),
        // A kernel that keeps it for the holders of a pidfd has it before the number is free (`release_task`).
        Err(_) if !is_there => Telling::Never,
        Ok(None) | Err(_) => Telling::NotYet,
    }
}

fn of_zombie(process: Process) -> Option<Status> {
    let line = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).ok()?;
    let stat = super::process::parse_stat(&line)?;
    if stat.process != process || stat.state != State::Zombie {
        return None;
    }
    let (_, fields) = line.rsplit_once(')')?;
    let code = fields.split_ascii_whitespace().nth(EXIT_CODE_FIELD - 3)?;
    Some(status(code.parse().ok()?))
}

/// None when it has not been reaped yet; an older kernel refuses the question.
fn of_reaped(pidfd: &OwnedFd) -> io::Result<Option<Status>> {
    let mut info = Info {
        mask: PIDFD_INFO_EXIT,
        ..Info::default()
    };
    // SAFETY: the descriptor is open, and the kernel writes no more than the 64 bytes its number names.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    check(result)?;
    let told = info.mask & PIDFD_INFO_EXIT != 0;
    Ok(told.then(|| status(info.exit_code)))
}

fn status(waited: i32) -> Status {
    if libc::WIFSIGNALED(waited) {
        Status::Signal(libc::WTERMSIG(waited))
    } else {
        Status::Code(libc::WEXITSTATUS(waited))
    }
}

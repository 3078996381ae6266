//! Exit status of a process that is not a child, by pidfd: it is readable when the process has ended (pidfd_open(2)).
#![expect(unsafe_code, reason = "PIDFD_GET_INFO")]

use super::super::check;
use super::super::exit::ExitQuery;
use super::super::process::{Handle, Process, State};
use super::super::reaper::Status;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// linux/pidfd.h: _IOWR(0xFF, 11, 64 bytes), the first version of the structure.
const PIDFD_GET_INFO: libc::c_ulong = 0xC040_FF0B;
/// Requests the exit code; the kernel sets the same bit in the answer if the code is available (Linux 6.15).
const PIDFD_INFO_EXIT: u64 = 1 << 3;
/// proc(5): the field of /proc/PID/stat that holds the status in the format of wait(2).
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

/// None where the system refuses pidfds.
pub(in super::super) fn watch(handle: &Handle) -> io::Result<Option<OwnedFd>> {
    handle.fd.as_ref().map(OwnedFd::try_clone).transpose()
}

pub(in super::super) fn query(process: Process, pidfd: Option<&OwnedFd>) -> ExitQuery {
    if let Some(status) = of_zombie(process) {
        return ExitQuery::Known(status);
    }
    let exists = super::super::process::exists(process);
    let reaped = pidfd.map_or_else(|| Err(io::ErrorKind::Unsupported.into()), of_reaped);
    match reaped {
        Ok(Some(status)) => ExitQuery::Known(status),
        // A kernel that keeps the status for pidfds stores it before it frees the pid (`release_task`). The pid is free and
        // the query failed, so this kernel does not keep it.
        Err(_) if !exists => ExitQuery::Never,
        Ok(None) | Err(_) => ExitQuery::NotYet,
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

/// The status that the kernel keeps after the reaping. None when the process is not reaped yet; kernels before 6.15 return
/// an error.
fn of_reaped(pidfd: &OwnedFd) -> io::Result<Option<Status>> {
    let mut info = Info {
        mask: PIDFD_INFO_EXIT,
        ..Info::default()
    };
    // SAFETY: the descriptor is open, and the kernel writes at most 64 bytes, the size encoded in the request number.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    check(result)?;
    let is_available = info.mask & PIDFD_INFO_EXIT != 0;
    Ok(is_available.then(|| status(info.exit_code)))
}

fn status(waited: i32) -> Status {
    if libc::WIFSIGNALED(waited) {
        Status::Signal(libc::WTERMSIG(waited))
    } else {
        Status::Code(libc::WEXITSTATUS(waited))
    }
}

//! Details that explain a stuck process to a user: threads by libproc. macOS does not report the other details to an
//! ordinary process. Never run on a Mac yet.
#![expect(unsafe_code, reason = "libproc")]

use super::super::process::{State, Thread};
use super::proc_info::{gone, info, text};
use std::ffi::c_int;
use std::io;

const LIST_THREADS: c_int = 6; // PROC_PIDLISTTHREADS
const THREADS_MAX: usize = 4096;

/// Numbers the threads in the order of the list, because the kernel's thread handles mean nothing to a user.
pub(in super::super) fn threads(pid: i32, max: usize) -> io::Result<Vec<Thread>> {
    let mut handles = vec![0_u64; max.min(THREADS_MAX)];
    let bytes = c_int::try_from(size_of_val(handles.as_slice())).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `bytes` into `handles`.
    let written =
        unsafe { libc::proc_pidinfo(pid, LIST_THREADS, 0, handles.as_mut_ptr().cast(), bytes) };
    let written = usize::try_from(written).map_err(|_| gone())?;
    if written == 0 {
        return Err(gone());
    }
    handles.truncate(written / size_of::<u64>());
    let threads = (1..).zip(handles);
    Ok(threads
        .filter_map(|(number, handle)| thread(pid, number, handle))
        .collect())
}

fn thread(pid: i32, number: i32, handle: u64) -> Option<Thread> {
    // SAFETY: the type is the structure of this flavor and contains only numbers.
    let found: libc::proc_threadinfo =
        unsafe { info(pid, libc::PROC_PIDTHREADINFO, handle) }.ok()?;
    Some(Thread {
        tid: number,
        comm: text(&found.pth_name),
        state: match found.pth_run_state {
            1 => State::Running,         // TH_STATE_RUNNING
            2 => State::Stopped,         // TH_STATE_STOPPED
            4 => State::Uninterruptible, // TH_STATE_UNINTERRUPTIBLE
            _ => State::Sleeping,
        },
        wchan: None,
        syscall: None,
    })
}

pub(in super::super) fn open_files_limit(_pid: i32) -> Option<u64> {
    None
}

pub(in super::super) fn system_call_name(_number: i64) -> Option<&'static str> {
    None
}

pub(in super::super) fn cgroup(_pid: i32) -> Option<String> {
    None
}

pub(in super::super) fn kernel_stack(_pid: i32, _tid: i32, _max: usize) -> Vec<String> {
    Vec::new()
}

pub(in super::super) fn pressure() -> Vec<(&'static str, String)> {
    Vec::new()
}

//! Details that explain a stuck process to a user: threads, limits, kernel stacks, system call names, pressure, cgroup.

use super::super::process::Thread;
use super::process::{gone, read_stat};
use std::fs;
use std::io;

const RESOURCES: [&str; 3] = ["cpu", "io", "memory"];

pub(in super::super) fn threads(pid: i32, max: usize) -> io::Result<Vec<Thread>> {
    let entries = gone(fs::read_dir(format!("/proc/{pid}/task")))?;
    let tids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    Ok(tids.filter_map(|tid| thread(pid, tid)).take(max).collect())
}

fn thread(pid: i32, tid: i32) -> Option<Thread> {
    let dir = format!("/proc/{pid}/task/{tid}");
    let stat = read_stat(&format!("{dir}/stat")).ok()?;
    let word = |file: &str| {
        let text = fs::read_to_string(format!("{dir}/{file}")).ok()?;
        Some(text.split_ascii_whitespace().next()?.to_owned())
    };
    Some(Thread {
        tid,
        comm: stat.comm,
        state: stat.state,
        wchan: word("wchan").filter(|name| name != "0"),
        syscall: word("syscall").and_then(|number| number.parse().ok()),
    })
}

/// Reads the line "Max open files            1024                 524288               files".
pub(in super::super) fn open_files_limit(pid: i32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Reduces lines such as `[<0>] futex_wait_queue+0x69/0xb0` to the function name.
pub(in super::super) fn kernel_stack(pid: i32, tid: i32, max: usize) -> Vec<String> {
    let stack = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stack")).unwrap_or_default();
    let names = stack.lines().filter_map(|line| {
        let (_address, place) = line.split_once("] ")?;
        Some(place.split('+').next()?.to_owned())
    });
    names.take(max).collect()
}

pub(in super::super) fn pressure() -> Vec<(&'static str, String)> {
    let values = RESOURCES.iter().filter_map(|&resource| {
        let text = fs::read_to_string(format!("/proc/pressure/{resource}")).ok()?;
        Some((resource, text.trim_end().to_owned()))
    });
    values.collect()
}

/// The line is "0::/system.slice/db.service", or "1:name=systemd:/…" where systemd uses version 1.
pub(in super::super) fn cgroup(pid: i32) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let of = |head: &str| {
        groups
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find_map(|(_number, rest)| rest.strip_prefix(head))
            .filter(|path| !path.is_empty())
    };
    let named = of("name=systemd:").filter(|path| *path != "/");
    named.or_else(|| of(":")).map(str::to_owned)
}

pub(in super::super) fn system_call_name(number: i64) -> Option<&'static str> {
    NAMES
        .iter()
        .find(|(listed, _)| *listed == number)
        .map(|(_, name)| *name)
}

/// System calls that exist on every architecture. The older ones (poll, select, …) exist only on x86-64.
const NAMES: &[(i64, &str)] = &[
    (libc::SYS_accept, "accept"),
    (libc::SYS_accept4, "accept4"),
    (libc::SYS_clock_nanosleep, "clock_nanosleep"),
    (libc::SYS_close, "close"),
    (libc::SYS_connect, "connect"),
    (libc::SYS_epoll_pwait, "epoll_pwait"),
    (libc::SYS_fcntl, "fcntl"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_flock, "flock"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_futex, "futex"),
    (libc::SYS_io_uring_enter, "io_uring_enter"),
    (libc::SYS_mmap, "mmap"),
    (libc::SYS_msync, "msync"),
    (libc::SYS_munmap, "munmap"),
    (libc::SYS_nanosleep, "nanosleep"),
    (libc::SYS_newfstatat, "newfstatat"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_ppoll, "ppoll"),
    (libc::SYS_pread64, "pread64"),
    (libc::SYS_pselect6, "pselect6"),
    (libc::SYS_pwrite64, "pwrite64"),
    (libc::SYS_read, "read"),
    (libc::SYS_readv, "readv"),
    (libc::SYS_recvfrom, "recvfrom"),
    (libc::SYS_recvmsg, "recvmsg"),
    (libc::SYS_restart_syscall, "restart_syscall"),
    (libc::SYS_rt_sigsuspend, "rt_sigsuspend"),
    (libc::SYS_rt_sigtimedwait, "rt_sigtimedwait"),
    (libc::SYS_semtimedop, "semtimedop"),
    (libc::SYS_sendmsg, "sendmsg"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_statx, "statx"),
    (libc::SYS_unlinkat, "unlinkat"),
    (libc::SYS_wait4, "wait4"),
    (libc::SYS_waitid, "waitid"),
    (libc::SYS_write, "write"),
    (libc::SYS_writev, "writev"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, "epoll_wait"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, "open"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_pause, "pause"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, "poll"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_select, "select"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_stat, "stat"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::identity::pid;

    #[test]
    fn the_limit_of_the_test_process_is_its_rlimit() {
        let (soft, _hard) =
            nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
                .expect("getrlimit");
        assert_eq!(open_files_limit(pid()), Some(soft));
        assert_eq!(open_files_limit(i32::MAX), None);
    }

    #[test]
    fn a_system_call_number_has_a_name() {
        assert_eq!(system_call_name(libc::SYS_futex), Some("futex"));
        assert_eq!(system_call_name(-1), None);
    }

    #[test]
    fn a_kernel_stack_contains_only_function_names() {
        for name in kernel_stack(pid(), pid(), 3) {
            assert!(!name.contains(['+', '[']), "{name}");
        }
        assert!(kernel_stack(pid(), pid(), 1).len() <= 1);
    }

    #[test]
    fn the_threads_of_the_test_process_have_names() -> io::Result<()> {
        let threads = threads(pid(), 64)?;
        assert!(threads.iter().any(|thread| thread.tid == pid()));
        assert!(threads.iter().all(|thread| !thread.comm.is_empty()));
        assert_eq!(super::threads(pid(), 1)?.len(), 1);
        Ok(())
    }
}

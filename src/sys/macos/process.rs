//! The state of processes by libproc and sysctl, and signals by kill(2). Never run on a Mac yet.
#![expect(unsafe_code, reason = "libproc and sysctl(3)")]

use super::super::check;
use super::super::process::{IoUse, Process, Stat, State, UsedFile, signal_by_pid};
use super::host::mach_time;
use super::inspect;
use super::proc_info::{gone, info, text};
use std::ffi::{CStr, OsString, c_int, c_void};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use std::{io, mem, ptr};

/// The argument with which PROC_PIDTBSDINFO includes zombies.
const ZOMBIES_TOO: u64 = 1;
const FLAG_TRACED: u32 = 2; // sys/proc_info.h, PROC_FLAG_TRACED
const COMMAND_LINE_BYTES: usize = 4096;
const MICROS: u64 = 1_000_000;

fn bsd_info(pid: i32) -> io::Result<libc::proc_bsdinfo> {
    // SAFETY: the type is the structure of this flavor and contains only numbers.
    unsafe { info(pid, libc::PROC_PIDTBSDINFO, ZOMBIES_TOO) }
}

fn task_info(pid: i32) -> io::Result<libc::proc_taskinfo> {
    // SAFETY: the type is the structure of this flavor and contains only numbers.
    unsafe { info(pid, libc::PROC_PIDTASKINFO, 0) }
}

/// Start times are wall-clock times: pbi_start_tvsec and pbi_start_tvusec.
pub(in super::super) fn start_time_now() -> u64 {
    let now = super::super::clock::sample().wall;
    let since = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

pub(in super::super) fn started_at(start_time: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(start_time)
}

pub(in super::super) fn age(process: Process) -> Duration {
    Duration::from_micros(start_time_now().saturating_sub(process.start_time))
}

pub(in super::super) fn memory_bytes(pid: i32) -> Option<u64> {
    Some(task_info(pid).ok()?.pti_resident_size)
}

pub(in super::super) fn stat(pid: i32) -> io::Result<Stat> {
    let bsd = bsd_info(pid)?;
    let task = task_info(pid); // not available for zombies and for processes of other users
    let (cpu, threads) = task.map_or((0, 0), |task| {
        (
            task.pti_total_user + task.pti_total_system,
            task.pti_threadnum,
        )
    });
    let children_cpu = resource_usage(pid).map_or(0, |usage| {
        usage
            .ri_child_user_time
            .saturating_add(usage.ri_child_system_time)
    });
    // SAFETY: the call takes and returns only numbers.
    let sid = unsafe { libc::getsid(pid) };
    Ok(Stat {
        process: Process {
            pid,
            start_time: bsd.pbi_start_tvsec * MICROS + bsd.pbi_start_tvusec,
        },
        ppid: bsd.pbi_ppid.cast_signed(),
        pgid: bsd.pbi_pgid.cast_signed(),
        sid: sid.max(0),
        state: state(pid, &bsd),
        cpu: mach_time(cpu),
        children_cpu: mach_time(children_cpu),
        threads: threads.unsigned_abs(),
        before_exec: false,
        comm: text(&bsd.pbi_comm),
    })
}

/// The status of a process is nearly always "running", so the state of its first thread is used.
fn state(pid: i32, bsd: &libc::proc_bsdinfo) -> State {
    match bsd.pbi_status {
        libc::SZOMB => State::Zombie,
        libc::SSTOP if bsd.pbi_flags & FLAG_TRACED != 0 => State::Traced,
        libc::SSTOP => State::Stopped,
        _ => {
            let first = inspect::threads(pid, 1).unwrap_or_default();
            first.first().map_or(State::Sleeping, |thread| thread.state)
        }
    }
}

/// Calls `list` with a growing buffer until the result does not fill it. Does not rely on the count that the call returns.
pub(super) fn pids(list: impl Fn(*mut c_void, c_int) -> c_int) -> io::Result<Vec<i32>> {
    let mut buffer = vec![0_i32; 512];
    loop {
        let bytes = c_int::try_from(size_of_val(buffer.as_slice())).map_err(io::Error::other)?;
        check(list(buffer.as_mut_ptr().cast(), bytes))?;
        if buffer.last() == Some(&0) {
            buffer.retain(|&pid| pid > 0);
            return Ok(buffer);
        }
        buffer = vec![0; buffer.len() * 2];
    }
}

pub(in super::super) fn children(pid: i32) -> io::Result<Vec<i32>> {
    // SAFETY: the call writes at most the given number of bytes.
    pids(|buffer, bytes| unsafe { libc::proc_listchildpids(pid, buffer, bytes) })
}

pub(in super::super) fn all() -> io::Result<Vec<i32>> {
    // SAFETY: the call writes at most the given number of bytes.
    pids(|buffer, bytes| unsafe { libc::proc_listallpids(buffer, bytes) })
}

pub(in super::super) fn tracer(pid: i32) -> io::Result<Option<i32>> {
    Ok((bsd_info(pid)?.pbi_flags & FLAG_TRACED != 0).then_some(0))
}

pub(in super::super) fn uid(pid: i32) -> io::Result<u32> {
    Ok(bsd_info(pid)?.pbi_ruid)
}

#[expect(clippy::unnecessary_wraps, reason = "the Linux version can fail")]
pub(in super::super) fn is_any_frozen(_pids: &[i32]) -> io::Result<bool> {
    Ok(false)
}

pub(in super::super) fn oom_kill_count() -> Option<u64> {
    None // macOS has no counter for its kills (jetsam)
}

pub(in super::super) fn throttled_count(_pid: i32) -> Option<u64> {
    None
}

pub(in super::super) fn io_use(pid: i32) -> io::Result<IoUse> {
    let usage = resource_usage(pid)?;
    let disk = usage
        .ri_diskio_bytesread
        .saturating_add(usage.ri_diskio_byteswritten);
    Ok(IoUse { calls: 0, disk })
}

fn resource_usage(pid: i32) -> io::Result<libc::rusage_info_v2> {
    // SAFETY: an all-zero rusage_info_v2 is valid, and this flavor writes at most one.
    unsafe {
        let mut usage: libc::rusage_info_v2 = mem::zeroed();
        let result = libc::proc_pid_rusage(pid, libc::RUSAGE_INFO_V2, (&raw mut usage).cast());
        if result == 0 { Ok(usage) } else { Err(gone()) }
    }
}

pub(in super::super) fn executable(pid: i32) -> io::Result<PathBuf> {
    let mut path = vec![0_u8; libc::PROC_PIDPATHINFO_MAXSIZE.unsigned_abs() as usize];
    let size = u32::try_from(path.len()).map_err(io::Error::other)?;
    // SAFETY: the call writes at most `size` bytes into `path`.
    let length = unsafe { libc::proc_pidpath(pid, path.as_mut_ptr().cast(), size) };
    let length = usize::try_from(length).unwrap_or(0);
    if length == 0 {
        return Err(gone());
    }
    path.truncate(length);
    Ok(PathBuf::from(OsString::from_vec(path)))
}

pub(in super::super) fn has_only_child(pid: i32, child: i32) -> bool {
    children(pid).is_ok_and(|children| children == [child])
}

/// Compares by path: if the file was replaced since, this compares with the new file.
pub(in super::super) fn executes(pid: i32, dev: u64, ino: u64) -> io::Result<bool> {
    let runs = std::fs::metadata(executable(pid)?)?;
    Ok((runs.dev(), runs.ino()) == (dev, ino))
}

/// macOS does not report the mapped files.
pub(in super::super) fn files_run(pid: i32) -> io::Result<Vec<UsedFile>> {
    Ok(vec![used(executable(pid)?)])
}

const fn used(path: PathBuf) -> UsedFile {
    UsedFile { path, id: None }
}

/// The working directory (PROC_PIDVNODEPATHINFO, sys/proc_info.h).
pub(in super::super) fn folders_entered(pid: i32) -> io::Result<Vec<UsedFile>> {
    // SAFETY: an all-zero proc_vnodepathinfo is valid.
    let mut info: libc::proc_vnodepathinfo = unsafe { mem::zeroed() };
    let size = c_int::try_from(size_of_val(&info)).map_err(io::Error::other)?;
    // SAFETY: the call writes at most `size` bytes into `info`.
    let length = unsafe {
        libc::proc_pidinfo(
            pid,
            libc::PROC_PIDVNODEPATHINFO,
            0,
            (&raw mut info).cast(),
            size,
        )
    };
    if length != size {
        return Err(io::Error::last_os_error());
    }
    let path = info.pvi_cdir.vip_path.as_flattened();
    let bytes = path.iter().map(|&byte| byte.cast_unsigned());
    let path = OsString::from_vec(bytes.take_while(|&byte| byte != 0).collect());
    Ok(vec![used(path.into())])
}

/// Reads KERN_PROCARGS2: the number of arguments, the program, padding, the arguments, the environment.
fn process_arguments(pid: i32) -> io::Result<Vec<u8>> {
    let mut name = [libc::CTL_KERN, libc::KERN_PROCARGS2, pid];
    let names = u32::try_from(name.len()).map_err(io::Error::other)?;
    // SAFETY: the call takes and returns only numbers.
    let largest = check(unsafe { libc::sysconf(libc::_SC_ARG_MAX) } as c_int)?;
    let mut buffer = vec![0_u8; largest.unsigned_abs() as usize];
    let mut length = buffer.len();
    // SAFETY: the kernel writes at most `length` bytes into `buffer`.
    check(unsafe {
        libc::sysctl(
            name.as_mut_ptr(),
            names,
            buffer.as_mut_ptr().cast(),
            &raw mut length,
            ptr::null_mut(),
            0,
        )
    })?;
    buffer.truncate(length);
    Ok(buffer)
}

type Words<'a> = Vec<&'a [u8]>;

/// Splits the bytes of KERN_PROCARGS2 into arguments and environment.
fn split_arguments(bytes: &[u8]) -> Option<(Words<'_>, Words<'_>)> {
    let (count, rest) = bytes.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_ne_bytes(*count)).ok()?;
    let program = CStr::from_bytes_until_nul(rest).ok()?.count_bytes();
    let padding = rest[program..]
        .iter()
        .take_while(|&&byte| byte == 0)
        .count();
    let mut words = rest[program + padding..].split(|&byte| byte == 0);
    let arguments = words.by_ref().take(count).collect();
    let environment = words.take_while(|entry| !entry.is_empty()).collect();
    Some((arguments, environment))
}

pub(in super::super) fn environment_value(pid: i32, name: &str) -> io::Result<Option<String>> {
    let bytes = process_arguments(pid)?;
    let (_, environment) = split_arguments(&bytes).ok_or(io::ErrorKind::InvalidData)?;
    let value = environment
        .iter()
        .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    Ok(value.map(|value| String::from_utf8_lossy(value).into_owned()))
}

pub(in super::super) fn command_line(pid: i32) -> io::Result<String> {
    let bytes = process_arguments(pid)?;
    let (arguments, _) = split_arguments(&bytes).ok_or(io::ErrorKind::InvalidData)?;
    let mut line = arguments.join(&b' ');
    line.truncate(COMMAND_LINE_BYTES);
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// macOS has nothing to open. The start time is compared now, and again before each signal.
pub(in super::super) fn open_handle(process: Process) -> io::Result<Option<OwnedFd>> {
    if stat(process.pid)?.process != process {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(None)
}

pub(in super::super) fn signal(
    process: Process,
    _fd: Option<BorrowedFd<'_>>,
    signal: i32,
) -> io::Result<()> {
    signal_by_pid(process, signal)
}

#[cfg(test)]
mod tests {
    use super::split_arguments;

    #[test]
    fn arguments_end_at_the_given_count() {
        let mut bytes = 2_i32.to_ne_bytes().to_vec();
        bytes.extend(b"/bin/x\0\0\0x\0-v\0A=1\0B=2\0\0junk");
        let (arguments, environment) = split_arguments(&bytes).expect("well-formed");
        assert_eq!(arguments, [&b"x"[..], b"-v"]);
        assert_eq!(environment, [&b"A=1"[..], b"B=2"]);
        assert!(split_arguments(b"\x01").is_none());
    }
}

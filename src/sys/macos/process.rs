//! Processes by libproc and sysctl. Never run on a Mac yet.
#![expect(unsafe_code, reason = "libproc, sysctl(3), kill(2)")]

use super::super::check;
use super::super::process::{Process, Stat, State, UsedFile};
use super::host::mach_time;
use super::tables;
use std::ffi::{CStr, OsString, c_int, c_void};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use std::{io, mem, ptr};

/// So that PROC_PIDTBSDINFO tells about zombies too.
const ZOMBIES_TOO: u64 = 1;
const FLAG_TRACED: u32 = 2; // sys/proc_info.h, PROC_FLAG_TRACED
const COMMAND_LINE_BYTES: usize = 4096;
const MICROS: u64 = 1_000_000;

/// One libproc structure about `pid`.
///
/// # Safety
/// `T` must be the structure of `flavor`, and valid when all zero.
pub(super) unsafe fn info<T>(pid: i32, flavor: c_int, argument: u64) -> io::Result<T> {
    let size = c_int::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the caller's promise; the kernel writes at most `size` bytes.
    unsafe {
        let mut found: T = mem::zeroed();
        let written = libc::proc_pidinfo(pid, flavor, argument, (&raw mut found).cast(), size);
        if written < size {
            return Err(gone());
        }
        Ok(found)
    }
}

/// The error of the last libproc call; a process that has gone is `NotFound`.
pub(super) fn gone() -> io::Error {
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ESRCH) {
        return io::ErrorKind::NotFound.into();
    }
    error
}

fn bsd_info(pid: i32) -> io::Result<libc::proc_bsdinfo> {
    // SAFETY: the structure of this flavor, of numbers only.
    unsafe { info(pid, libc::PROC_PIDTBSDINFO, ZOMBIES_TOO) }
}

fn task_info(pid: i32) -> io::Result<libc::proc_taskinfo> {
    // SAFETY: the structure of this flavor, of numbers only.
    unsafe { info(pid, libc::PROC_PIDTASKINFO, 0) }
}

/// pbi_start_tvsec and pbi_start_tvusec are of the wall clock.
pub(in super::super) fn birth_of_one_born_now() -> u64 {
    let now = super::super::clock::sample().wall;
    let since = now
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

pub(in super::super) fn born_at(start_time: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(start_time)
}

pub(in super::super) fn age(process: Process) -> Duration {
    Duration::from_micros(birth_of_one_born_now().saturating_sub(process.start_time))
}

pub(in super::super) fn memory_bytes(pid: i32) -> Option<u64> {
    Some(task_info(pid).ok()?.pti_resident_size)
}

pub(in super::super) fn stat(pid: i32) -> io::Result<Stat> {
    let bsd = bsd_info(pid)?;
    let task = task_info(pid); // zombies have none, other users' are not shown
    let (cpu, threads) = task.map_or((0, 0), |task| {
        (
            task.pti_total_user + task.pti_total_system,
            task.pti_threadnum,
        )
    });
    // SAFETY: takes and returns numbers.
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
        threads: threads.unsigned_abs(),
        before_exec: false,
        comm: text(&bsd.pbi_comm),
    })
}

/// The status of a process is hardly ever anything but "running"; its first thread knows better.
fn state(pid: i32, bsd: &libc::proc_bsdinfo) -> State {
    match bsd.pbi_status {
        libc::SZOMB => State::Zombie,
        libc::SSTOP if bsd.pbi_flags & FLAG_TRACED != 0 => State::Traced,
        libc::SSTOP => State::Stopped,
        _ => {
            let first = tables::threads(pid, 1).unwrap_or_default();
            first.first().map_or(State::Sleeping, |thread| thread.state)
        }
    }
}

/// Characters up to the first NUL.
pub(super) fn text(characters: &[libc::c_char]) -> String {
    let bytes = characters.iter().map(|each| each.cast_unsigned());
    let bytes: Vec<u8> = bytes.take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Calls `list` with a buffer that grows until it is not filled. Says nothing of how the call counts.
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
    // SAFETY: writes at most the given number of bytes.
    pids(|buffer, bytes| unsafe { libc::proc_listchildpids(pid, buffer, bytes) })
}

pub(in super::super) fn all() -> io::Result<Vec<i32>> {
    // SAFETY: writes at most the given number of bytes.
    pids(|buffer, bytes| unsafe { libc::proc_listallpids(buffer, bytes) })
}

pub(in super::super) fn tracer(pid: i32) -> io::Result<Option<i32>> {
    Ok((bsd_info(pid)?.pbi_flags & FLAG_TRACED != 0).then_some(0))
}

pub(in super::super) fn uid(pid: i32) -> io::Result<u32> {
    Ok(bsd_info(pid)?.pbi_ruid)
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "Linux can fail behind the same face"
)]
pub(in super::super) fn is_any_frozen(_pids: &[i32]) -> io::Result<bool> {
    Ok(false)
}

pub(in super::super) fn oom_kill_count() -> Option<u64> {
    None // jetsam does not count
}

pub(in super::super) fn throttled_count(_pid: i32) -> Option<u64> {
    None
}

pub(in super::super) fn io_bytes(pid: i32) -> Option<u64> {
    // SAFETY: all-zero is a valid rusage_info_v2, and this flavor writes no more than one.
    unsafe {
        let mut usage: libc::rusage_info_v2 = mem::zeroed();
        let result = libc::proc_pid_rusage(pid, libc::RUSAGE_INFO_V2, (&raw mut usage).cast());
        (result == 0).then(|| usage.ri_diskio_bytesread + usage.ri_diskio_byteswritten)
    }
}

pub(in super::super) fn executable(pid: i32) -> io::Result<PathBuf> {
    let mut path = vec![0_u8; libc::PROC_PIDPATHINFO_MAXSIZE.unsigned_abs() as usize];
    let size = u32::try_from(path.len()).map_err(io::Error::other)?;
    // SAFETY: writes at most `size` bytes into `path`.
    let length = unsafe { libc::proc_pidpath(pid, path.as_mut_ptr().cast(), size) };
    let length = usize::try_from(length).unwrap_or(0);
    if length == 0 {
        return Err(gone());
    }
    path.truncate(length);
    Ok(PathBuf::from(OsString::from_vec(path)))
}

/// By its path: of a file that was replaced since, this says what is there now.
pub(in super::super) fn executes(pid: i32, dev: u64, ino: u64) -> io::Result<bool> {
    let runs = std::fs::metadata(executable(pid)?)?;
    Ok((runs.dev(), runs.ino()) == (dev, ino))
}

/// Of what is mapped the program alone is told here, and the folder from the vnode's path (sys/proc_info.h).
pub(in super::super) fn files_used(pid: i32) -> io::Result<Vec<UsedFile>> {
    // SAFETY: all-zero is a valid proc_vnodepathinfo.
    let mut info: libc::proc_vnodepathinfo = unsafe { mem::zeroed() };
    let size = c_int::try_from(size_of_val(&info)).map_err(io::Error::other)?;
    // SAFETY: writes at most `size` bytes into `info`.
    let length = unsafe {
        libc::proc_pidinfo(
            pid,
            libc::PROC_PIDVNODEPATHINFO,
            0,
            (&raw mut info).cast(),
            size,
        )
    };
    let mut used: Vec<PathBuf> = vec![executable(pid)?];
    if length == size {
        let path = info.pvi_cdir.vip_path.as_flattened();
        let bytes = path.iter().map(|&byte| byte.cast_unsigned());
        used.push(OsString::from_vec(bytes.take_while(|&byte| byte != 0).collect()).into());
    }
    let used = used.into_iter().map(|path| UsedFile { path, id: None });
    Ok(used.collect())
}

/// KERN_PROCARGS2: the number of arguments, the program, padding, the arguments, the environment.
fn process_arguments(pid: i32) -> io::Result<Vec<u8>> {
    let mut name = [libc::CTL_KERN, libc::KERN_PROCARGS2, pid];
    let names = u32::try_from(name.len()).map_err(io::Error::other)?;
    // SAFETY: takes and returns numbers.
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

/// The arguments and the environment in what KERN_PROCARGS2 gives.
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

/// There is nothing to open; the birth is compared now, and again at the signal.
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
    open_handle(process)?;
    // SAFETY: takes numbers only.
    if unsafe { libc::kill(process.pid, signal) } == 0 {
        return Ok(());
    }
    Err(gone())
}

#[cfg(test)]
mod tests {
    use super::split_arguments;

    #[test]
    fn arguments_end_where_their_number_says() {
        let mut bytes = 2_i32.to_ne_bytes().to_vec();
        bytes.extend(b"/bin/x\0\0\0x\0-v\0A=1\0B=2\0\0junk");
        let (arguments, environment) = split_arguments(&bytes).expect("well-formed");
        assert_eq!(arguments, [&b"x"[..], b"-v"]);
        assert_eq!(environment, [&b"A=1"[..], b"B=2"]);
        assert!(split_arguments(b"\x01").is_none());
    }
}

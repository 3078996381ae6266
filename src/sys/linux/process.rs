//! The state of processes from /proc/PID (proc(5)). `crate::sys::process` says which
//! functions may wait for the memory lock of the process.

use super::super::process::{IoUse, Process, Stat, State, UsedFile};
use super::host::ticks;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How often to read the child lists while threads of the process end; after that all processes are searched instead.
const READINGS_MAX: usize = 8;
/// Longer than a list with one child.
const ONE_CHILD_BYTES: u64 = 32;
/// The flag of an exiting thread (include/linux/sched.h).
const PF_EXITING: u64 = 0x4;
/// Room for /proc/PID/stat: 52 numbers and a name of at most 64 bytes.
const STAT_BYTES: usize = 2048;
const COMMAND_LINE_BYTES: u64 = 4096;
/// The most bytes of an environment that are searched; one string has at most 128 KiB (MAX_ARG_STRLEN).
const ENVIRONMENT_BYTES: u64 = 4 * 1024 * 1024;

pub(in super::super) fn stat(pid: i32) -> io::Result<Stat> {
    read_stat(&format!("/proc/{pid}/stat"))
}

/// proc(5), field 22: clock ticks since boot, counted on the clock that continues while the machine sleeps.
pub(in super::super) fn start_time_now() -> u64 {
    let tick = ticks(1).as_nanos().max(1);
    let now = super::super::clock::sample().boot.as_nanos();
    u64::try_from(now / tick).unwrap_or(u64::MAX)
}

pub(in super::super) fn started_at(start_time: u64) -> SystemTime {
    let now = super::super::clock::sample();
    let age = now.boot.saturating_sub(ticks(start_time));
    now.wall.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)
}

pub(in super::super) fn age(process: Process) -> std::time::Duration {
    ticks(start_time_now().saturating_sub(process.start_time))
}

pub(super) fn read_stat(path: &str) -> io::Result<Stat> {
    let mut bytes = [0; STAT_BYTES];
    let count = gone(File::open(path))?.read(&mut bytes);
    let line = String::from_utf8_lossy(&bytes[..gone(count)?]);
    parse_stat(&line).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "/proc/PID/stat has an unknown format",
        )
    })
}

/// Maps ESRCH to `NotFound`: a file of /proc gives ESRCH when the process ends during the read, and ENOENT afterwards.
pub(super) fn gone<T>(result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| {
        if error.raw_os_error() == Some(libc::ESRCH) {
            return io::ErrorKind::NotFound.into();
        }
        error
    })
}

/// Parses a line of /proc/PID/stat. The name may contain blanks and parentheses, so the numbers begin after the *last*
/// parenthesis.
pub(super) fn parse_stat(line: &str) -> Option<Stat> {
    let (head, tail) = line.rsplit_once(')')?;
    let (pid, comm) = head.split_once('(')?;
    let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied(); // numbered as in proc(5)
    let number = |of: usize| field(of)?.parse::<u64>().ok();
    Some(Stat {
        process: Process {
            pid: pid.trim().parse().ok()?,
            start_time: field(22)?.parse().ok()?,
        },
        ppid: field(4)?.parse().ok()?,
        pgid: field(5)?.parse().ok()?,
        sid: field(6)?.parse().ok()?,
        state: state(field(3)?),
        cpu: ticks(number(14)?.saturating_add(number(15)?)),
        children_cpu: ticks(number(16)?.saturating_add(number(17)?)),
        threads: field(20)?.parse().ok()?,
        before_exec: field(38)? == "0",
        comm: comm.to_owned(),
    })
}

fn state(letter: &str) -> State {
    match letter {
        "R" => State::Running,
        "D" => State::Uninterruptible,
        "T" => State::Stopped,
        "t" => State::Traced,
        "Z" | "X" => State::Zombie,
        _ => State::Sleeping,
    }
}

/// Reads the child lists of all threads of `pid`.
///
/// Each thread has its own children. When a thread ends, the kernel gives them to another thread of the process, perhaps
/// from a list that is not read yet to one that was already read. In that case all lists are read again. It is not
/// sufficient that the thread still exists afterwards: the kernel moves the children some time before the thread is gone
/// (`exit_notify` in kernel/exit.c).
pub(in super::super) fn children(pid: i32) -> io::Result<Vec<i32>> {
    for _ in 0..READINGS_MAX {
        let threads = threads(pid)?;
        let Some(children) = children_of(&threads)? else {
            return children_by_search(pid);
        };
        // The only thread of a process, also of a zombie, has no other thread to which its children could move.
        if threads.len() == 1 || !threads.iter().any(|thread| is_ending(thread)) {
            return Ok(children);
        }
    }
    children_by_search(pid)
}

/// Reads at most [`ONE_CHILD_BYTES`] of each thread's list. False where that does not decide it.
pub(in super::super) fn has_only_child(pid: i32, child: i32) -> bool {
    for _ in 0..READINGS_MAX {
        let Ok(threads) = threads(pid) else {
            return false;
        };
        let lists: Vec<String> = threads
            .iter()
            .map(|thread| begin_of_children(thread))
            .collect();
        let mut children = lists.iter().flat_map(|list| list.split_ascii_whitespace());
        let is_only = children.next() == Some(&child.to_string()) && children.next().is_none();
        // The children of an ending thread move to another one, perhaps to one that was read before.
        if !threads.iter().any(|thread| is_ending(thread)) {
            return is_only;
        }
    }
    false
}

/// The begin of a thread's list of children; empty where there is none.
fn begin_of_children(thread: &Path) -> String {
    let mut list = String::new();
    let file = File::open(thread.join("children"));
    let read = file.and_then(|file| file.take(ONE_CHILD_BYTES).read_to_string(&mut list));
    if read.is_err() { String::new() } else { list }
}

fn threads(pid: i32) -> io::Result<Vec<PathBuf>> {
    let entries = gone(std::fs::read_dir(format!("/proc/{pid}/task")))?;
    entries
        .map(|thread| Ok(gone(thread)?.path()))
        .collect::<io::Result<_>>()
}

/// The children in the lists of `threads`; ended threads are skipped. None where the kernel does not provide the lists.
fn children_of(threads: &[PathBuf]) -> io::Result<Option<Vec<i32>>> {
    let mut children = Vec::new();
    for thread in threads {
        match std::fs::read_to_string(thread.join("children")) {
            Ok(list) => children.extend(
                list.split_ascii_whitespace()
                    .filter_map(|pid| pid.parse::<i32>().ok()),
            ),
            Err(_) if !thread.exists() => {}
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(children))
}

/// Whether the thread is exiting or has gone. The kernel sets the flag before it moves the children to another thread.
fn is_ending(thread: &Path) -> bool {
    let stat = std::fs::read(thread.join("stat")).unwrap_or_default();
    let stat = String::from_utf8_lossy(&stat);
    // proc(5), field 9; the first field after the name is 3
    let flags = stat
        .rsplit_once(')')
        .and_then(|(_, tail)| tail.split_ascii_whitespace().nth(9 - 3)?.parse().ok());
    flags.is_none_or(|flags: u64| flags & PF_EXITING != 0)
}

/// Searches all processes for those whose parent is `pid`: the only way on a kernel without CONFIG_PROC_CHILDREN.
fn children_by_search(pid: i32) -> io::Result<Vec<i32>> {
    let mut pids = all()?;
    pids.retain(|&each| stat(each).is_ok_and(|stat| stat.ppid == pid));
    Ok(pids)
}

pub(in super::super) fn all() -> io::Result<Vec<i32>> {
    let entries = std::fs::read_dir("/proc")?.flatten();
    Ok(entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

/// The value of the line `key` in /proc/PID/status.
fn status_value(pid: i32, key: &str) -> io::Result<String> {
    let status = gone(std::fs::read(format!("/proc/{pid}/status")))?;
    let status = String::from_utf8_lossy(&status);
    status
        .lines()
        .find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim().to_owned()))
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

pub(in super::super) fn tracer(pid: i32) -> io::Result<Option<i32>> {
    let tracer = status_value(pid, "TracerPid")?
        .parse()
        .map_err(io::Error::other)?;
    Ok((tracer != 0).then_some(tracer))
}

pub(in super::super) fn uid(pid: i32) -> io::Result<u32> {
    let uids = status_value(pid, "Uid")?; // real, effective, saved, file system
    let real = uids.split_ascii_whitespace().next().unwrap_or_default();
    real.parse().map_err(io::Error::other)
}

pub(in super::super) fn memory_bytes(pid: i32) -> Option<u64> {
    let resident = status_value(pid, "VmRSS").ok()?;
    let kibibytes: u64 = resident.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

pub(in super::super) fn io_use(pid: i32) -> io::Result<IoUse> {
    let mut text = String::new();
    gone(gone(File::open(format!("/proc/{pid}/io")))?.read_to_string(&mut text))?;
    let number = |key: &str| -> io::Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let line = line.ok_or(io::ErrorKind::InvalidData)?;
        line.trim().parse().map_err(io::Error::other)
    };
    Ok(IoUse {
        calls: number("rchar:")?.saturating_add(number("wchar:")?),
        disk: number("read_bytes:")?.saturating_add(number("write_bytes:")?),
    })
}

pub(in super::super) fn environment_value(pid: i32, name: &str) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    gone(
        gone(File::open(format!("/proc/{pid}/environ")))?
            .take(ENVIRONMENT_BYTES)
            .read_to_end(&mut bytes),
    )?;
    let value = bytes
        .split(|&byte| byte == 0)
        .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    Ok(value.map(|value| String::from_utf8_lossy(value).into_owned()))
}

pub(in super::super) fn command_line(pid: i32) -> io::Result<String> {
    let mut bytes = Vec::new();
    gone(
        gone(File::open(format!("/proc/{pid}/cmdline")))?
            .take(COMMAND_LINE_BYTES)
            .read_to_end(&mut bytes),
    )?;
    let words = String::from_utf8_lossy(&bytes);
    Ok(words.trim_end_matches('\0').replace('\0', " "))
}

pub(in super::super) fn executable(pid: i32) -> io::Result<PathBuf> {
    gone(std::fs::read_link(format!("/proc/{pid}/exe")))
}

/// /proc/PID/exe leads to the file itself, also after it was renamed or unlinked.
pub(in super::super) fn executes(pid: i32, dev: u64, ino: u64) -> io::Result<bool> {
    let runs = gone(std::fs::metadata(format!("/proc/{pid}/exe")))?;
    Ok((runs.dev(), runs.ino()) == (dev, ino))
}

pub(in super::super) fn files_run(pid: i32) -> io::Result<Vec<UsedFile>> {
    let maps = gone(std::fs::read(format!("/proc/{pid}/maps")))?;
    let mapped = maps.split(|&byte| byte == b'\n').filter_map(mapped_file);
    let mut used: Vec<UsedFile> = mapped.chain(linked_file(pid, "exe").ok()).collect();
    used.dedup();
    Ok(used)
}

pub(in super::super) fn folders_entered(pid: i32) -> io::Result<Vec<UsedFile>> {
    Ok(vec![linked_file(pid, "cwd")?, linked_file(pid, "root")?])
}

/// The file that a link in /proc/PID leads to (proc(5)).
fn linked_file(pid: i32, link: &str) -> io::Result<UsedFile> {
    let link = format!("/proc/{pid}/{link}");
    let found = std::fs::metadata(&link).ok();
    Ok(UsedFile {
        path: gone(std::fs::read_link(link))?,
        id: found.map(|found| (found.dev(), found.ino())),
    })
}

/// Parses a line of /proc/PID/maps (proc(5)): `address perms offset major:minor inode path`; the path is the rest of the
/// line.
fn mapped_file(line: &[u8]) -> Option<UsedFile> {
    let at = line.iter().position(|&byte| byte == b'/')?;
    let head = std::str::from_utf8(&line[..at]).ok()?;
    let mut fields = head.split_ascii_whitespace().skip(3);
    let (major, minor) = fields.next()?.split_once(':')?;
    let number = |digits| u32::from_str_radix(digits, 16).ok();
    let device = libc::makedev(number(major)?, number(minor)?);
    Some(UsedFile {
        path: PathBuf::from(OsStr::from_bytes(&line[at..])),
        id: Some((device, fields.next()?.parse().ok()?)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "42 (a) b (c) S 1 42 41 0 -1 4194560 1 2 3 4 250 50 7 8 20 0 3 0 123456 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 17 0";

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = parse_stat(LINE).expect("a stat line");
        assert_eq!(stat.comm, "a) b (c");
        assert_eq!((stat.process.pid, stat.process.start_time), (42, 123_456));
        assert_eq!(
            (stat.ppid, stat.pgid, stat.sid, stat.threads),
            (1, 42, 41, 3)
        );
        assert_eq!(stat.state, State::Sleeping);
        assert!(!stat.before_exec);
        assert_eq!(stat.cpu, ticks(300));
        assert_eq!(stat.children_cpu, ticks(15));
    }

    #[test]
    fn a_mapped_file_has_its_path_device_and_inode() {
        let line = b"7f10-7f20 r-xp 00001000 fe:01 4711                       /opt/a b/lib.so";
        let file = mapped_file(line).expect("a file");
        assert_eq!(file.path, Path::new("/opt/a b/lib.so"));
        assert_eq!(file.id, Some((libc::makedev(0xfe, 1), 4711)));
        assert_eq!(mapped_file(b"7f10-7f20 rw-p 00000000 00:00 0 [heap]"), None);
    }

    #[test]
    fn an_invalid_stat_line_is_rejected() {
        for line in ["", "42", "42 (a) S 1", "x (a) S 1 2 3"] {
            assert_eq!(parse_stat(line), None, "{line}");
        }
    }

    #[test]
    fn a_missing_process_is_not_found() {
        let error = stat(i32::MAX).expect_err("no such process");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_test_process_can_be_read() -> io::Result<()> {
        let pid = super::super::super::identity::pid();
        assert_eq!(stat(pid)?.ppid, super::super::super::identity::parent_pid());
        assert_eq!(tracer(pid)?, None);
        assert!(command_line(pid)?.contains("stayd"));
        assert!(all()?.contains(&pid));
        assert!(io_use(pid).is_ok());
        assert_eq!(environment_value(pid, "PATH")?, std::env::var("PATH").ok());
        Ok(())
    }
}

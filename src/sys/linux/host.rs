//! The host and this process: clocks, boot id, CPU load, subreaper state, scheduling.
#![expect(unsafe_code, reason = "prctl(2), sched_setscheduler(2), sysconf(3)")]

use super::super::check;
use super::super::process::Host;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

/// /proc/vmstat fits into this. One large read is cheaper, because the kernel sums the counters anew for each read.
const VMSTAT_BYTES: usize = 16 * 1024;

pub(in super::super) const CLOCK_AWAKE: libc::clockid_t = libc::CLOCK_MONOTONIC;
pub(in super::super) const CLOCK_SINCE_BOOT: libc::clockid_t = libc::CLOCK_BOOTTIME;

pub(in super::super) fn boot_id() -> io::Result<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim().to_owned())
}

pub(in super::super) fn pid_namespace() -> u64 {
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino())
}

#[expect(clippy::unnecessary_wraps, reason = "the macOS version can fail")]
pub(in super::super) fn own_program() -> io::Result<PathBuf> {
    Ok(PathBuf::from("/proc/self/exe"))
}

pub(in super::super) fn become_subreaper() -> io::Result<bool> {
    // SAFETY: the call takes only numbers.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) })?;
    Ok(true)
}

pub(in super::super) fn is_subreaper() -> bool {
    let mut is: libc::c_int = 0;
    // SAFETY: the kernel writes one int into `is`.
    let result = unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut is, 0, 0, 0) };
    result == 0 && is != 0
}

pub(in super::super) fn oom_kill_count() -> Option<u64> {
    let mut counters = Vec::with_capacity(VMSTAT_BYTES);
    let mut file = std::fs::File::open("/proc/vmstat").ok()?;
    file.read_to_end(&mut counters).ok()?;
    let count = std::str::from_utf8(&counters)
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?;
    count.trim().parse().ok()
}

pub(in super::super) fn use_realtime_priority() -> io::Result<()> {
    let lowest = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the kernel reads one sched_param from `lowest`; 0 names the calling thread.
    check(unsafe { libc::sched_setscheduler(0, policy, &raw const lowest) })?;
    Ok(())
}

/// The duration of `count` ticks, the unit of utime, stime and starttime (proc(5)).
pub(super) fn ticks(count: u64) -> Duration {
    // SAFETY: the call takes and returns only numbers.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let per_second = u64::try_from(per_second).unwrap_or(100).max(1);
    Duration::from_millis(count.saturating_mul(1000) / per_second)
}

pub(in super::super) fn host() -> io::Result<Host> {
    let mut host = parse_host(&std::fs::read_to_string("/proc/stat")?);
    // A kernel without CONFIG_PSI has no such file, or refuses to read it.
    let pressure = std::fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    host.stalled = parse_stalled(&pressure);
    Ok(host)
}

/// Parses /proc/pressure/cpu (Documentation/accounting/psi.rst): "some avg10=0.00 … total=MICROSECONDS".
fn parse_stalled(pressure: &str) -> Duration {
    let some = pressure.lines().find(|line| line.starts_with("some "));
    let total = some.and_then(|line| line.rsplit_once("total=")?.1.parse().ok());
    Duration::from_micros(total.unwrap_or(0))
}

/// Parses /proc/stat (proc_stat(5)). Idle, iowait and steal time are not work of this host; user time includes guest time.
fn parse_host(text: &str) -> Host {
    const BUSY: [usize; 5] = [0, 1, 2, 5, 6]; // user nice system irq softirq
    let mut host = Host::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("cpu") => {
                let counts: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
                host.cpu = ticks(BUSY.iter().filter_map(|&at| counts.get(at)).sum());
            }
            Some("procs_running") => {
                host.runnable = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            }
            Some(name) if name.starts_with("cpu") => host.cpus += 1,
            _ => {}
        }
    }
    host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_iowait_steal_and_guest_are_not_busy() {
        let text = "cpu  100 20 30 4000 500 6 7 88 99 0\ncpu0 1 2 3\ncpu1 1 2 3\nprocs_running 5\n";
        let host = parse_host(text);
        assert_eq!(host.cpu, ticks(100 + 20 + 30 + 6 + 7));
        assert_eq!((host.cpus, host.runnable), (2, 5));
    }

    #[test]
    fn the_time_in_which_a_thread_waited_for_a_processor_is_parsed() {
        // Recorded from Linux 6.18.
        let pressure = "some avg10=35.12 avg60=12.00 avg300=3.00 total=1250000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=99\n";
        assert_eq!(parse_stalled(pressure), Duration::from_millis(1250));
        assert_eq!(parse_stalled(""), Duration::ZERO);
    }

    #[test]
    fn the_boot_id_and_the_processor_count_can_be_read() -> io::Result<()> {
        assert_eq!(boot_id()?.len(), 36);
        assert_ne!(pid_namespace(), 0);
        assert!(host()?.cpus > 0);
        Ok(())
    }
}

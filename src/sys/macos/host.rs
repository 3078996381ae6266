//! The host and this process: clocks, boot id, CPU load. Never run on a Mac yet.
#![expect(
    unsafe_code,
    reason = "sysctlbyname(3), host_statistics, mach_timebase_info"
)]
#![expect(
    deprecated,
    reason = "libc recommends another crate for mach; two functions do not justify it"
)]
#![expect(clippy::unnecessary_wraps, reason = "the Linux versions can fail")]

use super::super::check;
use super::super::process::Host;
use std::ffi::CStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(in super::super) const CLOCK_AWAKE: libc::clockid_t = libc::CLOCK_UPTIME_RAW;
pub(in super::super) const CLOCK_SINCE_BOOT: libc::clockid_t = libc::CLOCK_MONOTONIC_RAW;

/// host_statistics counts in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);
const CPU_STATE_IDLE: usize = 2;

pub(in super::super) fn boot_id() -> io::Result<String> {
    let mut buffer = [0_u8; 64];
    let mut length = buffer.len();
    // SAFETY: the kernel writes at most `length` bytes into `buffer`.
    check(unsafe {
        libc::sysctlbyname(
            c"kern.bootsessionuuid".as_ptr(),
            buffer.as_mut_ptr().cast(),
            &raw mut length,
            std::ptr::null_mut(),
            0,
        )
    })?;
    let id = CStr::from_bytes_until_nul(&buffer).map_err(io::Error::other)?;
    Ok(id.to_string_lossy().into_owned())
}

pub(in super::super) fn pid_namespace() -> u64 {
    0
}

pub(in super::super) fn own_program() -> io::Result<PathBuf> {
    std::env::current_exe()
}

pub(in super::super) fn become_subreaper() -> io::Result<bool> {
    Ok(false)
}

pub(in super::super) fn is_subreaper() -> bool {
    false
}

pub(in super::super) const fn own_cgroup() -> Option<PathBuf> {
    None
}

pub(in super::super) const fn is_delegated(_cgroup: &Path) -> bool {
    false
}

pub(in super::super) fn use_realtime_priority() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Converts a time in units of the processor's clock, in which libproc reports CPU times.
pub(super) fn mach_time(units: u64) -> Duration {
    let mut base = libc::mach_timebase_info { numer: 0, denom: 0 };
    // SAFETY: the call writes one mach_timebase_info to a local variable.
    unsafe { libc::mach_timebase_info(&raw mut base) };
    let nanos = u128::from(units) * u128::from(base.numer) / u128::from(base.denom.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// macOS does not report runnable threads; the value is 0, which never counts as an overload.
pub(in super::super) fn host() -> io::Result<Host> {
    let mut ticks = [0_u32; libc::HOST_CPU_LOAD_INFO_COUNT as usize]; // user, system, idle, nice
    let mut count = libc::HOST_CPU_LOAD_INFO_COUNT;
    // SAFETY: the kernel writes at most `count` numbers into `ticks`.
    let result = unsafe {
        libc::host_statistics(
            libc::mach_host_self(),
            libc::HOST_CPU_LOAD_INFO,
            ticks.as_mut_ptr().cast(),
            &raw mut count,
        )
    };
    if result != libc::KERN_SUCCESS {
        return Err(io::Error::other("cannot read the host's CPU load"));
    }
    let busy = ticks
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != CPU_STATE_IDLE);
    let busy: u64 = busy.map(|(_, count)| u64::from(*count)).sum();
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(Host {
        cpu: Duration::from_millis(busy.saturating_mul(TICK.as_millis() as u64)),
        cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
        runnable: 0,
        stalled: Duration::ZERO,
    })
}

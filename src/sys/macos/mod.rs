//! The implementation of the `sys` interface for macOS 11 and newer.
//!
//! It is type-checked and linked against Apple's symbols, but has **never run on a Mac yet**. Differences from Linux: there
//! is no subreaper, so orphans are reparented to launchd and are found by searching all processes. There is no pidfd, so the
//! start time is read again immediately before a signal. The reaper can report a child that fails between fork and execve;
//! it marks the exit as `spawn_pending`.

pub(super) mod datagram;
pub(super) mod descriptors;
mod exec_file;
pub(super) mod exit;
pub(super) mod file_rights;
pub(super) mod filesystem;
pub(super) mod folder_watch;
mod host;
pub(super) mod inspect;
pub(super) mod isolation;
pub(super) mod listen;
pub(super) mod pipe;
mod proc_info;
pub(super) mod process;
pub(super) mod signal_numbers;
pub(super) mod socket;
mod spawn;
pub(super) mod timer;
pub(super) mod unix_socket;

pub(super) use exec_file::{OPEN_FOR_EXEC, anonymous_file, executable_path, restore_process_name};
pub(super) use host::{
    CLOCK_AWAKE, CLOCK_SINCE_BOOT, become_subreaper, boot_id, host, is_delegated, is_subreaper,
    own_cgroup, own_program, pid_namespace, use_realtime_priority,
};
pub(super) use process::{is_any_frozen, oom_kill_count, open_handle, signal, throttled_count};
pub(super) use socket::{held_sockets, lists_all_users_listeners};
pub(super) use spawn::spawn;

/// Nothing to do: the macOS kernel shares the pages of a program and reclaims them when it needs memory.
pub(super) const fn release_startup_memory() {}

pub(super) const fn is_program_on_root_disk() -> bool {
    false
}

/// On macOS every wait includes every child.
pub(super) const WAIT_FOR_ANY: libc::c_int = 0;

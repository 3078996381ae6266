//! The implementation of the `sys` interface for Linux 5.4 and newer. docs/reference/system-calls.md says what happens where
//! a system call is refused.

mod cgroup;
mod child;
mod clone;
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
mod memory;
mod pidfd;
pub(super) mod pipe;
pub(super) mod process;
pub(super) mod signal_numbers;
mod sock_diag;
pub(super) mod socket;
mod spawn;
pub(super) mod timer;
pub(super) mod unix_socket;

pub(super) use cgroup::{is_any_frozen, is_delegated, own_cgroup, throttled_count};
pub(super) use exec_file::{OPEN_FOR_EXEC, anonymous_file, executable_path, restore_process_name};
pub(super) use host::{
    CLOCK_AWAKE, CLOCK_SINCE_BOOT, become_subreaper, boot_id, host, is_subreaper, oom_kill_count,
    own_program, pid_namespace, use_realtime_priority,
};
pub(super) use memory::{is_program_on_root_disk, release_startup_memory};
pub(super) use pidfd::{open_handle, signal};
pub(super) use spawn::spawn;

/// The flag for a wait that includes children without an exit signal (waitpid(2)).
pub(super) const WAIT_FOR_ANY: libc::c_int = libc::__WALL;

/// sock_diag(7) lists all sockets of the network namespace.
pub(super) const fn lists_all_users_listeners() -> bool {
    true
}

/// Those of `sockets`, each an inode, that `pid` has open.
pub(super) fn held_sockets(
    pid: i32,
    sockets: &[u64],
) -> std::io::Result<std::collections::HashSet<u64>> {
    descriptors::sockets_among(pid, sockets.iter().copied())
}

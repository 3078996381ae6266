//! Linux 5.9 and newer, behind the faces in `sys`.

pub(super) mod alarm;
mod cgroup;
mod clone;
pub(super) mod copying;
pub(super) mod diag;
pub(super) mod exit;
mod host;
mod image_file;
pub(super) mod inspect;
pub(super) mod listen;
mod memory;
mod pidfd;
pub(super) mod process;
mod spawn;
mod start_time;
pub(super) mod tables;
mod timer;

pub(super) use cgroup::{is_any_frozen, is_delegated, own_cgroup, throttled_count};
pub(super) use host::{
    CLOCK_AWAKE, CLOCK_SINCE_BOOT, become_subreaper, boot_id, host, is_subreaper, oom_kill_count,
    own_program, pid_namespace, put_this_thread_first,
};
pub(super) use image_file::{
    OPEN_TO_EXECUTE, go_by_the_name_of_our_file, nameless_file, path_of_program,
};
pub(super) use memory::{give_back_start, is_program_on_the_systems_disk};
pub(super) use pidfd::{open_handle, signal};
pub(super) use spawn::spawn;
pub(super) use timer::Timer;

/// For a wait that sees every child, one without an exit signal too (waitpid(2)).
pub(super) const WAIT_FOR_ANY: libc::c_int = libc::__WALL;

/// sock_diag(7) lists all of the network namespace.
pub(super) const fn lists_everybodys_listeners() -> bool {
    true
}

/// Whether `pid` has the socket with this listener's inode open.
pub(super) fn holds_listener(
    pid: i32,
    listener: &super::socket::Listener,
) -> std::io::Result<bool> {
    tables::holds_socket(pid, listener.inode)
}

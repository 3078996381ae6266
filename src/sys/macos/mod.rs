//! macOS 11 and newer, behind the faces in `sys`.
//!
//! Type-checked and linked against Apple's symbols, but **never run on a Mac yet**. What differs from Linux: no
//! subreaper, so orphans land with launchd and are found by looking at all processes; no pidfd, so a birth is read
//! again just before a signal; and a child that fails between fork and exec can be reported by the reaper, in flight.

pub(super) mod alarm;
pub(super) mod copying;
pub(super) mod diag;
pub(super) mod exit;
mod host;
mod image_file;
pub(super) mod inspect;
pub(super) mod listen;
pub(super) mod process;
mod spawn;
pub(super) mod tables;
mod timer;

pub(super) use diag::{holds_listener, lists_everybodys_listeners};
pub(super) use host::{
    CLOCK_AWAKE, CLOCK_SINCE_BOOT, become_subreaper, boot_id, host, is_delegated, is_subreaper,
    own_cgroup, own_program, pid_namespace, put_this_thread_first,
};
pub(super) use image_file::{
    OPEN_TO_EXECUTE, go_by_the_name_of_our_file, nameless_file, path_of_program,
};
pub(super) use process::{is_any_frozen, oom_kill_count, open_handle, signal, throttled_count};
pub(super) use spawn::spawn;
pub(super) use timer::Timer;

/// The kernel here shares the pages of a program, and takes them when it wants them.
pub(super) const fn give_back_start() {}

pub(super) const fn is_program_on_the_systems_disk() -> bool {
    false
}

/// Here every wait sees every child.
pub(super) const WAIT_FOR_ANY: libc::c_int = 0;

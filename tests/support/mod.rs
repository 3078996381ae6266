//! What the tests share: waiting with a deadline, places of their own, programs that behave badly.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod ask;
pub(crate) mod census;
mod cgroup;
mod child;
pub(crate) mod crowd;
pub(crate) mod daemon;
#[cfg(target_os = "linux")]
pub(crate) mod disk;
mod lab;
pub(crate) mod launchd_rehearsal;
mod life;
pub(crate) mod postgres;
pub(crate) mod runtimes;
#[cfg(target_os = "linux")]
mod systemd_box;
mod wait;
mod web;

pub(crate) use cgroup::{Cgroup, Freezer};
pub(crate) use child::{SOON, output_of, plan, wait_for_exit};
#[cfg(target_os = "linux")]
pub(crate) use lab::alone_in_a_namespace_of_processes;
pub(crate) use lab::{alone, alone_as_first_process, program, victim};
pub(crate) use life::{Lab, NOTHING_LEFT, kill};
#[cfg(target_os = "linux")]
pub(crate) use systemd_box::SystemdBox;
pub(crate) use wait::{TempDir, free_port, wait_for, wait_until};
pub(crate) use web::http_get;

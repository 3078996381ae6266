//! Shared by the tests: waiting with a deadline, a stayd with a folder of its own, services that misbehave on request.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod byte_server;
mod cgroup;
mod child;
pub(crate) mod counting_service;
pub(crate) mod daemon;
#[cfg(target_os = "linux")]
pub(crate) mod disk;
pub(crate) mod http;
#[cfg(target_os = "linux")]
pub(crate) mod hung_mount;
pub(crate) mod launchd_simulator;
pub(crate) mod notify;
pub(crate) mod own_process;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod probing;
mod programs;
pub(crate) mod runtimes;
#[cfg(target_os = "linux")]
pub(crate) mod seccomp;
pub(crate) mod service;
#[cfg(target_os = "linux")]
mod systemd_container;
mod tree_fixture;
mod wait;
pub(crate) mod watchdog;

pub(crate) use cgroup::Cgroup;
#[cfg(target_os = "linux")]
pub(crate) use cgroup::Freezer;
pub(crate) use child::{output_of, plan, wait_for_exit};
pub(crate) use http::http_get;
pub(crate) use own_process::{alone, alone_as_pid_1};
#[cfg(target_os = "linux")]
pub(crate) use own_process::{alone_in_network, alone_in_pid_namespace};
pub(crate) use programs::{PYTHON, program, require_root, test_service, tool};
pub(crate) use service::strace_process;
#[cfg(target_os = "linux")]
pub(crate) use systemd_container::SystemdContainer;
pub(crate) use tree_fixture::{NOTHING_LEFT, TreeFixture, kill};
pub(crate) use wait::{
    SOON, SetOnDrop, TempDir, delete_folder, free_port, replace_folder_with_file, wait_for,
    wait_until,
};

//! Real processes and servers, no stand-ins. Each file is one kind of behaviour; tests over failure modes are named
//! after their item.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test fails where it stands, says what it skips, and signals only children it has not reaped"
)]

#[path = "../support/mod.rs"]
mod support;

mod adoption;
mod attach;
#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod chains;
mod claims;
#[cfg(target_os = "linux")]
mod dead_mount;
mod ended_while_down;
mod evidence;
mod exec;
mod faults;
mod faults_alone;
#[cfg(target_os = "linux")]
mod faults_kills;
mod faults_probes;
mod faults_spared;
#[cfg(target_os = "linux")]
mod faults_workers;
mod forgotten;
mod home;
mod incident;
mod instances;
mod journal;
mod journal_kills;
mod launchd;
mod launchd_rehearsal;
mod lives;
#[cfg(target_os = "linux")]
mod memory;
mod orphans;
mod output;
mod output_faults;
#[cfg(target_os = "linux")]
mod output_hangs;
#[cfg(target_os = "linux")]
mod output_lives;
#[cfg(target_os = "linux")]
mod output_service;
#[cfg(target_os = "linux")]
mod own_children;
mod parked;
#[cfg(target_os = "linux")]
mod pid_reuse;
mod postgres_service;
mod probe_exec;
#[cfg(target_os = "linux")]
mod probe_exec_after_crash;
mod probe_net;
mod probe_postgres;
mod probe_sqlite;
mod process_handle;
#[cfg(target_os = "linux")]
mod process_tree;
mod reaping;
#[cfg(target_os = "linux")]
mod runtime_commands;
#[cfg(target_os = "linux")]
mod runtime_disks;
#[cfg(target_os = "linux")]
mod runtime_gc;
mod runtime_service;
#[cfg(target_os = "linux")]
mod runtime_source_hangs;
#[cfg(target_os = "linux")]
mod runtime_status;
mod second_stayd;
mod sockets;
mod sockets_service_killed;
#[cfg(target_os = "linux")]
mod sockets_stayd_killed;
#[cfg(target_os = "linux")]
mod sockets_systemd;
mod spawn;
mod spawner;
#[cfg(target_os = "linux")]
mod state_dir_unwritable;
mod stayd_crashes;
#[cfg(target_os = "linux")]
mod systemd;
#[cfg(target_os = "linux")]
mod systemd_box;
#[cfg(target_os = "linux")]
mod systemd_unit;
mod unproven_processes;
mod upgrade;
mod upgrade_refused;
mod upgrade_sockets;
#[cfg(target_os = "linux")]
mod upgrade_systemd;

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
mod parked;
mod postgres_service;
mod probe_exec;
mod probe_net;
mod probe_postgres;
mod probe_sqlite;
#[cfg(target_os = "linux")]
mod read_only;
mod reaping;
#[cfg(target_os = "linux")]
mod reuse;
#[cfg(target_os = "linux")]
mod runtime_disks;
#[cfg(target_os = "linux")]
mod runtime_gc;
#[cfg(target_os = "linux")]
mod runtime_hangs;
#[cfg(target_os = "linux")]
mod runtime_status;
#[cfg(target_os = "linux")]
mod runtime_verbs;
mod runtimes;
mod second;
mod soak;
mod sockets;
#[cfg(target_os = "linux")]
mod sockets_crash;
mod sockets_load;
#[cfg(target_os = "linux")]
mod sockets_systemd;
mod spawn;
mod spawner;
mod store;
mod store_kills;
mod strangers;
#[cfg(target_os = "linux")]
mod systemd;
#[cfg(target_os = "linux")]
mod systemd_box;
#[cfg(target_os = "linux")]
mod systemd_unit;
#[cfg(target_os = "linux")]
mod tree;
#[cfg(target_os = "linux")]
mod unanswered;
mod unseen;
mod upgrade;
mod upgrade_refused;
mod upgrade_sockets;
#[cfg(target_os = "linux")]
mod upgrade_systemd;

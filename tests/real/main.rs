//! Tests with real processes, servers and file systems. Each file tests one kind of behavior.
//!
//! A test that needs root has `#[ignore = "needs root"]`; `make test` as root runs these too. A test that even root on a
//! usual machine cannot run is in a module whose name starts with `needs_`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a failed expectation ends the test, and a test signals only children that it has not reaped"
)]

#[path = "../support/mod.rs"]
mod support;

mod adoption;
mod attach;
mod busy_grace;
#[cfg(target_os = "linux")]
mod cgroup;
mod claims_unusable;
mod evidence;
mod exec;
mod exec_checks;
#[cfg(target_os = "linux")]
mod fork_chains;
#[cfg(target_os = "linux")]
mod hung_mount;
mod instance_lifecycle;
mod instances;
#[cfg(target_os = "linux")]
mod kill_sequence;
mod kill_suppressed;
#[cfg(target_os = "linux")]
mod launchd;
mod launchd_simulator;
mod orphaned_service;
mod orphans;
mod output;
mod output_faults;
#[cfg(target_os = "linux")]
mod output_hangs;
#[cfg(target_os = "linux")]
mod output_instances;
#[cfg(target_os = "linux")]
mod output_service;
mod own_process;
mod parked;
mod postgres_service;
mod probe_exec;
mod probe_net;
mod probe_postgres;
mod probe_sqlite;
#[cfg(target_os = "linux")]
mod program_memory;
#[cfg(target_os = "linux")]
mod read_only;
#[cfg(target_os = "linux")]
mod readiness;
mod reaping;
mod reload;
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
mod state_dir_deleted;
mod stayd_process;
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
mod traced_or_frozen;
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
mod wedge;

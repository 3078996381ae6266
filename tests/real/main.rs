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
#[cfg(target_os = "linux")]
mod claim_descriptors;
mod claims_unusable;
mod common_cause;
mod control_access;
mod degraded_kill;
#[cfg(target_os = "linux")]
mod dropped_privileges;
mod ended_while_down;
mod evidence;
mod exec;
mod exec_checks;
#[cfg(target_os = "linux")]
mod foreign_text;
#[cfg(target_os = "linux")]
mod fork_chains;
#[cfg(target_os = "linux")]
mod healthy;
#[cfg(target_os = "linux")]
mod helper_isolation;
#[cfg(target_os = "linux")]
mod helper_killed;
#[cfg(target_os = "linux")]
mod hung_logs;
#[cfg(target_os = "linux")]
mod hung_mount;
mod inherited_environment;
#[cfg(target_os = "linux")]
mod install_systemd;
mod instance_lifecycle;
mod instances;
mod journal;
mod journal_kills;
mod kill_sequence;
mod kill_suppressed;
#[cfg(target_os = "linux")]
mod launchd;
mod launchd_simulator;
#[cfg(target_os = "linux")]
mod many_descriptors;
#[cfg(target_os = "linux")]
mod many_listeners;
#[cfg(target_os = "linux")]
mod many_processes;
#[cfg(target_os = "linux")]
mod notify_floods;
mod notify_messages;
#[cfg(target_os = "linux")]
mod notify_senders;
#[cfg(target_os = "linux")]
mod open_files;
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
#[cfg(target_os = "linux")]
mod own_children;
mod own_files_deleted;
mod own_process;
mod parked;
#[cfg(target_os = "linux")]
mod pid_reuse;
#[cfg(target_os = "linux")]
mod port_neighbours;
mod postgres_service;
mod probe_connection;
mod probe_exec;
#[cfg(target_os = "linux")]
mod probe_exec_after_crash;
mod probe_http;
mod probe_net;
mod probe_postgres;
mod probe_postgres_faults;
mod probe_sqlite;
mod process_handle;
#[cfg(target_os = "linux")]
mod process_tree;
#[cfg(target_os = "linux")]
mod program_memory;
mod readiness;
mod reaping;
#[cfg(target_os = "linux")]
mod refused_calls;
mod reload;
mod requests_replaced;
#[cfg(target_os = "linux")]
mod runtime_commands;
#[cfg(target_os = "linux")]
mod runtime_disks;
#[cfg(target_os = "linux")]
mod runtime_foreign_folder;
#[cfg(target_os = "linux")]
mod runtime_gc;
mod runtime_service;
#[cfg(target_os = "linux")]
mod runtime_source_hangs;
#[cfg(target_os = "linux")]
mod runtime_source_rights;
#[cfg(target_os = "linux")]
mod runtime_status;
mod second_stayd;
mod sockets;
#[cfg(target_os = "linux")]
mod sockets_hostile_folder;
mod sockets_service_killed;
#[cfg(target_os = "linux")]
mod sockets_stayd_killed;
#[cfg(target_os = "linux")]
mod sockets_systemd;
mod spawn;
mod spawner;
mod squatted_folder;
mod state_dir_deleted;
#[cfg(target_os = "linux")]
mod state_dir_unwritable;
mod stayd_crashes;
mod stayd_process;
mod stopped_together;
mod successor;
#[cfg(target_os = "linux")]
mod systemd;
#[cfg(target_os = "linux")]
mod systemd_container;
#[cfg(target_os = "linux")]
mod systemd_unit;
#[cfg(target_os = "linux")]
mod traced_or_frozen;
#[cfg(target_os = "linux")]
mod unix_listeners;
mod unproven_processes;
mod upgrade;
mod upgrade_refused;
mod upgrade_sockets;
#[cfg(target_os = "linux")]
mod upgrade_systemd;
#[cfg(target_os = "linux")]
mod user;
mod wedge;

//! stayd runs as a unit of a real systemd: readiness, watchdog, adoption, stop, cgroups and user units.

use super::systemd_unit::{Installed, SERVICE, SLOW_START, SOON, config, stayd};
use crate::support::{SystemdContainer, free_port, http_get, wait_until};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[test]
#[ignore = "needs root"]
fn the_unit_is_active_only_when_the_service_answers() {
    let unit = Installed::new("");
    let began = Instant::now();
    unit.systemd.done(&[
        "systemctl",
        "enable",
        "--no-block",
        "--now",
        "stayd.service",
    ]);
    wait_until("the unit is starting", SOON, || {
        unit.state() == "activating"
    });
    wait_until("the unit is active", SOON, || unit.state() == "active");
    assert!(
        began.elapsed() >= SLOW_START && unit.answers(),
        "{}",
        unit.journal()
    );

    let status = unit.systemd.property("stayd.service", "StatusText");
    assert!(status == "1 of 1 answering", "{status}");
    let shown = unit
        .systemd
        .done(&[stayd(), "status", "--json", "-c", "/etc/stayd/stayd.toml"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["daemon"]["supervisor"], "systemd");
    // journald reads the priority prefixes of stayd's lines and removes them from its copy.
    assert!(!unit.journal().contains("<6>"), "{}", unit.journal());
}

#[test]
#[ignore = "needs root"]
fn a_stopped_stayd_is_killed_by_systemds_watchdog_and_restarted() {
    let unit = Installed::new("[Service]\nWatchdogSec=2s\n");
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    let first = unit.main_pid();
    unit.systemd.done(&["kill", "-STOP", &first]);
    wait_until("systemd has started another stayd", SOON, || {
        !["0", &first].contains(&unit.main_pid().as_str())
    });
    wait_until("the journal names the watchdog", SOON, || {
        unit.journal().contains("Watchdog timeout")
    });
}

#[test]
#[ignore = "needs root"]
fn a_running_stayd_satisfies_systemds_watchdog() {
    let unit = Installed::new("[Service]\nWatchdogSec=1s\n");
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    let first = unit.main_pid();
    unit.wait_for_pings(Duration::from_secs(4));
    assert_eq!(
        (unit.state(), unit.main_pid()),
        ("active".into(), first),
        "{}",
        unit.journal()
    );
}

#[test]
#[ignore = "needs root"]
fn the_service_outlives_a_kill_of_stayd_and_the_next_stayd_adopts_it() {
    let unit = Installed::new("");
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    let service = || {
        let found = unit.systemd.exec(&["pgrep", "-f", "^python3 .*service.py"]);
        String::from_utf8_lossy(&found.stdout).into_owned()
    };
    let (stayd, before) = (unit.main_pid(), service());
    assert_eq!(before.lines().count(), 1);
    unit.systemd.done(&["kill", "-KILL", &stayd]);
    wait_until("the next stayd is ready", SOON, || {
        !["0", &stayd].contains(&unit.main_pid().as_str()) && unit.state() == "active"
    });
    assert!(unit.answers());
    assert_eq!(service(), before, "{}", unit.journal());
    assert!(
        unit.journal().contains("adopted: pid"),
        "{}",
        unit.journal()
    );
    unit.systemd
        .done(&["systemctl", "restart", "stayd.service"]);
    assert!(unit.answers());
    assert_ne!(
        service(),
        before,
        "a restart of the unit restarts the service"
    );
    unit.systemd.done(&["systemctl", "stop", "stayd.service"]);
    assert_eq!(service(), "");
}

#[test]
#[ignore = "needs root"]
fn a_stop_of_the_unit_leaves_no_process_and_no_cgroup() {
    let unit = Installed::new("");
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    let processes = || {
        unit.systemd
            .exec(&["pgrep", "-f", "service.py|sleep 100000|--foreground"])
    };
    let before = String::from_utf8_lossy(&processes().stdout).lines().count();
    assert!(
        before >= 3,
        "stayd, the service and its descendant: {before}"
    );
    unit.systemd.done(&["systemctl", "stop", "stayd.service"]);
    assert_eq!(unit.state(), "inactive");
    assert_eq!(unit.systemd.property("stayd.service", "Result"), "success");
    let left = processes();
    assert!(
        !left.status.success(),
        "left: {}",
        String::from_utf8_lossy(&left.stdout)
    );
    assert!(!unit.answers());
    let group: PathBuf = unit
        .systemd
        .path("/sys/fs/cgroup/system.slice/stayd.service");
    assert!(!group.exists(), "{}", group.display());
}

/// A frozen file system (fsfreeze(8)): writes block until this is dropped.
struct Frozen<'a>(&'a SystemdContainer, &'static str);

impl<'a> Frozen<'a> {
    fn freeze(systemd: &'a SystemdContainer, folder: &'static str) -> Self {
        systemd.done(&["fsfreeze", "--freeze", folder]);
        Self(systemd, folder)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = self.0.exec(&["fsfreeze", "--unfreeze", self.1]);
    }
}

#[test]
#[ignore = "needs root"]
fn a_loop_that_hangs_in_a_disk_write_reports_where_and_stops_its_watchdog_pings() {
    let unit = Installed::new("[Service]\nWatchdogSec=4s\n");
    let disk = "mkdir -p -m 700 /var/lib/stayd/boxed && truncate -s 32M /var/disk && mkfs.ext4 -q /var/disk && \
                mount -o loop /var/disk /var/lib/stayd/boxed";
    unit.systemd.done(&["sh", "-c", disk]);
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    let first = unit.main_pid();
    let service = unit.systemd.done(&["pgrep", "-f", "^python3 .*service.py"]);
    let frozen = Frozen::freeze(&unit.systemd, "/var/lib/stayd/boxed");
    // For the next instance the loop writes a claim to that disk.
    unit.systemd.done(&["kill", "-KILL", &service]);
    wait_until("the report names the kernel function", SOON, || {
        unit.journal().lines().any(|line| {
            line.contains("has been stalled for 2 s, in percpu_rwsem_wait (stuck in the kernel")
        })
    });
    wait_until("systemd's watchdog ends stayd", SOON, || {
        unit.journal().contains("Watchdog timeout")
    });
    drop(frozen);
    wait_until("the service answers under the next stayd", SOON, || {
        !["0", &first].contains(&unit.main_pid().as_str()) && unit.answers()
    });
    unit.systemd.done(&["systemctl", "stop", "stayd.service"]);
}

/// Starts a descendant of the service that only its cgroup ties to the service: it forks twice, closes every descriptor
/// and has an empty environment.
const EVADING_DESCENDANT: &str = r#"
import os
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 1000)
        os.execve("/bin/sleep", ["sleep", "424242"], {})
    os._exit(0)
os.wait()
"#;

#[test]
#[ignore = "needs root"]
fn under_a_unit_with_a_delegated_cgroup_no_descendant_evades_the_kill() {
    let unit = Installed::new("");
    let service = unit.systemd.path("/etc/stayd/service.py");
    fs::write(&service, format!("{EVADING_DESCENDANT}{SERVICE}")).unwrap();
    let text = config(unit.port) + "interval = \"300ms\"\ntimeout = \"300ms\"\n";
    fs::write(unit.systemd.path("/etc/stayd/stayd.toml"), text).unwrap();
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    let find = |what: &str| {
        let found = unit.systemd.exec(&["pgrep", "-f", what]);
        String::from_utf8_lossy(&found.stdout).trim().to_owned()
    };
    let (first, evading) = (find("^python3 .*service.py"), find("^sleep 424242"));
    let groups = [&first, &evading, &unit.main_pid()].map(|pid| unit.cgroup_of(pid));
    let of_unit = "/system.slice/stayd.service";
    let of_instance = format!("{of_unit}/stayd-boxed-web-1");
    assert_eq!(groups, [of_instance.as_str(), &of_instance, of_unit]);

    unit.systemd.done(&["kill", "-STOP", &first]);
    wait_until("the next instance answers", SOON, || {
        ![String::new(), first.clone()].contains(&find("^python3 .*service.py")) && unit.answers()
    });
    let descendants = find("^sleep 424242");
    assert!(
        !descendants.is_empty() && !descendants.lines().any(|pid| pid == evading),
        "{descendants}"
    );
    let removed = unit.systemd.path(&format!("/sys/fs/cgroup{of_instance}"));
    wait_until("the first instance's cgroup is removed", SOON, || {
        !removed.exists()
    });

    unit.systemd.done(&["systemctl", "stop", "stayd.service"]);
    assert_eq!(find("424242|service.py|sleep 100000|--foreground"), "");
    let group = unit.systemd.path(&format!("/sys/fs/cgroup{of_unit}"));
    assert!(!group.exists(), "{}", group.display());
}

#[test]
#[ignore = "needs root"]
fn a_cgroup_that_emptied_while_no_stayd_ran_is_removed() {
    let unit = Installed::new("");
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    let groups = unit
        .systemd
        .path("/sys/fs/cgroup/system.slice/stayd.service");
    let first = groups.join("stayd-boxed-web-1");
    unit.systemd.done(&["kill", "-KILL", &unit.main_pid()]);
    fs::write(first.join("cgroup.kill"), "1").unwrap();
    wait_until("the next instance has a cgroup of its own", SOON, || {
        !first.exists() && groups.join("stayd-boxed-web-2").exists() && unit.answers()
    });
    unit.systemd.done(&["systemctl", "stop", "stayd.service"]);
    assert!(!groups.exists());
}

#[test]
#[ignore = "needs root"]
fn a_cgroup_that_is_not_delegated_is_not_divided() {
    let unit = Installed::new("[Service]\nDelegate=no\n");
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    let service = unit.systemd.done(&["pgrep", "-f", "^python3 .*service.py"]);
    assert_eq!(unit.cgroup_of(&service), "/system.slice/stayd.service");
}

#[test]
#[ignore = "needs root"]
fn a_user_unit_runs_under_the_users_own_systemd() {
    let systemd = SystemdContainer::boot();
    let uid = systemd.add_user("ada");
    systemd.done(&["systemctl", "start", &format!("user@{uid}.service")]);
    let port = free_port();
    fs::write(systemd.path("/var/ada/service.py"), SERVICE).unwrap();
    let config = config(port).replace("/etc/stayd/", "/var/ada/");
    fs::write(systemd.path("/var/ada/stayd.toml"), config).unwrap();
    let runtime = format!("XDG_RUNTIME_DIR=/run/user/{uid}");
    let as_ada = |words: &str| systemd.done_as("ada", &[&runtime, "sh", "-c", words]);
    let units = "/var/ada/.config/systemd/user";
    let binary = stayd();
    as_ada(&format!(
        "mkdir -p {units}; {binary} render systemd --user -c /var/ada/stayd.toml >{units}/stayd.service"
    ));
    let findings = as_ada(&format!(
        "systemd-analyze verify --user {units}/stayd.service 2>&1 | grep stayd || true"
    ));
    assert_eq!(findings, "");
    as_ada("systemctl --user daemon-reload && systemctl --user enable --now stayd.service");
    assert_eq!(as_ada("systemctl --user is-active stayd.service"), "active");
    assert!(http_get(port, "/").is_ok_and(|answer| answer.contains("here")));
    let service = systemd.done(&["pgrep", "-f", "^python3 .*service.py"]);
    let group = systemd.done(&["cat", &format!("/proc/{service}/cgroup")]);
    assert!(
        group.ends_with("/stayd.service/stayd-boxed-web-1"),
        "{group}"
    );
    as_ada("systemctl --user stop stayd.service");
    let left = systemd.exec(&["pgrep", "-f", "service.py|sleep 100000|--foreground"]);
    assert!(
        !left.status.success(),
        "left: {}",
        String::from_utf8_lossy(&left.stdout)
    );
}

//! stayd as a unit of a real systemd.

use super::systemd_unit::{Installed, SERVICE, SLOW_START, config, stayd};
use crate::support::{SystemdContainer, free_port, http_get, wait_for, wait_until};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Generous: several boxes share a busy machine.
const SOON: Duration = Duration::from_secs(60);

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
    // the log carries priorities, so the journal's copy has none of its prefixes
    assert!(!unit.journal().contains("<6>"), "{}", unit.journal());
}

#[test]
#[ignore = "needs root"]
fn item_74_a_stopped_stayd_is_ended_by_the_watchdog_and_started_again() {
    let unit = Installed::new("[Service]\nWatchdogSec=2s\n");
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    let first = unit.main_pid();
    unit.systemd.done(&["kill", "-STOP", &first]);
    wait_until("systemd has started another", SOON, || {
        !["0", &first].contains(&unit.main_pid().as_str())
    });
    wait_for("the journal says why", SOON, || {
        unit.systemd
            .done(&[
                "journalctl",
                "-u",
                "stayd.service",
                "--no-pager",
                "-o",
                "cat",
            ])
            .contains("Watchdog timeout")
            .then_some(())
    });
}

#[test]
#[ignore = "needs root"]
fn a_living_stayd_satisfies_the_watchdog() {
    let unit = Installed::new("[Service]\nWatchdogSec=1s\n");
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    let first = unit.main_pid();
    let began = Instant::now();
    wait_until("four times the limit", SOON, || {
        began.elapsed() > Duration::from_secs(4)
    });
    assert_eq!(
        (unit.state(), unit.main_pid()),
        ("active".into(), first),
        "{}",
        unit.journal()
    );
}

#[test]
#[ignore = "needs root"]
fn item_75_the_service_outlives_a_kill_of_stayd_and_goes_on_under_the_next() {
    let unit = Installed::new("");
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    let service = || {
        let found = unit.systemd.exec(&["pgrep", "-f", "^python3 .*service.py"]);
        String::from_utf8_lossy(&found.stdout).into_owned()
    };
    let (stayd, before) = (unit.main_pid(), service());
    assert_eq!(before.lines().count(), 1);
    unit.systemd.done(&["kill", "-KILL", &stayd]);
    wait_until("another stayd has a verdict", SOON, || {
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
    assert_ne!(service(), before, "a restart is a new life");
    unit.systemd.done(&["systemctl", "stop", "stayd.service"]);
    assert_eq!(service(), "");
}

#[test]
#[ignore = "needs root"]
fn item_75_a_stop_leaves_nothing() {
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

/// A file system that takes nothing; it does again when this is dropped.
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
fn a_loop_that_hangs_in_the_disk_says_where_and_pings_no_more() {
    let unit = Installed::new("[Service]\nWatchdogSec=4s\n");
    let disk = "mkdir -p -m 700 /var/lib/stayd/boxed && truncate -s 32M /var/disk && mkfs.ext4 -q /var/disk && \
                mount -o loop /var/disk /var/lib/stayd/boxed";
    unit.systemd.done(&["sh", "-c", disk]);
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    let first = unit.main_pid();
    let service = unit.systemd.done(&["pgrep", "-f", "^python3 .*service.py"]);
    let frozen = Frozen::freeze(&unit.systemd, "/var/lib/stayd/boxed");
    // the next life wants a claim on the disk
    unit.systemd.done(&["kill", "-KILL", &service]);
    wait_until("it says where it stands", SOON, || {
        unit.journal().lines().any(|line| {
            line.contains("has stood still for 2 s, in percpu_rwsem_wait (stuck in the kernel")
        })
    });
    wait_until("systemd misses its pings", SOON, || {
        unit.journal().contains("Watchdog timeout")
    });
    drop(frozen);
    wait_until("the next stayd has it answering", SOON, || {
        !["0", &first].contains(&unit.main_pid().as_str()) && unit.answers()
    });
    unit.systemd.done(&["systemctl", "stop", "stayd.service"]);
}

/// A descendant that nothing but its cgroup ties to its service.
const EVADER: &str = r#"
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
fn item_38_under_a_delegating_unit_no_descendant_evades_the_kill() {
    let unit = Installed::new("");
    let service = unit.systemd.path("/etc/stayd/service.py");
    fs::write(&service, format!("{EVADER}{SERVICE}")).unwrap();
    let text = config(unit.port) + "interval = \"300ms\"\ntimeout = \"300ms\"\n";
    fs::write(unit.systemd.path("/etc/stayd/stayd.toml"), text).unwrap();
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    let find = |what: &str| {
        let found = unit.systemd.exec(&["pgrep", "-f", what]);
        String::from_utf8_lossy(&found.stdout).trim().to_owned()
    };
    let (first, evader) = (find("^python3 .*service.py"), find("^sleep 424242"));
    let groups = [&first, &evader, &unit.main_pid()].map(|pid| unit.cgroup_of(pid));
    let ours = "/system.slice/stayd.service";
    let life = format!("{ours}/stayd-boxed-web-1");
    assert_eq!(groups, [life.as_str(), &life, ours]);

    unit.systemd.done(&["kill", "-STOP", &first]);
    wait_until("another answers", SOON, || {
        ![String::new(), first.clone()].contains(&find("^python3 .*service.py")) && unit.answers()
    });
    let evaders = find("^sleep 424242");
    assert!(
        !evaders.is_empty() && !evaders.lines().any(|pid| pid == evader),
        "{evaders}"
    );
    let gone = unit.systemd.path(&format!("/sys/fs/cgroup{life}"));
    wait_until("its cgroup is removed", SOON, || !gone.exists());

    unit.systemd.done(&["systemctl", "stop", "stayd.service"]);
    assert_eq!(find("424242|service.py|sleep 100000|--foreground"), "");
    let group = unit.systemd.path(&format!("/sys/fs/cgroup{ours}"));
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
    wait_until("the next life has its own", SOON, || {
        !first.exists() && groups.join("stayd-boxed-web-2").exists() && unit.answers()
    });
    unit.systemd.done(&["systemctl", "stop", "stayd.service"]);
    assert!(!groups.exists());
}

#[test]
#[ignore = "needs root"]
fn what_is_not_delegated_is_left_alone() {
    let unit = Installed::new("[Service]\nDelegate=no\n");
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    let service = unit.systemd.done(&["pgrep", "-f", "^python3 .*service.py"]);
    assert_eq!(unit.cgroup_of(&service), "/system.slice/stayd.service");
}

#[test]
#[ignore = "needs root"]
fn a_users_unit_runs_under_the_users_own_systemd() {
    let systemd = SystemdContainer::boot();
    systemd.done(&["useradd", "--create-home", "--home-dir", "/var/ada", "ada"]);
    let uid = systemd.done(&["id", "-u", "ada"]);
    systemd.done(&["systemctl", "start", &format!("user@{uid}.service")]);
    let port = free_port();
    fs::write(systemd.path("/var/ada/service.py"), SERVICE).unwrap();
    let config = config(port).replace("/etc/stayd/", "/var/ada/");
    fs::write(systemd.path("/var/ada/stayd.toml"), config).unwrap();
    let runtime = format!("XDG_RUNTIME_DIR=/run/user/{uid}");
    let as_ada = |words: &str| {
        let argv = [
            "setpriv",
            "--reuid=ada",
            "--regid=ada",
            "--init-groups",
            "env",
            "-C",
            "/var/ada",
            "HOME=/var/ada",
        ];
        let shell = ["sh", "-c", words];
        systemd.done(&[&argv[..], &[runtime.as_str()], &shell[..]].concat())
    };
    let units = "/var/ada/.config/systemd/user";
    let binary = stayd();
    as_ada(&format!(
        "mkdir -p {units}; {binary} render systemd --user -c /var/ada/stayd.toml >{units}/stayd.service"
    ));
    let complaints = as_ada(&format!(
        "systemd-analyze verify --user {units}/stayd.service 2>&1 | grep stayd || true"
    ));
    assert_eq!(complaints, "");
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

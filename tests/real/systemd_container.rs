//! The container of the other tests, a real systemd in namespaces: it boots, runs units and leaves nothing behind.

use crate::support::SystemdContainer;
use std::path::Path;

#[test]
#[ignore = "needs root"]
fn a_container_boots_runs_a_unit_and_leaves_nothing() {
    let systemd = SystemdContainer::boot();
    assert_eq!(systemd.done(&["cat", "/proc/1/comm"]), "systemd");
    systemd.add_unit(
        "probe.service",
        "[Service]\nExecStart=/bin/sleep 1000\nStateDirectory=stayd/probe\n[Install]\nWantedBy=multi-user.target\n",
    );
    systemd.done(&["systemctl", "enable", "--now", "probe.service"]);
    assert_eq!(systemd.property("probe.service", "ActiveState"), "active");
    let pid: i32 = systemd
        .property("probe.service", "MainPID")
        .parse()
        .unwrap();
    assert!(systemd.path(&format!("/proc/{pid}")).exists());
    assert!(systemd.path("/var/lib/stayd/probe").exists());
    drop(systemd);
    for trace in [
        "/etc/systemd/system/probe.service",
        "/etc/systemd/system/multi-user.target.wants/probe.service",
        "/var/lib/stayd/probe",
    ] {
        assert!(!Path::new(trace).exists(), "{trace}");
    }
}

#[test]
#[ignore = "needs root"]
fn two_containers_at_once_have_units_and_cgroups_of_their_own() {
    let (one, other) = (SystemdContainer::boot(), SystemdContainer::boot());
    for systemd in [&one, &other] {
        systemd.add_unit("twin.service", "[Service]\nExecStart=/bin/sleep 1000\n");
        systemd.done(&["systemctl", "start", "twin.service"]);
    }
    one.done(&["systemctl", "stop", "twin.service"]);
    assert_eq!(one.property("twin.service", "ActiveState"), "inactive");
    assert_eq!(other.property("twin.service", "ActiveState"), "active");
    let group = "/sys/fs/cgroup/system.slice/twin.service/cgroup.procs";
    assert!(other.done(&["cat", group]) == other.property("twin.service", "MainPID"));
}

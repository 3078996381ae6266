//! An upgrade in a unit of a real systemd.

use super::systemd_unit::{Installed, stayd};
use std::time::Duration;

#[test]
#[ignore = "needs root"]
fn the_unit_stays_active_with_the_same_main_pid_and_watchdog_pings_over_two_upgrades() {
    let unit = Installed::new("[Service]\nWatchdogSec=1s\n");
    unit.systemd.done(&["systemctl", "start", "stayd.service"]);
    let main = unit.main_pid();
    let service = || {
        let found = unit.systemd.exec(&["pgrep", "-f", "^python3 .*service.py"]);
        String::from_utf8_lossy(&found.stdout).into_owned()
    };
    let before = service();
    assert_eq!(before.lines().count(), 1, "{}", unit.journal());
    for number in 1..=2 {
        unit.systemd
            .done(&[stayd(), "upgrade", "-c", "/etc/stayd/stayd.toml"]);
        unit.wait_for_pings(Duration::from_secs(3));
        assert_eq!(
            (unit.state(), unit.main_pid(), service()),
            ("active".into(), main.clone(), before.clone()),
            "{}",
            unit.journal()
        );
        let shown =
            unit.systemd
                .done(&[stayd(), "status", "--json", "-c", "/etc/stayd/stayd.toml"]);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["daemon"]["supervisor"], "systemd");
        assert_eq!(shown["daemon"]["upgrade"]["number"], number);
        assert_eq!(shown["services"][0]["healthy"], true, "{shown}");
    }
    assert_eq!(unit.systemd.property("stayd.service", "NRestarts"), "0");
    // The new version knows the cgroup of the instance and ends the whole tree.
    unit.systemd.done(&["systemctl", "stop", "stayd.service"]);
    assert_eq!(service(), "");
    let left = unit.systemd.exec(&["pgrep", "-f", "^sleep 100000"]);
    assert!(left.stdout.is_empty(), "{}", unit.journal());
}

//! Checks what starts a unit, and what a unit of a user's systemd may name (systemd.unit(5), systemd.special(7)).

use super::FileFindings;
use super::model::Unit;
use crate::lint::codes;

/// Checks `[Install]`, and the differences between units of the system and of a user.
pub(super) fn check(unit: &Unit, findings: &mut FileFindings) {
    if unit.is_for_user {
        user_unit(unit, findings);
    } else if let Some(placed) = unit
        .last("Service", "User")
        .filter(|one| ["root", "0"].contains(&one.assignment.value.as_str()))
    {
        let message = "the service runs as root by its own wish, which is also the default";
        findings.add(
            placed,
            &codes::UNIT_USER_ROOT,
            message,
            "name a user with fewer rights, if the program can do without root",
        );
    }
    if unit.ending == "service" {
        nothing_starts(unit, findings);
    }
}

fn user_unit(unit: &Unit, findings: &mut FileFindings) {
    for key in ["WantedBy", "RequiredBy"] {
        for placed in unit.list("Install", key) {
            for target in ["multi-user.target", "graphical.target"] {
                if placed
                    .assignment
                    .value
                    .split_whitespace()
                    .any(|one| one == target)
                {
                    let message = format!(
                        "{target} does not exist in a user's systemd, so nothing starts the unit"
                    );
                    findings.add(
                        placed,
                        &codes::UNIT_USER_TARGET,
                        message,
                        "write default.target",
                    );
                }
            }
        }
    }
    for key in ["User", "Group"] {
        if let Some(placed) = unit.last("Service", key) {
            let message = format!(
                "a user's systemd cannot change the user of a service, so {key}= makes the start fail or does nothing"
            );
            findings.add(
                placed,
                &codes::UNIT_USER_IN_USER_UNIT,
                message,
                "remove it, or install the unit for the system",
            );
        }
    }
    for key in ["After", "Wants", "Requires"] {
        for placed in unit.list("Unit", key) {
            for other in [
                "network.target",
                "network-online.target",
                "multi-user.target",
            ] {
                if placed
                    .assignment
                    .value
                    .split_whitespace()
                    .any(|one| one == other)
                {
                    let message = format!("a user's systemd does not know {other}");
                    findings.add(
                        placed,
                        &codes::UNIT_USER_DEPENDENCY,
                        message,
                        "remove it, or wait for the network in the program",
                    );
                }
            }
        }
    }
}

fn nothing_starts(unit: &Unit, findings: &mut FileFindings) {
    let has_install = unit
        .all
        .iter()
        .any(|placed| placed.assignment.section == "Install");
    let is_pulled_in = ["PartOf", "BindsTo", "Before", "RequiredBy"]
        .iter()
        .any(|key| unit.last("Unit", key).is_some());
    let by_other = unit.has_activator
        || unit.is_template
        || unit.is_drop_in
        || unit.service("BusName").is_some()
        || ["oneshot", "dbus"].contains(&unit.service_type())
        || unit.names_unit("Requires", ".socket")
        || unit.list("Service", "ExecStart").is_empty();
    if !has_install && !is_pulled_in && !by_other {
        let message = "the unit has no [Install], so `systemctl enable` does nothing";
        findings.add_at_section(
            "Unit",
            &codes::UNIT_NO_INSTALL,
            message,
            "add [Install] with WantedBy=, unless another unit starts it",
        );
    }
}

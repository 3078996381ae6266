//! The rendered plists and units equal the files in `launchd/` and `systemd/`, and independent tools accept them.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use stayd::install::{RenderInputs, Scope, render_launchd, render_systemd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The highest exposure of each unit that `systemd-analyze security` may report, in tenths.
/// docs/explanation/systemd-hardening.md explains each open point.
const EXPOSURE_MAX_TENTHS: [(&str, u32); 2] = [
    ("systemd/stayd.service", 70),
    ("systemd/stayd-user.service", 90),
];

/// (file, its rendered content)
fn templates() -> [(&'static str, String); 4] {
    let linux = |scope| render_systemd(&RenderInputs::sample(scope, "/home/ada"));
    let mac = |scope| render_launchd(&RenderInputs::sample(scope, "/Users/ada"));
    [
        ("systemd/stayd.service", linux(Scope::System)),
        ("systemd/stayd-user.service", linux(Scope::User)),
        ("launchd/stayd.daemon.plist", mac(Scope::System)),
        ("launchd/stayd.agent.plist", mac(Scope::User)),
    ]
}

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs a program that `tests/support/setup.sh` installs. Fails the test with advice where it is missing.
fn tool(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| {
        let program = command.get_program().display();
        panic!("cannot run {program}: {error}; tests/support/setup.sh installs it")
    })
}

/// After a change: run `STAYD_UPDATE=1 cargo test --test install` and review the difference.
#[test]
fn the_files_in_the_repository_equal_the_rendered_ones() {
    for (path, rendered) in templates() {
        let file = in_repository(path);
        if std::env::var_os("STAYD_UPDATE").is_some() {
            std::fs::write(&file, &rendered).unwrap();
        }
        let current = std::fs::read_to_string(&file).unwrap();
        assert!(
            current == rendered,
            "{path} differs from what is rendered:\n{rendered}"
        );
    }
}

#[test]
fn python_plistlib_reads_the_plists() {
    let script = r#"
import plistlib, sys
for path, daemon in ((sys.argv[1], True), (sys.argv[2], False)):
    with open(path, "rb") as file:
        job = plistlib.load(file, fmt=plistlib.FMT_XML)
    arguments = job["ProgramArguments"]
    assert arguments[0].startswith("/") and arguments[1:3] == ["--foreground", "-c"], arguments
    assert job["Label"] == "stayd.studio"
    assert job["KeepAlive"] is True and job["RunAtLoad"] is True
    assert job["ExitTimeOut"] == 15 and job["ThrottleInterval"] == 10
    assert job["ProcessType"] == "Interactive" and job["Umask"] == 0o077
    environment = job["EnvironmentVariables"]
    assert all(type(value) is str for value in environment.values()), environment
    assert environment["STAYD_SUPERVISOR"] == "launchd:stayd.studio"
    assert environment["STAYD_STOP_BUDGET"] == str(job["ExitTimeOut"])
    assert job["StandardErrorPath"].startswith("/") and "~" not in job["StandardErrorPath"]
    assert ("HOME" in environment) == daemon == ("UserName" in job)
    harmful = {"SoftResourceLimits", "HardResourceLimits", "AbandonProcessGroup", "EnableTransactions", "EnablePressuredExit", "LaunchOnlyOnce",
               "LimitLoadToSessionType", "SessionCreate", "Debug", "Disabled", "Program"}
    assert not harmful & set(job), harmful & set(job)
"#;
    let done = tool(
        Command::new("python3")
            .args(["-c", script])
            .arg(in_repository("launchd/stayd.daemon.plist"))
            .arg(in_repository("launchd/stayd.agent.plist")),
    );
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// A unit for `systemd-analyze verify`. Its program is a copy of this test program, because `verify` checks that it can be
/// executed. The folders of program and configuration have names that need every kind of quoting.
fn unit_for_verify(folder: &Path, scope: Scope) -> String {
    let odd = folder.join("a b $c %d");
    std::fs::create_dir_all(&odd).unwrap();
    let program = odd.join("stayd");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let config = stayd::config::Config {
        name: "studio".into(),
        file: Some(odd.join("\"e\" \\f/stayd.toml")),
        services: Vec::new(),
        control_group: Some("ops".into()),
    };
    let inputs = RenderInputs::from_config(&config, scope, &program, folder).unwrap();
    render_systemd(&inputs)
}

#[cfg_attr(not(target_os = "linux"), ignore = "needs systemd")]
#[test]
fn systemd_analyze_verify_accepts_the_units() {
    for (scope, flag) in [(Scope::System, "--system"), (Scope::User, "--user")] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("stayd.service");
        std::fs::write(&file, unit_for_verify(folder.path(), scope)).unwrap();
        let done = tool(
            Command::new("systemd-analyze")
                .args(["verify", "--man=no", flag])
                .arg(&file)
                .env("XDG_RUNTIME_DIR", folder.path()),
        );
        let output = String::from_utf8_lossy(&done.stderr);
        let about_ours: Vec<&str> = output
            .lines()
            .filter(|line| line.contains("stayd"))
            .collect();
        assert!(
            done.status.success() && about_ours.is_empty(),
            "{flag}: {output}"
        );
    }
}

/// The settings or capabilities that a line of the report is about: `CapabilityBoundingSet=~CAP_(CHOWN|FSETID)` is about two
/// capabilities, `ProtectHome=` about one setting.
fn points(item: &str) -> Vec<String> {
    let (setting, value) = item.split_once("=~").unwrap_or((item, ""));
    if value.is_empty() || value == "…" || setting == "RestrictNamespaces" {
        return vec![item.split('=').next().unwrap_or(item).to_owned()];
    }
    let Some((prefix, group)) = value.split_once('(') else {
        return vec![value.trim_end_matches('*').to_owned()];
    };
    let group = group.trim_end_matches(')').split('|');
    let whole = |part: &str| format!("{prefix}{}", part.trim_end_matches('*'));
    group.map(whole).collect()
}

#[cfg_attr(not(target_os = "linux"), ignore = "needs systemd")]
#[test]
fn the_units_are_hardened_and_each_open_point_is_explained() {
    let explained =
        std::fs::read_to_string(in_repository("docs/explanation/systemd-hardening.md")).unwrap();
    for (unit, most_tenths) in EXPOSURE_MAX_TENTHS {
        let done = tool(
            Command::new("systemd-analyze")
                .args(["security", "--offline=true", "--no-pager"])
                .arg(format!("--threshold={most_tenths}"))
                .arg(in_repository(unit)),
        );
        let report = String::from_utf8_lossy(&done.stdout);
        assert!(
            done.status.success(),
            "{}",
            report.lines().last().unwrap_or_default()
        );
        let unexplained: Vec<String> = report
            .lines()
            .filter_map(|line| line.strip_prefix('✗'))
            .filter_map(|line| line.split_whitespace().next())
            .flat_map(points)
            // A user's processes have no capabilities, so the capability bounds of a user unit do not matter.
            .filter(|point| !(unit.contains("user") && point.starts_with("CAP_")))
            .filter(|point| !explained.contains(&format!("`{point}")))
            .collect();
        assert!(
            unexplained.is_empty(),
            "{unit}: open, and not explained: {unexplained:?}"
        );
    }
}

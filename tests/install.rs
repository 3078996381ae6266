//! Plists and units: byte for byte what stands in `launchd/` and `systemd/`, and read by somebody else's reader.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use stayd::install::{RenderInputs, Scope, render_launchd, render_systemd};
use std::path::{Path, PathBuf};
use std::process::Command;

/// `systemd-analyze security` of the units must not be worse; each open point is explained in
/// docs/explanation/systemd-hardening.md.
const EXPOSURE_MAX_TENTHS: [(&str, u32); 2] = [
    ("systemd/stayd.service", 70),
    ("systemd/stayd-user.service", 90),
];

/// (file, what is rendered for it)
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

/// Whether `program` is here; in CI everything is.
fn here(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    assert!(
        found || std::env::var_os("CI").is_none(),
        "{program} is missing"
    );
    #[expect(clippy::print_stderr, reason = "what is skipped is named")]
    if !found {
        eprintln!("skipped: no {program} here");
    }
    found
}

/// After a wished-for change: `STAYD_WRITE_TEMPLATES=1 cargo test --test install`, then look at the difference.
#[test]
fn the_reviewable_files_are_what_is_rendered() {
    for (path, rendered) in templates() {
        let file = in_repository(path);
        if std::env::var_os("STAYD_WRITE_TEMPLATES").is_some() {
            std::fs::write(&file, &rendered).unwrap();
        }
        let stands = std::fs::read_to_string(&file).unwrap();
        assert!(
            stands == rendered,
            "{path} differs from what is rendered:\n{rendered}"
        );
    }
}

#[test]
fn an_independent_reader_understands_the_plists() {
    if !here("python3") {
        return;
    }
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
    files = {job[key]["NumberOfFiles"] for key in ("SoftResourceLimits", "HardResourceLimits")}
    assert len(files) == 1 and files.pop() >= 65536
    environment = job["EnvironmentVariables"]
    assert all(type(value) is str for value in environment.values()), environment
    assert environment["STAYD_SUPERVISOR"] == "launchd:stayd.studio"
    assert environment["STAYD_STOP_BUDGET"] == str(job["ExitTimeOut"])
    assert job["StandardErrorPath"].startswith("/") and "~" not in job["StandardErrorPath"]
    assert ("HOME" in environment) == daemon == ("UserName" in job)
    harmful = {"AbandonProcessGroup", "EnableTransactions", "EnablePressuredExit", "LaunchOnlyOnce",
               "LimitLoadToSessionType", "SessionCreate", "Debug", "Disabled", "Program"}
    assert not harmful & set(job), harmful & set(job)
"#;
    let done = Command::new("python3")
        .args(["-c", script])
        .arg(in_repository("launchd/stayd.daemon.plist"))
        .arg(in_repository("launchd/stayd.agent.plist"))
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// A unit that names a copy of this very test program, so that `verify` finds something it can execute; program and
/// configuration lie in folders whose names need every kind of quoting.
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

#[test]
fn systemd_finds_nothing_to_say_about_the_units() {
    if !here("systemd-analyze") {
        return;
    }
    for (scope, flag) in [(Scope::System, "--system"), (Scope::User, "--user")] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("stayd.service");
        std::fs::write(&file, unit_for_verify(folder.path(), scope)).unwrap();
        let done = Command::new("systemd-analyze")
            .args(["verify", "--man=no", flag])
            .arg(&file)
            .env("XDG_RUNTIME_DIR", folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        let about_ours: Vec<&str> = said.lines().filter(|line| line.contains("stayd")).collect();
        assert!(
            done.status.success() && about_ours.is_empty(),
            "{flag}: {said}"
        );
    }
}

/// What a line of the report is about: `CapabilityBoundingSet=~CAP_(CHOWN|FSETID)` are two capabilities, `ProtectHome=`
/// is a setting.
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

#[test]
fn the_units_are_as_closed_as_any_service_survives_and_what_is_open_is_explained() {
    if !here("systemd-analyze") {
        return;
    }
    let explained =
        std::fs::read_to_string(in_repository("docs/explanation/systemd-hardening.md")).unwrap();
    for (unit, most_tenths) in EXPOSURE_MAX_TENTHS {
        let done = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager"])
            .arg(format!("--threshold={most_tenths}"))
            .arg(in_repository(unit))
            .output()
            .unwrap();
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
            // Which of the capabilities that nobody has are open in a user's unit says nothing.
            .filter(|point| !(unit.contains("user") && point.starts_with("CAP_")))
            .filter(|point| !explained.contains(&format!("`{point}")))
            .collect();
        assert!(
            unexplained.is_empty(),
            "{unit}: open, and not explained: {unexplained:?}"
        );
    }
}

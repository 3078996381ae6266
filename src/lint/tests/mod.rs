//! Each code has an example that has it and one that has not; and nonsense neither panics nor takes long.

mod nonsense;
mod plist;
mod unit;

use super::{Bundle, File, Finding, Source, check, codes};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// A file with these bytes.
fn file(path: &str, bytes: impl Into<Vec<u8>>) -> File {
    File {
        path: PathBuf::from(path),
        bytes: bytes.into(),
        ..File::default()
    }
}

/// The findings about a unit without drop-ins.
fn unit(path: &str, text: &str) -> Vec<Finding> {
    check(&Source::Unit {
        file: file(path, text),
        drop_ins: Vec::new(),
        siblings: Vec::new(),
    })
}

/// The names of the codes.
fn names(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.code.name).collect()
}

/// A code, and whether the two examples have it: the bad one must, the good one must not.
#[track_caller]
fn assert_told_apart(code: &str, bad: &[Finding], good: &[Finding]) {
    assert!(names(bad).contains(&code), "{code} is missed: {bad:?}");
    assert!(
        !names(good).contains(&code),
        "{code} is a false alarm: {good:?}"
    );
}

#[test]
fn every_code_has_an_example_and_a_name_of_its_own() {
    let mut seen = BTreeSet::new();
    let examples: BTreeSet<&str> = plist::EXAMPLES
        .iter()
        .chain(unit::EXAMPLES)
        .map(|(code, ..)| *code)
        .chain(plist::OTHERS)
        .chain(nonsense::CODES)
        .collect();
    for code in codes() {
        assert!(seen.insert(code.name), "{} stands twice", code.name);
        assert!(examples.contains(code.name), "{} has no example", code.name);
        assert!(
            code.meaning.ends_with('.') && code.meaning.len() > 20,
            "{}",
            code.name
        );
    }
    assert_eq!(seen, examples.into_iter().collect());
}

#[test]
fn a_bundle_is_checked_with_its_programs() {
    let job = |program: &str| {
        let text = format!(
            "<plist><dict><key>Label</key><string>a.b</string><key>BundleProgram</key><string>{program}</string>\
             <key>RunAtLoad</key><true/></dict></plist>"
        );
        file("A.app/Contents/Library/LaunchAgents/a.b.plist", text)
    };
    let bundle = |jobs| {
        check(&Source::Bundle(Bundle {
            root: PathBuf::from("A.app"),
            jobs,
            is_program: |path| path.ends_with("Contents/MacOS/a").then_some(true),
        }))
    };
    let (good, bad) = (
        bundle(vec![job("Contents/MacOS/a")]),
        bundle(vec![job("Contents/MacOS/b")]),
    );
    assert_told_apart("app-program-missing", &bad, &good);
    assert_told_apart("app-no-jobs", &bundle(Vec::new()), &good);
    let outside = "<plist><dict><key>Label</key><string>a.b</string><key>ProgramArguments</key><array>\
                   <string>/usr/bin/x</string></array><key>StandardOutPath</key><string>/tmp/x</string></dict></plist>";
    let outside = bundle(vec![file(
        "A.app/Contents/Library/LaunchAgents/a.b.plist",
        outside,
    )]);
    assert_told_apart("app-absolute-program", &outside, &good);
    assert_told_apart("app-output-path", &outside, &good);
    assert!(good.is_empty(), "{good:?}");
}

#[test]
fn a_drop_in_changes_the_unit_and_has_lines_of_its_own() {
    let base = "[Unit]\nDescription=a\n[Service]\nExecStart=/opt/a\nRestart=on-failure\n[Install]\nWantedBy=multi-user.target\n";
    let with = |text: &str| {
        check(&Source::Unit {
            file: file("a.service", base),
            drop_ins: vec![file("a.service.d/1.conf", text)],
            siblings: Vec::new(),
        })
    };
    let second = with("[Service]\nExecStart=/opt/b\n");
    assert_eq!(names(&second), ["unit-several-exec"]);
    assert_eq!(
        (second[0].line, second[0].path.as_path()),
        (2, "a.service.d/1.conf".as_ref())
    );
    assert!(with("[Service]\nExecStart=\nExecStart=/opt/b\n").is_empty());
    assert_eq!(names(&with("[Service]\nExecStart=\n")), ["unit-no-exec"]);
    let alone = unit(
        "/etc/systemd/system/a.service.d/1.conf",
        "[Service]\nRestartSec=5x\n",
    );
    assert_eq!(names(&alone), ["unit-bad-value"]);
}

#[test]
fn an_activator_beside_a_unit_stands_for_install_and_restart() {
    let text = "[Unit]\nDescription=a\n[Service]\nExecStart=/opt/a\n";
    let check = |siblings| {
        check(&Source::Unit {
            file: file("a.service", text),
            drop_ins: Vec::new(),
            siblings,
        })
    };
    assert_eq!(
        names(&check(Vec::new())),
        ["unit-no-install", "unit-no-restart"]
    );
    assert!(check(vec!["a.timer".to_owned()]).is_empty());
}

#[test]
fn variables_of_a_template_are_not_those_of_a_shell() {
    let text = "[Service]\nExecStart=${bindir}/a\nRestart=no\n[Install]\nWantedBy=a.target\n";
    assert_eq!(
        names(&unit("a.service", text)),
        ["unit-program-not-expanded"]
    );
    assert!(unit("a.service.in", text).is_empty());
}

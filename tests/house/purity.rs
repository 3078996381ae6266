//! `decide` is pure: it compiles alone and uses no part of the standard library that reads or changes the outside world.

use crate::assert_clean;
use crate::source::{Source, below, line_of, places_of, root};
use std::process::Command;

/// Parts of the standard library with inputs or effects outside the program, or with a random order.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::os",
    "std::process",
    "std::sync",
    "std::thread",
    "std::time",
    "println!",
    "eprintln!",
    "RandomState",
    "HashMap",
    "HashSet",
];

fn findings(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        let code = source.code();
        for name in IMPURE {
            for offset in places_of(&code, name) {
                findings.push(format!(
                    "{}:{}: {name}: the same events must always give the same actions (the order of a HashMap differs \
                     from run to run: use a BTreeMap)",
                    source.path,
                    line_of(&code, offset)
                ));
            }
        }
    }
    findings
}

#[test]
fn decide_compiles_alone() {
    let out = tempfile::tempdir().unwrap();
    let done = Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into()))
        .args([
            "--crate-type",
            "lib",
            "--edition",
            "2024",
            "--emit",
            "metadata",
            "--cap-lints",
            "allow",
            // without the serde derives of the handed-over types
            "--cfg",
            "decide_alone",
        ])
        .arg("--out-dir")
        .arg(out.path())
        .arg(root().join("src/decide/mod.rs"))
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[test]
fn decide_uses_no_impure_part_of_the_standard_library() {
    assert_clean(&findings(&below(&["src/decide"], &[".rs"])));
}

/// Code that `decide_compiles_alone` does not see. Only attributes of serde may be there.
fn hidden_code(sources: &[Source]) -> Vec<String> {
    const ALLOWED: [&str; 2] = [
        "derive(serde::Serialize, serde::Deserialize))]",
        "serde(skip))]",
    ];
    let mut found = Vec::new();
    for source in sources {
        let code = source.code();
        for line in code.lines().filter(|line| line.contains("decide_alone")) {
            let attribute = line.trim().strip_prefix("#[cfg_attr(not(decide_alone), ");
            if !attribute.is_some_and(|attribute| ALLOWED.contains(&attribute)) {
                found.push(format!("{}: {}", source.path, line.trim()));
            }
        }
    }
    found
}

#[test]
fn only_serde_attributes_are_left_out_when_decide_compiles_alone() {
    assert_clean(&hidden_code(&below(&["src/decide"], &[".rs"])));
    let bad = Source::example(
        "src/decide/x.rs",
        "#[cfg(not(decide_alone))]\nuse tokio::time::sleep;\n",
    );
    assert_eq!(hidden_code(&[bad]).len(), 1);
}

#[test]
fn the_rule_finds_a_clock_and_a_random_order() {
    let bad = Source::example(
        "src/decide/x.rs",
        "use std::time::Instant;\nuse std::collections::HashMap;\nuse core::time::Duration;\n",
    );
    assert_eq!(findings(&[bad]).len(), 2);
}

//! `decide` judges and does nothing else: it compiles alone, and asks the standard library for nothing that acts.

use crate::assert_clean;
use crate::source::{Source, below, line_of, places_of, root};
use std::process::Command;

/// Parts of the standard library that look at the world or change it.
const WORLDLY: &[&str] = &[
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
        for name in WORLDLY {
            for offset in places_of(&code, name) {
                findings.push(format!(
                    "{}:{}: {name}: the same facts must give the same orders for ever (a HashMap's order differs \
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
fn decide_asks_the_world_nothing() {
    assert_clean(&findings(&below(&["src/decide"], &[".rs"])));
}

#[test]
fn the_rule_sees_a_clock_and_a_random_order() {
    let bad = Source::made_up(
        "src/decide/x.rs",
        "use std::time::Instant;\nuse std::collections::HashMap;\nuse core::time::Duration;\n",
    );
    assert_eq!(findings(&[bad]).len(), 2);
}

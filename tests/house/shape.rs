//! The shape of a file: not too long, says at its head what it is for, speaks of the project alone.

use crate::assert_clean;
use crate::source::{Source, below};

/// Longest file of ours, in lines.
const LINES_MAX: usize = 600;

/// Unfinished work, places on somebody's machine and the talk of those who wrote it have no business in the repository.
const UNSAID: &[&str] = &[
    "TODO",
    "FIXME",
    "XXX",
    "phase 2",
    "for now",
    "/work/wt",
    "/work/main",
    "/root/.",
    "BRIEF.md",
    "CONTRACT.md",
    "DESIGN.md",
    "shared/facts",
    "facts/",
    "the issue says",
    "language model",
];

fn too_long(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter_map(|source| {
            let lines = source.text.lines().count();
            (lines > LINES_MAX).then(|| {
                format!(
                    "{}: {lines} lines; at most {LINES_MAX}: split it where a reader would",
                    source.path
                )
            })
        })
        .collect()
}

fn headless(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| !source.text.trim().is_empty() && !source.text.starts_with("//! "))
        .map(|source| format!("{}: begin with `//!` and what the file is for", source.path))
        .collect()
}

fn unsaid(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        for (number, line) in source.text.lines().enumerate() {
            for word in UNSAID {
                if line.contains(word) {
                    findings.push(format!("{}:{}: says {word:?}", source.path, number + 1));
                }
            }
        }
    }
    findings
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let sources = below(&["src", "tests", "benches"], &[".rs"]);
    assert_clean(&too_long(&sources));
    assert_clean(&headless(&sources));
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let endings = [
        ".rs", ".md", ".sh", ".toml", ".service", ".plist", ".yml", ".rb",
    ];
    let folders = [
        "src",
        "tests",
        "benches",
        "docs",
        "launchd",
        "systemd",
        "packaging",
        ".github",
    ];
    let mut sources = below(&folders, &endings);
    sources.retain(|source| source.path != "tests/house/shape.rs");
    assert_clean(&unsaid(&sources));
}

#[test]
fn the_rules_see_a_long_a_headless_and_a_talkative_file() {
    let bad = Source::made_up("src/x.rs", &"// TODO\n".repeat(LINES_MAX + 1));
    assert_eq!(too_long(std::slice::from_ref(&bad)).len(), 1);
    assert_eq!(headless(std::slice::from_ref(&bad)).len(), 1);
    assert_eq!(unsaid(std::slice::from_ref(&bad)).len(), LINES_MAX + 1);
}

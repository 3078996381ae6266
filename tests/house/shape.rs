//! The form of files: they are not too long, begin with their purpose, and do not mention how they were written.

use crate::assert_clean;
use crate::source::{Source, below};

/// The largest number of lines of a source file.
const LINES_MAX: usize = 600;

/// Text that may not occur in the repository: notes about unfinished work, paths of a developer's machine, and names of
/// documents that are not in the repository.
const FORBIDDEN_TEXT: &[&str] = &[
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
                    "{}: {lines} lines; at most {LINES_MAX} are allowed: split it by topic",
                    source.path
                )
            })
        })
        .collect()
}

fn without_head_comment(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| !source.text.trim().is_empty() && !source.text.starts_with("//! "))
        .map(|source| format!("{}: begin the file with `//!` and its purpose", source.path))
        .collect()
}

fn forbidden_text(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        for (number, line) in source.text.lines().enumerate() {
            for word in FORBIDDEN_TEXT {
                if line.contains(word) {
                    findings.push(format!("{}:{}: contains {word:?}", source.path, number + 1));
                }
            }
        }
    }
    findings
}

#[test]
fn files_are_short_and_begin_with_their_purpose() {
    let sources = below(&["src", "tests", "benches"], &[".rs"]);
    assert_clean(&too_long(&sources));
    assert_clean(&without_head_comment(&sources));
}

#[test]
fn files_contain_no_forbidden_text() {
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
    assert_clean(&forbidden_text(&sources));
}

#[test]
fn the_rules_find_a_long_file_a_missing_head_comment_and_forbidden_text() {
    let bad = Source::example("src/x.rs", &"// TODO\n".repeat(LINES_MAX + 1));
    assert_eq!(too_long(std::slice::from_ref(&bad)).len(), 1);
    assert_eq!(without_head_comment(std::slice::from_ref(&bad)).len(), 1);
    assert_eq!(
        forbidden_text(std::slice::from_ref(&bad)).len(),
        LINES_MAX + 1
    );
}

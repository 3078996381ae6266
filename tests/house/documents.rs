//! Documents agree with the code: the list of dependencies, links to files, named files and functions, numbers.

use crate::assert_clean;
use crate::source::{Source, below, places_of, root};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names in `[dependencies]` and `[dev-dependencies]` of a manifest.
fn declared(manifest: &str) -> BTreeSet<String> {
    let table: toml::Table = manifest.parse().unwrap();
    ["dependencies", "dev-dependencies"]
        .iter()
        .filter_map(|kind| table.get(*kind)?.as_table())
        .flat_map(|crates| crates.keys().cloned())
        .collect()
}

/// The names in the first column of a table ``| `name` | reason |`` whose reason is a sentence.
fn explained(document: &str) -> BTreeSet<String> {
    document
        .lines()
        .filter_map(|line| {
            let (name, reason) = line.strip_prefix("| `")?.split_once("` |")?;
            (reason.trim_end_matches('|').trim().len() > 20).then(|| name.to_owned())
        })
        .collect()
}

/// The relative links of a Markdown document whose target does not exist.
fn dead_links(source: &Source) -> Vec<String> {
    let folder = root().join(Path::new(&source.path).parent().unwrap());
    source
        .text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.contains("://") && !link.starts_with('#'))
        .filter(|link| !folder.join(link.split('#').next().unwrap()).exists())
        .map(|link| {
            format!(
                "{}: the target of the link {link} does not exist",
                source.path
            )
        })
        .collect()
}

/// Whether a backquoted word of docs/ARCHITECTURE.md is a path of a source file below `src`, such as `act/tree/kill.rs`.
fn is_source_path(word: &str) -> bool {
    word.contains('/') && word.ends_with(".rs")
}

/// The source files that a document names and that do not exist, and the items that it names beside a file ("`item` in
/// `path`", "`item` (`path`)", "`path` (`item`)") that do not occur in it. `read` returns the text of a file below `src`.
fn stale_names(document: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let parts: Vec<&str> = document.split('`').collect();
    let mut stale = Vec::new();
    for path in parts.iter().skip(1).step_by(2) {
        let path = path.strip_prefix("src/").unwrap_or(path);
        if is_source_path(path) && read(path).is_none() {
            stale.push(format!("src/{path} does not exist"));
        }
    }
    for neighbors in parts[1..].windows(3).step_by(2) {
        let (first, between, second) = (neighbors[0], neighbors[1], neighbors[2]);
        let (item, path) = match between.split_whitespace().collect::<String>().as_str() {
            "in" | "(" if is_source_path(second) => (first, second),
            "(" if is_source_path(first) => (second, first),
            _ => continue,
        };
        let name = item.rsplit("::").next().unwrap();
        let is_item = name.chars().all(|c| c.is_alphanumeric() || c == '_');
        if is_item && read(path).is_some_and(|text| places_of(&text, name).is_empty()) {
            stale.push(format!("`{item}` does not occur in src/{path}"));
        }
    }
    stale
}

#[test]
fn the_document_gives_a_reason_for_each_dependency_and_for_nothing_else() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let document = fs::read_to_string(root().join("docs/explanation/dependencies.md")).unwrap();
    assert_eq!(declared(&manifest), explained(&document));
}

#[test]
fn every_link_has_a_target() {
    let mut documents = below(&["docs", "packaging"], &[".md"]);
    for name in ["README.md", "CHANGELOG.md"] {
        let text = fs::read_to_string(root().join(name)).unwrap();
        documents.push(Source::example(name, &text));
    }
    let dead: Vec<String> = documents.iter().flat_map(dead_links).collect();
    assert_clean(&dead);
}

#[test]
fn files_and_functions_in_the_architecture_document_exist() {
    let document = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let paths = document.split('`').skip(1).step_by(2);
    let count = paths.filter(|word| word.ends_with(".rs")).count();
    assert!(count >= 20, "cannot read the document: {count} files");
    let read = |path: &str| fs::read_to_string(root().join("src").join(path)).ok();
    assert_clean(&stale_names(&document, read));
}

/// (document, its text with the number, source, the constant with the same number)
const NUMBERS: [(&str, &str, &str, &str); 19] = [
    (
        "reference/files.md",
        "last 20,000 records",
        "act/journal/database.rs",
        "EVENTS_MAX: u64 = 20_000;",
    ),
    (
        "reference/files.md",
        "last 64 incidents",
        "act/journal/database.rs",
        "EVIDENCE_MAX: u32 = 64;",
    ),
    (
        "how-to/why.md",
        "last 64 incidents",
        "act/journal/database.rs",
        "EVIDENCE_MAX: u32 = 64;",
    ),
    (
        "how-to/hold.md",
        "30 days long at most",
        "api/limits.rs",
        "from_secs(30 * 24 * 3600)",
    ),
    (
        "explanation/limits.md",
        "1,024 wait",
        "run/stderr_writer.rs",
        "LINES_MAX: usize = 1024;",
    ),
    (
        "explanation/limits.md",
        "reads 2,000 sd_notify messages",
        "act/lifecycle/service_messages.rs",
        "MESSAGES_PER_SECOND: u32 = 2000;",
    ),
    (
        "explanation/limits.md",
        "passes on 100 of them",
        "act/lifecycle/service_messages.rs",
        "EVENTS_PER_SECOND: u32 = 100;",
    ),
    (
        "explanation/limits.md",
        "examines 200\n  senders",
        "act/lifecycle/service_messages.rs",
        "SENDERS_PER_SECOND: u32 = 200;",
    ),
    (
        "explanation/limits.md",
        "64 KiB at most",
        "act/evidence/mod.rs",
        "TEXT_BYTES_MAX: usize = 64 * 1024;",
    ),
    (
        "explanation/limits.md",
        "every ten seconds",
        "decide/state/stopping.rs",
        "AGAIN: Duration = Duration::from_secs(10);",
    ),
    (
        "explanation/ownership.md",
        "up to\n   256 of them",
        "act/tree/mod.rs",
        "MEMBERS_MAX: usize = 256;",
    ),
    (
        "explanation/verdict.md",
        "more than 250 ms",
        "decide/verdict.rs",
        "LATENESS_MAX: Duration = Duration::from_millis(250);",
    ),
    (
        "explanation/verdict.md",
        "for five times `busy_grace`",
        "decide/verdict.rs",
        "OVERLOAD_CEILING: u32 = 5;",
    ),
    (
        "explanation/verdict.md",
        "after ten minutes",
        "decide/state/monitored.rs",
        "TOLERANCE: Duration = Duration::from_secs(600);",
    ),
    (
        "explanation/verdict.md",
        "After five minutes",
        "decide/unjudged.rs",
        "BLIND_AFTER: Duration = Duration::from_secs(300);",
    ),
    (
        "explanation/verdict.md",
        "asks after 20 timeouts",
        "act/probe/exec.rs",
        "SET_ASIDE_TIMEOUTS: u32 = 20;",
    ),
    (
        "explanation/verdict.md",
        "an eighth while every processor",
        "decide/verdict.rs",
        "ON_A_FULL_HOST: u32 = 8;",
    ),
    (
        "explanation/verdict.md",
        "No kill for a minute",
        "decide/fleet.rs",
        "WINDOW: Duration = Duration::from_secs(60);",
    ),
    (
        "explanation/verdict.md",
        "300 ms at most",
        "decide/state/probe_results.rs",
        "EVIDENCE_MAX: Duration = Duration::from_millis(300);",
    ),
];

#[test]
fn numbers_in_documents_are_those_of_the_code() {
    let contains = |path: String, text: &str| {
        fs::read_to_string(root().join(path))
            .unwrap()
            .contains(text)
    };
    let stale: Vec<String> = NUMBERS
        .iter()
        .filter(|(document, text, source, constant)| {
            !contains(format!("docs/{document}"), text)
                || !contains(format!("src/{source}"), constant)
        })
        .map(|(document, text, source, constant)| {
            format!("docs/{document} ({text}) or src/{source} ({constant}) has changed")
        })
        .collect();
    assert_clean(&stale);
}

/// The tests that a document names as `file::name`, or `file::beginning_…`, and that tests/real or tests/scenarios do not have.
/// `read` returns the text of a file below `tests`.
fn missing_tests(document: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let words = document.split('`').skip(1).step_by(2);
    let named = words.filter_map(|word| {
        let (path, name) = word.rsplit_once("::")?;
        let file = match path.strip_prefix("scenarios::") {
            Some(file) => format!("scenarios/{file}.rs"),
            None => format!("real/{path}.rs"),
        };
        Some((word, file, name))
    });
    let is_missing = |file: &str, name: &str| {
        let beginning = name.strip_suffix('…').unwrap_or(name);
        let ending = if beginning == name { "()" } else { "" };
        read(file).is_none_or(|text| !text.contains(&format!("fn {beginning}{ending}")))
    };
    named
        .filter(|(_, file, name)| is_missing(file, name))
        .map(|(word, ..)| format!("there is no test {word}"))
        .collect()
}

#[test]
fn the_tests_that_the_document_of_the_verdict_names_exist() {
    let document = fs::read_to_string(root().join("docs/explanation/verdict.md")).unwrap();
    let read = |file: &str| fs::read_to_string(root().join("tests").join(file)).ok();
    assert!(document.contains("`traced_or_frozen::"));
    assert_clean(&missing_tests(&document, read));
}

#[test]
fn the_rule_finds_a_test_that_does_not_exist() {
    let read = |file: &str| (file == "real/a.rs").then(|| "fn a_wedge_is_killed() {}".to_owned());
    assert_clean(&missing_tests(
        "`a::a_wedge_…`, `a::a_wedge_is_killed`, `a`",
        read,
    ));
    let bad = "`a::a_wedge`, `a::a_debugger_…`, `b::a_wedge_is_killed`, `scenarios::a::a_wedge_…`";
    assert_eq!(missing_tests(bad, read).len(), 4);
}

#[test]
fn the_rules_find_an_unexplained_crate_and_a_dead_link() {
    let names = declared(
        "[dependencies]\nserde = \"1\"\n[dev-dependencies]\nproptest = { version = \"1\" }\n",
    );
    assert_eq!(names, ["proptest", "serde"].map(String::from).into());
    assert_eq!(
        explained("| `serde` | because of this and because of that |\n| `x` | |\n"),
        ["serde".to_owned()].into()
    );
    let document = Source::example(
        "docs/x.md",
        "[a](nowhere.md) [b](../Cargo.toml) [c](https://example.org)",
    );
    assert_eq!(dead_links(&document).len(), 1);
}

#[test]
fn the_rule_finds_a_missing_file_and_a_missing_function() {
    let read = |path: &str| (path == "act/a.rs").then(|| "fn kill() {}".to_owned());
    let good = "`src/act/a.rs`, `A::kill` in\n`act/a.rs`, `kill` (`act/a.rs`), `act/a.rs` (`kill`), `exit 0` in `act/a.rs`";
    assert_clean(&stale_names(good, read));
    let bad = "`act/b.rs`, `kil` in `act/a.rs`, `act/a.rs` (`end`), `A::b` (`act/a.rs`)";
    assert_eq!(stale_names(bad, read).len(), 4);
}

//! Documents that must be true to the code: the dependency list, and every link to a file.

use crate::assert_clean;
use crate::source::{Source, below, root};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Names in `[dependencies]` and `[dev-dependencies]`.
fn declared(manifest: &str) -> BTreeSet<String> {
    let table: toml::Table = manifest.parse().unwrap();
    ["dependencies", "dev-dependencies"]
        .iter()
        .filter_map(|kind| table.get(*kind)?.as_table())
        .flat_map(|crates| crates.keys().cloned())
        .collect()
}

/// Names in the first column of a table: ``| `name` | reason |``, the reason not empty.
fn explained(document: &str) -> BTreeSet<String> {
    document
        .lines()
        .filter_map(|line| {
            let (name, reason) = line.strip_prefix("| `")?.split_once("` |")?;
            (reason.trim_end_matches('|').trim().len() > 20).then(|| name.to_owned())
        })
        .collect()
}

/// Relative links of a Markdown document that lead nowhere.
fn dead_links(source: &Source) -> Vec<String> {
    let folder = root().join(Path::new(&source.path).parent().unwrap());
    source
        .text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.contains("://") && !link.starts_with('#'))
        .filter(|link| !folder.join(link.split('#').next().unwrap()).exists())
        .map(|link| format!("{}: the link {link} leads nowhere", source.path))
        .collect()
}

#[test]
fn every_dependency_has_its_reason_and_nothing_else_has() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let document = fs::read_to_string(root().join("docs/explanation/dependencies.md")).unwrap();
    assert_eq!(declared(&manifest), explained(&document));
}

#[test]
fn every_link_leads_somewhere() {
    let mut documents = below(&["docs", "packaging"], &[".md"]);
    for name in ["README.md", "CHANGELOG.md"] {
        let text = fs::read_to_string(root().join(name)).unwrap();
        documents.push(Source::made_up(name, &text));
    }
    let dead: Vec<String> = documents.iter().flat_map(dead_links).collect();
    assert_clean(&dead);
}

#[test]
fn the_rules_see_an_unexplained_crate_and_a_dead_link() {
    let names = declared(
        "[dependencies]\nserde = \"1\"\n[dev-dependencies]\nproptest = { version = \"1\" }\n",
    );
    assert_eq!(names, ["proptest", "serde"].map(String::from).into());
    assert_eq!(
        explained("| `serde` | because of this and because of that |\n| `x` | |\n"),
        ["serde".to_owned()].into()
    );
    let document = Source::made_up(
        "docs/x.md",
        "[a](nowhere.md) [b](../Cargo.toml) [c](https://example.org)",
    );
    assert_eq!(dead_links(&document).len(), 1);
}

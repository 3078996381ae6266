//! Imports run in one direction: between the folders of `act`, and between the files of the whole crate.

use crate::assert_clean;
use crate::source::{Source, below, line_of};
use std::collections::{BTreeMap, BTreeSet};

/// A path such as `["crate", "act", "tree", "Tree"]`, and its place in the code.
struct Import {
    offset: usize,
    segments: Vec<String>,
}

/// Every path in `code` that begins with `crate` or `super`. A braced group counts as one path for each of its entries.
fn imports(code: &str) -> Vec<Import> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..];
        let begins = ["crate::", "super::"]
            .iter()
            .any(|word| rest.starts_with(word));
        let inside_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || "_:$".contains(c));
        if begins && !inside_word {
            at += read_path(code, at, &[], &mut found);
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    found
}

/// Reads one path, or a group of them, after `prefix`. Returns how many bytes it read.
fn read_path(code: &str, at: usize, prefix: &[String], found: &mut Vec<Import>) -> usize {
    let mut segments = prefix.to_vec();
    let mut end = at;
    loop {
        let word: String = code[end..]
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        end += word.len();
        if !word.is_empty() {
            segments.push(word);
        }
        if !code[end..].starts_with("::") {
            break;
        }
        end += 2;
        if code[end..].starts_with('{') {
            end += 1;
            while !code[end..].starts_with('}') && end < code.len() {
                let skipped = code[end..].find(|c: char| c.is_alphanumeric() || "_}".contains(c));
                end += skipped.unwrap_or(code.len() - end);
                if code[end..].starts_with(|c: char| c.is_alphanumeric() || c == '_') {
                    end += read_path(code, end, &segments, found).max(1);
                }
            }
            return (end + 1).min(code.len()) - at;
        }
    }
    found.push(Import {
        offset: at,
        segments,
    });
    end - at
}

/// The module of a file below `src`: `src/act/tree/mod.rs` is `act::tree`.
fn module_of(path: &str) -> Vec<String> {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    let inside = inside.strip_suffix(".rs").unwrap_or(inside);
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    let parts = inside.split('/').filter(|part| *part != "lib");
    parts.map(str::to_owned).collect()
}

/// The modules of some files, and the items that a module re-exports from a module below it.
struct Modules {
    names: BTreeSet<Vec<String>>,
    /// The path of the item as others name it, and the module that defines it.
    reexports: BTreeMap<Vec<String>, Vec<String>>,
}

impl Modules {
    fn of(sources: &[Source]) -> Self {
        let names: BTreeSet<_> = sources
            .iter()
            .map(|source| module_of(&source.path))
            .collect();
        let mut reexports = BTreeMap::new();
        for source in sources {
            let own = module_of(&source.path);
            for segments in used_paths(&source.code(), &own) {
                let home = (own.len() + 1..segments.len())
                    .rev()
                    .map(|end| &segments[..end])
                    .find(|part| names.contains(*part));
                if let (Some(home), Some(name)) = (home, segments.last()) {
                    let item = own.iter().chain([name]).cloned().collect();
                    reexports.insert(item, home.to_vec());
                }
            }
        }
        Self { names, reexports }
    }

    /// The module that defines `name` as others find it in `module`.
    fn home(&self, module: &[String], name: &str) -> Vec<String> {
        let mut home = module.to_vec();
        loop {
            let item: Vec<_> = home.iter().cloned().chain([name.to_owned()]).collect();
            match self.reexports.get(&item) {
                Some(deeper) => home.clone_from(deeper),
                None => return home,
            }
        }
    }
}

/// The paths of all `use` declarations, as paths below the module `own`.
fn used_paths(code: &str, own: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (offset, _) in code.match_indices("use ") {
        if !code[..offset].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            read_path(code, offset + "use ".len(), own, &mut found);
        }
    }
    found.into_iter().map(|path| path.segments).collect()
}

/// The modules that a file imports, with the places. An import of an item counts as one of the module that defines it.
fn imported_modules(source: &Source, modules: &Modules) -> Vec<(usize, Vec<String>)> {
    let own = module_of(&source.path);
    let resolve = |import: Import| {
        let mut segments = import.segments.as_slice();
        let mut target = own.clone();
        if segments.first()? == "crate" {
            target.clear();
            segments = &segments[1..];
        }
        while segments.first().is_some_and(|segment| segment == "super") {
            target.pop()?;
            segments = &segments[1..];
        }
        for segment in segments {
            target.push(segment.clone());
            if !modules.names.contains(&target) {
                target.pop();
                target = modules.home(&target, segment);
                break;
            }
        }
        Some((import.offset, target))
    };
    imports(&source.code())
        .into_iter()
        .filter_map(resolve)
        .collect()
}

/// A module and one that lies in it are one unit: a `mod.rs` exports what its files hold, and they use what it defines.
fn are_nested(one: &[String], other: &[String]) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// The modules in the table of `src/act/mod.rs`, in its order.
fn table(text: &str) -> Vec<String> {
    let rows = text.lines().filter_map(|line| {
        let cell = line.strip_prefix("//! | ")?.split('|').next()?.trim();
        let name = cell.trim_matches(['[', ']', '`']);
        (cell.contains('`')).then(|| name.to_owned())
    });
    rows.collect()
}

fn against_the_table(sources: &[Source], order: &[String]) -> Vec<String> {
    let modules = Modules::of(sources);
    let place = |name: &String| order.iter().position(|known| known == name);
    let mut findings = Vec::new();
    for source in sources {
        let own = module_of(&source.path);
        let [layer, folder, ..] = own.as_slice() else {
            continue;
        };
        if layer != "act" {
            continue;
        }
        let Some(own_place) = place(folder) else {
            findings.push(format!(
                "{}: {folder} is not in the table of src/act/mod.rs",
                source.path
            ));
            continue;
        };
        let code = source.code();
        for (offset, target) in imported_modules(source, &modules) {
            if target.len() < 2 || target[0] != "act" || target[1] == *folder {
                continue;
            }
            if place(&target[1]).is_none_or(|place| place >= own_place) {
                findings.push(format!(
                    "{}:{}: {folder} imports {}, which does not stand above it in the table of src/act/mod.rs",
                    source.path,
                    line_of(&code, offset),
                    target[1]
                ));
            }
        }
    }
    findings
}

/// The import cycles between files, each as the sorted list of its modules.
fn cycles(sources: &[Source]) -> Vec<Vec<String>> {
    let modules = Modules::of(sources);
    let edges: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = sources
        .iter()
        .map(|source| {
            let own = module_of(&source.path);
            let targets = imported_modules(source, &modules).into_iter();
            let others = targets
                .map(|(_, target)| target)
                .filter(|target| !are_nested(target, &own));
            let others = others.collect();
            (own, others)
        })
        .collect();
    let reachable = |from: &Vec<String>| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<_> = edges.get(from).into_iter().flatten().collect();
        while let Some(module) = next.pop() {
            if seen.insert(module.clone()) {
                next.extend(edges.get(module).into_iter().flatten());
            }
        }
        seen
    };
    let reach: BTreeMap<_, _> = edges
        .keys()
        .map(|module| (module, reachable(module)))
        .collect();
    let mut found = BTreeSet::new();
    for (module, reached) in &reach {
        if reached.contains(*module) {
            let mut cycle: Vec<String> = reached
                .iter()
                .filter(|other| reach.get(other).is_some_and(|back| back.contains(*module)))
                .map(|other| other.join("::"))
                .collect();
            cycle.sort();
            found.insert(cycle);
        }
    }
    found.into_iter().collect()
}

#[test]
fn folders_of_act_import_only_what_stands_above_them() {
    let sources = below(&["src"], &[".rs"]);
    let act = sources
        .iter()
        .find(|source| source.path == "src/act/mod.rs")
        .unwrap();
    let order = table(&act.text);
    assert!(order.len() >= 20, "cannot read the table: {order:?}");
    assert_clean(&against_the_table(&sources, &order));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = below(&["src"], &[".rs"]);
    let findings: Vec<String> = cycles(&sources)
        .into_iter()
        .map(|cycle| format!("import each other: {}", cycle.join(", ")))
        .collect();
    assert_clean(&findings);
}

#[test]
fn the_rules_find_an_import_against_the_direction_and_a_cycle() {
    let text = "//! | module | what |\n//! |---|---|\n//! | `low` | a |\n//! | [`high`] | b |\n";
    let order = table(text);
    assert_eq!(order, ["low", "high"]);
    let tree = |low: &str, high: &str| {
        vec![
            Source::example("src/act/mod.rs", ""),
            Source::example("src/act/low/mod.rs", ""),
            Source::example("src/act/low/a.rs", low),
            Source::example("src/act/high.rs", high),
        ]
    };
    let good = tree(
        "use super::Thing;",
        "use crate::act::{low::a::Thing, other};",
    );
    assert_clean(&against_the_table(&good, &order));
    assert!(cycles(&good).is_empty());
    let bad = tree(
        "fn f() { super::super::high::go(); }",
        "use super::low::a::Thing;",
    );
    assert_eq!(against_the_table(&bad, &order).len(), 1);
    assert_eq!(cycles(&bad), [["act::high", "act::low::a"]]);
    let through_a_reexport = [
        Source::example("src/act/mod.rs", ""),
        Source::example("src/act/low/mod.rs", "mod a;\npub use a::{Other, Thing};"),
        Source::example("src/act/low/a.rs", "use crate::act::high::go;"),
        Source::example("src/act/high.rs", "use super::low::Thing;"),
    ];
    assert_eq!(cycles(&through_a_reexport), [["act::high", "act::low::a"]]);
}

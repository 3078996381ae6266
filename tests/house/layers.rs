//! Layers import only the layers that the table in the head comment of `src/lib.rs` allows.

use crate::assert_clean;
use crate::source::{Source, below, line_of, places_of};
use std::collections::{BTreeMap, BTreeSet};

/// Each layer and the layers that it may import.
type Layers = BTreeMap<String, BTreeSet<String>>;

/// Reads lines such as ``//! | [`act`] | effects | `decide`, `sys` |``; `all but` means all layers except the listed ones.
fn layers_in(lib: &str) -> Layers {
    let rows: Vec<(String, &str)> = lib
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("//! | [`")?.split('|');
            let layer = cells.next()?.trim().strip_suffix("`]")?;
            Some((
                layer.to_owned(),
                cells.next_back().and(line.rsplit('|').nth(1))?.trim(),
            ))
        })
        .collect();
    let all: BTreeSet<String> = rows.iter().map(|(layer, _)| layer.clone()).collect();
    let quoted = |cell: &str| -> BTreeSet<String> {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    rows.into_iter()
        .map(|(layer, cell)| {
            let allowed = if cell.starts_with("all") {
                &all - &quoted(cell)
            } else {
                quoted(cell)
            };
            (layer, allowed)
        })
        .collect()
}

/// The names directly after each `crate::` in `code`, with their offsets: one name, or those of a braced group.
fn imported(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for offset in places_of(code, "crate::") {
        let rest = &code[offset + "crate::".len()..];
        let names = if rest.starts_with('{') {
            top_level_names(rest)
        } else {
            vec![first_name(rest)]
        };
        found.extend(names.into_iter().map(|name| (offset, name)));
    }
    found
}

fn first_name(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn top_level_names(group: &str) -> Vec<String> {
    let mut depth = 0_u32;
    let mut names = Vec::new();
    for (offset, byte) in group.bytes().enumerate() {
        match byte {
            b'{' | b',' if depth <= 1 && (byte == b'{') == (depth == 0) => {
                names.push(first_name(&group[offset + 1..]));
                depth = 1;
            }
            b'{' => depth += 1,
            b'}' if depth == 1 => break,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    names
}

/// The offsets of `super::super::…` paths that leave the layer. [`imported`] does not see these imports.
fn leaves_layer(source: &Source, code: &str) -> Vec<usize> {
    let folders = source.path.matches('/').count() - 1;
    let depth = folders + usize::from(!source.path.ends_with("/mod.rs"));
    let path_to_root = "super::".repeat(depth.max(1));
    if folders == 0 {
        return Vec::new();
    }
    places_of(code, &path_to_root)
}

fn findings(sources: &[Source], layers: &Layers) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        let Some((layer, allowed)) = source.layer().and_then(|layer| layers.get_key_value(layer))
        else {
            continue;
        };
        let code = source.code();
        let at = |offset| format!("{}:{}", source.path, line_of(&code, offset));
        for (offset, name) in imported(&code) {
            if name != *layer && layers.contains_key(&name) && !allowed.contains(&name) {
                findings.push(format!(
                    "{}: {layer} imports {name}; the table in src/lib.rs does not allow it",
                    at(offset)
                ));
            }
        }
        for offset in leaves_layer(source, &code) {
            findings.push(format!(
                "{}: this path leaves the layer; write crate::",
                at(offset)
            ));
        }
    }
    findings
}

#[test]
fn layers_import_only_what_the_table_allows() {
    let sources = below(&["src"], &[".rs"]);
    let lib = sources
        .iter()
        .find(|source| source.path == "src/lib.rs")
        .unwrap();
    let layers = layers_in(&lib.text);
    assert!(layers.len() >= 8, "the table was not parsed: {layers:?}");
    assert_clean(&findings(&sources, &layers));
}

#[test]
fn the_rule_finds_a_forbidden_import() {
    let layers = layers_in(
        "//! | [`act`] | effects | `decide`, `sys` |\n//! | [`decide`] | pure | nothing |\n\
         //! | [`sys`] | the OS | nothing |\n//! | [`run`] | the loop | all but `cli` |\n//! | [`cli`] | verbs | all |\n",
    );
    assert!(layers["run"].contains("act") && !layers["run"].contains("cli"));
    let tries = [
        ("src/act/a.rs", "use crate::sys::x;", 0),
        ("src/act/a.rs", "use crate::cli::x;", 1),
        ("src/act/a.rs", "use crate::{decide::{a, b}, run::c};", 1),
        ("src/decide/a.rs", "fn f() { crate::sys::now(); }", 1),
        ("src/decide/a.rs", "// crate::sys::now()", 0),
        ("src/decide/a.rs", "use super::super::sys;", 1),
        ("src/act/probe/a.rs", "use super::super::child;", 0),
        ("src/run/mod.rs", "use crate::{act, cli};", 1),
        ("src/run/mod.rs", "use super::act;", 1),
    ];
    for (path, text, expected) in tries {
        let found = findings(&[Source::example(path, text)], &layers);
        assert_eq!(found.len(), expected, "{path}: {text}: {found:?}");
    }
}

//! Who may import whom: the table at the head of `src/lib.rs` is the rule.

use crate::assert_clean;
use crate::source::{Source, below, line_of, places_of};
use std::collections::{BTreeMap, BTreeSet};

/// Each room and the rooms it may import.
type Rooms = BTreeMap<String, BTreeSet<String>>;

/// Reads lines such as ``//! | [`act`] | effects | `decide`, `sys` |``; "all but" turns the list round.
fn rooms_of(lib: &str) -> Rooms {
    let rows: Vec<(String, &str)> = lib
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("//! | [`")?.split('|');
            let room = cells.next()?.trim().strip_suffix("`]")?;
            Some((
                room.to_owned(),
                cells.next_back().and(line.rsplit('|').nth(1))?.trim(),
            ))
        })
        .collect();
    let all: BTreeSet<String> = rows.iter().map(|(room, _)| room.clone()).collect();
    let quoted = |cell: &str| -> BTreeSet<String> {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    rows.into_iter()
        .map(|(room, cell)| {
            let allowed = if cell.starts_with("all") {
                &all - &quoted(cell)
            } else {
                quoted(cell)
            };
            (room, allowed)
        })
        .collect()
}

/// The first names after every `crate::` in `code`, with their offsets: one, or those of a braced group.
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

/// `super::super::…` that climbs out of its room, where the import could not be seen.
fn climbs_out(source: &Source, code: &str) -> Vec<usize> {
    let folders = source.path.matches('/').count() - 1;
    let depth = folders + usize::from(!source.path.ends_with("/mod.rs"));
    let ladder = "super::".repeat(depth.max(1));
    if folders == 0 {
        return Vec::new();
    }
    places_of(code, &ladder)
}

fn findings(sources: &[Source], rooms: &Rooms) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        let Some((room, allowed)) = source.room().and_then(|room| rooms.get_key_value(room)) else {
            continue;
        };
        let code = source.code();
        let at = |offset| format!("{}:{}", source.path, line_of(&code, offset));
        for (offset, name) in imported(&code) {
            if name != *room && rooms.contains_key(&name) && !allowed.contains(&name) {
                findings.push(format!(
                    "{}: {room} imports {name}; the table in src/lib.rs says it may not",
                    at(offset)
                ));
            }
        }
        for offset in climbs_out(source, &code) {
            findings.push(format!(
                "{}: climbs out of its room; say crate::",
                at(offset)
            ));
        }
    }
    findings
}

#[test]
fn rooms_import_only_what_the_map_allows() {
    let sources = below(&["src"], &[".rs"]);
    let lib = sources
        .iter()
        .find(|source| source.path == "src/lib.rs")
        .unwrap();
    let rooms = rooms_of(&lib.text);
    assert!(rooms.len() >= 8, "the table was not understood: {rooms:?}");
    assert_clean(&findings(&sources, &rooms));
}

#[test]
fn the_rule_sees_a_forbidden_import() {
    let rooms = rooms_of(
        "//! | [`act`] | effects | `decide`, `sys` |\n//! | [`decide`] | pure | nothing |\n\
         //! | [`sys`] | the OS | nothing |\n//! | [`run`] | the loop | all but `cli` |\n//! | [`cli`] | verbs | all |\n",
    );
    assert!(rooms["run"].contains("act") && !rooms["run"].contains("cli"));
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
        let found = findings(&[Source::made_up(path, text)], &rooms);
        assert_eq!(found.len(), expected, "{path}: {text}: {found:?}");
    }
}

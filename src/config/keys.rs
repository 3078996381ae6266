//! Look-ups in the list of keys.
//!
//! [`KEYS`], in table.rs, is the only list of keys. The parser, its errors, the JSON Schema, docs/reference/config.md and
//! stayd.toml(5) are generated from it, so that all of them have the same keys.

pub(super) use super::key::{Default, Key, Kind, State};
pub(super) use super::table::KEYS;

/// The key with this path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The keys directly in this table, in the order of the documentation.
pub(super) fn children(parent: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter()
        .filter(move |key| key.parent() == parent && key.leaf() != "*")
}

/// The path of a table as a user writes it, such as `[service.NAME.watchdog]`; the top level of a file has no brackets.
pub(super) fn heading(table: &str, name: &str) -> String {
    if table.is_empty() {
        "the top level of the file".into()
    } else {
        format!("[{}]", table.replace('*', name))
    }
}

/// The key of this table whose spelling is most similar to `wrong`, if one is similar enough.
pub(super) fn nearest(table: &str, wrong: &str) -> Option<&'static str> {
    nearest_of(wrong, children(table).map(Key::leaf))
}

/// The most similar word; at most a third of the letters may differ.
pub(super) fn nearest_of<'a>(wrong: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (wrong.chars().count() / 3).clamp(1, 3);
    words
        .map(|word| (strsim::damerau_levenshtein(word, wrong), word))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::super::value;
    use super::*;

    #[test]
    fn every_key_is_in_a_known_table_and_occurs_once() {
        for key in KEYS {
            let parent = key.parent();
            let known = parent.is_empty()
                || find(parent).is_some_and(|key| matches!(key.kind, Kind::Table | Kind::Named));
            assert!(known, "{} is in no known table", key.path);
            assert_eq!(
                KEYS.iter().filter(|other| other.path == key.path).count(),
                1
            );
            assert!(key.doc.ends_with('.'), "{}: {}", key.path, key.doc);
        }
    }

    #[test]
    fn every_default_can_be_parsed() {
        for key in KEYS {
            if let Default::Is(text) = key.default {
                assert!(
                    value::from_text(key.kind, text).is_ok(),
                    "{} = {text}",
                    key.path
                );
            }
        }
    }

    #[test]
    fn a_typing_error_finds_the_intended_key() {
        assert_eq!(nearest("service.*", "comand"), Some("command"));
        assert_eq!(nearest("service.*.watchdog", "intreval"), Some("interval"));
        assert_eq!(nearest("service.*", "colour"), None);
    }
}

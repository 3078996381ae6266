//! What a key is: where it stands, what it holds, and what is said about it.
//!
//! [`KEYS`] is the only list of keys. The parser, its errors, the JSON Schema, docs/reference/config.md
//! and stayd.toml(5) are all made from it, so none of them can know a key that another does not.

pub(super) use super::table::KEYS;
use std::time::Duration;

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name: letters, digits, `-`, `_`, `.`.
    Name,
    /// Any text that is not empty.
    Text,
    /// A path, relative to the folder of the configuration.
    Path,
    /// Text that may hold secrets; never quoted in an error.
    Secret,
    /// A probe URL; never quoted in an error.
    Url,
    /// argv.
    Words,
    /// A list of texts, which may be empty.
    Texts,
    /// Names and values of the environment; values are never quoted in an error.
    Env,
    /// `true` or `false`.
    Flag,
    /// A TCP port.
    Port,
    /// A whole number from … to.
    Count(u32, u32),
    /// A length of time, this long at least.
    Duration(Duration),
    /// Bytes, this many at least.
    Size(u64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A signal's name.
    Signal,
    /// HTTP statuses.
    Expect,
    /// Further keys.
    Table,
    /// Named tables, each of which holds further keys.
    Named,
}

/// What holds when the key is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Default {
    /// This text, read as if it had been written.
    Is(&'static str),
    /// Something that depends on the rest; in words.
    Described(&'static str),
    /// Nothing; the key is off.
    Unset,
    /// It must be given.
    Required,
}

/// How far this version goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// All the way.
    Supported,
    /// It is read and checked; this is what does not happen yet.
    CheckedOnly(&'static str),
    /// Refused; this is what to do instead.
    NotSupported(&'static str),
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Its path; `*` stands for the name of a service.
    pub(super) path: &'static str,
    /// What it holds.
    pub(super) kind: Kind,
    /// What holds without it.
    pub(super) default: Default,
    /// How far this version goes.
    pub(super) state: State,
    /// One sentence.
    pub(super) doc: &'static str,
}

impl Key {
    /// A key that works.
    pub(super) const fn new(
        path: &'static str,
        kind: Kind,
        default: Default,
        doc: &'static str,
    ) -> Self {
        Self {
            path,
            kind,
            default,
            state: State::Supported,
            doc,
        }
    }

    /// The same, read and checked only; `what` does not happen yet.
    pub(super) const fn checked_only(self, what: &'static str) -> Self {
        Self {
            state: State::CheckedOnly(what),
            ..self
        }
    }

    /// A table of a later version; `alternative` says what to do now.
    pub(super) const fn not_supported(
        path: &'static str,
        doc: &'static str,
        alternative: &'static str,
    ) -> Self {
        let state = State::NotSupported(alternative);
        Self {
            path,
            kind: Kind::Table,
            default: Default::Unset,
            state,
            doc,
        }
    }

    /// The last part of its path.
    pub(super) fn leaf(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// The path of the table it stands in; empty for the file's top.
    pub(super) fn parent(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(parent, _)| parent)
    }
}

/// The key at this path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The keys that stand directly in this table, in the order in which they are documented.
pub(super) fn children(parent: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter()
        .filter(move |key| key.parent() == parent && key.leaf() != "*")
}

/// A table's path as a person writes it, `[service.NAME.watchdog]`; the file's top has no brackets.
pub(super) fn heading(table: &str, name: &str) -> String {
    if table.is_empty() {
        "the top of the file".into()
    } else {
        format!("[{}]", table.replace('*', name))
    }
}

/// The key of this table that is written most like `wrong`, if any is like it at all.
pub(super) fn nearest(table: &str, wrong: &str) -> Option<&'static str> {
    nearest_of(wrong, children(table).map(Key::leaf))
}

/// The word most like `wrong`: at most a third of its letters differ.
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
    fn every_key_stands_in_a_table_and_is_told_once() {
        for key in KEYS {
            let parent = key.parent();
            let known = parent.is_empty()
                || find(parent).is_some_and(|key| matches!(key.kind, Kind::Table | Kind::Named));
            assert!(known, "{} stands in no table", key.path);
            assert_eq!(
                KEYS.iter().filter(|other| other.path == key.path).count(),
                1
            );
            assert!(key.doc.ends_with('.'), "{}: {}", key.path, key.doc);
        }
    }

    #[test]
    fn every_default_can_be_read() {
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
    fn near_is_a_slip_of_the_hand() {
        assert_eq!(nearest("service.*", "comand"), Some("command"));
        assert_eq!(nearest("service.*.watchdog", "intreval"), Some("interval"));
        assert_eq!(nearest("service.*", "colour"), None);
    }
}

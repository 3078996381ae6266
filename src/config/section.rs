//! A section: the values that the user wrote for one service, or for the top level of a file, with typed access by key path.
//!
//! A section also contains the values of nested tables such as `service.*.watchdog`. Access to a key that was not written
//! returns its default from the list of keys.

use super::finding::{Findings, Location};
use super::keys::{self, Default, Key};
use super::value::{self, Value};
use super::{Expect, Signal};
use std::collections::BTreeMap;
use std::time::Duration;

/// The values of one service or of the top level of a file.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// The name of the service; empty for the top level.
    pub(super) name: String,
    /// The place where it begins.
    pub(super) location: Location,
    values: BTreeMap<&'static str, (Value, Location)>,
    /// Tables and keys that were written but have no usable value here.
    written: BTreeMap<&'static str, Location>,
}

impl Section {
    pub(super) fn new(name: &str, location: Location) -> Self {
        Self {
            name: name.into(),
            location,
            values: BTreeMap::new(),
            written: BTreeMap::new(),
        }
    }

    /// Sets a value, and marks the table that contains the key as written.
    pub(super) fn set(&mut self, key: &'static Key, value: Value, location: Location) {
        if let Some(table) = keys::find(key.parent()) {
            self.written
                .entry(table.path)
                .or_insert_with(|| location.clone());
        }
        self.values.insert(key.path, (value, location));
    }

    /// Marks a table, or a key with an unusable value, as written.
    pub(super) fn mark_written(&mut self, path: &'static str, location: Location) {
        self.written.insert(path, location);
    }

    /// Whether the key or table was written.
    pub(super) fn has(&self, path: &str) -> bool {
        self.values.contains_key(path) || self.written.contains_key(path)
    }

    /// The place where the key or table was written; otherwise the beginning of the section.
    pub(super) fn location(&self, path: &str) -> &Location {
        let value = self.values.get(path).map(|(_, location)| location);
        value
            .or_else(|| self.written.get(path))
            .unwrap_or(&self.location)
    }

    /// The written value, otherwise the default.
    fn value(&self, path: &str) -> Option<Value> {
        if let Some((value, _)) = self.values.get(path) {
            return Some(value.clone());
        }
        let key = keys::find(path)?;
        match key.default {
            Default::Is(text) => value::from_text(key.kind, text).ok(),
            Default::Described(_) | Default::Unset | Default::Required => None,
        }
    }

    pub(super) fn text(&self, path: &str) -> Option<String> {
        if let Some(Value::Text(text)) = self.value(path) {
            Some(text)
        } else {
            None
        }
    }

    /// Whether the value of a choice is `word`.
    pub(super) fn is(&self, path: &str, word: &str) -> bool {
        self.text(path).is_some_and(|text| text == word)
    }

    /// The list of texts, which may be empty; none if the key was not written and has no default.
    pub(super) fn texts(&self, path: &str) -> Option<Vec<String>> {
        if let Some(Value::Texts(texts)) = self.value(path) {
            Some(texts)
        } else {
            None
        }
    }

    pub(super) fn env(&self, path: &str) -> Vec<(String, String)> {
        if let Some(Value::Env(pairs)) = self.value(path) {
            pairs
        } else {
            Vec::new()
        }
    }

    pub(super) fn flag(&self, path: &str) -> bool {
        self.value(path) == Some(Value::Flag(true))
    }

    pub(super) fn number(&self, path: &str) -> Option<u64> {
        if let Some(Value::Number(number)) = self.value(path) {
            Some(number)
        } else {
            None
        }
    }

    /// The duration; every key of this kind has a default.
    pub(super) fn duration(&self, path: &str) -> Duration {
        if let Some(Value::Duration(length)) = self.value(path) {
            length
        } else {
            Duration::ZERO
        }
    }

    pub(super) fn signal(&self, path: &str) -> Option<Signal> {
        if let Some(Value::Signal(signal)) = self.value(path) {
            Some(signal)
        } else {
            None
        }
    }

    pub(super) fn expect(&self, path: &str) -> Expect {
        if let Some(Value::Expect(expect)) = self.value(path) {
            expect
        } else {
            Expect::default()
        }
    }

    /// Reports required keys that are missing in tables that were written.
    pub(super) fn check_required(&self, findings: &mut Findings) {
        for key in keys::KEYS
            .iter()
            .filter(|key| key.default == Default::Required)
        {
            let written = key.parent() == "service.*" || self.has(key.parent());
            if written && !self.has(key.path) {
                let table = keys::heading(key.parent(), &self.name);
                let message = format!(
                    "cannot use {table}: it has no `{}`; write {} = {}",
                    key.leaf(),
                    key.leaf(),
                    value::example(key.kind),
                );
                findings.error(self.location(key.parent()), message);
            }
        }
    }
}

//! One table of the configuration, checked key by key against the list of keys.

use super::finding::{Finding, Level, Location};
use super::keys::{self, Default, Key, Kind, State};
use super::source::Source;
use super::value::{self, NAME_CURE, Value, shorten};
use super::words::is_name;
use super::{Expect, Signal};
use std::collections::BTreeMap;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// More errors than these would not be read.
pub(super) const MAX_ERRORS: usize = 20;
/// The same for warnings.
const MAX_WARNINGS: usize = 100;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    /// Errors beyond the bound.
    dropped: usize,
}

impl Findings {
    pub(super) fn error(&mut self, location: &Location, message: impl Into<String>) {
        self.push(Finding::error(location, message));
    }

    pub(super) fn warning(&mut self, location: &Location, message: impl Into<String>) {
        self.push(Finding::warning(location, message));
    }

    pub(super) fn push(&mut self, finding: Finding) {
        let (list, most) = match finding.level {
            Level::Error => (&mut self.errors, MAX_ERRORS),
            Level::Warning => (&mut self.warnings, MAX_WARNINGS),
        };
        if list.len() < most {
            list.push(finding);
        } else if finding.level == Level::Error {
            self.dropped += 1;
        }
    }

    /// The warnings, or all that is wrong; in the order of the files.
    pub(super) fn into_result(mut self) -> Result<Vec<Finding>, Vec<Finding>> {
        self.errors
            .sort_by(|one, other| one.location.cmp(&other.location));
        self.warnings
            .sort_by(|one, other| one.location.cmp(&other.location));
        if self.dropped > 0 {
            let message = format!("{} more errors are not shown", self.dropped);
            self.errors
                .push(Finding::error(&Location::Surroundings, message));
        }
        if self.errors.is_empty() {
            Ok(self.warnings)
        } else {
            Err(self.errors)
        }
    }
}

/// A table's values: what was given, and the defaults behind it.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// The service's name; empty for the file's top.
    pub(super) name: String,
    /// Where it begins.
    pub(super) location: Location,
    values: BTreeMap<&'static str, (Value, Location)>,
    /// FileSections, and keys whose value is wrong: written, but without a value.
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

    /// Adds a value, and with it the tables around it.
    pub(super) fn set(&mut self, key: &'static Key, value: Value, location: Location) {
        if let Some(table) = keys::find(key.parent()) {
            self.written
                .entry(table.path)
                .or_insert_with(|| location.clone());
        }
        self.values.insert(key.path, (value, location));
    }

    /// Whether the key or table was written.
    pub(super) fn has(&self, path: &str) -> bool {
        self.values.contains_key(path) || self.written.contains_key(path)
    }

    /// Where the key or table was written; else where the section begins.
    pub(super) fn location(&self, path: &str) -> &Location {
        let value = self.values.get(path).map(|(_, location)| location);
        value
            .or_else(|| self.written.get(path))
            .unwrap_or(&self.location)
    }

    /// The value given, else the default.
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

    /// Whether the choice `word` was made.
    pub(super) fn is(&self, path: &str, word: &str) -> bool {
        self.text(path).is_some_and(|text| text == word)
    }

    /// None when nothing was given; an empty list is a list.
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

    /// The length of time; each such key has a default.
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

    /// Each table that was written must hold what it cannot be without.
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

/// Reads the tables of one file.
pub(super) struct TomlReader<'a> {
    pub(super) source: &'a Source,
    pub(super) findings: &'a mut Findings,
}

/// A file, table by table.
pub(super) struct FileSections {
    /// What stands outside the services.
    pub(super) top: Section,
    /// The services, in the order of the file.
    pub(super) services: Vec<Section>,
}

type Entry<'t, 'i> = (&'t Spanned<DeString<'i>>, &'t Spanned<DeValue<'i>>);

impl TomlReader<'_> {
    /// Reads the whole file; what is wrong goes to the findings and is left out.
    pub(super) fn file(&mut self, root: &DeTable<'_>) -> FileSections {
        let mut top = Section::new("", self.source.whole());
        self.table(root, "", &mut top);
        let mut services = Vec::new();
        if let Some(DeValue::Table(tables)) = root.get("service").map(Spanned::get_ref) {
            for (name, table) in in_file_order(tables) {
                services.extend(self.service(name, table));
            }
        }
        FileSections { top, services }
    }

    fn service(
        &mut self,
        name: &Spanned<DeString<'_>>,
        table: &Spanned<DeValue<'_>>,
    ) -> Option<Section> {
        let location = self.source.at(name.span().start);
        let text: &str = name.get_ref();
        if !is_name(text) {
            let message = format!("cannot name a service `{}`: {NAME_CURE}", shorten(text));
            self.findings.error(&location, message);
            return None;
        }
        let DeValue::Table(table) = table.get_ref() else {
            let message = format!(
                "cannot read `service.{text}`: it is no table; write [service.{text}] on a line of its own"
            );
            self.findings.error(&location, message);
            return None;
        };
        let mut section = Section::new(text, location);
        self.table(table, "service.*", &mut section);
        section.check_required(self.findings);
        Some(section)
    }

    fn table(&mut self, table: &DeTable<'_>, parent: &'static str, section: &mut Section) {
        for (name, value) in in_file_order(table) {
            let location = self.source.at(name.span().start);
            let leaf: &str = name.get_ref();
            match keys::children(parent).find(|key| key.leaf() == leaf) {
                Some(key) => self.key(key, value, location, section),
                None => self.unknown(parent, leaf, &location, &section.name),
            }
        }
    }

    fn key(
        &mut self,
        key: &'static Key,
        value: &Spanned<DeValue<'_>>,
        location: Location,
        section: &mut Section,
    ) {
        if let State::NotSupported(cure) = key.state {
            let what = match value.get_ref().is_table() {
                true => keys::heading(key.path, &section.name),
                false => format!("`{}`", key.leaf()),
            };
            let cure = cure.replace("NAME", &section.name);
            let message = format!("cannot use {what}: this version does not do that yet; {cure}");
            return self.findings.error(&location, message);
        }
        if let State::CheckedOnly(what) = key.state {
            self.findings.warning(
                &location,
                format!("`{}` changes nothing yet: {what}", key.leaf()),
            );
        }
        match (key.kind, value.get_ref()) {
            (Kind::Table, DeValue::Table(table)) => {
                section.written.insert(key.path, location);
                self.table(table, key.path, section);
            }
            (Kind::Named, DeValue::Table(_)) => {}
            (Kind::Table, _) => {
                let at = self.source.at(value.span().start);
                self.findings.error(&at, no_table(key));
                section.written.insert(key.path, location);
            }
            (kind, toml) => match value::from_toml(kind, toml) {
                Ok(value) => section.set(key, value, location),
                Err(error) => {
                    let at = self.source.at(value.span().start);
                    self.findings
                        .error(&at, format!("cannot read `{}`: {error}", key.leaf()));
                }
            },
        }
    }

    /// A key nobody knows: names the one that was meant, or the table it belongs to, or all there are.
    fn unknown(&mut self, parent: &'static str, leaf: &str, location: &Location, name: &str) {
        let here = keys::heading(parent, name);
        let cure = if let Some(near) = keys::nearest(parent, leaf) {
            format!("did you mean `{near}`?")
        } else if let Some(key) = find_in_other_table(parent, leaf) {
            let name = if name.is_empty() { "NAME" } else { name };
            format!("it belongs to {}", keys::heading(key.parent(), name))
        } else {
            let all: Vec<_> = keys::children(parent).map(Key::leaf).collect();
            format!("known there: {}", all.join(", "))
        };
        let message = format!(
            "cannot use `{}`: {here} has no such key; {cure}",
            shorten(leaf)
        );
        self.findings.error(location, message);
    }
}

/// A value where a table of keys should be: shows its first key.
fn no_table(key: &Key) -> String {
    let leaf = key.leaf();
    let first = keys::children(key.path).next();
    let inside = first.map(|first| format!("{} = {}", first.leaf(), value::example(first.kind)));
    let inside = inside.unwrap_or_default();
    format!("cannot read `{leaf}`: it is no table; write {leaf} = {{ {inside} }}")
}

/// A key of this very name in another table: first in those below, then anywhere.
fn find_in_other_table(parent: &str, leaf: &str) -> Option<&'static Key> {
    let named = || keys::KEYS.iter().filter(move |key| key.leaf() == leaf);
    named()
        .find(|key| key.parent().starts_with(parent))
        .or_else(|| named().next())
}

/// TOML tables come sorted by name; people read them in the order of the file.
fn in_file_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<Entry<'t, 'i>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

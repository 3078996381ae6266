//! Reads the TOML of one file into sections, and reports unknown keys and wrong values.

use super::finding::{Findings, Location};
use super::keys::{self, Key, Kind, State};
use super::section::Section;
use super::source::Source;
use super::value::{self, NAME_ADVICE, shorten};
use super::words::is_name;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// Converts the parsed TOML of one file into sections.
pub(super) struct TomlReader<'a> {
    pub(super) source: &'a Source,
    pub(super) findings: &'a mut Findings,
}

/// The sections of one file.
pub(super) struct FileSections {
    /// The keys outside of services.
    pub(super) top: Section,
    /// The services, in the order of the file.
    pub(super) services: Vec<Section>,
}

type Entry<'t, 'i> = (&'t Spanned<DeString<'i>>, &'t Spanned<DeValue<'i>>);

impl TomlReader<'_> {
    /// Converts the whole file; wrong keys and values are added to the findings and left out.
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
            let message = format!("cannot name a service `{}`: {NAME_ADVICE}", shorten(text));
            self.findings.error(&location, message);
            return None;
        }
        let DeValue::Table(table) = table.get_ref() else {
            let message = format!(
                "cannot read `service.{text}`: it is not a table; write [service.{text}] on a separate line"
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
        if let State::NotSupported(advice) = key.state {
            let what = match value.get_ref().is_table() {
                true => keys::heading(key.path, &section.name),
                false => format!("`{}`", key.leaf()),
            };
            let advice = advice.replace("NAME", &section.name);
            let message = format!("cannot use {what}: this version does not support it; {advice}");
            return self.findings.error(&location, message);
        }
        if let State::CheckedOnly(what) = key.state {
            self.findings.warning(
                &location,
                format!("`{}` has no effect yet: {what}", key.leaf()),
            );
        }
        match (key.kind, value.get_ref()) {
            (Kind::Table, DeValue::Table(table)) => {
                section.mark_written(key.path, location);
                self.table(table, key.path, section);
            }
            (Kind::Named, DeValue::Table(_)) => {}
            (Kind::Table, _) => {
                let at = self.source.at(value.span().start);
                self.findings.error(&at, no_table(key, value.get_ref()));
                section.mark_written(key.path, location);
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

    /// Reports an unknown key. The message names a similar key, or the table that the key belongs to, or all known keys.
    fn unknown(&mut self, parent: &'static str, leaf: &str, location: &Location, name: &str) {
        let here = keys::heading(parent, name);
        let advice = if let Some(near) = keys::nearest(parent, leaf) {
            format!("did you mean `{near}`?")
        } else if let Some(key) = find_in_other_table(parent, leaf) {
            let name = if name.is_empty() { "NAME" } else { name };
            format!("it belongs to {}", keys::heading(key.parent(), name))
        } else {
            let all: Vec<_> = keys::children(parent).map(Key::leaf).collect();
            format!("known keys: {}", all.join(", "))
        };
        let message = format!(
            "cannot use `{}`: {here} has no such key; {advice}",
            shorten(leaf)
        );
        self.findings.error(location, message);
    }
}

/// The error for a value where a table is required; it shows the first key of that table.
fn no_table(key: &Key, value: &DeValue<'_>) -> String {
    let leaf = key.leaf();
    let first = keys::children(key.path).next();
    let inside = first.map(|first| {
        let written = match (first.kind, value) {
            (Kind::Duration(_), DeValue::Integer(number)) => format!("\"{number}s\""),
            (Kind::Duration(_), DeValue::String(text))
                if value::from_text(first.kind, text).is_ok() =>
            {
                format!("\"{text}\"")
            }
            (kind, _) => value::example(kind),
        };
        format!("{} = {written}", first.leaf())
    });
    let inside = inside.unwrap_or_default();
    format!("cannot read `{leaf}`: it is not a table; write {leaf} = {{ {inside} }}")
}

/// A key of the same name in another table: first in nested tables, then anywhere.
fn find_in_other_table(parent: &str, leaf: &str) -> Option<&'static Key> {
    let named = || keys::KEYS.iter().filter(move |key| key.leaf() == leaf);
    named()
        .find(|key| key.parent().starts_with(parent))
        .or_else(|| named().next())
}

/// The entries in the order of the file: the TOML parser sorts them by name.
fn in_file_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<Entry<'t, 'i>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

//! Describes every configuration key and probe URL as text, for tools outside the crate that print a reference.
//!
//! docs/reference/config.md and stayd.toml(5) are generated from it; the generator is in `tests/support/reference`.

use super::keys::{Default, KEYS, Key, Kind, State};
use super::probe_url::SCHEMES;
use super::value;

/// One key of stayd.toml, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyReference {
    /// Its path, such as `service.*.watchdog.probe`; `*` stands for the name of a service.
    pub path: &'static str,
    /// What it is for; one sentence or two.
    pub doc: String,
    /// Whether it is a table of further keys instead of a value.
    pub is_table: bool,
    /// What its value must look like.
    pub form: String,
    /// What applies without it.
    pub default: String,
    /// None if this version accepts the key; else what to do until a later version does.
    pub alternative: Option<&'static str>,
}

/// One scheme of probe URLs, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeUrlReference {
    /// The form of the URL, such as `tcp://HOST:PORT`.
    pub form: &'static str,
    /// What the probe sends, and what it counts as an answer.
    pub doc: &'static str,
}

/// Every key, in the order in which the reference lists them.
pub fn keys() -> impl Iterator<Item = KeyReference> {
    KEYS.iter().map(|key| KeyReference {
        path: key.path,
        doc: doc(key),
        is_table: matches!(key.kind, Kind::Table | Kind::Named),
        form: form(key),
        default: default(key),
        alternative: match key.state {
            State::NotSupported(alternative) => Some(alternative),
            State::Supported | State::CheckedOnly(_) => None,
        },
    })
}

/// Every scheme of probe URLs, in the order in which the reference lists them.
pub fn probe_urls() -> impl Iterator<Item = ProbeUrlReference> {
    SCHEMES.iter().map(|scheme| ProbeUrlReference {
        form: scheme.form,
        doc: scheme.doc,
    })
}

fn doc(key: &Key) -> String {
    match key.state {
        State::CheckedOnly(what) => format!("{} Read and checked, but {what}.", key.doc),
        State::Supported | State::NotSupported(_) => key.doc.to_owned(),
    }
}

fn form(key: &Key) -> String {
    match key.kind {
        Kind::Choice(words) => format!("`{}`", words.join("`, `")),
        Kind::Count(low, high) => format!("a whole number from {low} to {high}"),
        Kind::Port => "a whole number from 1 to 65535".into(),
        Kind::Name
        | Kind::Text
        | Kind::Path
        | Kind::Secret
        | Kind::Url
        | Kind::Words
        | Kind::Texts
        | Kind::Env
        | Kind::Flag
        | Kind::FlagOrTexts
        | Kind::Duration(_)
        | Kind::Size(_)
        | Kind::Signal
        | Kind::Expect
        | Kind::Table
        | Kind::Named => value::kind_name(key.kind).into(),
    }
}

fn default(key: &Key) -> String {
    match key.default {
        Default::Is("") => "none".into(),
        Default::Is(text) => format!("`{text}`"),
        Default::Described(words) => words.into(),
        Default::Unset => "none".into(),
        Default::Required => "an error".into(),
    }
}

//! Parses single values, from TOML or from the text of a command-line option.

mod scalar;

use scalar::{choice, duration, expect, flag, number, signal, size};

use super::keys::Kind;
use super::words::{is_name, split_words};
use super::{Expect, Signal};
use std::fmt;
use std::time::Duration;
use toml::de::{DeArray, DeTable, DeValue};

/// The most characters of a value that an error quotes.
const QUOTED_CHARS_MAX: usize = 40;

/// A parsed value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Texts(Vec<String>),
    Env(Vec<(String, String)>),
    Flag(bool),
    Number(u64),
    Duration(Duration),
    Signal(Signal),
    Expect(Expect),
}

/// Why a value cannot be used (`cause`), and what to do (`advice`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ValueError {
    cause: String,
    advice: String,
}

impl ValueError {
    pub(super) fn new(cause: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            advice: advice.into(),
        }
    }

    /// The same error about a number in a file, which becomes a text when its advice is followed.
    fn in_quotes(self) -> Self {
        Self {
            advice: format!("{}, in quotes", self.advice),
            ..self
        }
    }

    /// The same error with `what` before the cause.
    pub(super) fn within(self, what: &str) -> Self {
        Self {
            cause: format!("{what}: {}", self.cause),
            ..self
        }
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}; {}", self.cause, self.advice)
    }
}

/// Parses a TOML value as `kind`.
pub(super) fn from_toml(kind: Kind, value: &DeValue<'_>) -> Result<Value, ValueError> {
    match (kind, value) {
        (Kind::Words | Kind::Texts | Kind::FlagOrTexts, DeValue::Array(items)) => {
            from_array(kind, items)
        }
        (Kind::Words | Kind::Texts, DeValue::String(text)) => Err(one_text(kind, text)),
        (Kind::Env, DeValue::Table(table)) => from_env_table(table),
        (Kind::Flag | Kind::FlagOrTexts, DeValue::Boolean(flag)) => Ok(Value::Flag(*flag)),
        (Kind::Port | Kind::Count(..), DeValue::Integer(number)) => {
            from_text(kind, &number.to_string())
        }
        (Kind::Duration(_) | Kind::Size(_), DeValue::Integer(number)) => {
            from_text(kind, &number.to_string()).map_err(ValueError::in_quotes)
        }
        (Kind::Duration(_), DeValue::Float(number)) => {
            from_text(kind, &number.to_string()).map_err(ValueError::in_quotes)
        }
        (kind, DeValue::String(text)) if takes_text(kind) => from_text(kind, text),
        (kind, other) => Err(ValueError::new(
            format!("expected {}, got {}", kind_name(kind), type_name(other)),
            format!("write {}", correction(kind, other)),
        )),
    }
}

/// What to write instead of `wrong`, which has the type of another kind of value.
fn correction(kind: Kind, wrong: &DeValue<'_>) -> String {
    let range = match kind {
        Kind::Port => Some((1, u32::from(u16::MAX))),
        Kind::Count(low, high) => Some((low, high)),
        _other => None,
    };
    match (range, wrong) {
        (Some(_), DeValue::String(text)) if from_text(kind, text.trim()).is_ok() => {
            format!("{}, without quotes", text.trim())
        }
        (Some((low, high)), _) => {
            format!("a whole number from {low} to {high}, without quotes")
        }
        (None, _) => example(kind),
    }
}

/// Parses the text of a command-line option or of a default as `kind`.
pub(super) fn from_text(kind: Kind, text: &str) -> Result<Value, ValueError> {
    match kind {
        Kind::Name if is_name(text) => Ok(Value::Text(text.into())),
        Kind::Name => Err(ValueError::new(
            format!("`{}` is not a valid name", shorten(text)),
            NAME_ADVICE,
        )),
        Kind::Text | Kind::Path | Kind::Secret | Kind::Url => plain(kind, text),
        Kind::Texts | Kind::Words if text.is_empty() => Ok(Value::Texts(Vec::new())),
        Kind::Texts | Kind::Words => Err(one_text(kind, text)),
        Kind::Flag | Kind::FlagOrTexts => flag(text),
        Kind::Port => number(text, 1, u32::from(u16::MAX)),
        Kind::Count(low, high) => number(text, low, high),
        Kind::Duration(least) => duration(text, least),
        Kind::Size(least) => size(text, least),
        Kind::Choice(words) => choice(text, words),
        Kind::Signal => signal(text),
        Kind::Expect => expect(text),
        Kind::Env | Kind::Table | Kind::Named => Err(ValueError::new(
            "expected a table, got a string",
            format!("write {}", example(kind)),
        )),
    }
}

/// The advice for an invalid name.
pub(super) const NAME_ADVICE: &str =
    "use 1 to 64 letters, digits, `-`, `_` and `.`, the first a letter, a digit or `_`";

fn takes_text(kind: Kind) -> bool {
    match kind {
        Kind::Name
        | Kind::Text
        | Kind::Path
        | Kind::Secret
        | Kind::Url
        | Kind::Duration(_)
        | Kind::Size(_)
        | Kind::Choice(_)
        | Kind::Signal
        | Kind::Expect => true,
        Kind::Words
        | Kind::Texts
        | Kind::Env
        | Kind::Flag
        | Kind::FlagOrTexts
        | Kind::Port
        | Kind::Count(..)
        | Kind::Table
        | Kind::Named => false,
    }
}

fn plain(kind: Kind, text: &str) -> Result<Value, ValueError> {
    if text.trim().is_empty() {
        return Err(ValueError::new(
            "it is empty",
            "write something or remove the key",
        ));
    }
    if text.contains('\0') {
        return Err(ValueError::new(
            "it contains a NUL character",
            format!("write {}", example(kind)),
        ));
    }
    Ok(Value::Text(text.into()))
}

fn from_array(kind: Kind, items: &DeArray<'_>) -> Result<Value, ValueError> {
    let mut texts = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let nth = index + 1;
        let DeValue::String(text) = item.get_ref() else {
            let got = type_name(item.get_ref());
            let cause = format!("expected a string as item {nth}, got {got}");
            return Err(ValueError::new(cause, "put each item into quotes"));
        };
        if text.contains('\0') {
            let cause = format!("item {nth} contains a NUL character");
            return Err(ValueError::new(cause, "remove the NUL"));
        }
        texts.push(text.to_string());
    }
    let program = texts.first().map(|word| word.trim());
    if kind == Kind::Words && program.is_none_or(str::is_empty) {
        return Err(ValueError::new(
            "it names no program",
            format!("write {}", example(kind)),
        ));
    }
    Ok(Value::Texts(texts))
}

/// The error for a single text where a list is required; a command is shown split into words.
fn one_text(kind: Kind, text: &str) -> ValueError {
    let words = if kind == Kind::Words {
        split_words(text).unwrap_or_default()
    } else {
        vec![text.to_owned()]
    };
    let advice = if words.is_empty() || text.len() > QUOTED_CHARS_MAX {
        example(kind)
    } else {
        format!("{words:?}")
    };
    ValueError::new(
        "expected a list of strings, got a string",
        format!("write {advice}"),
    )
}

fn from_env_table(table: &DeTable<'_>) -> Result<Value, ValueError> {
    let mut pairs = Vec::new();
    for (name, value) in table {
        let name: &str = name.get_ref();
        let DeValue::String(text) = value.get_ref() else {
            let cause = format!(
                "the value of `{}` is {}",
                shorten(name),
                type_name(value.get_ref())
            );
            return Err(ValueError::new(cause, "put it into quotes"));
        };
        pairs.push((name.to_owned(), env_value(name, text)?));
    }
    Ok(Value::Env(pairs))
}

/// Checks the name and value of an environment variable; returns the value.
pub(super) fn env_value(name: &str, value: &str) -> Result<String, ValueError> {
    const SET_BY_STAYD: [&str; 6] = [
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
    ];
    if name.is_empty() || name.contains(['=', '\0']) || name.contains(char::is_whitespace) {
        let cause = format!("`{}` is not a valid variable name", shorten(name));
        return Err(ValueError::new(cause, "use letters, digits and `_`"));
    }
    if SET_BY_STAYD.contains(&name) || name.starts_with("STAYD_") {
        let cause = format!("stayd sets `{}` itself", shorten(name));
        return Err(ValueError::new(cause, "remove it"));
    }
    if value.contains('\0') {
        let cause = format!("the value of `{}` contains a NUL character", shorten(name));
        return Err(ValueError::new(cause, "remove the NUL"));
    }
    Ok(value.to_owned())
}

/// Shortens a long value and escapes control characters, so that a finding remains on one line.
pub(super) fn shorten(text: &str) -> String {
    let shown: String = text
        .chars()
        .take(QUOTED_CHARS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        format!("{shown}…")
    } else {
        shown
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The name of a kind of value; used in errors and in the reference.
pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Name => "a name",
        Kind::Text => "a string",
        Kind::Path => "a path",
        Kind::Secret => "a string",
        Kind::Url => "a probe URL",
        Kind::Words => "a command, as a list of strings",
        Kind::Texts => "a list of strings",
        Kind::Env => "a table of strings",
        Kind::Flag => "true or false",
        Kind::FlagOrTexts => "true, false or a list of strings",
        Kind::Port | Kind::Count(..) => "a whole number",
        Kind::Duration(_) => "a duration",
        Kind::Size(_) => "a size",
        Kind::Choice(_) => "one of its words",
        Kind::Signal => "the name of a signal",
        Kind::Expect => "HTTP statuses",
        Kind::Table | Kind::Named => "a table",
    }
}

/// An example of a value of this kind, for error messages.
pub(super) fn example(kind: Kind) -> String {
    match kind {
        Kind::Name | Kind::Text | Kind::Path | Kind::Secret => "a string in quotes".into(),
        Kind::Url => "\"http://127.0.0.1:8080/health\"".into(),
        Kind::Words => "[\"PROGRAM\", \"ARGUMENT\"]".into(),
        Kind::Texts => "[\"ONE\", \"OTHER\"]".into(),
        Kind::Env => "{ NAME = \"value\" }".into(),
        Kind::Flag => "true or false, without quotes".into(),
        Kind::FlagOrTexts => "true, false, or [\"ONE\", \"OTHER\"]".into(),
        Kind::Port => "8080, without quotes".into(),
        Kind::Count(low, _) => format!("{}, without quotes", low.max(3)),
        Kind::Duration(_) => "\"5s\"".into(),
        Kind::Size(_) => "\"64MiB\"".into(),
        Kind::Choice(words) => format!("\"{}\"", words.join("\" or \"")),
        Kind::Signal => "\"TERM\"".into(),
        Kind::Expect => "\"2xx\"".into(),
        Kind::Table | Kind::Named => "a table, { KEY = VALUE }".into(),
    }
}

//! One value at a time: from TOML or from an option's text to what it means.

use super::keys::{Kind, nearest_of};
use super::words::{is_name, split_words};
use super::{Expect, Signal};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use toml::de::{DeArray, DeTable, DeValue};

/// Longer than this is a slip, and would be added to clocks.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// A quoted value is cut here in an error.
const QUOTED_CHARS: usize = 40;

/// A value, read.
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

/// Why a value cannot be read, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    cause: String,
    cure: String,
}

impl Wrong {
    pub(super) fn new(cause: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            cure: cure.into(),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}; {}", self.cause, self.cure)
    }
}

/// Reads a TOML value as `kind`.
pub(super) fn from_toml(kind: Kind, value: &DeValue<'_>) -> Result<Value, Wrong> {
    match (kind, value) {
        (Kind::Words | Kind::Texts, DeValue::Array(items)) => from_array(kind, items),
        (Kind::Words | Kind::Texts, DeValue::String(text)) => Err(one_text(text)),
        (Kind::Env, DeValue::Table(table)) => from_env_table(table),
        (Kind::Flag, DeValue::Boolean(flag)) => Ok(Value::Flag(*flag)),
        (Kind::Port | Kind::Count(..), DeValue::Integer(number)) => {
            from_text(kind, &number.to_string())
        }
        (Kind::Duration(_), DeValue::Integer(number)) => Err(no_unit(&number.to_string(), "s")),
        (Kind::Duration(_), DeValue::Float(number)) => Err(no_unit(&number.to_string(), "s")),
        (Kind::Size(_), DeValue::Integer(number)) => Err(no_unit(&number.to_string(), "B")),
        (kind, DeValue::String(text)) if takes_text(kind) => from_text(kind, text),
        (kind, other) => Err(Wrong::new(
            format!("it is {}, not {}", type_name(other), wanted(kind)),
            format!("write {}", example(kind)),
        )),
    }
}

/// Reads an option of the command line, or a default, as `kind`.
pub(super) fn from_text(kind: Kind, text: &str) -> Result<Value, Wrong> {
    match kind {
        Kind::Name if is_name(text) => Ok(Value::Text(text.into())),
        Kind::Name => Err(Wrong::new(
            format!("`{}` is no name", brief(text)),
            NAME_CURE,
        )),
        Kind::Text | Kind::Path | Kind::Secret | Kind::Url => plain(kind, text),
        Kind::Texts | Kind::Words if text.is_empty() => Ok(Value::Texts(Vec::new())),
        Kind::Texts | Kind::Words => Err(one_text(text)),
        Kind::Flag => flag(text),
        Kind::Port => number(text, 1, u32::from(u16::MAX)),
        Kind::Count(low, high) => number(text, low, high),
        Kind::Duration(least) => duration(text, least),
        Kind::Size(least) => size(text, least),
        Kind::Choice(words) => choice(text, words),
        Kind::Signal => signal(text),
        Kind::Expect => expect(text),
        Kind::Env | Kind::Table | Kind::Named => Err(Wrong::new(
            "it is a text, not a table",
            format!("write {}", example(kind)),
        )),
    }
}

/// What to do about a bad name.
pub(super) const NAME_CURE: &str =
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
        | Kind::Port
        | Kind::Count(..)
        | Kind::Table
        | Kind::Named => false,
    }
}

fn plain(kind: Kind, text: &str) -> Result<Value, Wrong> {
    if text.trim().is_empty() {
        return Err(Wrong::new(
            "it is empty",
            "write something or remove the key",
        ));
    }
    if text.contains('\0') {
        return Err(Wrong::new(
            "it holds a NUL character",
            format!("write {}", example(kind)),
        ));
    }
    Ok(Value::Text(text.into()))
}

fn from_array(kind: Kind, items: &DeArray<'_>) -> Result<Value, Wrong> {
    let mut texts = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let nth = index + 1;
        let DeValue::String(text) = item.get_ref() else {
            let cause = format!(
                "its {nth}. item is {}, not a text",
                type_name(item.get_ref())
            );
            return Err(Wrong::new(cause, "put each item into quotes"));
        };
        if text.contains('\0') {
            let cause = format!("its {nth}. item holds a NUL character");
            return Err(Wrong::new(cause, "remove the NUL"));
        }
        texts.push(text.to_string());
    }
    let program = texts.first().map(|word| word.trim());
    if kind == Kind::Words && program.is_none_or(str::is_empty) {
        return Err(Wrong::new(
            "it names no program",
            format!("write {}", example(kind)),
        ));
    }
    Ok(Value::Texts(texts))
}

/// A command in one text: shows how it is split, unless that would show what may be secret.
fn one_text(text: &str) -> Wrong {
    let cure = match split_words(text) {
        Ok(words) if !words.is_empty() && text.len() <= QUOTED_CHARS => {
            format!("write {words:?} (no shell reads it)")
        }
        Ok(_) | Err(_) => {
            "write each word as a text of its own, [\"PROGRAM\", \"ARGUMENT\"]".into()
        }
    };
    Wrong::new("it is one text, not a list of texts", cure)
}

fn from_env_table(table: &DeTable<'_>) -> Result<Value, Wrong> {
    let mut pairs = Vec::new();
    for (name, value) in table {
        let name: &str = name.get_ref();
        let DeValue::String(text) = value.get_ref() else {
            let cause = format!(
                "the value of `{}` is {}",
                brief(name),
                type_name(value.get_ref())
            );
            return Err(Wrong::new(cause, "put it into quotes"));
        };
        pairs.push((name.to_owned(), env_value(name, text)?));
    }
    Ok(Value::Env(pairs))
}

/// Checks one variable; gives its value back.
pub(super) fn env_value(name: &str, value: &str) -> Result<String, Wrong> {
    const OURS: [&str; 6] = [
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
    ];
    if name.is_empty() || name.contains(['=', '\0']) || name.contains(char::is_whitespace) {
        let cause = format!("`{}` is no name of a variable", brief(name));
        return Err(Wrong::new(cause, "use letters, digits and `_`"));
    }
    if OURS.contains(&name) || name.starts_with("STAYD_") {
        let cause = format!("stayd sets `{}` itself", brief(name));
        return Err(Wrong::new(cause, "remove it"));
    }
    if value.contains('\0') {
        let cause = format!("the value of `{}` holds a NUL character", brief(name));
        return Err(Wrong::new(cause, "remove the NUL"));
    }
    Ok(value.to_owned())
}

fn flag(text: &str) -> Result<Value, Wrong> {
    bool::from_str(text).map(Value::Flag).map_err(|_| {
        Wrong::new(
            format!("`{}` is neither `true` nor `false`", brief(text)),
            "write one of them",
        )
    })
}

fn number(text: &str, low: u32, high: u32) -> Result<Value, Wrong> {
    let parsed = text.parse::<u64>().ok();
    match parsed {
        Some(number) if (u64::from(low)..=u64::from(high)).contains(&number) => {
            Ok(Value::Number(number))
        }
        Some(_) | None => Err(Wrong::new(
            format!("{} is out of range", brief(text)),
            format!("write a whole number from {low} to {high}"),
        )),
    }
}

fn duration(text: &str, least: Duration) -> Result<Value, Wrong> {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Err(no_unit(text, "s"));
    }
    let length = humantime::parse_duration(text).map_err(|_| {
        let cause = format!("`{}` is no length of time", brief(text));
        Wrong::new(cause, "write it as `200ms`, `5s`, `2m` or `1h 30m`")
    })?;
    if length < least {
        let cause = format!("{} is too short", brief(text));
        return Err(Wrong::new(
            cause,
            format!("write at least `{}`", spell(least)),
        ));
    }
    if length > LONGEST {
        let cause = format!("{} is longer than a year", brief(text));
        return Err(Wrong::new(cause, "write at most `366days`"));
    }
    Ok(Value::Duration(length))
}

fn spell(length: Duration) -> String {
    humantime::format_duration(length).to_string()
}

fn size(text: &str, least: u64) -> Result<Value, Wrong> {
    const UNITS: [(&str, u32); 5] = [("B", 0), ("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = (&text[..split], text[split..].trim_start());
    if unit.is_empty() && !digits.is_empty() {
        return Err(no_unit(digits, "B"));
    }
    let bad = || {
        let cause = format!("`{}` is no size", brief(text));
        Wrong::new(cause, "write it as `512KiB`, `64MiB` or `2GiB`")
    };
    let shift = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, shift)| *shift);
    let number: u64 = digits.parse().map_err(|_| bad())?;
    let bytes = number
        .checked_mul(1 << shift.ok_or_else(bad)?)
        .ok_or_else(bad)?;
    if bytes < least {
        let cause = format!("{} is too small", brief(text));
        return Err(Wrong::new(
            cause,
            format!("write at least `{}KiB`", least >> 10),
        ));
    }
    Ok(Value::Number(bytes))
}

fn no_unit(number: &str, unit: &str) -> Wrong {
    let number = brief(number);
    let cure = match unit {
        "s" if number.contains('.') => "write milliseconds, as `500ms`".to_owned(),
        "s" => format!("write `{number}s` or `{number}ms`, in quotes"),
        _ => format!("write `{number}B`, in quotes, or use KiB, MiB or GiB"),
    };
    Wrong::new(format!("{number} has no unit"), cure)
}

fn choice(text: &str, words: &[&str]) -> Result<Value, Wrong> {
    if words.contains(&text) {
        return Ok(Value::Text(text.into()));
    }
    let all = words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ");
    Err(Wrong::new(
        format!("`{}` is none of its values", brief(text)),
        format!("write one of {all}"),
    ))
}

fn signal(text: &str) -> Result<Value, Wrong> {
    Signal::named(text).map(Value::Signal).ok_or_else(|| {
        let bare = text.trim_start_matches("SIG").to_ascii_uppercase();
        let names = Signal::names();
        let cure = match nearest_of(&bare, names.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "write a name as `TERM`, `INT`, `HUP` or `USR1`".into(),
        };
        Wrong::new(format!("`{}` is no signal", brief(text)), cure)
    })
}

fn expect(text: &str) -> Result<Value, Wrong> {
    let ranges: Option<Vec<_>> = text
        .split(',')
        .map(|part| status_range(part.trim()))
        .collect();
    ranges
        .map(|ranges| Value::Expect(Expect(ranges)))
        .ok_or_else(|| {
            let cause = format!("`{}` names no HTTP statuses", brief(text));
            Wrong::new(cause, "write `2xx`, `200-399` or `200,404`")
        })
}

/// `2xx`, `204` or `200-299`.
fn status_range(part: &str) -> Option<(u16, u16)> {
    let status = |text: &str| -> Option<u16> {
        let number = text.trim().parse().ok()?;
        (100..=599).contains(&number).then_some(number)
    };
    if let Some(hundreds) = part.strip_suffix("xx") {
        let low = status(&format!("{hundreds}00"))?;
        return Some((low, low + 99));
    }
    let (low, high) = part.split_once('-').unwrap_or((part, part));
    let (low, high) = (status(low)?, status(high)?);
    (low <= high).then_some((low, high))
}

/// Cuts long values and shows control characters by name, so that a finding stays one line.
pub(super) fn brief(text: &str) -> String {
    let shown: String = text
        .chars()
        .take(QUOTED_CHARS)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(QUOTED_CHARS).is_some() {
        format!("{shown}…")
    } else {
        shown
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// What a kind is called; also in the reference.
pub(super) fn wanted(kind: Kind) -> &'static str {
    match kind {
        Kind::Name => "a name",
        Kind::Text => "a text",
        Kind::Path => "a path",
        Kind::Secret => "a text",
        Kind::Url => "a probe URL",
        Kind::Words => "a command, as a list of texts",
        Kind::Texts => "a list of texts",
        Kind::Env => "a table of texts",
        Kind::Flag => "true or false",
        Kind::Port | Kind::Count(..) => "a whole number",
        Kind::Duration(_) => "a length of time",
        Kind::Size(_) => "a size",
        Kind::Choice(_) => "one of its words",
        Kind::Signal => "the name of a signal",
        Kind::Expect => "HTTP statuses",
        Kind::Table | Kind::Named => "a table",
    }
}

/// What to write; also in a cure for a missing key.
pub(super) fn example(kind: Kind) -> String {
    match kind {
        Kind::Name | Kind::Text | Kind::Path | Kind::Secret => "a text in quotes".into(),
        Kind::Url => "\"http://127.0.0.1:8080/health\"".into(),
        Kind::Words => "[\"PROGRAM\", \"ARGUMENT\"]".into(),
        Kind::Texts => "[\"ONE\", \"OTHER\"]".into(),
        Kind::Env => "{ NAME = \"value\" }".into(),
        Kind::Flag => "true or false, without quotes".into(),
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

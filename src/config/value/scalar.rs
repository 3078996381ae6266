//! Parses scalar values: booleans, numbers, durations, sizes, choices, signals, HTTP statuses.

use super::{Value, ValueError, shorten};
use crate::config::keys::nearest_of;
use crate::config::{Expect, Signal};
use std::str::FromStr;
use std::time::Duration;

/// The longest duration: a longer one is a mistake, and adding it to a clock could overflow.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// The units of a size, and the powers of two that they stand for.
const SIZE_UNITS: [(&str, u32); 5] = [("B", 0), ("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
/// The advice for an invalid size.
const SIZE_ADVICE: &str = "write it as `512KiB`, `64MiB` or `2GiB`";

pub(super) fn flag(text: &str) -> Result<Value, ValueError> {
    bool::from_str(text).map(Value::Flag).map_err(|_| {
        ValueError::new(
            format!("`{}` is neither `true` nor `false`", shorten(text)),
            "write one of them",
        )
    })
}

pub(super) fn number(text: &str, low: u32, high: u32) -> Result<Value, ValueError> {
    let parsed = text.parse::<u64>().ok();
    if let Some(number) = parsed.filter(|number| (low.into()..=high.into()).contains(number)) {
        return Ok(Value::Number(number));
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let cause = if !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()) {
        format!("{text} is out of range", text = shorten(text))
    } else {
        format!("`{}` is not a whole number", shorten(text))
    };
    let advice = format!("write a whole number from {low} to {high}");
    Err(ValueError::new(cause, advice))
}

pub(super) fn duration(text: &str, least: Duration) -> Result<Value, ValueError> {
    let is_number = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if let Some(number) = text.parse().ok().filter(|_: &f64| is_number) {
        return Err(duration_without_unit(text, number, least));
    }
    let length = humantime::parse_duration(text).map_err(|_| {
        let cause = format!("`{}` is not a duration", shorten(text));
        ValueError::new(cause, "write it as `200ms`, `5s`, `2m` or `1h 30m`")
    })?;
    if length < least {
        let cause = format!("{} is too short", shorten(text));
        return Err(ValueError::new(
            cause,
            format!("write at least `{}`", format_duration(least)),
        ));
    }
    if length > DURATION_MAX {
        let cause = format!("{} is longer than a year", shorten(text));
        return Err(ValueError::new(cause, "write at most `366days`"));
    }
    Ok(Value::Duration(length))
}

fn format_duration(length: Duration) -> String {
    humantime::format_duration(length).to_string()
}

pub(super) fn size(text: &str, least: u64) -> Result<Value, ValueError> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = (&text[..split], text[split..].trim_start());
    if unit.is_empty() && !digits.is_empty() {
        return Err(size_without_unit(digits, least));
    }
    let bad = || {
        let cause = format!("`{}` is not a size", shorten(text));
        ValueError::new(cause, SIZE_ADVICE)
    };
    let shift = SIZE_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, shift)| *shift);
    let number: u64 = digits.parse().map_err(|_| bad())?;
    let bytes = number
        .checked_mul(1 << shift.ok_or_else(bad)?)
        .ok_or_else(bad)?;
    if bytes < least {
        let cause = format!("{} is too small", shorten(text));
        return Err(ValueError::new(
            cause,
            format!("write at least `{}KiB`", least >> 10),
        ));
    }
    Ok(Value::Number(bytes))
}

/// The error for a number where a duration is required: it shows the number with each unit that makes it an allowed duration.
fn duration_without_unit(text: &str, number: f64, least: Duration) -> ValueError {
    let number_of_units = |unit: &str| match (text.contains('.'), unit) {
        (false, _) => Some(format!("{text}{unit}")),
        (true, "s") => None,
        (true, _) => Some(format!("{:.0}ms", number * 1000.0)),
    };
    let allowed = ["s", "ms"].into_iter().filter_map(number_of_units);
    let allowed = allowed.filter(|written| duration(written, least).is_ok());
    let allowed: Vec<_> = allowed.map(|written| format!("`{written}`")).collect();
    let advice = if allowed.is_empty() {
        format!("write at least `{}`", format_duration(least))
    } else {
        format!("write {}", allowed.join(" or "))
    };
    ValueError::new(format!("{} has no unit", shorten(text)), advice)
}

/// The error for a number where a size is required, likewise.
fn size_without_unit(digits: &str, least: u64) -> ValueError {
    let written = SIZE_UNITS.map(|(unit, _)| format!("{digits}{unit}"));
    let allowed = written.into_iter().filter(|text| size(text, least).is_ok());
    let allowed: Vec<_> = allowed.take(2).map(|text| format!("`{text}`")).collect();
    let advice = if allowed.is_empty() {
        SIZE_ADVICE.to_owned()
    } else {
        format!("write {}", allowed.join(" or "))
    };
    ValueError::new(format!("{} has no unit", shorten(digits)), advice)
}

pub(super) fn choice(text: &str, words: &[&str]) -> Result<Value, ValueError> {
    if words.contains(&text) {
        return Ok(Value::Text(text.into()));
    }
    let all = words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ");
    Err(ValueError::new(
        format!("`{}` is not one of the allowed values", shorten(text)),
        format!("write one of {all}"),
    ))
}

pub(super) fn signal(text: &str) -> Result<Value, ValueError> {
    Signal::named(text).map(Value::Signal).ok_or_else(|| {
        let bare = text.trim_start_matches("SIG").to_ascii_uppercase();
        let names = Signal::names();
        let advice = match nearest_of(&bare, names.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "write a name as `TERM`, `INT`, `HUP` or `USR1`".into(),
        };
        ValueError::new(
            format!("`{}` is not the name of a signal", shorten(text)),
            advice,
        )
    })
}

pub(super) fn expect(text: &str) -> Result<Value, ValueError> {
    let ranges: Option<Vec<_>> = text
        .split(',')
        .map(|part| status_range(part.trim()))
        .collect();
    ranges
        .map(|ranges| Value::Expect(Expect(ranges)))
        .ok_or_else(|| {
            let cause = format!("`{}` is not a list of HTTP statuses", shorten(text));
            ValueError::new(cause, "write `2xx`, `200-399` or `200,404`")
        })
}

/// Parses `2xx`, `204` or `200-299`.
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

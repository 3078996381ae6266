//! Parses scalar values: booleans, numbers, durations, sizes, choices, signals, HTTP statuses.

use super::{Value, ValueError, shorten};
use crate::config::keys::nearest_of;
use crate::config::{Expect, Signal};
use std::str::FromStr;
use std::time::Duration;

/// The longest duration: a longer one is a mistake, and adding it to a clock could overflow.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

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
    match parsed {
        Some(number) if (u64::from(low)..=u64::from(high)).contains(&number) => {
            Ok(Value::Number(number))
        }
        Some(_) | None => Err(ValueError::new(
            format!("{} is out of range", shorten(text)),
            format!("write a whole number from {low} to {high}"),
        )),
    }
}

pub(super) fn duration(text: &str, least: Duration) -> Result<Value, ValueError> {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Err(no_unit(text, "s"));
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
    const UNITS: [(&str, u32); 5] = [("B", 0), ("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = (&text[..split], text[split..].trim_start());
    if unit.is_empty() && !digits.is_empty() {
        return Err(no_unit(digits, "B"));
    }
    let bad = || {
        let cause = format!("`{}` is not a size", shorten(text));
        ValueError::new(cause, "write it as `512KiB`, `64MiB` or `2GiB`")
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
        let cause = format!("{} is too small", shorten(text));
        return Err(ValueError::new(
            cause,
            format!("write at least `{}KiB`", least >> 10),
        ));
    }
    Ok(Value::Number(bytes))
}

pub(super) fn no_unit(number: &str, unit: &str) -> ValueError {
    let number = shorten(number);
    let advice = match unit {
        "s" if number.contains('.') => "write milliseconds, as `500ms`".to_owned(),
        "s" => format!("write `{number}s` or `{number}ms`, in quotes"),
        _ => format!("write `{number}B`, in quotes, or use KiB, MiB or GiB"),
    };
    ValueError::new(format!("{number} has no unit"), advice)
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

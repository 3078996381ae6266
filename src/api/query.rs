//! Parses the query string of a request, including points in time, and percent-encodes text for one.

use super::backend::{ApiError, ApiErrorKind, Since};
use super::limits;
use std::time::SystemTime;

/// The parameters of a query string, in order, decoded.
#[derive(Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Parses `a=b&c=d`.
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self(pairs.collect())
    }

    /// The first value of `name`.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    /// The number `name`, from 1 to `max`; `default` if the parameter is missing.
    pub(super) fn count(&self, name: &str, default: usize, max: usize) -> Result<usize, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(default);
        };
        match text.parse() {
            Ok(count) if (1..=max).contains(&count) => Ok(count),
            _ => Err(bad_request(format!(
                "cannot use {name}={text}: it must be a number from 1 to {max}"
            ))),
        }
    }

    /// Whether `name` is set: `1`, `true`, or without a value.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name) {
            Some("" | "1" | "true") => Ok(true),
            None | Some("0" | "false") => Ok(false),
            Some(text) => Err(bad_request(format!(
                "cannot use {name}={text}: it must be 1 or 0"
            ))),
        }
    }

    /// The parameter `since`: see [`since`].
    pub(super) fn since(&self, now: SystemTime) -> Result<Since, ApiError> {
        self.get("since")
            .map_or(Ok(Since::Beginning), |text| since(text, now))
    }
}

/// Parses `since`: an id, a duration before `now`, or a point in time.
///
/// # Errors
/// It is none of these, or too long ago.
pub fn since(text: &str, now: SystemTime) -> Result<Since, ApiError> {
    if let Ok(id) = text.parse() {
        return Ok(Since::Id(id));
    }
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        return Ok(Since::Time(time));
    }
    let ago = humantime::parse_duration(text).map_err(|_invalid| {
        bad_request(format!(
            "cannot use since={text}: it must be an id (17), a duration (7d) or a point in time \
             (2026-11-20T09:00:00Z)"
        ))
    })?;
    if ago > limits::SINCE_MAX {
        return Err(bad_request(format!(
            "cannot use since={text}: the limit is 100 years; without `since` the answer covers all records"
        )));
    }
    let then = now.checked_sub(ago);
    Ok(Since::Time(then.unwrap_or(SystemTime::UNIX_EPOCH)))
}

/// An error about a parameter or the body.
pub(super) fn bad_request(message: impl Into<String>) -> ApiError {
    ApiError::new(ApiErrorKind::BadRequest, message)
}

/// Percent-decodes `text`; an invalid escape stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| tail.get(..2).and_then(hex_byte))
            .flatten();
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    digits.iter().try_fold(0, |byte: u8, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(byte << 4 | u8::try_from(value).ok()?)
    })
}

/// Percent-encodes all bytes except ASCII letters, digits and `-_.:`, for use in a path or a parameter.
#[must_use]
pub fn encode(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _written = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::{Params, Since, encode};
    use std::time::{Duration, SystemTime};

    #[test]
    fn encoded_parameters_decode_to_the_same_text() {
        let text = "a b&c=d/é";
        let params = Params::parse(&format!("x={}&wait&y=%zz%+1%4", encode(text)));
        assert_eq!(params.get("x"), Some(text));
        assert_eq!(params.get("y"), Some("%zz%+1%4"));
        assert_eq!(params.flag("wait"), Ok(true));
        assert_eq!(params.flag("none"), Ok(false));
        assert!(params.flag("x").is_err());
    }

    #[test]
    fn since_accepts_ids_durations_and_points_in_time() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(7200);
        let since = |text: &str| Params::parse(&format!("since={text}")).since(now);
        assert_eq!(since("17"), Ok(Since::Id(17)));
        let hour = SystemTime::UNIX_EPOCH + Duration::from_secs(3600);
        assert_eq!(since("1h"), Ok(Since::Time(hour)));
        assert_eq!(since("1970-01-01T01:00:00Z"), Ok(Since::Time(hour)));
        assert!(since("yesterday").is_err());
        assert_eq!(Params::parse("").since(now), Ok(Since::Beginning));
    }

    #[test]
    fn numbers_outside_their_range_are_rejected() {
        let params = Params::parse("n=0&m=5&k=x");
        assert!(params.count("n", 1, 10).is_err());
        assert_eq!(params.count("m", 1, 10), Ok(5));
        assert!(params.count("m", 1, 4).is_err());
        assert!(params.count("k", 1, 10).is_err());
        assert_eq!(params.count("none", 3, 10), Ok(3));
    }
}

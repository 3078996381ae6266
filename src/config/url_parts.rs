//! Parses the parts of a URL: user, password, host, port and percent-encoding.

use super::secret::{Secrets, find_outside, rfind_outside};
use super::value::ValueError;
use std::net::Ipv6Addr;

/// The replacement for a secret in displayed text.
pub(super) const MASK: &str = "***";

/// The parts of `user:password@host:port`, not decoded.
pub(super) struct Authority<'t> {
    /// The text before the last `@`; empty if there is none.
    pub(super) userinfo: &'t str,
    pub(super) user: Option<&'t str>,
    pub(super) password: Option<&'t str>,
    /// Host and port.
    pub(super) host_port: &'t str,
}

impl<'t> Authority<'t> {
    pub(super) fn split(text: &'t str) -> Self {
        let (userinfo, host_port) = split_userinfo(text);
        let (user, password) = match userinfo.map(|info| (info, find_outside(info, &[':']))) {
            None => (None, None),
            Some((info, None)) => (Some(info), None),
            Some((info, Some(at))) => (Some(&info[..at]), Some(&info[at + 1..])),
        };
        Self {
            userinfo: userinfo.unwrap_or_default(),
            user,
            password,
            host_port,
        }
    }

    /// One of its parts, decoded and with references replaced.
    pub(super) fn decoded(
        &self,
        part: Option<&str>,
        secrets: &Secrets<'_>,
    ) -> Result<Option<String>, ValueError> {
        part.map(|text| secrets.fill(text, decode)).transpose()
    }
}

/// Parses `host`, `host:port` or `[::1]:port`.
pub(super) fn host_and_port(
    text: &str,
    secrets: &Secrets<'_>,
) -> Result<(String, Option<u16>), ValueError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']').ok_or_else(invalid_host)?;
        let host: Ipv6Addr = inside.parse().map_err(|_| invalid_host())?;
        let number = match after.strip_prefix(':') {
            Some(digits) => Some(port(digits, secrets)?),
            None if after.is_empty() => None,
            None => return Err(invalid_host()),
        };
        return Ok((host.to_string(), number));
    }
    let (host, digits) = split_port(text);
    let number = digits.map(|digits| port(digits, secrets)).transpose()?;
    let host = secrets.fill(host, decode)?;
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if host.is_empty() || !host.chars().all(letters) {
        return Err(invalid_host());
    }
    Ok((host, number))
}

/// Splits at the last colon; a colon inside brackets does not count.
pub(super) fn split_port(text: &str) -> (&str, Option<&str>) {
    match rfind_outside(text, ':') {
        Some(at) if !text[at..].contains(']') => (&text[..at], Some(&text[at + 1..])),
        _ => (text, None),
    }
}

fn invalid_host() -> ValueError {
    ValueError::new(
        "its host is neither a name nor an address",
        "write 127.0.0.1, [::1] or a name; in a password write @ : / ? # as %40 %3A %2F %3F %23",
    )
}

/// Parses a port number.
pub(super) fn port(text: &str, secrets: &Secrets<'_>) -> Result<u16, ValueError> {
    let digits = secrets.fill(text, |plain| Ok(plain.to_owned()))?;
    let number = digits.parse().ok().filter(|number| *number != 0);
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    number.filter(|_| plain).ok_or_else(|| {
        ValueError::new(
            "its port is not a number from 1 to 65535",
            "write it after the colon that follows the host; in a password write @ : / ? # as %40 %3A %2F %3F %23",
        )
    })
}

/// Decodes percent-encoding.
pub(super) fn decode(text: &str) -> Result<String, ValueError> {
    let bad = || {
        ValueError::new(
            "a `%` is not followed by two hex digits",
            "write a percent sign as %25",
        )
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| bad())?);
    }
    let plain = String::from_utf8(bytes).map_err(|_| {
        ValueError::new(
            "its percent-encoded bytes are not UTF-8",
            "encode the text as UTF-8",
        )
    })?;
    if plain.contains('\0') {
        return Err(ValueError::new(
            "it contains a NUL character",
            "remove the %00",
        ));
    }
    Ok(plain)
}
/// Splits `user:password@host:port` at the last `@` outside of references.
pub(super) fn split_userinfo(authority: &str) -> (Option<&str>, &str) {
    match rfind_outside(authority, '@') {
        Some(at) => (Some(&authority[..at]), &authority[at + 1..]),
        None => (None, authority),
    }
}

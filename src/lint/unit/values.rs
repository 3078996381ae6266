//! Checks single values: whether a key takes this value (systemd.syntax(7), systemd.time(7), systemd.exec(5)).

use super::keys::Kind;

/// Why a value is none that the key takes, with what to write; none if it is one.
pub(super) fn refusal(kind: Kind, value: &str) -> Option<String> {
    let one_of = |words: &[&str], more: &str| {
        let fitting = words.iter().find(|word| word.eq_ignore_ascii_case(value));
        match fitting {
            Some(word) => format!("write `{word}`: values are case-sensitive"),
            None => format!("write one of {}{more}", words.join(", ")),
        }
    };
    match kind {
        Kind::Boolean if !is_boolean(value) => Some("write yes or no".to_owned()),
        Kind::Word(words) if !words.contains(&value) => Some(one_of(words, "")),
        Kind::WordOrBoolean(words) if !words.contains(&value) && !is_boolean(value) => {
            Some(one_of(words, ", yes, no"))
        }
        Kind::Time if !is_time(value) => {
            Some("write a time such as 5s, 2min or infinity".to_owned())
        }
        Kind::Number if value.parse::<i64>().is_err() => Some("write a whole number".to_owned()),
        Kind::Mode if !is_mode(value) => Some("write an octal number such as 0750".to_owned()),
        Kind::Signal if !is_signal(value) => Some("write a signal such as SIGTERM".to_owned()),
        Kind::Size if !is_size(value) => Some(
            "write a number of bytes such as 512M, a share such as 50%, or infinity".to_owned(),
        ),
        Kind::Limit
            if !value
                .split(':')
                .all(|part| is_size(part) || is_time(part) || part.parse::<i64>().is_ok()) =>
        {
            Some("write a number, or two with a colon (soft:hard), or infinity".to_owned())
        }
        Kind::Path
            if !value
                .trim_start_matches(['-', '+'])
                .starts_with(['/', '%', '~']) =>
        {
            Some("write an absolute path".to_owned())
        }
        _ => None,
    }
}

/// Whether systemd reads it as a boolean (parse_boolean ignores case).
fn is_boolean(value: &str) -> bool {
    const WORDS: [&str; 12] = [
        "1", "0", "yes", "no", "y", "n", "true", "false", "t", "f", "on", "off",
    ];
    WORDS.iter().any(|word| word.eq_ignore_ascii_case(value))
}

/// Whether it is a span of time: numbers with units, perhaps with blanks between them (systemd.time(7)).
pub(super) fn is_time(value: &str) -> bool {
    value == "infinity" || seconds(value).is_some()
}

/// A span of time in seconds; none if it is `infinity` or no span.
pub(super) fn seconds(value: &str) -> Option<f64> {
    const UNITS: [(&[&str], f64); 9] = [
        (&["", "s", "sec", "second", "seconds"], 1.0),
        (&["us", "usec", "µs", "μs"], 1e-6),
        (&["ns", "nsec"], 1e-9),
        (&["ms", "msec"], 1e-3),
        (&["m", "min", "minute", "minutes"], 60.0),
        (&["h", "hr", "hour", "hours"], 3600.0),
        (&["d", "day", "days"], 86_400.0),
        (&["w", "week", "weeks"], 604_800.0),
        (&["M", "month", "months", "y", "year", "years"], 2_629_800.0),
    ];
    let mut rest = value.trim();
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(rest.len());
        let unit = &rest[..letters];
        let (_, factor) = UNITS.iter().find(|(names, _)| names.contains(&unit))?;
        total += number * factor;
        rest = rest[letters..].trim_start();
    }
    Some(total)
}

fn is_mode(value: &str) -> bool {
    !value.is_empty() && value.len() <= 6 && value.chars().all(|c| ('0'..='7').contains(&c))
}

fn is_signal(value: &str) -> bool {
    const NAMES: [&str; 32] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "IOT", "BUS", "FPE", "KILL", "USR1", "SEGV",
        "USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CLD", "CONT", "STOP", "TSTP", "TTIN",
        "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR",
    ];
    let name = value.strip_prefix("SIG").unwrap_or(value);
    let is_real_time = name.starts_with("RTMIN") || name.starts_with("RTMAX");
    let is_number = value
        .parse::<u8>()
        .is_ok_and(|number| (1..=64).contains(&number));
    NAMES.contains(&name) || name == "SYS" || name == "POLL" || is_real_time || is_number
}

/// A number of bytes with a suffix to the base 1024, a share, or `infinity`.
fn is_size(value: &str) -> bool {
    if value == "infinity" {
        return true;
    }
    let number = value.trim_end_matches(['%', '‰', '‱']);
    let number = number.strip_suffix('B').unwrap_or(number);
    let number = number.trim_end_matches(['K', 'M', 'G', 'T', 'P', 'E']);
    let number = number.trim();
    let has_digit = number.starts_with(|c: char| c.is_ascii_digit());
    has_digit && number.chars().all(|c| c.is_ascii_digit() || c == '.')
}

#[cfg(test)]
mod tests {
    use super::{refusal, seconds};
    use crate::lint::unit::keys::kind_of;

    #[test]
    fn values_are_judged_by_the_kind_of_their_key() {
        for (key, good, bad) in [
            ("Type", "notify", "simping"),
            ("Restart", "on-failure", "Always"),
            ("ProtectSystem", "strict", "readonly"),
            ("PrivateTmp", "YES", "maybe"),
            ("RestartSec", "1min 30s", "5 secs"),
            ("TimeoutStartSec", "infinity", "never"),
            ("UMask", "0077", "rwx"),
            ("KillSignal", "SIGINT", "SIGFOO"),
            ("KillSignal", "15", "0x9"),
            ("MemoryMax", "1.5G", "lots"),
            ("TasksMax", "10%", "all"),
            ("LimitNOFILE", "1024:524288", "max"),
            ("LimitRTTIME", "infinity", "unlimited"),
            ("Nice", "-5", "low"),
            ("RootDirectory", "/srv", "srv"),
        ] {
            assert_eq!(refusal(kind_of("Service", key), good), None, "{key}={good}");
            assert!(
                refusal(kind_of("Service", key), bad).is_some(),
                "{key}={bad}"
            );
        }
        assert!(
            refusal(kind_of("Service", "Restart"), "Always")
                .is_some_and(|cure| cure.contains("`always`"))
        );
        assert_eq!(seconds("1min 30s"), Some(90.0));
        assert_eq!(seconds("500ms"), Some(0.5));
        assert_eq!(seconds(""), None);
    }
}

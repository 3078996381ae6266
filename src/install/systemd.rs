//! Renders the systemd unit: `systemd/stayd.service` or `systemd/stayd-user.service` with the values of an instance.
//!
//! The files are both templates and samples. Rendering replaces the values of a few keys and keeps the rest with its comments,
//! so that the installed unit is the reviewed one.

use super::inputs::{RenderInputs, Scope};

const SYSTEM_UNIT: &str = include_str!("../../systemd/stayd.service");
const USER_UNIT: &str = include_str!("../../systemd/stayd-user.service");

/// The unit file of this instance, for systemd 252 (Debian 12) and later.
#[must_use]
pub fn render_systemd(inputs: &RenderInputs) -> String {
    let template = match inputs.scope {
        Scope::User => USER_UNIT,
        Scope::System => SYSTEM_UNIT,
    };
    let values = values(inputs);
    template
        .lines()
        .map(|line| {
            let key = line.split_once('=').map_or("", |(key, _)| key);
            let value = values.iter().find(|(name, _)| *name == key);
            value.map_or_else(|| line.to_owned(), |(_, value)| format!("{key}={value}"))
        })
        .fold(String::with_capacity(template.len()), |unit, line| {
            unit + &line + "\n"
        })
}

/// The keys with a value of the instance.
fn values(inputs: &RenderInputs) -> Vec<(&'static str, String)> {
    let name = inputs.name.replace('%', "%%");
    let mode = if inputs.control_group { "0750" } else { "0700" };
    vec![
        ("Description", format!("stayd {name}")),
        (
            "ExecStart",
            format!(
                "{} --foreground -c {}",
                quoted(&inputs.program, WordRole::Program),
                quoted(&inputs.config, WordRole::Argument)
            ),
        ),
        ("TimeoutStartSec", whole_seconds(inputs.start_budget)),
        ("TimeoutStopSec", whole_seconds(inputs.stop_budget)),
        ("StateDirectory", format!("stayd/{name}")),
        ("RuntimeDirectory", format!("stayd/{name}")),
        ("RuntimeDirectoryMode", mode.to_owned()),
    ]
}

fn whole_seconds(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    format!("{seconds}s")
}

/// The role of a word in `ExecStart=`. systemd expands `$` in arguments, but not in the program (systemd.service(5)).
#[derive(Clone, Copy, PartialEq, Eq)]
enum WordRole {
    Program,
    Argument,
}

/// Quotes and escapes `word`, so that systemd reads exactly this word.
fn quoted(word: &str, role: WordRole) -> String {
    let mut out = String::with_capacity(word.len() + 2);
    for c in word.chars() {
        match c {
            '%' => out.push_str("%%"),
            '$' if role == WordRole::Argument => out.push_str("$$"),
            '\\' | '"' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@=%$".contains(c);
    let bare = word.starts_with('/') && word.chars().all(plain);
    if bare { out } else { format!("\"{out}\"") }
}

#[cfg(test)]
mod tests {
    use super::{WordRole, quoted, values};
    use crate::install::{RenderInputs, Scope};

    #[test]
    fn words_are_quoted_only_if_necessary() {
        assert_eq!(
            quoted("/usr/bin/stayd", WordRole::Program),
            "/usr/bin/stayd"
        );
        assert_eq!(quoted("/a b/c", WordRole::Program), "\"/a b/c\"");
        assert_eq!(quoted("/a$b%c", WordRole::Program), "/a$b%%c");
        assert_eq!(
            quoted("/a$b\"c\\", WordRole::Argument),
            "\"/a$$b\\\"c\\\\\""
        );
        assert_eq!(quoted("/é", WordRole::Argument), "\"/é\"");
    }

    /// The services would inherit it; stayd raises its own limit.
    #[test]
    fn the_units_set_no_limit_of_open_files() {
        for unit in [super::SYSTEM_UNIT, super::USER_UNIT] {
            assert!(!unit.contains("LimitNOFILE"), "{unit}");
        }
    }

    #[test]
    fn the_system_unit_has_a_line_for_each_value() {
        let inputs = RenderInputs::sample(Scope::System, "/home/ada");
        for (key, value) in values(&inputs) {
            assert!(
                super::SYSTEM_UNIT.contains(&format!("\n{key}={value}\n")),
                "{key}"
            );
        }
    }
}

//! The systemd unit: `systemd/stayd.service` and `systemd/stayd-user.service`, with this instance's values.
//!
//! The files are both the template and the sample: rendering replaces the values of a few keys and keeps the rest,
//! comments included. So what is reviewed is what is installed.

use super::inputs::{RenderInputs, Scope};

const SYSTEM_UNIT: &str = include_str!("../../systemd/stayd.service");
const USER_UNIT: &str = include_str!("../../systemd/stayd-user.service");

/// The unit file of this instance, for Debian 12's systemd 252 and later.
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

/// The keys that differ from one instance to the next.
fn values(inputs: &RenderInputs) -> Vec<(&'static str, String)> {
    let name = inputs.name.replace('%', "%%");
    let mode = if inputs.control_group { "0750" } else { "0700" };
    vec![
        ("Description", format!("stayd {name}")),
        (
            "ExecStart",
            format!(
                "{} --foreground -c {}",
                quoted(&inputs.program, Word::Program),
                quoted(&inputs.config, Word::Argument)
            ),
        ),
        ("TimeoutStartSec", whole_seconds(inputs.start_budget)),
        ("TimeoutStopSec", whole_seconds(inputs.stop_budget)),
        ("StateDirectory", format!("stayd/{name}")),
        ("RuntimeDirectory", format!("stayd/{name}")),
        ("RuntimeDirectoryMode", mode.to_owned()),
        ("LimitNOFILE", inputs.open_files.to_string()),
    ]
}

fn whole_seconds(span: std::time::Duration) -> String {
    format!("{}s", span.as_secs() + u64::from(span.subsec_nanos() > 0))
}

/// Where in `ExecStart=` a word stands: systemd expands `$` in arguments, not in the program (systemd.service(5)).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Program,
    Argument,
}

/// `word` such that systemd reads it back as it is.
fn quoted(word: &str, place: Word) -> String {
    let mut out = String::with_capacity(word.len() + 2);
    for c in word.chars() {
        match c {
            '%' => out.push_str("%%"),
            '$' if place == Word::Argument => out.push_str("$$"),
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
    use super::{Word, quoted, values};
    use crate::install::{RenderInputs, Scope};

    #[test]
    fn words_are_quoted_only_where_they_must() {
        assert_eq!(quoted("/usr/bin/stayd", Word::Program), "/usr/bin/stayd");
        assert_eq!(quoted("/a b/c", Word::Program), "\"/a b/c\"");
        assert_eq!(quoted("/a$b%c", Word::Program), "/a$b%%c");
        assert_eq!(quoted("/a$b\"c\\", Word::Argument), "\"/a$$b\\\"c\\\\\"");
        assert_eq!(quoted("/é", Word::Argument), "\"/é\"");
    }

    #[test]
    fn every_value_has_its_line_in_the_system_unit() {
        let inputs = RenderInputs::sample(Scope::System, "/home/ada");
        for (key, value) in values(&inputs) {
            assert!(
                super::SYSTEM_UNIT.contains(&format!("\n{key}={value}\n")),
                "{key}"
            );
        }
    }
}

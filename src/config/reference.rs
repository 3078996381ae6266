//! docs/reference/config.md and stayd.toml(5), made from the list of keys and of schemes.

use super::keys::{self, Default, KEYS, Key, Kind, State};
use super::probe_url::SCHEMES;
use super::roff::{item, verbatim, words};
use super::value;

const SAMPLE: &str = include_str!("reference/sample.toml");
const RULES: &str = include_str!("reference/rules.md");

/// Tables with a heading of their own; the others are told as `table.key`.
const TABLES: [&str; 6] = [
    "",
    "control",
    "service.*",
    "service.*.watchdog",
    "service.*.ready",
    "service.*.log",
];

/// The reference as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut out = format!(
        "# stayd.toml\n\nMade from the list of keys in src/config/table.rs; a test holds it true.\n\n\
         ```toml\n{SAMPLE}```\n\n{RULES}"
    );
    for table in TABLES {
        out += &format!("\n## {}\n\n{}\n\n", title(table), about(table));
        out += "| key | what it is | form | without it |\n|---|---|---|---|\n";
        for key in keys_of(table) {
            let name = format!("`{}`", name_in(table, key));
            out += &row(&[name, about_key(key), form(key), without(key)]);
        }
    }
    out += "\n## Probe URLs\n\n| URL | what is asked |\n|---|---|\n";
    for scheme in SCHEMES {
        out += &row(&[format!("`{}`", scheme.form), scheme.doc.into()]);
    }
    out += "\n## Not in this version\n\nKnown, and refused with a word on what to do.\n\n";
    out += "| key | what it will be | until then |\n|---|---|---|\n";
    for (key, cure) in later() {
        out += &row(&[format!("`{}`", path(key)), key.doc.into(), cure.into()]);
    }
    out
}

fn row(cells: &[String]) -> String {
    let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// The manual page stayd.toml(5), in man(7).
#[must_use]
pub fn man_page() -> String {
    let mut out = String::from(
        ".\\\" Made from the list of keys in src/config/table.rs; a test holds it true.\n\
         .TH STAYD.TOML 5 \"\" stayd \"File formats\"\n\
         .SH NAME\nstayd.toml \\- the services that stayd keeps answering\n\
         .SH SYNOPSIS\n.nf\n",
    );
    out += &verbatim(SAMPLE);
    out += ".fi\n.SH DESCRIPTION\n";
    for paragraph in RULES.trim_end().split("\n\n") {
        out += &format!(".PP\n{}\n", words(paragraph));
    }
    for table in TABLES {
        out += &format!(
            ".SH \"{}\"\n{}\n",
            verbatim(&title(table).replace('`', "")),
            words(about(table))
        );
        for key in keys_of(table) {
            let text = format!(
                "{}\nForm: {}. Without it: {}.",
                about_key(key),
                form(key),
                without(key)
            );
            out += &item(&name_in(table, key), &text);
        }
    }
    out += ".SH \"PROBE URLS\"\n";
    for scheme in SCHEMES {
        out += &item(scheme.form, scheme.doc);
    }
    out += ".SH \"NOT IN THIS VERSION\"\n";
    for (key, cure) in later() {
        out += &item(&path(key), &format!("{} Until then: {cure}.", key.doc));
    }
    out + ".SH \"SEE ALSO\"\n.BR stayd (1)\n"
}

fn title(table: &str) -> String {
    if table.is_empty() {
        "Top of the file".into()
    } else {
        format!("`{}`", keys::heading(table, "NAME"))
    }
}

fn about(table: &str) -> &'static str {
    keys::find(table).map_or("What stands before the first table.", |key| key.doc)
}

/// The keys told under this heading.
fn keys_of(table: &'static str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| {
        let tells_value = !matches!(key.kind, Kind::Table | Kind::Named);
        let nearest = TABLES.iter().rev().find(|table| below(table, key));
        tells_value && nearest == Some(&table)
    })
}

fn below(table: &str, key: &Key) -> bool {
    table.is_empty()
        || key
            .path
            .strip_prefix(table)
            .is_some_and(|rest| rest.starts_with('.'))
}

fn later() -> impl Iterator<Item = (&'static Key, &'static str)> {
    KEYS.iter().filter_map(|key| match key.state {
        State::NotSupported(cure) => Some((key, cure)),
        State::Supported | State::CheckedOnly(_) => None,
    })
}

fn path(key: &Key) -> String {
    key.path.replace('*', "NAME")
}

/// `watchdog.first.signal` under `[service.NAME.watchdog]` is `first.signal`.
fn name_in(table: &str, key: &Key) -> String {
    key.path
        .strip_prefix(table)
        .unwrap_or(key.path)
        .trim_start_matches('.')
        .to_owned()
}

fn about_key(key: &Key) -> String {
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
        | Kind::Duration(_)
        | Kind::Size(_)
        | Kind::Signal
        | Kind::Expect
        | Kind::Table
        | Kind::Named => value::kind_name(key.kind).into(),
    }
}

fn without(key: &Key) -> String {
    match key.default {
        Default::Is("") => "none".into(),
        Default::Is(text) => format!("`{text}`"),
        Default::Described(words) => words.into(),
        Default::Unset => "none".into(),
        Default::Required => "an error".into(),
    }
}

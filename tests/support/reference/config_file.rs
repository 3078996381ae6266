//! Generates docs/reference/config.md and stayd.toml(5) from the library's descriptions of configuration keys and probe URLs.

use super::roff::{item, paragraph, verbatim};
use stayd::config::reference::{KeyReference, keys, probe_urls};

/// A configuration that both documents show.
pub(crate) const SAMPLE: &str = include_str!("sample.toml");
const RULES: &str = include_str!("rules.md");

/// Tables with a heading of their own. Keys of other tables are listed as `table.key` under the nearest heading.
const TABLES: [&str; 6] = [
    "",
    "control",
    "service.*",
    "service.*.watchdog",
    "service.*.ready",
    "service.*.log",
];

/// The reference, in Markdown.
pub(crate) fn markdown() -> String {
    let mut out = format!(
        "# stayd.toml\n\nGenerated from the key table in src/config by `STAYD_UPDATE=1 cargo test --test config`.\n\n\
         ```toml\n{SAMPLE}```\n\n{RULES}"
    );
    for table in TABLES {
        out += &format!("\n## {}\n\n{}\n\n", title(table), description(table));
        out += "| key | what it is | form | without it |\n|---|---|---|---|\n";
        for key in values_of(table) {
            let name = format!("`{}`", name_in(table, &key));
            out += &row(&[name, key.doc, key.form, key.default]);
        }
    }
    out += "\n## Probe URLs\n\n| URL | what is asked |\n|---|---|\n";
    for url in probe_urls() {
        out += &row(&[format!("`{}`", url.form), url.doc.into()]);
    }
    out += "\n## Not in this version\n\nThese keys are known. stayd refuses them and says what to do instead.\n\n";
    out += "| key | what it will be | until then |\n|---|---|---|\n";
    for (key, alternative) in planned() {
        out += &row(&[format!("`{}`", path(&key)), key.doc, alternative.into()]);
    }
    out
}

fn row(cells: &[String]) -> String {
    let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// The manual page stayd.toml(5).
pub(crate) fn man_page() -> String {
    let mut out = String::from(
        ".\\\" Generated from the key table in src/config by STAYD_UPDATE=1 cargo test --test config\n\
         .TH STAYD.TOML 5 \"\" stayd \"File formats\"\n\
         .SH NAME\nstayd.toml \\- the services that stayd keeps answering\n\
         .SH SYNOPSIS\n.nf\n",
    );
    out += &verbatim(SAMPLE);
    out += ".fi\n.SH DESCRIPTION\n";
    for text in RULES.trim_end().split("\n\n") {
        out += &format!(".PP\n{}\n", paragraph(text));
    }
    for table in TABLES {
        out += &format!(
            ".SH \"{}\"\n{}\n",
            verbatim(&title(table).replace('`', "")),
            paragraph(&description(table))
        );
        for key in values_of(table) {
            let text = format!(
                "{}\nForm: {}. Without it: {}.",
                key.doc, key.form, key.default
            );
            out += &item(&name_in(table, &key), &text);
        }
    }
    out += ".SH \"PROBE URLS\"\n";
    for url in probe_urls() {
        out += &item(url.form, url.doc);
    }
    out += ".SH \"NOT IN THIS VERSION\"\n";
    for (key, alternative) in planned() {
        out += &item(
            &path(&key),
            &format!("{} Until then: {alternative}.", key.doc),
        );
    }
    out + ".SH \"SEE ALSO\"\n.BR stayd (1)\n"
}

fn title(table: &str) -> String {
    if table.is_empty() {
        "Top of the file".into()
    } else {
        format!("`[{}]`", table.replace('*', "NAME"))
    }
}

fn description(table: &str) -> String {
    keys()
        .find(|key| key.path == table)
        .map_or("The keys before the first table.".into(), |key| key.doc)
}

/// The keys with values that are listed under the heading of this table.
fn values_of(table: &'static str) -> impl Iterator<Item = KeyReference> {
    keys().filter(move |key| {
        let nearest = TABLES.iter().rev().find(|table| is_below(table, key));
        !key.is_table && nearest == Some(&table)
    })
}

fn is_below(table: &str, key: &KeyReference) -> bool {
    table.is_empty()
        || key
            .path
            .strip_prefix(table)
            .is_some_and(|rest| rest.starts_with('.'))
}

/// The keys of later versions, each with what to do until then.
fn planned() -> impl Iterator<Item = (KeyReference, &'static str)> {
    keys().filter_map(|key| {
        let alternative = key.alternative?;
        Some((key, alternative))
    })
}

fn path(key: &KeyReference) -> String {
    key.path.replace('*', "NAME")
}

/// The name of a key under the heading of `table`: `watchdog.first.signal` under `[service.NAME.watchdog]` is
/// `first.signal`.
fn name_in(table: &str, key: &KeyReference) -> String {
    key.path
        .strip_prefix(table)
        .unwrap_or(key.path)
        .trim_start_matches('.')
        .to_owned()
}

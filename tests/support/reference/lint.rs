//! Generates docs/reference/lint.md from the library's table of codes.

use stayd::lint::{Code, codes};

const INTRODUCTION: &str = include_str!("lint.md");

/// The groups of codes: the beginning of their names, and the heading.
const GROUPS: [(&str, &str); 4] = [
    ("file-", "Any file"),
    ("plist-", "launchd plists"),
    ("app-", "App bundles"),
    ("unit-", "systemd units"),
];

/// The reference, in Markdown.
pub(crate) fn markdown() -> String {
    let mut out = format!(
        "# What `stayd verify` reports\n\nGenerated from the code table in src/lint by `STAYD_UPDATE=1 cargo test --test cli manual`.\n\n{INTRODUCTION}"
    );
    for (beginning, heading) in GROUPS {
        out += &format!(
            "\n## {heading}\n\n| code | level | what it means | source |\n|---|---|---|---|\n"
        );
        let group = codes().filter(|code| code.name.starts_with(beginning));
        out += &group.map(row).collect::<String>();
    }
    out
}

fn row(code: &Code) -> String {
    let meaning = code.meaning.replace('|', "\\|");
    format!(
        "| `{}` | {} | {meaning} | {} |\n",
        code.name,
        code.level.name(),
        code.source
    )
}

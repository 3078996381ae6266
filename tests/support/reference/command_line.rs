//! Generates stayd(1) and docs/reference/command-line.md from clap's definition of the command line, the exit statuses and
//! the reference pages that the manual includes.

use super::roff::{document, item, paragraph, verbatim};
use clap::{Arg, Command};
use stayd::cli::args::command;

/// Pages of the reference that are also sections of the manual.
const SECTIONS: [(&str, &str); 3] = [
    (
        "ENVIRONMENT",
        include_str!("../../../docs/reference/environment.md"),
    ),
    ("FILES", include_str!("../../../docs/reference/files.md")),
    (
        "SIGNALS",
        include_str!("../../../docs/reference/signals.md"),
    ),
];
const INTRODUCTION: &str = "`stayd` keeps services answering, not merely running. It starts each service and asks it a real \
question over its own protocol (`SELECT 1`, an HTTP request). After several consecutive attempts without an answer it \
collects evidence, kills the whole process tree with SIGKILL and starts the service again. stayd stays in the foreground: in \
a terminal, under systemd, under launchd or as the first process of a container.\n\n\
Verbs talk to the stayd that runs. It is the one of `--state-dir`, else the one of the configuration that is found, else the \
only one that runs.";
const EXIT_STATUS_NOTES: &str = "`stayd exec` ends with the status of its command. Under systemd, launchd or as PID 1, stayd \
does not exit with 71, 75 or 77 at its start: it keeps running, reports why, and continues when it can. It exits with 78 \
everywhere except under launchd and in a container, where it waits for a good configuration.";

/// The manual page stayd(1).
pub(crate) fn man_page() -> String {
    let program = built();
    let mut out = String::from(
        ".\\\" Generated from src/cli/args and docs/reference by STAYD_UPDATE=1 cargo test --test cli manual\n\
         .TH STAYD 1 \"\" stayd \"User commands\"\n\
         .SH NAME\nstayd \\- keeps a service answering, not merely running\n\
         .SH SYNOPSIS\n.nf\n",
    );
    out += &verbatim(&usage(&program));
    out += "\n.fi\n.SH DESCRIPTION\n";
    out += &document(INTRODUCTION);
    for heading in headings(&program) {
        out += &format!(".SH \"{}\"\n", heading.to_uppercase());
        out += &arguments(&program, heading)
            .map(man_item)
            .collect::<String>();
    }
    out += ".SH VERBS\n";
    out += &verbs(&program).iter().map(man_verb).collect::<String>();
    out += ".SH \"EXIT STATUS\"\n";
    for (number, meaning) in stayd::cli::exit_statuses() {
        out += &item(&number.to_string(), meaning);
    }
    out += &document(EXIT_STATUS_NOTES);
    for (title, page) in SECTIONS {
        out += &format!(".SH {title}\n{}", document(page));
    }
    out += &format!(
        ".SH EXAMPLES\n.nf\n{}\n.fi\n",
        verbatim(&examples(&program))
    );
    out + ".SH \"SEE ALSO\"\n.BR stayd.toml (5),\n.BR systemd.service (5),\n.BR launchd.plist (5)\n"
}

/// The reference of the command line, in Markdown.
pub(crate) fn markdown() -> String {
    let program = built();
    let mut out = format!(
        "# The command line\n\nGenerated from src/cli/args by `STAYD_UPDATE=1 cargo test --test cli manual`.\n\n```\n{}\n```\n\n\
         Exit statuses have [a page of their own](exit-status.md).\n",
        usage(&program)
    );
    for heading in headings(&program) {
        out += &format!("\n## {heading}\n\n{}", table(&program, heading));
    }
    out += "\n## Verbs\n";
    for verb in verbs(&program) {
        out += &format!(
            "\n### {}\n\n{}.\n\n```\n{}\n```\n",
            verb.get_display_name()
                .unwrap_or_default()
                .replace('-', " "),
            about(&verb),
            [usage(&verb), examples(&verb)].join("\n").trim_end()
        );
        let own: String = headings(&verb)
            .into_iter()
            .filter(|heading| *heading != COMMON)
            .map(|heading| rows(&verb, heading))
            .collect();
        if !own.is_empty() {
            out += &format!("\n| | |\n|---|---|\n{own}");
        }
    }
    out
}

/// The table of exit statuses, in Markdown.
pub(crate) fn exit_status_table() -> String {
    let row = |(number, meaning)| format!("| {number} | {meaning} |\n");
    let rows: String = stayd::cli::exit_statuses().map(row).collect();
    format!("| status | means |\n|---|---|\n{rows}")
}

/// The heading of the options that every verb takes; they are described once.
const COMMON: &str = "Common options";
/// The heading of options and arguments without a heading of their own.
const OWN: &str = "Options";

/// The definition of the command line, with everything that clap derives filled in.
fn built() -> Command {
    let mut program = command();
    program.build();
    program
}

fn verbs(program: &Command) -> Vec<Command> {
    let shown = |verb: &&Command| !verb.is_hide_set() && verb.get_name() != "help";
    let flat = |verb: &Command| {
        let below: Vec<_> = verb.get_subcommands().filter(shown).cloned().collect();
        if below.is_empty() {
            vec![verb.clone()]
        } else {
            below
        }
    };
    program
        .get_subcommands()
        .filter(shown)
        .flat_map(flat)
        .collect()
}

/// The usage lines, without clap's "Usage:".
fn usage(verb: &Command) -> String {
    let text = verb.clone().render_usage().to_string();
    let lines = text.trim_start_matches("Usage: ").lines();
    lines.map(str::trim).collect::<Vec<_>>().join("\n")
}

/// The example command lines at the end of the help text.
fn examples(verb: &Command) -> String {
    let text = verb.get_after_help().map(ToString::to_string);
    let text = text.unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.strip_prefix("  "));
    lines.collect::<Vec<_>>().join("\n")
}

fn about(verb: &Command) -> String {
    verb.get_about()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// The headings of the options, in the order of the help text.
fn headings(verb: &Command) -> Vec<&str> {
    let mut all = Vec::new();
    for argument in verb
        .get_arguments()
        .filter(|argument| is_documented(argument))
    {
        let heading = argument.get_help_heading().unwrap_or(OWN);
        if !all.contains(&heading) {
            all.push(heading);
        }
    }
    all.sort_by_key(|heading| (*heading == COMMON, *heading != OWN));
    all
}

fn is_documented(argument: &Arg) -> bool {
    !argument.is_hide_set() && !matches!(argument.get_id().as_str(), "help" | "version")
}

fn arguments<'v>(verb: &'v Command, heading: &'v str) -> impl Iterator<Item = &'v Arg> {
    verb.get_arguments()
        .filter(|argument| is_documented(argument))
        .filter(move |argument| argument.get_help_heading().unwrap_or(OWN) == heading)
}

/// The flags and value of an argument, such as `-c, --config FILE`.
fn name(argument: &Arg) -> String {
    let value = argument
        .get_value_names()
        .filter(|_| argument.get_action().takes_values())
        .and_then(|names| names.first())
        .map(ToString::to_string);
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let flags: Vec<_> = short.into_iter().chain(long).collect();
    let words = [Some(flags.join(", ")), value];
    let words = words.into_iter().flatten().filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// The help text, with the default value that clap fills in.
fn help_text(argument: &Arg) -> String {
    let help = argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let default = argument.get_default_values().first();
    match default.and_then(|default| default.to_str()) {
        Some(default) if argument.get_action().takes_values() => {
            format!("{help} [default: {default}]")
        }
        _ => help,
    }
}

fn man_item(argument: &Arg) -> String {
    item(&name(argument), &format!("{}.", help_text(argument)))
}

fn man_verb(verb: &Command) -> String {
    let title = verb.get_display_name().unwrap_or_default();
    let mut out = format!(
        ".SS \"{}\"\n.nf\n{}\n.fi\n.PP\n{}.\n",
        verbatim(&title.replace('-', " ")),
        verbatim(&usage(verb)),
        paragraph(&about(verb))
    );
    for heading in headings(verb).into_iter().filter(|name| *name != COMMON) {
        out += &arguments(verb, heading).map(man_item).collect::<String>();
    }
    out
}

fn table(verb: &Command, heading: &str) -> String {
    format!(
        "| option | what it does |\n|---|---|\n{}",
        rows(verb, heading)
    )
}

fn rows(verb: &Command, heading: &str) -> String {
    let row = |argument: &Arg| {
        let (name, help) = (name(argument), help_text(argument));
        let (name, help) = (name.replace('|', "\\|"), help.replace('|', "\\|"));
        format!("| `{name}` | {help} |\n")
    };
    arguments(verb, heading).map(row).collect()
}

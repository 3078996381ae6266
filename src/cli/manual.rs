//! stayd(1) and docs/reference/command-line.md, made from the grammar of the command line, the exit statuses and the
//! reference pages that both show.

use super::args::command;
use super::exit::Exit;
use crate::config::roff::{document, item, verbatim, words};
use clap::{Arg, Command};

/// Pages of the reference that are sections of the manual as well.
const SECTIONS: [(&str, &str); 3] = [
    (
        "ENVIRONMENT",
        include_str!("../../docs/reference/environment.md"),
    ),
    ("FILES", include_str!("../../docs/reference/files.md")),
    ("SIGNALS", include_str!("../../docs/reference/signals.md")),
];
const INTRODUCTION: &str = "`stayd` keeps services answering, not merely running. It starts each one, asks it a real \
question over its own protocol (`SELECT 1`, an HTTP request), and when no answer comes several times in a row it takes \
evidence, ends the whole process tree with SIGKILL and starts it again. It stays in the foreground, in a terminal, \
under systemd, under launchd or as the first process of a container.\n\n\
A verb speaks to the stayd that runs. The instance is the one of `--state-dir`, else of the configuration that is \
found, else the only one that is alive.";
const EXEC_STATUS: &str = "`stayd exec` ends as its command does. Under systemd, launchd or as PID 1, 71, 75 and 77 at \
the start are no exits: stayd stays, says why, and goes on when it can. 78 is an exit everywhere but under launchd and \
in a container, where stayd waits for a good file.";

/// The manual page stayd(1), in man(7).
#[must_use]
pub fn man_page() -> String {
    let program = built();
    let mut out = String::from(
        ".\\\" Made from src/cli and docs/reference; a test holds it true.\n\
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
    for exit in Exit::ALL {
        out += &item(&exit.number().to_string(), exit.meaning());
    }
    out += &document(EXEC_STATUS);
    for (title, page) in SECTIONS {
        out += &format!(".SH {title}\n{}", document(page));
    }
    out += &format!(
        ".SH EXAMPLES\n.nf\n{}\n.fi\n",
        verbatim(&examples(&program))
    );
    out + ".SH \"SEE ALSO\"\n.BR stayd.toml (5),\n.BR systemd.service (5),\n.BR launchd.plist (5)\n"
}

/// The reference of the command line as Markdown.
#[must_use]
pub fn markdown() -> String {
    let program = built();
    let mut out = format!(
        "# The command line\n\nMade from src/cli/args.rs; a test holds it true.\n\n```\n{}\n```\n\n\
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

/// The table of docs/reference/exit-status.md.
#[must_use]
pub fn exit_statuses() -> String {
    let row = |exit: Exit| format!("| {} | {} |\n", exit.number(), exit.meaning());
    let rows: String = Exit::ALL.into_iter().map(row).collect();
    format!("| status | means |\n|---|---|\n{rows}")
}

/// Where options that every verb takes are told, once.
const COMMON: &str = "Common options";
/// What clap calls options and arguments that say no heading.
const OWN: &str = "Options";

/// The grammar with everything filled in that clap derives.
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

/// How it is called, without clap's word before it.
fn usage(verb: &Command) -> String {
    let text = verb.clone().render_usage().to_string();
    let lines = text.trim_start_matches("Usage: ").lines();
    lines.map(str::trim).collect::<Vec<_>>().join("\n")
}

/// The sample command lines of its help.
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

/// The headings of its options, in the order of the help.
fn headings(verb: &Command) -> Vec<&str> {
    let mut all = Vec::new();
    for argument in verb.get_arguments().filter(|argument| is_told(argument)) {
        let heading = argument.get_help_heading().unwrap_or(OWN);
        if !all.contains(&heading) {
            all.push(heading);
        }
    }
    all.sort_by_key(|heading| (*heading == COMMON, *heading != OWN));
    all
}

fn is_told(argument: &Arg) -> bool {
    !argument.is_hide_set() && !matches!(argument.get_id().as_str(), "help" | "version")
}

fn arguments<'v>(verb: &'v Command, heading: &'v str) -> impl Iterator<Item = &'v Arg> {
    verb.get_arguments()
        .filter(|argument| is_told(argument))
        .filter(move |argument| argument.get_help_heading().unwrap_or(OWN) == heading)
}

/// `-c, --config FILE`
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

/// What it does, with the default that clap itself knows.
fn sentence(argument: &Arg) -> String {
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
    item(&name(argument), &format!("{}.", sentence(argument)))
}

fn man_verb(verb: &Command) -> String {
    let title = verb.get_display_name().unwrap_or_default();
    let mut out = format!(
        ".SS \"{}\"\n.nf\n{}\n.fi\n.PP\n{}.\n",
        verbatim(&title.replace('-', " ")),
        verbatim(&usage(verb)),
        words(&about(verb))
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
        let (name, sentence) = (name(argument), sentence(argument));
        let (name, sentence) = (name.replace('|', "\\|"), sentence.replace('|', "\\|"));
        format!("| `{name}` | {sentence} |\n")
    };
    arguments(verb, heading).map(row).collect()
}

//! Reading the command line: clap, and what clap's own rules do not see.

use super::{Arguments, ServiceOptions, Verb};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command as Grammar, CommandFactory, FromArgMatches};
use std::ffi::OsString;

/// Verbs of later versions, known so that they are not taken for slips of the hand, and what to do until then.
const LATER: [(&str, &str); 12] = [
    (
        "replay",
        "`stayd why SERVICE` shows the facts of each decision",
    ),
    (
        "apply",
        "write the service into stayd.toml and restart stayd",
    ),
    (
        "destroy",
        "`stayd stop SERVICE`, and remove it from stayd.toml",
    ),
    ("reconcile", "`stayd stop` those that are to go"),
    (
        "init",
        "stayd.toml(5) has a sample; `stayd config check` tells what is wrong with yours",
    ),
    (
        "install",
        "`stayd render systemd` or `stayd render launchd` prints what to install",
    ),
    (
        "uninstall",
        "remove the unit or the plist that you installed",
    ),
    (
        "verify",
        "`systemd-analyze verify` or `plutil -lint` checks the file",
    ),
    (
        "doctor",
        "`stayd config check` and `stayd status` tell most of it",
    ),
    ("run", "use a timer of the system"),
    ("completions", "`stayd --help` lists the verbs"),
    ("man", "the pages are in docs/man"),
];

/// Reads the command line; `words` begins with the program's own name.
///
/// # Errors
/// What clap has to say: help and version (exit status 0), or a usage error (2). Print it, and end with its status.
pub fn parse<T>(words: impl IntoIterator<Item = T>) -> Result<Arguments, clap::Error>
where
    T: Into<OsString> + Clone,
{
    let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    let mut command = command();
    let matches = match command.try_get_matches_from_mut(&words) {
        Ok(matches) => matches,
        Err(error) => return Err(no_such_verb(&mut command, &words, &error).unwrap_or(error)),
    };
    let wanted = matches.subcommand_name();
    if let Some((verb, cure)) = LATER.iter().find(|(verb, _)| wanted == Some(verb)) {
        let message = format!("`stayd {verb}` is not in this version; {cure}");
        return Err(command.error(ErrorKind::InvalidSubcommand, message));
    }
    let arguments = Arguments::from_arg_matches(&matches)?;
    check(&arguments).map_err(|message| command.error(ErrorKind::ArgumentConflict, message))?;
    if arguments.is_empty() {
        let nothing = self::command().arg_required_else_help(true);
        return nothing
            .try_get_matches_from(["stayd"])
            .map_or_else(Err, |_| Ok(arguments));
    }
    Ok(arguments)
}

/// The whole command line, as clap knows it; for help and man pages.
#[must_use]
pub fn command() -> Grammar {
    let rest = clap::Arg::new("rest")
        .num_args(0..)
        .trailing_var_arg(true)
        .allow_hyphen_values(true);
    LATER
        .iter()
        .fold(Arguments::command(), |command, (verb, _)| {
            command.subcommand(
                Grammar::new(verb)
                    .hide(true)
                    .disable_help_flag(true)
                    .arg(rest.clone()),
            )
        })
}

/// A first word that is no verb: clap alone would call it an unexpected argument.
fn no_such_verb(
    command: &mut Grammar,
    words: &[OsString],
    error: &clap::Error,
) -> Option<clap::Error> {
    let Some(ContextValue::String(wrong)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let before = words.iter().take_while(|word| *word != wrong.as_str());
    let verb_before = before
        .filter_map(|word| word.to_str())
        .any(|word| command.find_subcommand(word).is_some());
    if error.kind() != ErrorKind::UnknownArgument || wrong.starts_with('-') || verb_before {
        return None;
    }
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    let verbs: Vec<_> = verbs.map(Grammar::get_name).collect();
    let message = format!(
        "'{wrong}' is no verb; verbs are {}. To run it as a service: stayd --foreground -- {wrong}",
        verbs.join(", "),
    );
    Some(command.error(ErrorKind::InvalidSubcommand, message))
}

/// What clap's own rules do not see.
fn check(arguments: &Arguments) -> Result<(), String> {
    let describes = arguments.service != ServiceOptions::default();
    let runs = arguments.foreground || arguments.follow;
    if arguments.verb.is_some() && (describes || runs) {
        return Err("--foreground, --follow and the options of a service come without a verb, or behind `exec`".into());
    }
    if arguments.common.json && has_no_json(arguments.verb.as_ref()) {
        return Err("--json is for verbs that tell something in a table or a list".into());
    }
    let command = match &arguments.verb {
        Some(Verb::Exec(options)) => &options.command,
        None if describes => &arguments.service.command,
        Some(_) | None => return Ok(()),
    };
    if command.is_empty() {
        return Err("the options of a service describe a command: write it behind `--`".into());
    }
    if arguments.common.config.is_some() {
        return Err("cannot use --config FILE and a COMMAND: one of them says what runs".into());
    }
    Ok(())
}

/// Whether this verb's output is no table, list or answer: the demo is a show, `render` prints a file.
const fn has_no_json(verb: Option<&Verb>) -> bool {
    matches!(verb, Some(Verb::Exec(_) | Verb::Demo | Verb::Render { .. }))
}

impl Arguments {
    /// Whether nothing at all was asked for.
    fn is_empty(&self) -> bool {
        !self.foreground
            && !self.follow
            && self.verb.is_none()
            && self.common.config.is_none()
            && self.service.command.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, (i32, String)> {
        let words = std::iter::once("stayd").chain(line.split_whitespace());
        parse(words).map_err(|error| (error.exit_code(), error.to_string()))
    }

    #[test]
    fn the_definitions_agree_with_each_other() {
        command().debug_assert();
    }

    #[test]
    fn running_needs_a_file_a_command_or_the_word() {
        assert!(read("--foreground").expect("run").verb.is_none());
        assert!(read("-c a.toml").expect("run").verb.is_none());
        let run = read("--foreground --probe tcp://127.0.0.1:1 -- a -b --probe c").expect("run");
        assert_eq!(run.service.command, ["a", "-b", "--probe", "c"]);
        let (status, help) = read("").expect_err("nothing");
        assert_eq!(status, 2);
        assert!(help.contains("Usage: stayd --foreground"), "{help}");
        assert!(!help.contains("error"), "help is no error: {help}");
        assert_eq!(read("-v").expect_err("nothing").0, 2);
    }

    #[test]
    fn verbs_take_the_common_options_on_either_side() {
        for line in ["-c f status --json db", "status db -c f --json"] {
            let arguments = read(line).expect(line);
            assert_eq!(arguments.common.config, Some("f".into()), "{line}");
            assert!(arguments.common.json, "{line}");
        }
        let arguments = read("exec --port 80 -- db").expect("exec");
        let Some(Verb::Exec(options)) = arguments.verb else {
            panic!("exec")
        };
        assert_eq!(
            (options.port.as_deref(), options.command.len()),
            (Some("80"), 1)
        );
    }

    #[test]
    fn a_verb_of_a_later_version_is_known() {
        for line in ["install", "install --user --label x", "doctor --json"] {
            let (status, text) = read(line).expect_err(line);
            assert_eq!(status, 2, "{line}");
            assert!(text.contains("is not in this version; "), "{text}");
        }
        let (status, text) = read("statsu").expect_err("slip");
        assert_eq!(status, 2);
        assert!(
            text.contains("'statsu' is no verb; verbs are exec, demo, status,"),
            "{text}"
        );
        let (_, text) = read("logs a b").expect_err("too many");
        assert!(text.contains("unexpected argument 'b'"), "{text}");
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        for (line, what) in [
            ("--foreground status", "without a verb"),
            ("--probe x status", "without a verb"),
            ("--foreground --port 80", "behind `--`"),
            ("exec", "behind `--`"),
            ("-c f -- a", "one of them"),
            ("stop", "SERVICE"),
            ("runtime", "import"),
            ("runtime import", "SERVICE"),
            ("runtime rollback", "SERVICE"),
            ("runtime gc web", "unexpected argument 'web'"),
            ("-v -q status", "cannot be used with"),
            ("hold db --for 5m", "--reason"),
            ("exec --probe tcp://127.0.0.1:1 -- a", "--probe"),
            ("render systemd --json", "--json is for verbs"),
        ] {
            let (status, text) = read(line).expect_err(line);
            assert_eq!(status, 2, "{line}");
            assert!(text.contains(what), "{line}: {text}");
        }
    }

    #[test]
    fn help_is_a_sentence_each() {
        let mut command = command();
        command.build();
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let about = verb
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                !about.is_empty() && !about.contains('\n'),
                "{}",
                verb.get_name()
            );
        }
    }
}
